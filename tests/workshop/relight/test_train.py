"""Training of the relighting prior: loss and validation by hand, resuming, the written file."""
from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from dipir.errors import PriorError
from dipir.priors.geometry import PLANES
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.workshop.relight import train as prior_relight
from dipir.workshop.relight.lessons import Lessons, lessons
from dipir.workshop.relight.train import (
    RelightPriorConfig,
    denoising_error,
    train_relight_prior,
    validation,
)
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.photos import Photos
from dipir.workshop.surfaces.sets import validation_photos
from dipir.workshop.trainer import TrainConfig
from tests.support.blind_guess import blind_geometry
from tests.support.far_training import same_on_another_device
from tests.support.surface_sets import backdrops, balls

NET = ConditionalUNetConfig(PLANES, vector=4, channels=(8, 8, 16), blocks=1, embedding=16, detail=2, sigma_data=0.3)
CONFIG = RelightPriorConfig(batch=2, scenes=4, val_photos=4, size=32, net=NET,
                            train=TrainConfig(steps=6, rate=1e-3, warmup=1, validate_every=3, log_every=1))
BLIND = blind_geometry()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


def _photos(count: int = 4) -> Photos:
    return validation_photos((balls(), backdrops()), count)


def _lessons(count: int = 4) -> Lessons:
    return lessons(_photos(count), BLIND, 32)


def _train(config: RelightPriorConfig = CONFIG, count: int = 2, **more):
    return train_relight_prior(config, balls(), backdrops(), _photos(count), BLIND, **more)


class _Answer(nn.Module):
    """Gives one answer to one set of pairs, whatever the noise."""

    config = NET

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x, sigma, planes, vector):
        return self.answer[:len(x)]


# ---- loss and validation ---------------------------------------------------------------------------------------------

def test_perfect_answer_has_no_error() -> None:
    batch, sigma = _lessons(), torch.tensor([0.1, 1, 5, 40])
    error = denoising_error(_Answer(batch.target * 2 - 1), batch, sigma, torch.randn(4, 3, 32, 32))
    assert error.tolist() == [0] * 4


def test_error_by_hand() -> None:
    """EDM's weight, and what pixels count: as much as they are known."""
    batch, sigma = _lessons(), torch.tensor([0.1, 0.5, 2.0, 40.0])
    batch = replace(batch, weight=torch.rand(batch.weight.shape, generator=torch.Generator().manual_seed(1)) + 0.1)
    error = denoising_error(_Answer(batch.image * 2 - 1), batch, sigma, torch.zeros(4, 3, 32, 32))
    for k, s in enumerate(sigma.tolist()):
        square = (2 * (batch.image[k] - batch.target[k])) ** 2
        mean = (square * batch.weight[k]).sum() / (3 * batch.weight[k].sum())
        assert float(error[k]) == pytest.approx(float(mean) * (s**2 + 0.09) / (s * 0.3) ** 2, rel=1e-4)


def test_net_is_given_noisy_target_planes_and_light() -> None:
    batch, given = _lessons(2), {}

    class Seeing(_Answer):
        def forward(self, x, sigma, planes, vector):
            given.update(x=x, planes=planes, vector=vector)
            return self.answer

    noise, sigma = torch.randn(2, 3, 32, 32), torch.tensor([0.5, 3.0])
    denoising_error(Seeing(batch.target), batch, sigma, noise)
    torch.testing.assert_close(given["x"], batch.target * 2 - 1 + sigma[:, None, None, None] * noise)
    assert torch.equal(given["planes"], batch.told) and torch.equal(given["vector"], batch.light)


def test_validation_by_hand() -> None:
    batch = _lessons()
    figures = validation(_Answer(batch.image * 2 - 1), batch)
    levels = {"sigma_0.1", "sigma_0.5", "sigma_2", "sigma_10"}
    assert set(figures) == levels | {"rmse", "guess_rmse", "input_rmse", "score"}
    assert figures["rmse"] == pytest.approx(figures["input_rmse"]) and figures["rmse"] > 0
    assert figures["guess_rmse"] == pytest.approx(figures["input_rmse"], rel=1e-2)  # Untrained, it guesses no change.
    square = ((batch.image - batch.target).square() * batch.weight).sum((1, 2, 3)) / (3 * batch.weight.sum((1, 2, 3)))
    assert figures["input_rmse"] == pytest.approx(float(square.sqrt().mean()), rel=1e-4)
    assert figures["score"] == pytest.approx(sum(v for k, v in figures.items() if k.startswith("sigma")) / 4)
    perfect = validation(_Answer(batch.target * 2 - 1), batch)
    assert perfect["score"] == 0 < perfect["input_rmse"] and perfect["rmse"] < 1e-6


def test_validation_goes_through_every_picture() -> None:
    """More than fit in one piece: the mean over all, with the same noise for each."""
    torch.manual_seed(0)
    net = ConditionalUNet(NET)
    for p in net.parameters():
        nn.init.normal_(p, 0, 0.1)
    many = _lessons(50)
    noise = torch.randn(many.target.shape, generator=torch.Generator().manual_seed(5))
    whole = denoising_error(net, many, torch.full((50,), 0.5), noise).mean()
    assert validation(net, many)["sigma_0.5"] == pytest.approx(float(whole.detach()), rel=1e-4)


# ---- training --------------------------------------------------------------------------------------------------------

def test_interrupted_training_ends_in_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    whole = _train(name="whole", on_event=events.append)
    draw, calls = photos.draw, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*args)

    held_out = _photos(2)
    monkeypatch.setattr(photos, "draw", stopping)
    first = train_relight_prior(CONFIG, balls(), backdrops(), held_out, BLIND, name="parts")
    assert first.step == 3 and not first.finished
    second = train_relight_prior(CONFIG, balls(), backdrops(), held_out, BLIND, name="parts")
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [3, 6]
    assert all("rmse" in e.scalars and "sigma_10" in e.scalars for e in events if e.stage == "whole/val")


def test_a_new_run_begins_with_the_given_weights() -> None:
    torch.manual_seed(3)
    start = ConditionalUNet(NET)
    trained = _train(replace(CONFIG, train=replace(CONFIG.train, steps=1, rate=0.0)), name="a", start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


def test_half_floats_train_too() -> None:
    trained = _train(replace(CONFIG, train=replace(CONFIG.train, steps=2, bf16=True)), name="half")
    assert trained.finished and all(bool(torch.isfinite(v).all()) for v in trained.best.values())


def test_training_lowers_the_error() -> None:
    """One scene, forty steps: better than the picture itself, from which it starts."""
    data = balls().part(slice(1, 2))
    held_out = validation_photos((data, backdrops()), 8)
    config = replace(CONFIG, batch=4, train=replace(CONFIG.train, steps=40, rate=5e-3, ema=0.6, validate_every=40))
    events = []
    train_relight_prior(config, data, backdrops(), held_out, BLIND, name="learns", on_event=events.append)
    start = validation(ConditionalUNet(NET), lessons(held_out, BLIND, 32))
    end = [e.scalars for e in events if e.stage == "learns/val"][-1]
    assert end["score"] < 0.9 * start["score"]


# ---- the whole run ---------------------------------------------------------------------------------------------------

@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_relight, "training_photos", lambda *args: (balls(), backdrops()))
    monkeypatch.setattr(prior_relight, "held_out_photos", lambda count, *args: _photos(count))
    monkeypatch.setattr(prior_relight.Geometry, "load", staticmethod(blind_geometry))


def test_run_writes_a_prior_that_loads_and_can_be_gone_on_from(sets, tmp_path: Path) -> None:
    path = tmp_path / "relight.safetensors"
    assert prior_relight.run(10, CONFIG, path, "one") == path
    prior = PicturePrior.load(RELIGHT, path)
    assert prior.net.config == NET
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    assert meta["steps"] == "6" and float(meta["score"]) > 0 and json.loads(meta["training"])["minutes"] == 10
    # The architecture is that of the weights to begin with, whatever the settings say.
    other = replace(CONFIG, net=RELIGHT.net, train=replace(CONFIG.train, steps=1, rate=0.0))
    again = prior_relight.run(10, other, tmp_path / "again.safetensors", "two", start=path)
    state = PicturePrior.load(RELIGHT, again).net.state_dict()
    assert all(torch.allclose(state[k], v, atol=1e-3) for k, v in prior.net.state_dict().items())


def test_weights_are_judged(sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(prior_relight, "RECIPE", replace(prior_relight.RECIPE, config=CONFIG))
    PicturePrior(RELIGHT, ConditionalUNet(NET)).save(tmp_path / "a.safetensors")
    prior_relight.RECIPE.main(["--evaluate", str(tmp_path / "a.safetensors")])
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    expected = validation(ConditionalUNet(NET), _lessons())
    assert float(told["input_rmse"]) == pytest.approx(expected["input_rmse"], abs=1e-4)


def test_weights_to_begin_with_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("training_photos", "held_out_photos"):
        monkeypatch.setattr(prior_relight, name, lambda *args: pytest.fail("long work began"))
    with pytest.raises(PriorError, match="no such file"):
        prior_relight.run(1, CONFIG, tmp_path / "a.safetensors", start=tmp_path / "absent.safetensors")


def test_another_device() -> None:
    same_on_another_device(lambda name: train_relight_prior(CONFIG, balls(), backdrops(), _photos(),
                                                            blind_geometry(), name=name))
