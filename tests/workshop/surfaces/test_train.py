"""Training of the network that guesses surfaces: a few steps, exact resume, judging, the written file."""
from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from dipir.errors import ConfigError, PriorError
from dipir.priors.nets.surface_net import SurfaceNet, SurfaceNetConfig
from dipir.priors.relit.surfaces import SurfacePrior, surfaces_of
from dipir.workshop import backbone
from dipir.workshop import trainer as training
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces import train as surface_train
from dipir.workshop.surfaces.loss import surface_loss
from dipir.workshop.surfaces.photos import ShotConfig
from dipir.workshop.surfaces.train import SurfaceTraining, train_surfaces, validation, validation_photos
from tests.support.far_training import same_on_another_device
from tests.support.surface_sets import backdrops, balls

NET = SurfaceNetConfig(widths=(16, 16, 16, 8, 8, 8), heads=2)
TRAIN = training.TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1)
CONFIG = SurfaceTraining(batch=3, scenes=4, val_photos=4, pretrained=False, net=NET, train=TRAIN)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def held_out():
    return validation_photos((balls(), backdrops()), 5)


def _train(name: str, held_out, config: SurfaceTraining = CONFIG, **more) -> training.Trained:
    return train_surfaces(config, balls(), backdrops(), held_out, name=name, **more)


# ---- judging ---------------------------------------------------------------------------------------------------------

def test_held_out_photos_are_fixed_and_not_changed(held_out):
    again = validation_photos((balls(), backdrops()), 5)
    assert torch.equal(again.image, held_out.image) and torch.equal(again.light, held_out.light)
    lights = {tuple(v) for v in balls().light[0].tolist()}
    # No mirrored ones, one target each.
    assert {tuple(v) for v in held_out.light[:, 0].tolist()} <= lights and held_out.target.shape[1] == 1


def test_validation_is_the_loss_over_all_photos():
    """More than fit in one piece."""
    many = validation_photos((balls(), backdrops()), 40)
    torch.manual_seed(0)
    net = SurfaceNet(NET)
    torch.nn.init.normal_(net.out[-1].weight, std=0.1)
    figures = validation(net, many)
    with torch.no_grad():
        expected = surface_loss(surfaces_of(*net(many.image)), many)[0]
    assert figures["score"] == pytest.approx(float(expected), rel=1e-4)
    assert figures["shading_stops"] > 0 and figures["angle_median"] > 0


def test_an_untrained_network_is_as_good_as_even_light(held_out):
    figures = validation(SurfaceNet(NET), held_out)
    assert figures["shading_stops"] == pytest.approx(figures["even_stops"]) and figures["even_stops"] > 0.2
    # Level cameras but one of each four.
    assert figures["up_deg"] < 31


# ---- training --------------------------------------------------------------------------------------------------------

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
    config = replace(CONFIG, batch=6, photo=ShotConfig(augment=False, camera=False),
                     train=replace(TRAIN, steps=16, rate=4e-3, ema=0.5, validate_every=16))
    start = validation(SurfaceNet(NET), held_out)
    assert _train("learns", held_out, config).best_score < 0.9 * start["score"]


def test_a_new_run_begins_with_the_given_weights(held_out):
    torch.manual_seed(3)
    start = SurfaceNet(NET)
    config = replace(CONFIG, pretrained=True, train=replace(TRAIN, steps=1, rate=0.0))
    trained = _train("a", held_out, config, start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


def test_the_backbone_begins_with_given_features(monkeypatch, held_out):
    weights = {k: torch.full_like(v, 0.01) for k, v in SurfaceNet(NET).backbone.state_dict().items()}
    monkeypatch.setattr(backbone, "pretrained", lambda: weights)
    config = replace(CONFIG, pretrained=True, train=replace(TRAIN, steps=1, rate=0.0))
    best = _train("b", held_out, config).best
    assert all(torch.allclose(best[f"backbone.{k}"], v) for k, v in weights.items())


def test_without_the_package_of_the_features_it_says_so(monkeypatch, held_out):
    monkeypatch.setattr(backbone, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match=r"pip install 'dipir\[train\]'"):
        _train("c", held_out, replace(CONFIG, pretrained=True))


# ---- the whole run ---------------------------------------------------------------------------------------------------

@pytest.fixture
def sets(monkeypatch):
    made = balls(), backdrops()
    monkeypatch.setattr(surface_train, "training_scenes", lambda *args: made)
    monkeypatch.setattr(surface_train, "validation_scenes", lambda *args: made)
    monkeypatch.setattr(surface_train, "RECIPE", replace(surface_train.RECIPE, config=CONFIG))


def test_run_writes_a_prior_that_loads_and_is_judged(sets, tmp_path, capsys):
    path = tmp_path / "surfaces.safetensors"
    assert surface_train.RECIPE.run(10, CONFIG, path, "one") == path
    assert SurfacePrior.load(path).net.config == NET
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    assert meta["steps"] == "4" and float(meta["score"]) > 0 and json.loads(meta["training"])["minutes"] == 10
    surface_train.RECIPE.main(["--evaluate", str(path)])
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    # The file has half the digits.
    assert float(lines["score"]) == pytest.approx(float(meta["score"]), rel=0.02) and "depth_stops" in lines


def test_weights_to_begin_with_are_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(surface_train, "validation_scenes", lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        surface_train.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_sets_are_made_of_their_half_of_the_source(monkeypatch):
    asked = []
    monkeypatch.setattr(surface_train.surface_data, "generate", lambda *a, **k: asked.append((a, k)))
    monkeypatch.setattr(surface_train.surface_data, "load", lambda folder, limit: balls())

    class Part:
        def __init__(self, held_out, folder):
            self.held_out, self.folder = held_out, folder

        def behind(self):
            return self.held_out, self.folder.name

    class Halves:
        ingredients = Part

    data, behind = surface_train.training_scenes(3, 2, None, Halves())
    assert len(data) == 3 and behind == (False, "v1")
    _, behind = surface_train.validation_scenes(source=Halves())
    assert behind == (True, "val_v1")
    (first, more), (second, held_out) = asked
    assert (first[0], first[2:4]) == (3, (0, 2)) and second[2] == surface_train.VAL_SEED
    assert first[1].name == "v1" and second[1].name == "val_v1"
    assert not more["ingredients"].held_out and held_out["ingredients"].held_out


def test_another_device(held_out):
    same_on_another_device(lambda name: _train(name, held_out))
