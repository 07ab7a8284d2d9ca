"""Training of the layout prior: noise levels, loss and validation by hand, resuming, the written file."""
from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from dipir import device
from dipir.errors import ConfigError, PriorError
from dipir.priors import captions
from dipir.priors.layout import LAYOUT_NET, LayoutPrior
from dipir.priors.nets.text_unet import TextUNet
from dipir.workshop import runner
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout import train as prior_layout
from dipir.workshop.layout.data import LayoutPictures
from dipir.workshop.layout.train import (
    LayoutPriorConfig,
    denoising_error,
    noise_levels,
    numbers,
    others,
    train_layout_prior,
    validation,
)
from dipir.workshop.trainer import TrainConfig
from tests.support import layout_sets
from tests.support.far_training import same_on_another_device
from tests.support.layout_pictures import flat_pictures

NET = replace(LAYOUT_NET, width=16, layers=1, channels=(8, 8), worded=(1,), selves=(), embedding=16, detail=2, fine=4)
CONFIG = LayoutPriorConfig(batch=2, scenes=4, held_out=4, net=NET,
                           train=TrainConfig(steps=4, rate=1e-3, warmup=1, validate_every=2, log_every=1))


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))


def _pictures(count: int = 4, things: int = 2) -> LayoutPictures:
    return flat_pictures(np.random.default_rng(7), count, things)


def _small(pictures: LayoutPictures) -> LayoutPictures:
    """A quarter of the size, for speed."""
    return replace(pictures, image=pictures.image[..., ::4, ::4], masks=pictures.masks[..., ::4, ::4])


class _Answer(nn.Module):
    """Gives one answer to one set of pictures, whatever the noise; ``heard`` is what it was told."""

    config = NET

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def read(self, numbers: torch.Tensor) -> torch.Tensor:
        self.heard = numbers
        return numbers

    def look(self, x, sigma, words):
        self.given = x, sigma, words
        return self.answer[:len(x)], torch.zeros(())


class _Listener(_Answer):
    """Right where it is told the right caption, else it says nothing but grey."""

    def __init__(self, pictures: LayoutPictures) -> None:
        super().__init__(pictures.image * 2 - 1)
        self.said = numbers(pictures.captions)

    def look(self, x, sigma, words):
        right = (words == self.said[:len(x)]).all(1)
        return torch.where(right[:, None, None, None], self.answer[:len(x)], torch.zeros(())), torch.zeros(())


# ---- noise and loss --------------------------------------------------------------------------------------------------

def test_noise_levels_are_log_normal_one_of_each_range() -> None:
    config = LayoutPriorConfig(sigma_mean=-0.3, sigma_std=1.2)
    sigma = noise_levels(np.random.default_rng(0), 2000, config)
    assert sigma.dtype == torch.float32 and sigma.min() >= 0.02 and sigma.max() <= 40
    log = sigma.log().sort().values
    quantiles = torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000) * 1.2 - 0.3
    torch.testing.assert_close(log[50:-50].double(), quantiles[50:-50], atol=0.02, rtol=0)
    small = noise_levels(np.random.default_rng(0), 4, config).log().double()
    assert (torch.special.ndtr((small + 0.3) / 1.2) * 4).int().sort().values.tolist() == [0, 1, 2, 3]
    order = [int(noise_levels(np.random.default_rng(k), 4, config).argmax()) for k in range(20)]
    assert set(order) == {0, 1, 2, 3}  # Any row may be the noisiest.


def test_perfect_answer_has_no_error() -> None:
    pictures, sigma = _pictures(), torch.tensor([0.1, 1, 5, 40])
    error = denoising_error(_Answer(pictures.image * 2 - 1), pictures.image, numbers(pictures.captions), sigma,
                            torch.randn(4, 3, 64, 64), torch.ones(4, 1, 1, 1))[0]
    assert error.tolist() == [0] * 4


def test_error_by_hand() -> None:
    """EDM's weight, and the mean over pixels by their weight; the net is given the noisy picture and the words."""
    pictures, sigma, noise = _pictures(), torch.tensor([0.1, 0.5, 2.0, 40.0]), torch.randn(4, 3, 64, 64)
    net, weight = _Answer(torch.zeros(4, 3, 64, 64)), torch.rand(4, 1, 64, 64)
    error = denoising_error(net, pictures.image, numbers(pictures.captions), sigma, noise, weight)[0]
    x0 = pictures.image * 2 - 1
    for k, s in enumerate(sigma.tolist()):
        mean = float((x0[k] ** 2 * weight[k]).sum() / (3 * weight[k].sum()))
        assert float(error[k]) == pytest.approx(mean * (s**2 + 0.25) / (s * 0.5) ** 2, rel=1e-4)
    torch.testing.assert_close(net.given[0], x0 + sigma[:, None, None, None] * noise)
    assert net.given[1] is sigma and net.heard.tolist() == [captions.tokens(c) for c in pictures.captions]


# ---- validation ------------------------------------------------------------------------------------------------------

def test_validation_by_hand() -> None:
    pictures = _pictures(8)
    figures = validation(_Answer(torch.zeros(8, 3, 64, 64)), pictures)
    levels = {"sigma_0.2", "sigma_0.7", "sigma_2", "sigma_10"}
    assert set(figures) == levels | {"heard_2", "heard_10", "shapes_0.7", "shapes_2", "score"}
    square = float((pictures.image * 2 - 1).square().mean())
    assert figures["sigma_2"] == pytest.approx(square * 4.25, rel=1e-4)
    assert figures["score"] == pytest.approx(math.prod(figures[k] for k in levels) ** 0.25)
    assert figures["heard_2"] == figures["heard_10"] == figures["shapes_2"] == 0


def test_who_hears_is_found_out() -> None:
    pictures = _pictures(8)
    assert all(a != b for a, b in zip(pictures.captions, np.array(pictures.captions)[others(pictures.captions)],
                                      strict=True))
    figures = validation(_Listener(pictures), pictures)
    assert figures["heard_2"] == figures["heard_10"] == figures["shapes_2"] == 1 and figures["score"] == 0


def test_validation_goes_through_every_picture() -> None:
    """More than fit in one piece: the mean over all, with the same noise for each."""
    torch.manual_seed(0)
    net = TextUNet(NET)
    for p in net.parameters():
        nn.init.normal_(p, 0, 0.1)
    many = _small(_pictures(50))
    noise = torch.randn(many.image.shape, generator=torch.Generator().manual_seed(5))
    whole = denoising_error(net, many.image, numbers(many.captions), torch.full((50,), 0.7), noise,
                            torch.ones(50, 1, 1, 1))[0].mean()
    assert validation(net, many)["sigma_0.7"] == pytest.approx(float(whole.detach()), rel=1e-4)


@pytest.mark.parametrize("said, rows", [("abc", [1, 2, 0]), ("aab", [2, 2, 0]), ("abb", [1, 0, 0]), ("aa", [0, 1]),
                                        ("a", [0])])
def test_next_row_that_says_something_else(said: str, rows: list[int]) -> None:
    assert others(list(said)) == rows


# ---- training --------------------------------------------------------------------------------------------------------

def test_interrupted_training_ends_in_the_same_weights() -> None:
    events, calls, held_out = [], [], _pictures(2)
    whole = train_layout_prior(CONFIG, flat_pictures, held_out, name="whole", on_event=events.append)

    def stopping(rng, count):
        calls.append(count)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return flat_pictures(rng, count)

    first = train_layout_prior(CONFIG, stopping, held_out, name="parts")
    assert first.step == 3 and not first.finished and calls == [2, 2, 2]
    second = train_layout_prior(CONFIG, flat_pictures, held_out, name="parts")
    assert second.finished and second.best_score == whole.best_score
    assert all(torch.equal(whole.best[k], second.best[k]) for k in whole.best)
    assert [e.step for e in events if e.stage == "whole/val"] == [2, 4]
    assert all("heard_2" in e.scalars and "sigma_10" in e.scalars for e in events if e.stage == "whole/val")


def test_a_new_run_begins_with_the_given_weights() -> None:
    torch.manual_seed(3)
    start = TextUNet(NET)
    config = replace(CONFIG, train=replace(CONFIG.train, steps=1, rate=0.0))
    trained = train_layout_prior(config, flat_pictures, _pictures(2), name="a", start=start)
    assert all(torch.allclose(trained.best[k], v) for k, v in start.state_dict().items())


def test_half_floats_train_too() -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, steps=2, bf16=True))
    trained = train_layout_prior(config, flat_pictures, _pictures(2), name="half")
    assert trained.finished and all(bool(torch.isfinite(v).all()) for v in trained.best.values())


@pytest.mark.parametrize("untold, share", [(0.0, 0), (1.0, 1), (0.3, 0.3)])
def test_share_of_captions_that_are_left_out(monkeypatch: pytest.MonkeyPatch, untold: float, share: float) -> None:
    told = []
    monkeypatch.setattr(prior_layout, "numbers", lambda said: told.extend(said) or numbers(said))
    config = replace(CONFIG, batch=20, untold=untold, train=replace(CONFIG.train, steps=5, validate_every=99))
    def small(rng, count):
        return _small(flat_pictures(rng, count))
    monkeypatch.setattr(prior_layout, "validation", lambda net, held_out: {"score": 0.0})
    train_layout_prior(config, small, _pictures(2), name="untold")
    empty = told.count("") / len(told)
    assert len(told) == 100 and abs(empty - share) <= 3 * math.sqrt(share * (1 - share) / 100)


def test_other_shapes_and_nothing_else() -> None:
    text = "a red cube, a metal chair and a mug on a grey floor"
    changed = prior_layout.other_shapes(text)
    assert changed != text and captions.words(changed)
    for before, after in zip(captions.things(text), captions.things(changed), strict=True):
        assert before.shape != after.shape and (before.colour, before.material) == (after.colour, after.material)
    assert prior_layout.other_shapes("an empty floor") == "an empty floor"


def test_emphasis_weighs_the_things_and_what_is_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to three pixels away, and where noise is not too strong to see them."""
    given, error = [], denoising_error
    monkeypatch.setattr(prior_layout, "denoising_error", lambda *a: given.append((a[3], a[5])) or error(*a))
    monkeypatch.setattr(prior_layout, "validation", lambda net, held_out: {"score": 0.0})
    for emphasis in (0.0, 2.0):
        config = replace(CONFIG, batch=8, emphasis=emphasis, sigma_mean=1.1, train=replace(
            CONFIG.train, steps=1, validate_every=99))
        made = []
        def draw(rng, count, made=made):
            return made.append(flat_pictures(rng, count)) or made[-1]
        train_layout_prior(config, draw, _pictures(2), name=f"weight {emphasis}")
        sigma, weight = given[-1]
        assert (sigma < 3).any() and (sigma >= 3).any()
        for k, masks in enumerate(made[0].masks.amax(1)):
            y, x = masks.nonzero().T
            wanted = torch.ones(64, 64)
            if sigma[k] < 3:
                for dy in range(-3, 4):
                    for dx in range(-3, 4):
                        wanted[(y + dy).clamp(0, 63), (x + dx).clamp(0, 63)] = 1 + emphasis
            assert torch.equal(weight[k, 0], wanted)


def test_naming_error_by_hand() -> None:
    """Sure and right costs nothing, sure of the next shape much; of what is nowhere nothing is asked but that."""
    pictures = _pictures(3)
    shapes, hues = len(captions.SHAPES), list(captions.COLOURS)
    cover = torch.nn.functional.avg_pool2d(pictures.masks, 4)
    planes = torch.zeros(3, 1 + shapes + len(hues), 16, 16)
    planes[:, 0] = 30
    for b, things in enumerate(pictures.things):
        for k, thing in enumerate(things):
            there = cover[b, k] > (1 - cover[b].sum(0)).clamp_min(0)
            planes[b, 0, there] = 0
            planes[b, 1 + captions.SHAPES.index(thing.shape), there] = 30
            planes[b, 1 + shapes + hues.index(thing.colour), there] = 30
    assert prior_layout.naming_error(planes, pictures).max() < 1e-6
    shifted = planes.clone()
    shifted[:, 1:1 + shapes] = planes[:, 1:1 + shapes].roll(1, 1)
    count = (planes[:, 0] == 0).sum((1, 2)).float()
    expected = 30 * 5 * count / 256 + 30 * count / (count + 1)
    torch.testing.assert_close(prior_layout.naming_error(shifted, pictures), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("taught", [0.0, 0.5])
def test_the_second_task_ends_before_training_does(taught: float) -> None:
    events = []
    config = replace(CONFIG, taught=taught)
    train_layout_prior(config, flat_pictures, _pictures(2), name="taught", on_event=events.append)
    steps = [e.scalars for e in events if e.stage == "taught"]
    assert ["named" in scalars for scalars in steps] == [taught > 0] * 3 + [False]


def test_training_lowers_the_error_and_lets_it_hear() -> None:
    """Four pictures again and again."""
    few = _pictures(4, 1)
    config = replace(CONFIG, batch=4, untold=0.0, emphasis=0.0, taught=0.0, sigma_mean=1.5, sigma_std=0.5,
                     train=replace(CONFIG.train, steps=60, rate=1e-2, ema=0.6, validate_every=60))
    events = []
    train_layout_prior(config, lambda rng, count: few, few, name="learns", on_event=events.append)
    start = validation(TextUNet(NET), few)
    end = [e.scalars for e in events if e.stage == "learns/val"][-1]
    assert start["heard_10"] == 0 and end["heard_10"] > 0.1
    assert end["sigma_10"] < 0.7 * start["sigma_10"] and end["sigma_2"] < 0.8 * start["sigma_2"]


# ---- the whole run ---------------------------------------------------------------------------------------------------

@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_layout, "training_pictures", lambda *args: flat_pictures)
    monkeypatch.setattr(prior_layout, "held_out_pictures", lambda *args: _pictures(2))


def test_run_writes_a_prior_that_loads_and_can_be_gone_on_from(sets, tmp_path: Path) -> None:
    path = tmp_path / "layout.safetensors"
    assert prior_layout.run(10, CONFIG, path, "one") == path
    prior = LayoutPrior.load(path)
    assert prior.net.config == NET
    with safe_open(path, "pt") as file:
        meta = file.metadata()
    assert meta["steps"] == "4" and float(meta["score"]) > 0 and json.loads(meta["training"])["minutes"] == 10
    # The architecture is that of the weights to begin with, whatever the settings say.
    other = replace(CONFIG, net=LAYOUT_NET, train=replace(CONFIG.train, steps=1, rate=1e-9))
    again = prior_layout.run(10, other, tmp_path / "again.safetensors", "two", start=path)
    state = LayoutPrior.load(again).net.state_dict()
    assert all(torch.allclose(state[k], v, atol=1e-3) for k, v in prior.net.state_dict().items())


def test_bad_numbers_and_weights_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def work(*args):
        raise AssertionError("began to work")

    monkeypatch.setattr(prior_layout, "held_out_pictures", work)
    monkeypatch.setattr(prior_layout, "training_pictures", work)
    for config, minutes, given in ((CONFIG, 0, "minutes 0"), (replace(CONFIG, batch=-1), 1, "batch -1"),
                                   (replace(CONFIG, scenes=0), 1, "scenes 0"),
                                   (replace(CONFIG, train=TrainConfig(steps=0, rate=-1)), 1, "steps 0, rate -1")):
        with pytest.raises(ConfigError, match=f"prior train layout: {given}; accepted are numbers above 0"):
            prior_layout.run(minutes, config)
    with pytest.raises(PriorError, match="no such file"):
        prior_layout.run(1, CONFIG, start=tmp_path / "none.safetensors")


def test_command_line_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    calls = []
    monkeypatch.setattr(runner.Recipe, "run", lambda _, *args, **more: calls.append((*args, more)) or Path("out"))
    words = ["--minutes", "3", "--batch", "8", "--scenes", "9", "--steps", "7", "--rate", "0.1", "--bf16", "--name",
             "x", "--out", str(tmp_path), "--workers", "2"]
    prior_layout.main(words)
    ((minutes, config, out, name, more),) = calls
    assert (minutes, out, name, more["start"], more["workers"]) == (3, tmp_path, "x", None, 2)
    assert (config.batch, config.scenes, config.train.steps, config.train.rate) == (8, 9, 7, 0.1) and config.train.bf16
    assert capsys.readouterr().out == "out\n"


def test_command_line_judges(sets, capsys, tmp_path: Path) -> None:
    path = tmp_path / "layout.safetensors"
    LayoutPrior(TextUNet(NET)).save(path)
    prior_layout.main(["--evaluate", str(path)])
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    expected = validation(LayoutPrior.load(path).net, _pictures(2))
    assert set(lines) == set(expected)
    assert all(float(lines[k]) == pytest.approx(v, abs=1e-4) for k, v in expected.items())


def test_another_device() -> None:
    """From a set whose pictures lie there too."""
    def train(name: str):
        data = layout_sets.several()
        large = {key: getattr(data, key) for key in ("cover", "diffuse", "gloss")}
        data = replace(data, **device.moved(large))
        def draw(rng, count):
            return layouts.draw(rng, data, count)
        return train_layout_prior(CONFIG, draw, _pictures(), name=name)

    same_on_another_device(train)
