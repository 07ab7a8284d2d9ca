"""Procedural panoramas: determinism, resuming, storage, and the physics of what is drawn."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.workshop import shards
from dipir.workshop.worlds import panoramas, rooms, scenes
from dipir.workshop.worlds.panoramas import PanoramaSettings, generate, load, one, pack

TINY = PanoramaSettings(height=16, width=32, spp=4, depth=3, shard=2)


def test_one_is_deterministic_and_each_index_is_another():
    (first, kind), (again, _), (other, _) = (one(index, 7, TINY) for index in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert kind in panoramas.KINDS and first.shape == (16, 32, 3) and first.dtype == torch.float32
    assert torch.isfinite(first).all() and first.min() >= 0


def test_kinds_come_in_their_shares(monkeypatch):
    empty = {"parts": [], "sky": np.ones((4, 8, 3), np.float32), "sun": None}
    for module, name in ((scenes, "outdoor"), (scenes, "night"), (rooms, "indoor")):
        monkeypatch.setattr(module, name, lambda rng: (empty, (0.0, 1.5, 0.0)))
    monkeypatch.setattr("dipir.workshop.worlds.tracer.trace_panorama", lambda *a: torch.ones(4, 8, 3))
    made = [one(index, 3, TINY) for index in range(400)]
    kinds = [kind for _, kind in made]
    for kind, share in (("outdoor", 0.55), ("indoor", 0.35), ("night", 0.1)):
        assert abs(kinds.count(kind) / 400 - share) < 4 * math.sqrt(share * (1 - share) / 400)
    assert len({float(panorama.mean()) for panorama, _ in made}) > 390


def test_exposure_sets_the_median():
    generator = torch.Generator().manual_seed(0)
    for seed in range(10):
        dark = torch.rand(16, 32, 3, generator=generator) * 1e-3
        out = panoramas.expose(dark, "outdoor", np.random.default_rng(seed))
        assert 0.079 < (out @ torch.tensor([0.2126, 0.7152, 0.0722])).median() < 0.501


def test_generate_resumes_repairs_and_equals_one(tmp_path):
    events = []
    assert generate(3, tmp_path, 5, 2, events.append, settings=TINY) == tmp_path
    assert sorted(event.step for event in events)[-1] == 3 and all(event.steps == 3 for event in events)
    maps, kinds = load(tmp_path)
    assert maps.shape == (3, 16, 32, 3) and maps.dtype == torch.float32
    expected, kind = one(2, 5, TINY)
    assert kinds[2] == kind and torch.allclose(maps[2], expected, rtol=1e-3, atol=1e-5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    generate(3, tmp_path, 5, settings=TINY)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(ConfigError, match="not a readable shard"):
        load(tmp_path)
    generate(3, tmp_path, 5, settings=TINY)
    assert torch.equal(load(tmp_path)[0], maps)
    assert not list(tmp_path.glob("*.tmp*"))
    with pytest.raises(ConfigError, match="another set"):
        generate(3, tmp_path, 6, settings=TINY)


def test_suns_beyond_half_floats_survive_storage(tmp_path):
    maps = torch.rand(2, 16, 32, 3) + 0.01
    maps[0, 3, 3] = 7.5e5
    shards.save(tmp_path / "panoramas_000000.safetensors", pack(maps, ["night", "indoor"]), {})
    stored, kinds = load(tmp_path)
    assert kinds == ["night", "indoor"]
    assert torch.allclose(stored, maps, rtol=2e-3)


def test_bad_requests(tmp_path):
    with pytest.raises(ConfigError, match="at least 1"):
        generate(0, tmp_path)
    with pytest.raises(ConfigError, match="holds no panoramas"):
        load(tmp_path)
