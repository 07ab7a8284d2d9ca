"""Relighting data: lights and scenes, what a recording shows under known light, sets on disk."""
from __future__ import annotations

import math
import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.direction import LightDirection
from dipir.scene.light import azimuth_elevation_deg
from dipir.workshop import shards
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import BRIGHTEST, RelitSet, RelitSettings, decode, encode, join, record, solid
from dipir.workshop.relight.scenes import KINDS, dome_lights, light_map, random_scene, random_sky
from dipir.workshop.things.objects import simple_asset
from tests.support.relit_sets import balls

TINY = RelitSettings(size=32, lights=4, spp=4, depth=2, sky_spp=8, shard=2)
ANGLES = ((90, 0), (-90, 0), (0, 90), (0, 0), (50, 35), (-120, 20))
ALONE, STAGE = 3, 1  # Seeds of one object before nothing, and of one between floor and wall.


def dull_ball() -> Asset:
    """Without texture coordinates, as files may be."""
    ball = simple_asset("sphere", Material(base_color=(0.7, 0.5, 0.3), roughness=1.0, specular=0.01))
    return replace(ball, parts=tuple(replace(part, uvs=None) for part in ball.parts))


def _mean(env: torch.Tensor) -> torch.Tensor:
    return (env * latlong.solid_angles(*env.shape[:2])[..., None]).sum((0, 1)) / (4 * math.pi)


def _on_wall(env: torch.Tensor, normal: torch.Tensor) -> float:
    """Radiance of a white wall: the integral of radiance and cosine, over pi."""
    height, width = env.shape[:2]
    cosine = (latlong.directions(height, width) @ normal).clamp_min(0) * latlong.solid_angles(height, width)
    return float((env[..., 0] * cosine).sum() / math.pi)


# ---- lights ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("azimuth, elevation", [*ANGLES, (200, -40)])
@pytest.mark.parametrize("size, share", [(1, 1.0), (4, 0.995), (12, 0.97), (40, 0.72)])
def test_light_falls_on_a_wall_that_faces_it(azimuth, elevation, size, share):
    light = LightDirection(azimuth, elevation, size)
    env, (x, y, z) = light_map(light), light.vector
    assert env.shape == (64, 128, 3) and torch.equal(env[..., 0], env[..., 2])
    assert _on_wall(env, torch.stack([-x, y, -z])) == pytest.approx(share, abs=0.01)
    assert float(_mean(env)[0]) == pytest.approx(0.25, rel=1e-4)  # All of it from one direction would give 1.


@pytest.mark.parametrize("azimuth, elevation", [(90, 10), (-30, 40), (170, -20), (0, 0)])
def test_light_comes_from_where_it_is_asked(azimuth, elevation):
    env = light_map(LightDirection(azimuth, elevation, 6))[..., 0]
    brightest = latlong.directions(64, 128).reshape(-1, 3)[int(env.argmax())]
    assert azimuth_elevation_deg(brightest) == pytest.approx((azimuth, elevation), abs=2.9)  # A texel.
    half = latlong.sample(light_map(LightDirection(90, 0, 20)), torch.tensor(
        [[-math.cos(math.radians(20)), math.sin(math.radians(20)), 0.0], [-1.0, 0.0, 0.0]]))[:, 0]
    assert float(half[0] / half[1]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_lights_go_around_and_above(kind):
    lights = [dome_lights(np.random.default_rng(seed), 24, kind) for seed in range(30)]
    elevations, sizes = (np.array([[getattr(x, n) for x in row] for row in lights])
                         for n in ("elevation_deg", "size_deg"))
    assert (elevations[:, :8] >= 2).all() and (elevations[:, :8] <= 35).all()
    assert (elevations[:, 8:11] >= 35).all() and (elevations[:, 8:11] <= 75).all()
    assert (elevations[:, 11].min() < 0) == (kind in ("wall", "free")) and elevations[:, 11].max() >= 70
    assert sizes.min() >= 3 and sizes.max() <= 40 and sizes.min() < 4 and sizes.max() > 30
    again = dome_lights(np.random.default_rng(0), 24, kind)
    assert again == lights[0] and dome_lights(np.random.default_rng(0), 5, kind) == lights[0][:5]
    behind = np.mean([math.cos(math.radians(x.azimuth_deg)) < -0.2 for row in lights for x in row[:8]])
    assert behind == pytest.approx(0.43 if kind in ("floor", "free") else 0.15, abs=0.06)


def test_ring_is_even_where_no_wall_hides_lights():
    for seed in range(10):
        ring = sorted(light.azimuth_deg for light in dome_lights(np.random.default_rng(seed), 8, "floor"))
        gaps = np.diff([*ring, ring[0] + 360])
        assert gaps.min() > 15 and gaps.max() < 75


def test_ambient_light_has_mean_one():
    for seed in range(10):
        sky = random_sky(np.random.default_rng(seed))
        assert sky.shape == (16, 32, 3) and float(sky.min()) > 0
        assert float(_mean(sky).mean()) == pytest.approx(1, abs=1e-4)
        assert _mean(sky).tolist() == pytest.approx([1] * 3, abs=0.2)
        # A white ball shows albedo on the average over its normals.
        shown = [_on_wall(sky, n) for n in torch.nn.functional.normalize(torch.randn(200, 3), dim=1)]
        assert np.mean(shown) == pytest.approx(1, abs=0.2) and max(shown) < 3.5


# ---- scenes ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def scenes():
    mesh = dull_ball()
    glow = replace(mesh.parts[0], material=replace(mesh.parts[0].material, emission=(5.0, 5.0, 5.0),
                                                   emission_texture=np.ones((4, 4, 3), np.float32)))
    return [random_scene(seed, 32, (Asset((glow,)),), 0.4) for seed in range(40)]


def test_scenes_have_their_parts(scenes):
    assert {made.kind for made in scenes} == set(KINDS)
    for made in scenes:
        names = [placed.name for placed in made.scene.objects[made.objects:]]
        assert names == {"stage": ["floor", "wall"], "floor": ["floor"], "wall": ["wall"], "free": []}[made.kind]
        assert 1 <= made.objects <= 3 and float(_mean(made.sky).mean()) == pytest.approx(1, abs=1e-4)


def test_all_materials_are_alike_for_the_renderer(scenes):
    """Same textures of the same size everywhere, or it would compile a kernel a scene; nothing glows."""
    for made in scenes:
        for part in (p for placed in made.scene.objects for p in placed.parts):
            m = part.material
            assert m.base_color_texture.shape == m.normal_texture.shape == (128, 128, 3)
            assert m.roughness_texture.shape == m.metallic_texture.shape == (128, 128)
            assert m.emission == (0, 0, 0) and m.emission_texture is None and m.opacity_texture is None
            assert part.uvs.shape == (len(part.vertices), 2)


def test_filled_in_textures_mean_the_same_material():
    made = random_scene(ALONE, 32, (dull_ball(),), 1.0)
    m = made.scene.objects[0].parts[0].material
    assert np.unique(m.base_color_texture.reshape(-1, 3), axis=0) == pytest.approx(np.array([[0.7, 0.5, 0.3]]))
    assert (m.roughness_texture == 1).all() and (m.metallic_texture == 0).all()
    assert np.unique(m.normal_texture.reshape(-1, 3), axis=0).tolist() == [[0.5, 0.5, 1.0]]


def test_subjects_fill_the_picture_and_stand_before_the_backdrop(scenes):
    for made in scenes:
        camera = made.scene.camera
        points = np.concatenate([p.vertices for o in made.scene.objects[:made.objects] for p in o.parts])
        seen, depth = camera.project(points.astype(np.float64))
        assert depth.min() > 0
        assert 0.4 < np.ptp(seen, axis=0).max() / 32 < 1.0
        assert seen.min() > -4 and seen.max() < 36
        for backdrop in made.scene.objects[made.objects:]:
            panel = backdrop.parts[0].vertices
            if backdrop.name == "floor":
                assert panel[:, 1] == pytest.approx(points[:, 1].min(), abs=1e-4) and panel[0, 1] < camera.position[1]
            else:
                assert panel[:, 2].min() > points[:, 2].max()
            # The side that its faces and normals show is the camera's.
            a, b, c = panel[:3].astype(np.float64)
            assert (np.cross(b - a, c - a) @ (camera.position - a)) > 0
            assert backdrop.parts[0].normals[0] @ (camera.position - a) > 0


def test_scenes_follow_from_the_seed(scenes):
    mesh = dull_ball()
    again, other = (random_scene(seed, 32, (mesh,), 0.4) for seed in (5, 6))
    for a, b in zip(again.scene.objects, scenes[5].scene.objects, strict=True):
        assert np.array_equal(a.to_world, b.to_world)
        assert all(np.array_equal(p.material.base_color_texture, q.material.base_color_texture)
                   for p, q in zip(a.parts, b.parts, strict=True))
    assert torch.equal(again.sky, scenes[5].sky) and not torch.equal(other.sky, again.sky)


def test_what_lets_light_through_is_not_solid():
    ball = dull_ball()
    glass = lambda **m: Asset(tuple(replace(p, material=replace(p.material, **m)) for p in ball.parts))
    assert solid(ball) and not solid(glass(opacity=0.5))
    assert not solid(glass(opacity_texture=np.ones((2, 2), np.float32)))


# ---- storage ---------------------------------------------------------------------------------------------------------

def test_encoding_and_its_error():
    radiance = torch.linspace(0, BRIGHTEST, 4001)
    stored = encode(radiance)
    assert stored.dtype == torch.uint8 and torch.equal(encode(decode(stored)), stored)
    # Half a step of a 2.4 power curve: the slope times 0.5 / 255.
    step = 2.4 * BRIGHTEST * (stored.float() + 0.5).div(255) ** 1.4 * 0.5 / 255
    assert bool(((decode(stored) - radiance).abs() <= step + 1e-6).all())
    near_white = (radiance > 0.5) & (radiance < 1.5)
    assert float(((decode(stored) - radiance).abs() / radiance)[near_white].max()) < 0.017
    assert encode(torch.tensor([-1.0, 0.0, 8.0, 99.0])).tolist() == [0, 0, 255, 255]


def test_parts_and_joins():
    data = balls()
    assert len(data) == 4 and len(data.part(slice(1, 3))) == 2
    again = join([data.part(slice(0, 1)), data.part(slice(1, 4))])
    assert all(torch.equal(getattr(again, f.name), getattr(data, f.name)) for f in fields(RelitSet))


# ---- recordings ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def alone():
    """A dull ball before nothing, under narrow lights from known directions."""
    return record(ALONE, (dull_ball(),), RelitSettings(32, 1, 16, 2, 64, 1.0),
                  [LightDirection(*angles, 4.0) for angles in ANGLES])


@pytest.fixture(scope="module")
def stage():
    return record(STAGE, (), TINY)


def _shading(data: RelitSet, picture: torch.Tensor) -> torch.Tensor:
    return (decode(picture) / (data.albedo[0].float() / 255).clamp_min(0.02)).mean(0)


def test_form_of_a_recording(stage, alone):
    shapes = {"lit": (1, 4, 3, 32, 32), "sky": (1, 3, 32, 32), "light": (1, 4, 4), "alpha": (1, 1, 32, 32),
              "subject": (1, 1, 32, 32), "albedo": (1, 3, 32, 32), "normal": (1, 3, 32, 32), "kind": (1,)}
    assert {name: tuple(getattr(stage, name).shape) for name in shapes} == shapes
    assert stage.normal.dtype == torch.int8 and stage.kind.dtype == torch.int64 and stage.lit.dtype == torch.uint8
    assert [KINDS[int(x.kind)] for x in (stage, alone)] == ["stage", "free"]
    assert alone.light[0, 1:].tolist() == [LightDirection(*a, 4.0).numbers.tolist() for a in ANGLES]


def test_subject_is_a_part_of_what_is_covered(stage, alone):
    for data in (stage, alone):
        assert bool((data.subject <= data.alpha).all())
        assert 0.1 < float((data.subject > 127).float().mean()) < 0.9
    assert torch.equal(alone.subject, alone.alpha) and float((stage.alpha == 255).float().mean()) > 0.9
    assert float((stage.subject == 0).float().mean()) > 0.1
    # Coverage and light come from other camera samples: a pixel apart.
    outside = torch.nn.functional.max_pool2d(alone.alpha.float(), 3, 1, 1)[0, 0] == 0
    assert not alone.lit[0, :, :, outside].any() and not alone.sky[0, :, outside].any()


def test_normals_are_those_of_a_ball_in_the_picture(alone):
    """+x to the right, +y up, +z towards the camera."""
    full = alone.subject[0, 0] == 255
    n = alone.normal[0].float() / 127
    row, column = (full.nonzero().float() - 15.5).T
    for value, place in ((n[0, full], column), (n[1, full], -row)):
        assert float(torch.corrcoef(torch.stack([value, place]))[0, 1]) > 0.95
    assert float(n[2, full].mean()) > 0.5 and n[:, full].norm(dim=0).min() > 0.98
    assert (alone.albedo[0, :, full].float() / 255).mean(1).tolist() == pytest.approx([0.7, 0.5, 0.3], abs=3e-3)


@pytest.mark.parametrize("number", range(len(ANGLES)))
def test_the_light_is_recovered_from_shading_and_normals(alone, number):
    """Lambert: shading = normal . light where that is positive. A regression gives back direction and strength."""
    n, full = alone.normal[0].float() / 127, alone.subject[0, 0] == 255
    shading = _shading(alone, alone.lit[0, 1 + number])
    bright = full & (shading > 0.15)
    found = torch.linalg.lstsq(n[:, bright].T, shading[bright][:, None]).solution[:, 0]
    true = alone.light[0, 1 + number, :3]
    assert math.degrees(math.acos(float(found @ true / found.norm()))) < 6
    assert float(found.norm()) == pytest.approx(1, abs=0.12)
    assert float(shading[full & (torch.einsum("chw,c->hw", n, true) < -0.15)].max() if number != 3 else 0) < 0.05


def test_right_is_right(alone):
    n, full = alone.normal[0].float() / 127, alone.subject[0, 0] == 255
    from_right, from_left = (_shading(alone, alone.lit[0, k]) for k in (1, 2))
    right, left = full & (n[0] > 0.3), full & (n[0] < -0.3)
    assert from_right[right].mean() > 0.4 > 0.05 > from_right[left].mean()
    assert from_left[left].mean() > 0.4 > 0.05 > from_left[right].mean()


def test_ambient_light_shows_about_the_albedo(alone):
    full = alone.subject[0, 0] == 255
    assert 0.7 < float(_shading(alone, alone.sky[0])[full].mean()) < 1.3


# ---- on disk ---------------------------------------------------------------------------------------------------------

def test_a_worker_makes_what_this_process_makes(tmp_path, stage):
    """One shard by a process of its own; its second scene is made here again."""
    events = []
    settings = replace(TINY, shard=1)
    folder = relit.generate(1, tmp_path / "set", seed=4, on_event=events.append, settings=settings)
    assert [p.name for p in folder.iterdir()] == ["relit_000000.safetensors"]
    assert [(e.stage, e.step, e.steps) for e in events] == [("relit", 1, 1)]
    made, again = relit.load(folder), record(split_seed(4, "scene", 0), (), settings)
    for f in fields(RelitSet):
        a, b = (getattr(x, f.name).double() for x in (made, again))
        assert float((a - b).abs().max()) <= (1 if a.max() > 8 else 1e-6), f.name  # To the rounding of the renderer.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Scenes without a renderer, in this process; counts what is made."""
    made, data = [], balls()

    def record_ball(seed, meshes, settings):
        made.append(seed)
        return data.part(slice(seed % 4, seed % 4 + 1))

    def work(jobs, workers, make, arguments=()):
        for path, indices in jobs:
            make(path, indices, *arguments)
            yield indices

    monkeypatch.setattr(relit, "record", record_ball)
    monkeypatch.setattr(shards, "work", work)
    return made


def test_a_stopped_set_goes_on(tmp_path, quick):
    make = lambda scenes: relit.generate(scenes, tmp_path, seed=5, settings=TINY)
    folder = make(5)
    files = sorted(p.name for p in folder.iterdir())
    assert files == [f"relit_{k:06d}.safetensors" for k in (0, 2, 4)]
    assert quick == [split_seed(5, "scene", k) for k in range(5)]
    first, kept = relit.load(folder), (folder / files[0]).stat().st_mtime_ns
    (folder / files[1]).write_bytes((folder / files[1]).read_bytes()[:1000])
    quick.clear()
    make(5)
    assert quick == [split_seed(5, "scene", k) for k in (2, 3)] and (folder / files[0]).stat().st_mtime_ns == kept
    quick.clear()
    make(6)  # The last shard was half full.
    assert quick == [split_seed(5, "scene", k) for k in (4, 5)]
    again = relit.load(folder)
    assert len(again) == 6 and torch.equal(again.lit[:5], first.lit) and len(relit.load(folder, 2)) == 4
    assert sorted(os.listdir(folder)) == files


@pytest.mark.parametrize("change", [{"seed": 6}, {"settings": replace(TINY, spp=8)}, {"meshes": [Path("a.glb")]}])
def test_another_set_is_refused(tmp_path, quick, change):
    relit.generate(2, tmp_path, seed=5, settings=TINY)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="holds data of another set"):
        relit.generate(4, tmp_path, **{"seed": 5, "settings": TINY, **change})
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_default_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    assert relit.default_dir() == tmp_path / "relit" / "v1"


def test_bad_numbers_and_folders(tmp_path, quick):
    for scenes, workers in ((0, 1), (2, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            relit.generate(scenes, tmp_path / "absent", workers=workers)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(ConfigError, match="dipir synth relit"):
        relit.load(tmp_path)
    relit.generate(2, tmp_path, settings=TINY)
    path = tmp_path / "relit_000000.safetensors"
    state = load_file(path)
    save_file({k: v for k, v in state.items() if k != "sky"}, path)
    with pytest.raises(ConfigError, match="not a readable shard.*sky"):
        relit.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="not a readable shard"):
        relit.load(tmp_path)
