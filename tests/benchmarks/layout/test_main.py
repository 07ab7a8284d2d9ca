"""The layout benchmark from options to files."""
from __future__ import annotations

import json

import cv2
import pytest

from benchmarks.layout import __main__ as bench
from benchmarks.layout import cases as layout_cases
from benchmarks.layout import detector as layout_detector
from benchmarks.layout import edits as layout_edits
from benchmarks.layout import measures as layout_measures
from benchmarks.layout import run as layout_run
from dipir.errors import ConfigError
from tests.support.layout_seen import FAST


def test_from_options_to_files(scenes, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(layout_cases, "held_out", lambda *_: scenes)
    monkeypatch.setattr(layout_cases, "training_scenes", lambda *_: scenes)
    monkeypatch.setattr(layout_detector, "trained", lambda *_, **__: layout_detector.Detector().eval())
    monkeypatch.setattr(bench, "REFERENCE", 8)
    monkeypatch.setattr(layout_run, "STRENGTHS", (0.0, 0.4))
    monkeypatch.setattr(layout_run, "SHARES", (0.5,))
    words = ["--cases", "4", "--ablation-cases", "4", "--edit-cases", "3", "--prior", weights, "--draws", "3",
             "--scratch", "--out", str(tmp_path), "--sheet", "2", *(w for s in FAST for w in ("--set", s))]
    assert bench.main(words) == 0
    data = json.loads((tmp_path / "results.json").read_text())
    assert data["schema"] == "dipir.bench.layout.1" and data["cases"]["count"] == 4
    assert set(data["methods"]) == {*layout_run.METHODS, "truth"}
    assert set(data["ablations"]) == {"strength", "t0", "composition"}
    assert set(data["edits"]) == set(layout_edits.METHODS)
    assert all(e["figures"]["kept"] == 1 for e in data["edits"].values())
    assert set(data["methods"]["none"]["figures"]) == set(layout_measures.FIGURES)
    assert set(data["methods"]["none"]["regions"]) == {"1", "2", "3", "4"}
    assert "dynamic to multidiffusion" in data["differences"]
    # Two steps of two calls; one is layered, with a background and regions, and dynamic delta looks once.
    assert data["speed"]["regions"]["0"]["rows"] == 4 and data["speed"]["regions"]["3"]["rows"] == 2 * 4 + 2 + 3
    text = (tmp_path / "table.md").read_text()
    assert "| dynamic " in text and "**Speed.**" in text and "**Editing.**" in text and "**Detector**" in text
    for name in ("sheet", "seen", "truth", "edits", "layout_curves", "layout_speed"):
        assert cv2.imread(str(tmp_path / f"{name}.png")) is not None, name


@pytest.mark.parametrize("words", [
    ["--cases", "0"], ["--workers", "0"], ["--parts", "method"], ["--methods", "dynamik"], ["--add", "dynamic"],
    ["--add", "dynamic:guidance.strength=1"], ["--set", "guidance.strenght=1"], ["--prior", "some/folder"],
    ["--add", "strange:guidance.kind=other"]])
def test_bad_options(words, monkeypatch):
    monkeypatch.setattr(layout_cases, "held_out", lambda *_: pytest.fail("work was started"))
    with pytest.raises(ConfigError):
        bench.main(words)
