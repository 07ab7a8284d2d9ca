"""Training of the network that corrects relighting by physics: errors by hand, a few steps, exact resume."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dipir.errors import PriorError
from dipir.image.color import srgb_to_linear
from dipir.image.metrics import rmse
from dipir.priors.relit.relighting import Relighting, RelightingConfig, RelightingNet, planned
from dipir.priors.relit.surfaces import SurfacePrior, Surfaces
from dipir.workshop import trainer as training
from dipir.workshop.relighting import train as relighting_train
from dipir.workshop.relighting.train import (
    RelightingTraining,
    each_light,
    looked_at,
    relit,
    relit_error,
    train_relighting,
    validation,
)
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.photos import Photos, ShotConfig
from dipir.workshop.surfaces.train import validation_photos
from tests.priors.relit.test_surfaces import seeing
from tests.support.far_training import same_on_another_device
from tests.support.surface_sets import backdrops, balls

NET = RelightingConfig(channels=(8, 8, 16), embedding=16, fine=8)
TRAIN = training.TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1)
CONFIG = RelightingTraining(batch=2, scenes=4, val_photos=4, photo=ShotConfig(targets=2), net=NET, train=TRAIN)
EYES = seeing()


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def held_out() -> Photos:
    return validation_photos((balls(), backdrops()), 6)


def known_surfaces(of: Photos) -> Surfaces:
    """What a perfect network would see."""
    return Surfaces(of.normal, of.albedo, of.shading, of.depth, of.shadow, of.solid, of.up)


def _train(name: str, held_out: Photos, config: RelightingTraining = CONFIG, **more) -> training.Trained:
    return train_relighting(config, balls(), backdrops(), held_out, EYES, name=name, **more)


def correcting() -> RelightingNet:
    torch.manual_seed(1)
    net = RelightingNet(NET)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


# ---- errors ----------------------------------------------------------------------------------------------------------

def test_many_pictures_are_seen_as_each_alone():
    images = torch.rand(35, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = looked_at(EYES, images)
    alone = EYES.see(images[33:34])
    for together, one in zip(vars(seen).values(), vars(alone).values(), strict=True):
        assert len(together) == 35
        torch.testing.assert_close(together[33:34], one, atol=1e-5, rtol=1e-4)


def test_each_light_of_a_photo_is_a_row():
    batch = validation_photos((balls(), backdrops()), 3)
    both = replace(batch, target=torch.stack([batch.target[:, 0], 1 - batch.target[:, 0]], 1),
                   light=torch.stack([batch.light[:, 0], -batch.light[:, 0]], 1))
    image, seen, light, target, known = each_light(both, known_surfaces(both))
    assert torch.equal(image, both.image[[0, 0, 1, 1, 2, 2]]) and torch.equal(known, both.known[[0, 0, 1, 1, 2, 2]])
    assert torch.equal(light[1::2], -light[::2]) and torch.equal(target[1::2], 1 - target[::2])
    assert torch.equal(seen.up, both.up[[0, 0, 1, 1, 2, 2]])


def test_error_by_hand(held_out):
    """Without a surface the picture stays: RMSE and half the mean difference, where it is known."""
    seen = known_surfaces(held_out)
    blind = replace(seen, solid=torch.zeros_like(seen.solid))
    expected = []
    for image, target, known in zip(held_out.image, held_out.target[:, 0], held_out.known, strict=True):
        apart = (image - target)[:, known[0] > 0]
        expected.append(float(apart.square().mean().sqrt() + 0.5 * apart.abs().mean()))
    assert float(relit_error(None, held_out, blind)) == pytest.approx(sum(expected) / len(expected), rel=2e-3)


def test_above_white_errors_count_a_tenth():
    """A grey picture of which one quarter gets all light and goes beyond white; its target is white."""
    batch = validation_photos((balls(), backdrops()), 1)
    image = torch.full_like(batch.image, 0.7)
    batch = replace(batch, image=image, target=torch.ones_like(batch.target), known=torch.ones_like(batch.known))

    class Brighter(torch.nn.Module):
        def forward(self, image, seen, plan, light):
            return -plan.gain + torch.tensor([2.0, -30, -30, -30]).repeat_interleave(8)[:, None].expand(1, 1, 32, 32)

    seen = known_surfaces(batch)
    seen = replace(seen, solid=torch.ones_like(seen.solid))
    made = relit(Brighter(), image, seen, batch.light[:, 0])
    assert float(made.amax()) > 1.2
    bent = torch.where(made > 1, 1 + 0.1 * (made - 1), made) - 1
    expected = bent.square().mean().sqrt() + 0.5 * bent.abs().mean()
    assert float(relit_error(Brighter(), batch, seen)) == pytest.approx(float(expected), rel=1e-3)


# ---- physics on true surfaces ----------------------------------------------------------------------------------------

def test_physics_on_true_surfaces_comes_near_the_other_light():
    """By a camera whose curve is known, narrow lights: half the error of the picture itself at most."""
    data = balls().part(slice(0, 1))
    narrow = [k for k in range(data.light.shape[1]) if float(data.light[0, k, 3]) < 0.01]
    data = replace(data, lit=data.lit[:, narrow], free=data.free[:, narrow], light=data.light[:, narrow])
    exact = ShotConfig(augment=False, camera=False, targets=1, level=(0.5, 0.8))
    made = photos.draw(np.random.default_rng(0), data, backdrops(), 8, exact)
    figures = validation(None, made, known_surfaces(made))
    assert figures["physics_rmse"] < 0.5 * figures["input_rmse"], figures
    assert figures["rmse"] == pytest.approx(figures["physics_rmse"])


def test_a_relit_picture_is_the_gain_of_the_plan(held_out):
    seen, light = known_surfaces(held_out), held_out.light[:, 0]
    seen = replace(seen, solid=torch.ones_like(seen.solid))
    made = relit(None, held_out.image, seen, light)
    gain = (srgb_to_linear(made) / srgb_to_linear(held_out.image)).log2()[:, :1]
    apart = (gain - planned(seen, light).gain).flatten(1)
    bright = (held_out.image.amin(1) > 0.1).flatten(1)
    for one, sure in zip(apart, bright, strict=True):
        assert float((one[sure] - one[sure].median()).abs().max()) < 1e-3


def test_validation_by_hand(held_out):
    seen = looked_at(EYES, held_out.image)
    figures = validation(correcting(), held_out, seen)
    assert set(figures) == {"score", "rmse", "physics_rmse", "input_rmse", "bound_rmse", "way"}
    known, target = held_out.known, held_out.target[:, 0]
    assert figures["input_rmse"] == pytest.approx(float(rmse(held_out.image * known, target * known).mean()), rel=1e-4)
    # The luminosity bound: each pixel at the target's mean of channels.
    ratio = target.mean(1, keepdim=True) / held_out.image.mean(1, keepdim=True).clamp_min(1e-6)
    bound = (held_out.image * ratio).clamp(0, 1)
    assert figures["bound_rmse"] == pytest.approx(float(rmse(bound * known, target * known).mean()), rel=1e-4)
    assert figures["bound_rmse"] < figures["input_rmse"]
    assert figures["way"] == pytest.approx((figures["input_rmse"] - figures["rmse"])
                                           / (figures["input_rmse"] - figures["bound_rmse"]))
    assert figures["rmse"] != pytest.approx(figures["physics_rmse"], rel=1e-3)
    assert validation(RelightingNet(NET), held_out, seen)["rmse"] == pytest.approx(figures["physics_rmse"])


# ---- training --------------------------------------------------------------------------------------------------------

def test_resumed_training_ends_in_the_same_weights(held_out):
    events = []
    whole = _train("whole", held_out, on_event=events.append)
    _train("parts", held_out, replace(CONFIG, train=replace(TRAIN, minutes=0.0)))
    again = _train("parts", held_out)
    assert whole.finished and again.finished and again.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], again.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [2, 4]


def test_training_lowers_the_error(held_out):
    """From what physics says of surfaces that a blind network guesses."""
    config = replace(CONFIG, batch=4, train=replace(TRAIN, steps=20, rate=5e-3, ema=0.6, validate_every=20))
    before = validation(RelightingNet(NET), held_out, looked_at(EYES, held_out.image))
    assert _train("learns", held_out, config).best_score < 0.97 * before["score"]


def test_the_eyes_do_not_learn(held_out):
    before = {k: v.clone() for k, v in EYES.net.state_dict().items()}
    _train("eyes", held_out)
    assert all(torch.equal(before[k], v) for k, v in EYES.net.state_dict().items())


def test_a_new_run_begins_with_the_given_weights(held_out):
    start = correcting()
    trained = _train("a", held_out, replace(CONFIG, train=replace(TRAIN, steps=1, rate=0.0)), start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


# ---- the whole run ---------------------------------------------------------------------------------------------------

def test_run_writes_a_prior_that_loads_and_is_judged(monkeypatch, tmp_path, capsys):
    made = balls(), backdrops()
    monkeypatch.setattr(relighting_train, "training_scenes", lambda *args: made)
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: made)
    monkeypatch.setattr(relighting_train.SurfacePrior, "load", staticmethod(lambda path=None: EYES))
    monkeypatch.setattr(relighting_train, "RECIPE", replace(relighting_train.RECIPE, config=CONFIG))
    path = tmp_path / "r.safetensors"
    relighting_train.RECIPE.main(["--steps", "2", "--out", str(path), "--minutes", "5"])
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert Relighting.load(path).net.config == NET
    with safe_open(path, "pt") as file:
        assert file.metadata()["steps"] == "2"
    relighting_train.RECIPE.main(["--evaluate", str(path)])
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert float(lines["input_rmse"]) > 0 and "way" in lines


def test_weights_to_begin_with_are_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        relighting_train.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_another_device(held_out):
    def train(name: str) -> training.Trained:
        return train_relighting(CONFIG, balls(), backdrops(), held_out, SurfacePrior(seeing().net), name=name)
    same_on_another_device(train)
