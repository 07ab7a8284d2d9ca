"""Training of the colour prior: batches, loss and judging by hand, resuming, what is asked for."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dipir.errors import ConfigError
from dipir.priors.colour import COLOUR
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig
from dipir.priors.picture import PicturePrior
from dipir.workshop.colour import data as sketches
from dipir.workshop.colour import styles as sketch_styles
from dipir.workshop.colour import train as prior_colour
from dipir.workshop.colour.styles import Drawings
from dipir.workshop.colour.train import (
    ColourPriorConfig,
    assemble,
    colours_met,
    denoising_loss,
    evaluation,
    train_colour_prior,
    validation,
)
from dipir.workshop.trainer import TrainConfig
from tests.support.drawings import recorded_squares
from tests.support.far_training import same_on_another_device

NET = ConditionalUNetConfig(planes=12, vector=12, channels=(8, 8, 16), blocks=1, embedding=16, detail=2, sigma_data=0.4)
CONFIG = ColourPriorConfig(batch=2, size=32, recordings=4, net=NET,
                           train=TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


def _pairs(count: int = 6, exact: bool = True) -> Drawings:
    return sketch_styles.draw(np.random.default_rng(0), recorded_squares(), np.arange(count) % 4, exact)


class _Perfect(nn.Module):
    """Knows the answer to one set of pairs; notes what it was told."""

    def __init__(self, pairs: Drawings) -> None:
        super().__init__()
        self.x0, self.told, self.config = pairs.picture * 2 - 1, [], NET

    def forward(self, x, sigma, planes, vector):
        self.told.append(vector)
        return self.x0[:len(x)]


def test_planes_are_the_drawing_and_targets_the_picture() -> None:
    pairs = _pairs()
    x0, planes = assemble(pairs)
    torch.testing.assert_close(x0, pairs.picture * 2 - 1)
    torch.testing.assert_close(planes, (pairs.drawing * 2 - 1).expand(-1, 3, -1, -1))


def test_loss_of_the_answer_is_zero_and_of_the_drawing_is_known() -> None:
    pairs, config = _pairs(), replace(CONFIG, sigma_std=0.0, sigma_mean=float(np.log(40)))
    assert denoising_loss(_Perfect(pairs), pairs, np.random.default_rng(1), config) == 0

    class _Drawing(nn.Module):
        def forward(self, x, sigma, planes, vector):
            return planes[:, :3]

    loss = denoising_loss(_Drawing(), pairs, np.random.default_rng(1), config)
    weight = 0.25 + 0.75 * pairs.regions.sum(1, keepdim=True)
    square = (4 * (pairs.picture - pairs.drawing) ** 2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    torch.testing.assert_close(loss, square.mean() * (40**2 + 0.4**2) / (40 * 0.4) ** 2, rtol=1e-5, atol=0)


def test_some_palettes_are_not_told() -> None:
    pairs = _pairs(count=40)
    for untold, low, high in ((0.0, 0, 0), (1.0, 40, 40), (0.3, 4, 22)):
        net = _Perfect(pairs)
        denoising_loss(net, pairs, np.random.default_rng(1), replace(CONFIG, untold=untold))
        assert low <= int((net.told[0] == 0).all(1).sum()) <= high


def test_validation_of_the_answer_and_of_an_untrained_network() -> None:
    pairs = _pairs(count=2)
    assert set(validation(_Perfect(pairs), pairs, CONFIG).values()) == {0.0}
    scalars = validation(ConditionalUNet(NET), pairs, CONFIG)
    levels = [v for k, v in scalars.items() if k.startswith("sigma")]
    assert scalars["score"] == pytest.approx(sum(levels) / 4) and min(levels) > 0.05
    assert scalars == validation(ConditionalUNet(NET), pairs, CONFIG)


def test_colours_are_met_by_the_truth_alone() -> None:
    pairs = _pairs(count=40)
    assert colours_met(pairs.picture, pairs) == 1
    grey = pairs.drawing.expand(-1, 3, -1, -1)
    assert colours_met(grey, pairs) < 0.35
    one = replace(pairs, present=torch.tensor([True, False, False]).expand(40, -1))
    assert colours_met(grey * pairs.colours[:, 0, :, None, None], one) > 0.4
    assert colours_met(pairs.picture[:, [1, 2, 0]], one) < 0.5


def test_evaluation_ranks_a_prior_that_knows_above_one_that_does_not() -> None:
    pairs = _pairs(count=4)
    known, blind = (evaluation(PicturePrior(COLOUR, net), pairs, steps=4)
                    for net in (_Perfect(pairs), ConditionalUNet(NET)))
    assert known["rmse_sample"] < 1e-3 and known["met_sample"] == known["met_truth"] == 1
    assert blind["rmse_sample"] > 0.05 and blind["rmse_grey"] == known["rmse_grey"] > 0.05
    assert known["met_chance"] == pytest.approx(1 / 14) and known["rmse_mean"] < 1e-3
    pictures = ("sample", "mean", "grey", "tinted")
    assert set(known) == {*(f"rmse_{p}" for p in pictures), *(f"met_{p}" for p in (*pictures, "truth", "chance"))}


def test_training_lowers_the_loss_and_a_stopped_run_goes_on() -> None:
    events, recorded, held_out = [], recorded_squares(), _pairs()
    whole = train_colour_prior(CONFIG, recorded, held_out, name="whole", on_event=events.append)
    assert whole.finished and [e.step for e in events if e.stage == "whole/val"] == [2, 4]
    first = replace(CONFIG, train=replace(CONFIG.train, minutes=0))
    for step in range(1, 5):
        part = train_colour_prior(first, recorded, held_out, name="part")
        assert part.step == step
    for key, value in whole.best.items():
        torch.testing.assert_close(part.best[key], value)
    longer = replace(CONFIG, train=replace(CONFIG.train, steps=40, rate=3e-3, validate_every=20))
    scores = [e.scalars["score"] for e in _trained(longer, recorded, held_out) if e.stage == "longer/val"]
    assert scores[-1] < 0.9 * validation(ConditionalUNet(NET), held_out.shrunk(32), CONFIG)["score"]


def _trained(config: ColourPriorConfig, recorded: dict, held_out: Drawings) -> list:
    events = []
    train_colour_prior(config, recorded, held_out, name="longer", on_event=events.append)
    return events


def test_bf16_training_runs() -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, bf16=True, steps=2))
    assert train_colour_prior(config, recorded_squares(), _pairs(), name="half").finished


def test_run_writes_weights_and_starts_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sketches, "generate", lambda *a, meshes, **_: asked.append((a[0], a[2], meshes)) or tmp_path)
    monkeypatch.setattr(sketches, "load", lambda folder: recorded_squares(50))
    monkeypatch.setattr(prior_colour, "training_meshes", lambda *splits: list(map(Path, splits)))
    path = prior_colour.run(5, CONFIG, tmp_path / "a.safetensors", "one")
    assert asked == [(50, 9, [Path("val")]), (4, 0, [Path("train"), Path("train_more")])]
    assert PicturePrior.load(COLOUR, path).net.config == NET
    again = prior_colour.run(0.001, CONFIG, tmp_path / "b.safetensors", "two", start=path)
    first, second = (PicturePrior.load(COLOUR, p).net.state_dict() for p in (path, again))
    assert max(float((first[k] - second[k]).abs().max()) for k in first) < 0.1


@pytest.mark.parametrize("changes, message", [
    ({"batch": 0}, "batch 0"), ({"size": 48}, "size 48"), ({"train": TrainConfig(steps=0)}, "steps 0"),
    ({"train": TrainConfig(rate=float("nan"))}, "rate nan")])
def test_wrong_numbers(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prior_colour.run(5, replace(CONFIG, **changes), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match="minutes 0"):
        prior_colour.run(0, CONFIG, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_another_device() -> None:
    same_on_another_device(lambda name: train_colour_prior(CONFIG, recorded_squares(), _pairs(), name=name))
