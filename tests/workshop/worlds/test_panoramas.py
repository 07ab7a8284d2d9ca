"""Procedural panoramas: determinism, resuming, storage, and the physics of what is drawn."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.workshop import shards
from dipir.workshop.worlds import meshes, panoramas, rooms, scenes, skies
from dipir.workshop.worlds.panoramas import PanoramaSettings, generate, load, one, pack

TINY = PanoramaSettings(height=16, width=32, spp=4, depth=3, shard=2)


def volume(piece):
    v, f, _ = piece
    a, b, c = v[f[:, 0]], v[f[:, 1]], v[f[:, 2]]
    return float((a * np.cross(b, c)).sum() / 6)


def test_box_and_ball_face_outwards():
    assert volume(meshes.box((1, 2, 3), 0.5)) == pytest.approx(6)
    assert volume(meshes.ball(1.0, rings=24)) == pytest.approx(4 / 3 * math.pi, rel=0.02)


def test_builder_merges_one_mesh_per_material_and_turning_is_rigid():
    world = meshes.Builder()
    world.material("a", np.array([0.1, 0.2, 0.3]), 2.0)
    world.material("unused", np.array([0.1, 0.2, 0.3]))
    for x in (0, 5):
        world.add("a", meshes.place(meshes.box((1, 1, 1)), (x, 0, 0), 0.7))
    (part,) = world.parts()
    assert part["vertices"].shape == (48, 3) and part["faces"].max() == 47
    assert part["uv"].max() == pytest.approx(0.5)
    assert volume((part["vertices"].astype(float), part["faces"], None)) == pytest.approx(2, rel=1e-5)


def test_sunlit_finds_the_patch_and_the_shadow_of_furniture():
    pane = meshes.quad([-1, 1, -2], [2, 0, 0], [0, 1, 0])
    sun = np.array([0, 1, -1]) / math.sqrt(2)
    points = np.array([[0, 0, z] for z in (-0.9, -0.5, -0.1, 0.1)] + [[1.1, 0, -0.5]], float)
    assert meshes.sunlit(points, sun, [pane], []).tolist() == [True, True, True, False, False]
    solid = (np.array([-0.5, 0, -0.9]), np.array([0.5, 0.3, -0.7]))
    assert meshes.sunlit(points, sun, [pane], [solid]).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("level", [0.01, 1.0])
def test_sky_has_the_stated_irradiance_and_is_brightest_at_the_sun(level):
    sun = skies.direction(1.0, 40)
    style = skies.SkyStyle(sun, haze=0.1, glow=1.0, level=level)
    radiance, _ = skies.sky(np.random.default_rng(0), style, 64, 128)
    d = skies.sky_directions(64, 128)
    omega = np.sin((np.arange(64) + 0.5) / 64 * np.pi)[:, None] * 2 * np.pi ** 2 / (64 * 128)
    assert (radiance.mean(-1) * np.clip(d[..., 1], 0, 1) * omega).sum() == pytest.approx(level, rel=0.01)
    peak = d.reshape(-1, 3)[radiance.mean(-1).argmax()]
    assert math.degrees(math.acos(min(1.0, float(peak @ sun)))) < 4


def test_cloud_hole_frees_the_sun():
    sun = skies.direction(2.0, 50)
    opacity = [skies.sky(np.random.default_rng(3), skies.SkyStyle(sun, clouds=0.95, hole_rad=hole))[1]
               for hole in (0.0, 0.3)]
    near = skies.sky_directions(128, 256) @ sun > math.cos(0.05)
    assert opacity[0][near].mean() > 0.5 > 0.05 > opacity[1][near].mean()


def test_direct_sun_keeps_its_ratio_and_reddens_when_low():
    high, low = (skies.direct_sun(np.random.default_rng(0), e, 5.0) for e in (50, 4))
    assert high.mean() * math.sin(math.radians(50)) == pytest.approx(5.0)
    assert low.mean() < 0.6 * high.mean() and low[0] / low[2] > 2 * high[0] / high[2]


@pytest.mark.parametrize("name", sorted(scenes.GROUNDS))
def test_textures_are_albedos(name):
    texture = scenes.ground_texture(np.random.default_rng(1), name)
    assert texture.dtype == np.float32 and texture.min() >= 0.015 and texture.max() <= 0.9 and texture.std() > 0.003


@pytest.mark.parametrize("describe", [scenes.outdoor, scenes.night, rooms.indoor, rooms.studio])
def test_scenes_repeat_and_hold_only_finite_numbers(describe):
    for seed in range(4):
        (first, eye), (again, _) = (describe(np.random.default_rng(seed)) for _ in range(2))
        assert 1.2 <= eye[1] <= 1.8 and len(first["parts"]) <= 40
        assert len(first["parts"]) == len(again["parts"])
        for part, same in zip(first["parts"], again["parts"], strict=True):
            assert np.array_equal(part["vertices"], same["vertices"]) and np.isfinite(part["vertices"]).all()
            assert part["faces"].max() < len(part["vertices"]) == len(part["uv"])
            assert 0 < np.min(part["texture"]) and np.max(part["texture"]) <= 0.9


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
