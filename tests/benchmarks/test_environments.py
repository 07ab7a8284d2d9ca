"""Statistics of environment maps against values worked out by hand, and what is made of them."""
from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import environments
from benchmarks.environments import distance, kind_of, measured, statistics, summary, table, weighted_median
from dipir.errors import ConfigError
from dipir.image import latlong


def test_constant_map():
    """No range, no saturation; the cap of 10 degrees is (1 - cos 10) / 2 of the sphere."""
    got = statistics(torch.full((32, 64, 3), 3.0))
    assert got["ratio"] == pytest.approx(1) and got["saturation"] == 0
    assert got["peak_share"] == pytest.approx((1 - math.cos(math.radians(10))) / 2, rel=0.1)


def test_one_bright_texel():
    """Luminance 500 in a texel of row 5 of 16 (elevation 90 - 5.5 / 16 * 180 = 28.1 degrees), 1 elsewhere."""
    envmap = torch.ones(16, 32, 3)
    envmap[5, 20] = 500.0
    got = statistics(envmap)
    assert got["ratio"] == pytest.approx(500) and got["elevation_deg"] == pytest.approx(28.125)
    texel = float(latlong.solid_angles(16, 32)[5])
    cap = 2 * math.pi * (1 - math.cos(math.radians(10)))
    total = 4 * math.pi + 499 * texel
    assert got["peak_share"] == pytest.approx((500 * texel + cap - texel) / total, rel=0.01)
    assert statistics(7 * envmap) == pytest.approx(got)
    assert statistics(torch.roll(envmap, 9, 1)) == pytest.approx(got)


def test_saturation_and_reduction():
    """(1, 0.5, 0.25) has saturation 0.75. Four texels that become one are averaged: half black, half 2 = constant 1."""
    envmap = torch.tensor([1.0, 0.5, 0.25]).expand(64, 128, 3).clone()
    assert statistics(envmap)["saturation"] == pytest.approx(0.75)
    stripes = torch.zeros(32, 64, 3)
    stripes[:, ::2] = 2.0
    assert statistics(stripes)["ratio"] == pytest.approx(1)
    assert statistics(torch.zeros(16, 32, 3))["saturation"] == 0


def test_median_is_weighted():
    assert float(weighted_median(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 1.0]))) == 2
    assert float(weighted_median(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([5.0, 1.0, 1.0]))) == 3
    # Bright poles, 4 of 16 rows at each end, are half of the texels but only 29 % of the sphere.
    envmap = torch.ones(16, 32, 3)
    envmap[:4] = envmap[-4:] = 10.0
    assert statistics(envmap)["ratio"] == pytest.approx(10)


def test_distance_of_distributions():
    assert distance([1, 2, 3], [1, 2, 3]) == 0 and distance([1, 2], [3, 4]) == 1
    assert distance([1, 2, 3, 4], [3, 4, 5, 6]) == pytest.approx(0.5)
    assert distance([0, 0, 0, 1], [1]) == pytest.approx(0.75)


def test_kinds():
    assert kind_of("studio_small_03_1k.hdr") == "indoor" and kind_of("street_lamp_1k.hdr") == "night"
    assert kind_of("potsdamer_platz_1k.hdr") == "outdoor"


def _maps(count: int, peak: float):
    for k in range(count):
        envmap = torch.ones(16, 32, 3)
        envmap[3, k] = peak * (k + 1)
        yield envmap, "indoor" if k % 2 else "outdoor"


def test_summary_and_table():
    sets = {"real": measured(_maps(6, 10.0)), "ours": measured(_maps(6, 1000.0))}
    entries = {(e["set"], e["kind"]): e for e in summary(sets)}
    assert set(entries) == {(s, k) for s in ("real", "ours") for k in ("all", "indoor", "outdoor")}
    assert entries["ours", "all"]["count"] == 6 and entries["ours", "indoor"]["count"] == 3
    ratio = entries["real", "all"]["figures"]["ratio"]
    assert ratio["quantiles"] == pytest.approx([15, 35, 55]) and ratio["distance"] is None
    assert entries["ours", "all"]["figures"]["ratio"]["distance"] == 1
    assert entries["ours", "outdoor"]["figures"]["elevation_deg"]["distance"] == 0
    text = " ".join(table({"command": "c", "machine": "m", "summary": summary(sets)}).split())
    assert "| ours | all | 6 | 3.5e+03 [1.5e+03, 5.5e+03], D 1.00 |" in text


def test_without_the_data(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "DATA", tmp_path)
    with pytest.raises(ConfigError, match="DIPIR_DATA"):
        list(environments.real())


def test_command(monkeypatch, tmp_path, capsys):
    """With stand-ins for the sets: files, and views taken where they are stored."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "real", lambda: _maps(4, 10.0))
    monkeypatch.setattr(environments, "traced", lambda count, seed: _maps(count, 50.0 + seed))
    monkeypatch.setattr(environments, "stored_views", lambda folder: _maps(5, 20.0))
    assert environments.main(["--count", "3", "--out", str(tmp_path / "a")]) == 0
    result = json.loads((tmp_path / "a" / "environments.json").read_text())
    assert {name: len(rows) for name, rows in result["maps"].items()} == {"real": 4, "panoramas": 3}
    assert (tmp_path / "a" / "environments.md").read_text().strip() == capsys.readouterr().out.strip()
    assert (tmp_path / "a" / "environments.png").read_bytes()[:4] == b"\x89PNG"
    environments.main(["--count", "0", "--views", str(tmp_path), "--out", str(tmp_path / "b")])
    assert set(json.loads((tmp_path / "b" / "environments.json").read_text())["maps"]) == {"real", "views"}


def test_traced_panoramas(monkeypatch):
    from dipir.workshop import shards
    from dipir.workshop.worlds import panoramas

    def generate(count, out_dir, seed, settings):
        maps = torch.stack([torch.full((settings.height, settings.width, 3), 1.0 + k + seed) for k in range(count)])
        shards.save(Path(out_dir) / "panoramas_000000.safetensors", panoramas.pack(maps, ["night", "indoor"]), {})
        return out_dir
    monkeypatch.setattr(panoramas, "generate", generate)
    (first, kind), (second, other) = environments.traced(2, seed=4)
    assert first.shape == (32, 64, 3) and float(first.mean()) == 5 and float(second.mean()) == 6
    assert (kind, other) == ("night", "indoor")


def test_stored_views_are_thinned_evenly(monkeypatch):
    from dipir.workshop.worlds import views

    env = torch.arange(9000.0).reshape(-1, 1, 1, 1).expand(-1, 16, 32, 3)
    monkeypatch.setattr(views, "load", lambda folder: {"env": env, "kind": torch.arange(9000) % len(views.KINDS)})
    maps = list(environments.stored_views(Path("anywhere")))
    numbers = [int(e[0, 0, 0]) for e, _ in maps]
    assert len(maps) == 2000 and numbers[0] == 0 and numbers[-1] == 8999
    assert {b - a for a, b in zip(numbers, numbers[1:], strict=False)} == {4, 5}
    assert all(kind == views.KINDS[n % len(views.KINDS)] for (_, kind), n in zip(maps, numbers, strict=True))
