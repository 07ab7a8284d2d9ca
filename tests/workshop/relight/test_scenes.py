"""Scenes for relighting: lights where they are asked for, subjects that fill the picture."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.direction import LightDirection
from dipir.scene.light import azimuth_elevation_deg
from dipir.workshop.relight.scenes import KINDS, dome_lights, light_map, random_scene, random_sky
from dipir.workshop.things.objects import simple_asset

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
