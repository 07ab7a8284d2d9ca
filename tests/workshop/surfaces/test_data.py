"""Scenes with known surfaces: what a recording shows against geometry and Lambert's law, sets on disk."""
from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.priors.relit.depth_shadows import in_camera
from dipir.workshop.relight.scenes import KINDS, random_scene
from dipir.workshop.stored import decode
from dipir.workshop.surfaces import data as surfaces
from dipir.workshop.surfaces.data import FAR, INDOOR, OUTDOOR, SurfaceSet, SurfaceSettings, record
from dipir.workshop.surfaces.ingredients import Files
from dipir.workshop.things.objects import simple_asset
from tests.support.ray_stages import dull
from tests.support.stopped_sets import goes_on, quick_scenes, refuses_another
from tests.support.surface_sets import balls

TINY = SurfaceSettings(size=32, lights=3, spp=2, worlds=0.0, shard=2)
WORLDS = replace(TINY, worlds=1.0)
ALONE, STAGE = 3, 1  # Seeds of one object before nothing, and of one between floor and wall.
SIDE = 48


# ---- things ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def alone() -> SurfaceSet:
    """A dull ball before nothing."""
    return record(ALONE, (simple_asset("sphere", dull((0.7, 0.5, 0.3))),),
                  SurfaceSettings(SIDE, 6, 16, meshes=1.0, worlds=0.0))


@pytest.fixture(scope="module")
def truth() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(normals (3, S, S) in the camera's frame, distances along the view, up) of that ball by geometry."""
    scene = random_scene(ALONE, SIDE, (simple_asset("sphere", dull(0.5)),), 1.0).scene
    points = np.concatenate([p.vertices for p in scene.objects[0].parts]).astype(np.float64)
    middle, radius = (points.min(0) + points.max(0)) / 2, np.ptp(points, axis=0).max() / 2
    camera = scene.camera
    rays = camera.directions()
    away = camera.position - middle
    along = rays @ away
    inside = along**2 - (away @ away - radius**2)
    point = camera.position + rays * (-along - np.sqrt(np.maximum(inside, 0)))[..., None]
    normal = (point - middle) / radius @ camera.to_world[:3, :3]
    normal = np.stack([-normal[..., 0], normal[..., 1], -normal[..., 2]])
    distance = (point - camera.position) @ camera.to_world[:3, 2]
    pitch, roll, _ = (math.radians(x) for x in camera.angles_deg)
    up = [-math.sin(roll) * math.cos(pitch), math.cos(roll) * math.cos(pitch), math.sin(pitch)]
    # A pixel from the rim.
    sure = (inside > 0) & (normal[2] > 0.25)
    return (torch.from_numpy(np.where(sure, normal, 0)).float(), torch.from_numpy(np.where(sure, distance, 0)).float(),
            torch.tensor(up))


def _full(data: SurfaceSet, truth) -> torch.Tensor:
    return (data.subject[0, 0] == 255) & (truth[1] > 0)


def test_form_of_a_recording(alone):
    n = SIDE
    shapes = {"lit": (1, 6, 3, n, n), "sky": (1, 3, n, n), "free": (1, 6, n, n), "light": (1, 6, 4),
              "alpha": (1, 1, n, n), "subject": (1, 1, n, n), "albedo": (1, 3, n, n), "normal": (1, 3, n, n),
              "depth": (1, 1, n, n), "fov": (1,), "up": (1, 3), "kind": (1,)}
    assert {f.name: tuple(getattr(alone, f.name).shape) for f in fields(SurfaceSet)} == shapes
    assert KINDS[int(alone.kind)] == "free" and len(alone) == 1 and torch.equal(alone.subject, alone.alpha)


def test_normals_are_those_of_the_ball(alone, truth):
    full = _full(alone, truth)
    apart = torch.nn.functional.cosine_similarity(alone.normal[0] / 127, truth[0], dim=0)[full].acos()
    assert int(full.sum()) > 300 and math.degrees(float(apart.mean())) < 3 and math.degrees(float(apart.max())) < 9


def test_depth_is_in_stops_about_the_median(alone, truth):
    full, depth = _full(alone, truth), alone.depth[0, 0].float()
    expected = truth[1][full].log2()
    apart = depth[full] - expected
    assert float((apart - apart.median()).abs().max()) < 0.02 < 0.05 < float(expected.max() - expected.min())
    assert abs(float(depth[alone.alpha[0, 0] > 127].median())) < 0.01
    assert not depth[alone.alpha[0, 0] == 0].any() and float(depth.abs().max()) <= FAR


def test_up_is_the_vertical_of_a_camera_that_looks_down(alone, truth):
    torch.testing.assert_close(alone.up[0], truth[2], atol=1e-5, rtol=0)
    assert abs(float(truth[2][2])) > 0.02 and abs(float(truth[2][0])) > 1e-3


def test_albedo_is_the_materials(alone, truth):
    colour = alone.albedo[0, :, _full(alone, truth)].float() / 255
    assert float((colour - torch.tensor([0.7, 0.5, 0.3])[:, None]).abs().max()) < 0.005


def test_lights_are_recovered_from_shading_and_normals(alone, truth):
    """Lambert: a regression of what is lit on the true normals gives back direction and strength, in the frame of the
    camera; where it is turned away nothing is free."""
    full, narrow = _full(alone, truth), 0
    normal, albedo = truth[0][:, full], torch.tensor([0.7, 0.5, 0.3])
    towards = in_camera(alone.light[0], alone.up.expand(6, 3))
    for lit, free, true, size in zip(alone.lit[0], alone.free[0], towards, alone.light[0, :, 3], strict=True):
        shading = (decode(lit)[:, full] / albedo[:, None]).mean(0)
        bright = shading > 0.2
        # Up to 15 degrees; wider ones reach around the ball.
        if size > 0.16 or int(bright.sum()) < 60:
            continue
        narrow += 1
        found = torch.linalg.lstsq(normal[:, bright].T, shading[bright][:, None]).solution[:, 0]
        assert math.degrees(math.acos(float(found @ true / found.norm()))) < 6
        assert float(found.norm()) == pytest.approx(1, abs=0.12)
        cosine = true @ normal
        assert not (free[full][cosine < -0.5] > 30).any()
        assert not (free[full][cosine > 0.5] < 220).any()
    assert narrow >= 2


def test_sky_shows_about_the_albedo(alone, truth):
    full = _full(alone, truth)
    shading = decode(alone.sky[0])[:, full] / torch.tensor([0.7, 0.5, 0.3])[:, None]
    assert 0.7 < float(shading.mean()) < 1.3


def test_the_same_seed_gives_the_same_scene():
    a, b, c = record(STAGE, (), TINY), record(STAGE, (), TINY), record(STAGE + 1, (), TINY)
    for f in fields(SurfaceSet):
        first, second = (getattr(x, f.name).double() for x in (a, b))
        assert float((first - second).abs().max()) <= (1 if first.max() > 8 else 1e-6), f.name
    assert not torch.equal(a.albedo, c.albedo)
    assert KINDS[int(a.kind)] == "stage" and float((a.alpha == 255).float().mean()) > 0.9
    assert 0.1 < float((a.subject > 127).float().mean()) < 0.9 and bool((a.subject <= a.alpha).all())


def test_patches_lie_on_floors_and_walls():
    """What is no object gets their texture: brighter patches, brighter walls; the objects stay."""
    bright, dark = np.full((1, 8, 8, 3), 1.5, np.float16), np.full((1, 8, 8, 3), 0.5, np.float16)
    a, b = (record(STAGE + 1, (), TINY, patches) for patches in (bright, dark))
    behind = (a.subject[0, 0] == 0) & (a.alpha[0, 0] == 255)
    assert torch.equal(a.subject, b.subject) and torch.equal(a.normal, b.normal)
    ratio = a.albedo[0, :, behind].float().mean() / b.albedo[0, :, behind].float().mean()
    assert 1.3 < float(ratio) < 3.1
    inside = a.subject[0, 0] == 255
    assert torch.equal(a.albedo[0, :, inside], b.albedo[0, :, inside])


# ---- worlds ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def worlds() -> list[SurfaceSet]:
    return [record(seed, (), WORLDS) for seed in range(6)]


def test_worlds_are_landscapes_with_a_sky_and_rooms(worlds):
    kinds = [int(w.kind) for w in worlds]
    assert set(kinds) == {OUTDOOR, INDOOR} and OUTDOOR == len(KINDS)
    outdoors = [w for w in worlds if int(w.kind) == OUTDOOR]
    sky = [float((w.alpha == 0).float().mean()) for w in outdoors]
    assert np.mean(np.array(sky) > 0.05) >= 0.5 and max(sky) < 0.95
    for world in worlds:
        solid = world.alpha[0, 0] == 255
        assert not world.subject.any() and int(solid.sum()) > 50
        length = (world.normal[0, :, solid].float() / 127).norm(dim=0)
        assert float(length.median()) > 0.95
        assert not world.lit[0, :, :, world.alpha[0, 0] == 0].any()
        assert float(world.up[0].norm()) == pytest.approx(1, abs=1e-5) and float(world.up[0, 1]) > 0.6


def test_the_ground_of_landscapes_faces_up(worlds):
    """In the frame of the camera: the lowest rows show ground, whose normals are about the vertical."""
    for world in worlds:
        if int(world.kind) == OUTDOOR:
            normal = world.normal[0, :, -6:].float() / 127
            upright = torch.einsum("c,chw->hw", world.up[0], normal)[world.alpha[0, 0, -6:] == 255]
            assert float(upright.median()) > 0.7


def _seen(world: SurfaceSet) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(shading (L, S, S), cosines of the lights with the normals (L, S, S), what is whole surface, what is upright)."""
    normal = world.normal[0].float() / 127
    shading = (decode(world.lit[0]) / (world.albedo[0].float() / 255).clamp_min(0.02)).mean(1)
    light = in_camera(world.light[0], world.up.expand(len(world.light[0]), 3))
    solid = (world.alpha[0, 0] == 255) & (normal.norm(dim=0) > 0.95)
    upright = torch.einsum("c,chw->hw", world.up[0], normal).abs() < 0.4
    return shading, torch.einsum("lc,chw->lhw", light, normal), solid, solid & upright


def test_landscapes_obey_lambert(worlds):
    """Walls tell which way the camera was turned: free of shadow they show the cosine, a bounce apart; what turns away
    is not free."""
    apart, behind = [], []
    for world in worlds:
        if int(world.kind) == OUTDOOR:
            shading, cosine, _, wall = _seen(world)
            lit = wall & (world.free[0] == 255)
            apart.append((shading - cosine)[lit & (cosine > -0.2)])
            behind.append(world.free[0][wall & (cosine < -0.3)])
    apart, behind = torch.cat(apart), torch.cat(behind).float() / 255
    assert len(apart) > 80 and float(apart.abs().median()) < 0.1 and float((apart.abs() > 0.35).float().mean()) < 0.05
    assert len(behind) > 80 and float(behind.mean()) < 0.1


def test_lamps_are_where_their_numbers_say(worlds):
    """As seen from the middle of the picture: what is free there faces them."""
    faced = []
    for world in worlds:
        if int(world.kind) == INDOOR:
            _, cosine, _, _ = _seen(world)
            middle = (..., slice(15, 17), slice(15, 17))
            faced += cosine[middle].mean((1, 2))[world.free[0][middle].float().mean((1, 2)) > 230].tolist()
    assert len(faced) > 4 and min(faced) > 0.1


def test_lights_of_worlds_light_something(worlds):
    for world in worlds:
        brightest = decode(world.lit[0]).amax((1, 2, 3))
        if int(world.kind) == INDOOR:
            assert float(brightest.median()) > 0.05
        else:
            assert float(brightest.max()) > 0.05
        assert float(decode(world.sky[0]).mean()) > 0.01


# ---- on disk ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Scenes without a renderer."""
    return quick_scenes(monkeypatch, surfaces, balls())


def test_a_stopped_set_goes_on(tmp_path, quick):
    goes_on(surfaces, lambda scenes: surfaces.generate(scenes, tmp_path, seed=5, settings=TINY), quick)


@pytest.mark.parametrize("change", [{"seed": 6}, {"settings": replace(TINY, spp=8)},
                                    {"ingredients": Files((Path("a.glb"),))}])
def test_another_set_is_refused(tmp_path, quick, change):
    refuses_another(surfaces, tmp_path, {"seed": 5, "settings": TINY}, change)


def test_scenes_are_recorded_with_the_ingredients(tmp_path, quick, monkeypatch):
    """Up to 24 meshes of each shard's own choice, and the patches; a set without them is another."""
    seen, asked = [], []
    record_one = surfaces.record
    monkeypatch.setattr(surfaces, "record", lambda *a: seen.append((a[1], a[3])) or record_one(*a))
    monkeypatch.setattr(Files, "assets", lambda self, rows: asked.append(rows) or ["asset"])
    monkeypatch.setattr(Files, "patches", lambda self: "patches")
    found = Files(tuple(Path(f"{k}.glb") for k in range(30)), Path("some_patches.safetensors"))
    surfaces.generate(3, tmp_path, settings=TINY, ingredients=found)
    assert seen == [(["asset"], "patches")] * 3
    assert [len(set(rows)) for rows in asked] == [24, 24] and asked[0] != asked[1]
    assert set().union(*asked) <= set(range(30))
    with pytest.raises(ConfigError, match="holds data of another set"):
        surfaces.generate(3, tmp_path, settings=TINY)


def test_default_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    assert surfaces.default_dir() == surfaces.part_dir(False) == tmp_path / "surfaces" / "v1"
    assert surfaces.part_dir(True) == tmp_path / "surfaces" / "val_v1"


def test_bad_numbers_and_folders(tmp_path, quick):
    for scenes, workers in ((0, 1), (2, 0)):
        with pytest.raises(ConfigError, match="at least 1"):
            surfaces.generate(scenes, tmp_path / "absent", workers=workers)
    assert not (tmp_path / "absent").exists()
    with pytest.raises(ConfigError, match="dipir synth surfaces"):
        surfaces.load(tmp_path)
    surfaces.generate(2, tmp_path, settings=TINY)
    path = tmp_path / "surfaces_000000.safetensors"
    state = load_file(path)
    save_file({k: v for k, v in state.items() if k != "depth"}, path)
    with pytest.raises(ConfigError, match="not a readable shard.*depth"):
        surfaces.load(tmp_path)


def test_a_worker_makes_what_this_process_makes(tmp_path):
    """One shard by a process of its own."""
    settings = replace(TINY, shard=1)
    folder = surfaces.generate(1, tmp_path / "set", seed=4, settings=settings)
    made, again = surfaces.load(folder), record(split_seed(4, "scene", 0), (), settings)
    for f in fields(SurfaceSet):
        a, b = (getattr(x, f.name).double() for x in (made, again))
        assert float((a - b).abs().max()) <= (1 if a.max() > 8 else 1e-3), f.name  # To the rounding of the renderer.


def test_at_a_smaller_size_light_and_surfaces_are_means():
    data = balls(32)
    half = data.at(16)
    assert half.lit.shape == (4, 4, 3, 16, 16) and half.normal.shape[-1] == 16 and data.at(32) is data
    light = functional.avg_pool2d(decode(data.lit[0]), 2)
    torch.testing.assert_close(decode(half.lit[0]), light, atol=0.02, rtol=0.05)
    # At an edge, what is known of the ball counts, not what is beside it.
    edge = (half.alpha[0, 0] > 40) & (half.alpha[0, 0] < 215)
    assert edge.any() and bool((half.albedo[0, 0][edge].int() - 204).abs().max() <= 1)
    assert float((half.normal[0].float().norm(dim=0)[edge] / 127).min()) > 0.8
    with pytest.raises(ConfigError, match="5 pixels of scenes with 32"):
        data.at(5)
