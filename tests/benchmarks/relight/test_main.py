"""The relighting benchmark: figures by hand, cases, the reader of directions, tables."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.relight import __main__ as bench
from benchmarks.relight import cases as relight_cases
from benchmarks.relight import reader as relight_reader
from dipir.errors import ConfigError
from dipir.image.color import srgb_to_linear
from dipir.scene.direction import LightDirection
from dipir.workshop.relight.data import RelitSet, decode, encode


@pytest.fixture(scope="module")
def scenes() -> RelitSet:
    """Two scenes without renderer: noise whose right half is bright under the third and darker under other lights."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 12, 3, 64, 64, generator=generator) * 0.5 + 0.1
    base[:, -8 + 2, :, :, 32:] += 0.4
    light = torch.stack([relight_reader.asked(k % 8) for k in range(12)]).expand(2, -1, -1)
    full = torch.full((2, 1, 64, 64), 255, dtype=torch.uint8)
    grey = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    return RelitSet(encode(base), encode(base[:, 0] * 0.5), light.contiguous(), full, full, grey,
                    torch.zeros(2, 3, 64, 64, dtype=torch.int8), torch.tensor(relight_reader.OPEN_KINDS))


@pytest.fixture(scope="module")
def all_cases(scenes):
    return relight_cases.cases(scenes)


def test_cases_have_the_true_light_at_the_inputs_brightness(scenes, all_cases):
    assert len(all_cases) == 16 and all(c.open for c in all_cases)
    first = [c for c in all_cases if c.scene == 0]
    assert all(torch.equal(c.image, first[0].image) for c in first)
    mixed = decode(scenes.lit[0]) + relight_cases.AMBIENT * decode(scenes.sky[0])
    for picture, light in ((first[0].image, 0), (first[2].target, -8 + 2)):
        inside = picture[0] < 0.99
        gain = (srgb_to_linear(picture)[0] / mixed[light])[inside]
        assert float(gain.std() / gain.mean()) < 2e-3
    assert float(srgb_to_linear(first[2].target).mean() / srgb_to_linear(first[0].image).mean()) == pytest.approx(
        1, abs=0.05)
    assert first[2].direction == LightDirection(90.0, 25.0)


def test_figures_by_hand(all_cases):
    case = all_cases[0]
    perfect = bench.figures(case, case.target)
    assert perfect["rmse"] == 0 and perfect["psnr"] == 99 and perfect["ssim"] == pytest.approx(1)
    same = bench.figures(case, case.image)
    assert same["chroma_deg"] == pytest.approx(0, abs=1e-6)
    assert same["rmse"] == pytest.approx(float((case.image - case.target).square().mean().sqrt()), rel=1e-5)
    # Pure green added to a grey: the angle between (1, 1, 1) and (1, 1.2, 1).
    grey = torch.full_like(case.image, 0.5)
    greener = grey * torch.tensor([1.0, 1.2, 1.0])[:, None, None]
    expected = math.degrees(math.acos(3.2 / math.sqrt(3 * (2 + 1.44))))
    turned = bench.figures(relight_cases.Case("x", 0, 0, True, grey, grey, case.direction, grey, grey), greener)
    assert turned["chroma_deg"] == pytest.approx(expected, rel=1e-4)


def test_the_way_to_the_bound(all_cases):
    by_name = bench.methods([], [])
    by_name["half"] = lambda case: (by_name["bound"](case) + case.image) / 2
    rows, _ = bench.run(all_cases, by_name, relight_reader.Reader().eval())
    figures = bench.summary(rows)
    assert figures["identity"]["covered"] == 0 and figures["bound"]["covered"] == pytest.approx(1)
    assert 0.2 < figures["half"]["covered"] < 0.9
    assert figures["truth"]["rmse"] == 0 and figures["exposure"]["rmse"] > 0
    counts = bench.confusion(rows, "truth")
    assert counts.sum() == 16 and (counts.sum(1) == 2).all()


def test_shares_of_sides_by_hand():
    rows = [{"case": "a", "method": m, "open": o, "asked": a, "read": r, **dict.fromkeys(bench.FIGURES, 1.0), "rmse": e}
            for m, o, a, r, e in [("identity", True, 0, 7, 1.0), ("identity", True, 3, 3, 1.0),
                                  ("identity", False, 1, 1, 1.0), ("bound", True, 2, 6, 0.5)]]
    figures = bench.summary(rows)
    assert figures["identity"]["side_right"] == 0.5 and figures["identity"]["side_within_45"] == 1.0
    assert figures["bound"]["side_within_45"] == 0.0


def test_the_ramp_is_brighter_on_the_asked_side():
    grey = torch.full((1, 3, 32, 32), 0.4)
    right = relight_cases.ramp(grey, LightDirection(90, 0), 0.3)
    assert float(right[..., -1].mean()) > 0.45 > 0.35 > float(right[..., 0].mean())
    above = relight_cases.ramp(grey, LightDirection(0, 80), 0.3)
    assert float(above[..., 0, :].mean()) > 0.45 > float(above[..., -1, :].mean())


@pytest.mark.parametrize("side", range(8))
def test_sides(side):
    assert int(relight_reader.side_of(relight_reader.asked(side)[None])) == side
    turned = relight_reader.asked(side)
    assert math.degrees(math.asin(float(turned[1]))) == pytest.approx(relight_reader.ELEVATION_DEG)


def test_the_reader_learns(scenes, monkeypatch, tmp_path):
    """Two sides that differ to the eye are told apart after a few steps; a second call takes the kept weights."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    net = relight_reader.trained(scenes, steps=100, batch=24)
    rng = np.random.default_rng(9)
    choices = relight_reader.candidates(scenes)
    planes, sides = relight_reader._batch(rng, scenes, choices, 64)
    bright = (sides == 2) | (sides == 6)
    read = torch.tensor([relight_reader.read(net, *one[None].split([3, 3, 1], 1)[:2], torch.full((1, 3, 64, 64), 0.5))
                         for one in planes])
    # Mirrored pictures of the bright right half are lit from the left.
    assert float((read == sides)[bright].float().mean()) > 0.5
    again = relight_reader.trained(scenes, steps=100, batch=24)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))


def test_the_table(all_cases):
    rows, pictures = bench.run(all_cases[:8], bench.methods([], []), relight_reader.Reader().eval())
    data = {"command": "c", "machine": "m", "scenes": 1, "sides": 8, "open": 1, "cases": 8,
            "summary": bench.summary(rows), "confusion": {"truth": bench.confusion(rows, "truth").tolist()}}
    text = bench.table(data)
    assert "| identity " in text and "way to the bound" in text and "| front " in text


@pytest.mark.parametrize("words", [["--scenes", "0"], ["--sides", "3"], ["--methods", "layer"]])
def test_bad_options(words):
    with pytest.raises(ConfigError):
        bench.main(words)
