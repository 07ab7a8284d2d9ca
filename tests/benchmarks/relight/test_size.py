"""Seconds and memory of one picture, in this process and in one of its own."""
from __future__ import annotations

import json

import pytest
import torch

from benchmarks.relight import methods as relight_methods
from benchmarks.relight import size
from dipir.errors import DipirError
from dipir.image.files import read_image
from dipir.priors.geometry import Geometry


def test_the_photo_has_the_size_that_is_asked_for(tmp_path):
    path = size.photo((96, 64), tmp_path / "photo.png")
    assert read_image(path).pixels.shape == (1, 3, 64, 96)


def test_one_picture_from_file_to_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Geometry, "load", staticmethod(Geometry.untrained))
    path = size.photo((96, 64), tmp_path / "photo.png")
    assert size.main([str(path), "--engine", "physics", "--out", str(tmp_path / "out")]) == 0
    taken = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert read_image(tmp_path / "out" / "relit.png").pixels.shape == (1, 3, 64, 96)
    assert all(taken[step] > 0 for step in size.STEPS) and taken["weights"] == "untrained"
    assert taken["seconds"] == pytest.approx(taken["read"] + taken["relight"] + taken["write"], abs=1e-6)
    assert taken["peak_gib"] >= 0 and taken["threads"] >= 1


def test_memory_is_what_this_process_took():
    held, before = size.resident_gib("VmRSS"), size.resident_gib("VmHWM")
    block = torch.ones(int((before - held + 0.2) * 2**28))
    assert size.resident_gib("VmHWM") - held == pytest.approx(block.numel() / 2**28, abs=0.05)
    assert before >= held > 0.1


def test_medians_of_processes_and_their_table(monkeypatch):
    seconds = iter([3.0, 1.0, 2.0])

    def process(picture, engine, overrides, out):
        assert read_image(picture).pixels.shape[2:] == (64, 96) and list(overrides) == ["net_size=64"]
        took = next(seconds)
        return {"load": 0.5, "read": took, "relight": took, "write": took, "seconds": 3 * took, "peak_gib": 0.25,
                "threads": 2, "weights": "abc"}

    monkeypatch.setattr(size, "_process", process)
    data = size.measured(["net_size=64"], {"net 96x64": ("net", (96, 64))})
    assert data["cases"]["net 96x64"]["seconds"] == 6 and data["weights"] == {"net": "abc"}
    assert "| net 96x64 " in size.text(data) and "2 threads" in size.text(data)


def test_a_process_that_fails_is_told_with_its_error(tmp_path):
    with pytest.raises(DipirError, match="exit code 2(?s:.*)'nothing'"):
        size._process(tmp_path / "photo.png", "nothing", [], tmp_path / "out")


def test_every_case_names_an_engine():
    assert {engine for engine, _ in size.CASES.values()} <= set(relight_methods.ENGINES)
    width, height = size.LARGE
    assert width * height == 12_000_000
