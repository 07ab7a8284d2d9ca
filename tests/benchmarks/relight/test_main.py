"""Figures, tables and options of the relighting benchmark."""
from __future__ import annotations

import math

import pytest
import torch

from benchmarks.relight import __main__ as bench
from benchmarks.relight import cases as relight_cases
from benchmarks.relight import reader as relight_reader
from dipir.errors import ConfigError


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
