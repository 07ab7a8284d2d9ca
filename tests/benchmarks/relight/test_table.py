"""Figures and tables of rendered scenes."""
from __future__ import annotations

import math

import pytest
import torch

from benchmarks.relight import cases as relight_cases
from benchmarks.relight import methods as relight_methods
from benchmarks.relight import reader as relight_reader
from benchmarks.relight import table
from dipir.image.files import read_image


def test_figures_by_hand(all_cases):
    case = all_cases[0]
    perfect = table.figures(case, case.target)
    assert perfect["rmse"] == 0 and perfect["psnr"] == 99 and perfect["ssim"] == pytest.approx(1)
    same = table.figures(case, case.image)
    assert same["chroma_deg"] == pytest.approx(0, abs=1e-6)
    assert same["rmse"] == pytest.approx(float((case.image - case.target).square().mean().sqrt()), rel=1e-5)
    # Pure green added to a grey: the angle between (1, 1, 1) and (1, 1.2, 1).
    grey = torch.full_like(case.image, 0.5)
    greener = grey * torch.tensor([1.0, 1.2, 1.0])[:, None, None]
    expected = math.degrees(math.acos(3.2 / math.sqrt(3 * (2 + 1.44))))
    turned = table.figures(relight_cases.Case("x", 0, 0, True, grey, grey, case.direction, grey, grey), greener)
    assert turned["chroma_deg"] == pytest.approx(expected, rel=1e-4)


def test_the_way_to_the_bound(all_cases):
    by_name = relight_methods.methods([])
    by_name["half"] = lambda case: (by_name["bound"](case) + case.image) / 2
    rows, _ = table.run(all_cases, by_name, relight_reader.Reader().eval())
    figures = table.summary(rows)
    assert figures["identity"]["covered"] == 0 and figures["bound"]["covered"] == pytest.approx(1)
    assert figures["identity"]["psnr_gain"] == 0 < figures["half"]["psnr_gain"] < figures["bound"]["psnr_gain"]
    assert 0.2 < figures["half"]["covered"] < 0.9
    assert figures["truth"]["rmse"] == 0 and figures["exposure"]["rmse"] > 0
    counts = table.confusion(rows, "truth")
    assert counts.sum() == 16 and (counts.sum(1) == 2).all()


def row(method: str, is_open: bool, asked: int, read: int, rmse: float) -> dict:
    return {"case": "a", "method": method, "open": is_open, "asked": asked, "read": read,
            **dict.fromkeys(table.FIGURES, 1.0), "rmse": rmse}


def test_shares_of_sides_by_hand():
    figures = table.summary([row("identity", True, 0, 7, 1.0), row("identity", True, 3, 3, 1.0),
                             row("identity", False, 1, 1, 1.0), row("bound", True, 2, 6, 0.5)])
    assert figures["identity"]["side_right"] == 0.5 and figures["identity"]["side_within_45"] == 1.0
    assert figures["bound"]["side_within_45"] == 0.0


def test_where_every_scene_has_a_wall_no_side_is_judged():
    figures = table.summary([row("identity", False, 0, 7, 1.0), row("bound", False, 3, 3, 0.5)])
    assert figures["bound"]["side_right"] is None
    data = {"scenes": 1, "sides": 1, "open": 0, "cases": 1, "training_scenes": 64, "summary": figures, "confusion": {}}
    lines = table.text(data).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert cells[2][cells[0].index("side read right")] == "-"


def test_the_table_of_a_run(all_cases, scenes, monkeypatch, tmp_path):
    """From scenes to Markdown: a reader, cases of four sides, and a sheet."""
    monkeypatch.setattr(relight_reader, "stored", lambda count: relight_reader.Reader().eval())
    monkeypatch.setattr(table, "scenes", lambda count: scenes.part(slice(0, count)))
    data = table.measured(relight_methods.methods([]), 1, 4, 64, tmp_path)
    assert data["cases"] == 4 and {r["asked"] for r in data["rows"]} == {0, 2, 4, 6}
    text = table.text(data)
    assert "| identity " in text and "way to the bound" in text and "| front " in text
    # Four cases, each a row of the input, the bound and the truth.
    assert read_image(tmp_path / "sheet.png").pixels.shape[2:] == (4 * 64, 3 * 64)
