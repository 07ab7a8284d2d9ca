"""Tables of the insertion benchmark: what is missing or failed is named."""
from __future__ import annotations

import json

from benchmarks.common import compact
from benchmarks.insert import overall, table

ROWS = [{"m": {"fg_si_rmse": v, "composite_rmse": v, "direction_deg": d, "hardness": v, "cast_deg": 10 * v,
               "darkest_log2": 0.5, "penumbra_log2": 1.0, "guesses_deg": 20.0},
         "ambient": {"fg_si_rmse": 2 * v, "composite_rmse": 9.0}, "oracle-sg": {"composite_rmse": 0.0}}
        for v, d in ((1.0, 10.0), (3.0, None), (5.0, 100.0), (7.0, 20.0))]
WHERE = ["a", "a", "b", "b"]


def result(errors: dict | None = None) -> dict:
    over = ROWS, WHERE, ["m", "ambient"]
    lit = {"environments": ["a"], "cases": 2, "summary": overall.summary(*over),
           "within": overall.within(*over, ["guesses_deg", "direction_deg"])}
    hard = {"cases": ["x", "y"], "summary": overall.summary(*over), "within": overall.within(*over, ["cast_deg"])}
    return {"command": "python -m benchmarks insert", "machine": "two cores", "environments": [{}, {}],
            "meshes": [{}], "settings": {"views": 2, "size": 64, "spp": 4}, "code_changed": True,
            "cases": [{"name": "one", "errors": {}}, {"name": "two", "errors": errors or {}}],
            "summary": overall.summary(*over), "ratios": overall.ratios(*over), "ways": overall.ways(*over),
            "decisions": overall.decisions(ROWS, [True, False, True, False], WHERE, ["m"]), "single_light": lit,
            "hard_shadow": hard}


def cells(text: str, method: str, number: int) -> list[str]:
    """The row of a method in the n-th table."""
    rows = [line for line in text.splitlines() if line.startswith(f"| {method} ")]
    return [cell.strip() for cell in rows[number].strip("|").split("|")]


def test_tables_name_what_is_missing():
    text = table.tables(result())
    assert "2 environments x 1 mesh x 2 views" in text and "code was changed" in text and "failed" not in text
    images = cells(text, "m", 0)
    assert images[1] == "4" and images[2].startswith("4 [") and images[3].startswith("0.5 [") and "none" in images
    assert "2 of 2 cases" in text  # True shadows that are hard.


def test_ways_shadows_and_guesses_have_their_columns():
    text = table.tables(result())
    assert cells(text, "m", 1)[2].startswith("56% [")  # From 9 to 0, at 4.
    shadows, light = cells(text, "m", 2), cells(text, "m", 3)
    assert shadows[1].startswith("50%") and shadows[2].startswith("40 [") and shadows[-1].startswith("0.25 [")
    assert "100%" in light[-2] and light[-3] == "none"
    assert cells(text, "ambient", 2)[-1] == "none"


def test_failures_are_listed_with_their_reason():
    text = table.tables(result({"m": "FitError: it went\nwrong", "lds": "killed"}))
    assert "2 rows failed" in text and "`two`, m: FitError: it went wrong" in text
    many = result({f"m{k}": "no" for k in range(table.SHOWN_FAILURES + 5)})
    assert "and 5 more" in table.tables(many)
    assert table.failures(result({"m": "x"})["cases"]) == ["two, m: x"]


def test_compact_json_is_json():
    data = {"a": 1.23456789, "b": [1, {"c": None, "d": "x\"y"}], "e": {}, "f": [[], [0.1, 2e-9]], "g": float("nan")}
    text = compact(data)
    assert json.loads(text) == {**data, "a": 1.2346, "g": None}
    assert '"c": null, "d"' in text
