"""Training of the general relighting network: loss and validation by hand, resuming, the written file."""
from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dipir.errors import PriorError
from dipir.priors.geometry import PLANES
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.net import load_net, save_net
from dipir.workshop.relight.lessons import Lessons, lessons
from dipir.workshop.rti import train as prior_illuminet
from dipir.workshop.rti.train import GeneralNetConfig, loss, train_general, validation
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.photos import Photos
from dipir.workshop.surfaces.sets import validation_photos
from dipir.workshop.trainer import TrainConfig
from tests.support.blind_guess import blind_geometry
from tests.support.far_training import same_on_another_device
from tests.support.surface_sets import backdrops, balls

NET = IllumiNetConfig(planes=PLANES, light=4, channels=(4, 6, 8, 8), embedding=8, stem=2)
CONFIG = GeneralNetConfig(batch=2, scenes=4, val_photos=4, size=32, net=NET,
                          train=TrainConfig(steps=6, rate=1e-3, warmup=1, validate_every=3, log_every=1))
BLIND = blind_geometry()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


def _photos(count: int = 4) -> Photos:
    return validation_photos((balls(), backdrops()), count)


def _lessons(count: int = 4) -> Lessons:
    return lessons(_photos(count), BLIND, 32)


def _train(config: GeneralNetConfig = CONFIG, **more):
    return train_general(config, balls(), backdrops(), _photos(2), BLIND, **more)


# ---- loss and validation ---------------------------------------------------------------------------------------------

def test_validation_by_hand() -> None:
    """A fresh network answers with the first guess, which is the picture."""
    batch = _lessons(20)
    figures = validation(IllumiNet(NET).eval(), batch, CONFIG.loss)
    assert set(figures) == {"score", "rmse", "guess_rmse", "input_rmse", "psnr"}
    square = ((batch.image - batch.target).square() * batch.weight).sum((1, 2, 3)) / (3 * batch.weight.sum((1, 2, 3)))
    assert figures["input_rmse"] == pytest.approx(float(square.sqrt().mean()), rel=1e-4)
    assert figures["guess_rmse"] == pytest.approx(figures["input_rmse"], rel=1e-2)
    assert figures["rmse"] == pytest.approx(figures["guess_rmse"], rel=1e-2)  # It cannot show 0 and 1 quite.
    assert figures["psnr"] == pytest.approx(float((-10 * square.log10()).mean()), rel=0.02)
    assert figures["score"] == pytest.approx(float(loss(batch.image, batch, CONFIG.loss)), rel=0.03)

    shown = iter(batch.target.split(16))
    perfect = validation(lambda planes, light: next(shown), batch, CONFIG.loss)
    assert perfect["score"] == pytest.approx(0, abs=1e-6) and perfect["rmse"] == 0 < perfect["input_rmse"]


def test_what_is_not_known_does_not_count() -> None:
    """Whatever is shown there, the loss is that of the target; a pixel that counts by half is half as far off."""
    batch = _lessons(3)
    weight = torch.ones_like(batch.weight)
    weight[..., :16] = 0
    half = replace(batch, weight=weight)
    made = torch.where(weight > 0, batch.target, 1 - batch.target)
    assert float(loss(made, half, CONFIG.loss)) == pytest.approx(0, abs=1e-6)
    assert float(loss(made, batch, CONFIG.loss)) > 0.1
    faint = replace(batch, weight=torch.full_like(weight, 0.5))
    middle = (batch.image + batch.target) / 2
    expected = CONFIG.loss(middle, batch.target)
    assert float(loss(batch.image, faint, CONFIG.loss)) == pytest.approx(float(expected), rel=1e-4)


# ---- training --------------------------------------------------------------------------------------------------------

def test_interrupted_training_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    events, held_out = [], _photos(2)
    whole = _train(name="whole", on_event=events.append)
    draw, calls = photos.draw, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args)

    monkeypatch.setattr(photos, "draw", stopping)
    first = train_general(CONFIG, balls(), backdrops(), held_out, BLIND, name="parts")
    assert first.step == 3 and not first.finished
    second = train_general(CONFIG, balls(), backdrops(), held_out, BLIND, name="parts")
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [3, 6]


def test_a_new_run_begins_with_the_given_weights() -> None:
    torch.manual_seed(3)
    start = IllumiNet(NET)
    trained = _train(replace(CONFIG, train=replace(CONFIG.train, steps=1, rate=0.0)), name="a", start=start)
    weights = dict(start.named_parameters())
    assert all(torch.allclose(trained.best[k], v.detach()) for k, v in weights.items())


def test_half_floats_train_too() -> None:
    trained = _train(replace(CONFIG, train=replace(CONFIG.train, steps=2, bf16=True)), name="half")
    assert trained.finished and all(bool(torch.isfinite(v).all()) for v in trained.best.values())


def test_training_lowers_the_error() -> None:
    data = balls().part(slice(1, 2))
    held_out = validation_photos((data, backdrops()), 8)
    config = replace(CONFIG, batch=6, train=replace(CONFIG.train, steps=60, rate=1e-2, ema=0.6, validate_every=60))
    events = []
    train_general(config, data, backdrops(), held_out, BLIND, name="learns", on_event=events.append)
    end = [e.scalars for e in events if e.stage == "learns/val"][-1]
    assert end["rmse"] < 0.9 * end["input_rmse"]


# ---- the whole run ---------------------------------------------------------------------------------------------------

@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_illuminet, "training_photos", lambda *args: (balls(), backdrops()))
    monkeypatch.setattr(prior_illuminet, "held_out_photos", lambda count, *args: _photos(count))
    monkeypatch.setattr(prior_illuminet.Geometry, "load", staticmethod(blind_geometry))


def test_run_writes_a_network_that_loads_and_can_be_gone_on_from(sets, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    assert prior_illuminet.run(10, CONFIG, path, "one") == path
    net, digest = load_net(path)
    assert net.config == NET and len(digest) == 16
    other = replace(CONFIG, net=IllumiNetConfig(planes=PLANES, light=4), train=replace(CONFIG.train, steps=1, rate=0.0))
    again, _ = load_net(prior_illuminet.run(10, other, tmp_path / "again.safetensors", "two", start=path))
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(again.parameters(), net.parameters(), strict=True))


def test_weights_are_judged(sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(prior_illuminet, "RECIPE", replace(prior_illuminet.RECIPE, config=CONFIG))
    save_net(IllumiNet(NET), tmp_path / "a.safetensors")
    prior_illuminet.RECIPE.main(["--evaluate", str(tmp_path / "a.safetensors")])
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    expected = validation(IllumiNet(NET), _lessons(), CONFIG.loss)
    assert float(told["input_rmse"]) == pytest.approx(expected["input_rmse"], abs=1e-4)


def test_weights_to_begin_with_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_illuminet, "held_out_photos", lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        prior_illuminet.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_another_device() -> None:
    same_on_another_device(lambda name: train_general(CONFIG, balls(), backdrops(), _photos(), blind_geometry(),
                                                      name=name))
