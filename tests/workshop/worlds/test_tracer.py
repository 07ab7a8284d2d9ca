"""The panorama tracer against closed forms: convention, energy of sun and lamps."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import RenderError
from dipir.image import latlong
from dipir.workshop.worlds import tracer as module
from dipir.workshop.worlds.tracer import splat_sun, sun_directions, trace_panorama


def quad(corner, edge_u, edge_v, **more):
    c, u, v = (np.asarray(x, float) for x in (corner, edge_u, edge_v))
    return {"vertices": np.stack([c, c + u, c + u + v, c + v]), "faces": [[0, 1, 2], [0, 2, 3]],
            "uv": [[0, 0], [1, 0], [1, 1], [0, 1]], "texture": np.full((2, 2, 3), 0.5), "roughness": None, **more}


GROUND = quad([-500, 0, -500], [0, 0, 1000], [1000, 0, 0])
EYE = (0.0, 1.5, 0.0)


def irradiance(panorama, direction):
    d = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32), dim=0)
    cosine = (latlong.directions(*panorama.shape[:2]) @ d).clamp_min(0)
    return (panorama * (cosine * latlong.solid_angles(*panorama.shape[:2]))[..., None]).sum((0, 1))


def test_sky_comes_back_in_the_house_convention():
    d = latlong.directions(32, 64)
    sky = torch.stack([1 + 0.9 * d[..., 0], 1 + 0.9 * d[..., 1], 1 + 0.9 * d[..., 2]], -1)
    seen = trace_panorama({"parts": [], "sky": sky.numpy(), "sun": None}, EYE, (16, 32), 16, 2, 0)
    coarse = latlong.resize(sky, 16, 32)
    assert (seen - coarse).abs().max() < 0.06
    assert (seen - coarse).mean().abs() < 0.003


def test_ground_under_uniform_sky_shows_its_albedo():
    scene = {"parts": [GROUND], "sky": np.ones((16, 32, 3), np.float32), "sun": None}
    seen = trace_panorama(scene, EYE, (16, 32), 16, 3, 0)
    assert (seen[9:] - 0.5).abs().max() < 0.03 and abs(float(seen[9:].mean()) - 0.5) < 2e-3
    assert torch.allclose(seen[:7], torch.tensor(1.0), atol=1e-3)


@pytest.mark.parametrize("direction", [(1.0, 1.0, 0.0), (-0.2, 0.3, -0.9), (0.0, 1.0, 0.05)])
def test_sun_is_unclipped_and_lights_the_ground_by_the_same_energy(direction):
    sun = {"direction": direction, "irradiance": (50.0, 30.0, 10.0)}
    seen = trace_panorama({"parts": [GROUND], "sky": None, "sun": sun}, EYE, (32, 64), 4, 2, 0)
    cosine = direction[1] / math.sqrt(sum(x * x for x in direction))
    expected = torch.tensor(sun["irradiance"]) * cosine * 0.5 / math.pi
    assert torch.allclose(seen[-4:].mean((0, 1)), expected, rtol=1e-3)
    sky = seen.clone()
    sky[16:] = 0
    # Texels are 5.6 degrees wide: the cosine at a texel's centre differs a little from that at the sun.
    assert torch.allclose(irradiance(sky, direction), torch.tensor(sun["irradiance"]), rtol=5e-3)
    u, v = latlong.uv(torch.tensor(direction))
    row, column = divmod(int(sky.mean(-1).argmax()), 64)
    assert abs(row + 0.5 - float(v) * 32) <= 1 and min(abs(column + 0.5 - float(u) * 64), 64) <= 1


def test_sun_behind_a_wall_is_not_seen():
    wall = quad([2, 0, -50], [0, 0, 100], [0, 100, 0])
    sun = {"direction": (1.0, 0.5, 0.0), "irradiance": (50.0, 50.0, 50.0)}
    seen = trace_panorama({"parts": [GROUND, wall], "sky": None, "sun": sun}, EYE, (16, 32), 4, 2, 0)
    assert seen[:, 8].max() < 50
    assert seen.max() < 50


@pytest.mark.parametrize("size", [2.0, 0.3])
def test_lamp_overhead_gives_the_integral_over_its_area(size):
    lamp = quad([-size / 2, 3, -size / 2], [size, 0, 0], [0, 0, size], radiance=(4.0, 2.0, 1.0))
    other = quad([40, 3, 40], [0.1, 0, 0], [0, 0, 0.1], radiance=(1.0, 1.0, 1.0))
    seen = trace_panorama({"parts": [GROUND, lamp, other], "sky": None, "sun": None}, EYE, (32, 64), 64, 2, 0)
    x = (np.arange(200) + 0.5) / 200 * size - size / 2
    square = x[:, None] ** 2 + x[None] ** 2 + 9
    factor = (9 / square ** 2).mean() * size ** 2
    assert torch.allclose(seen[-1].mean(0), torch.tensor([4.0, 2.0, 1.0]) * 0.5 / math.pi * factor, rtol=0.03)
    # Looking straight up shows the lamp's own radiance when it fills the texel.
    if size > 1:
        assert torch.allclose(seen[0].mean(0), torch.tensor([4.0, 2.0, 1.0]), rtol=1e-3)


def test_same_seed_same_panorama_other_seed_other_noise():
    lamp = quad([-1, 3, -1], [2, 0, 0], [0, 0, 2], radiance=(1.0, 1.0, 1.0))
    scene = {"parts": [GROUND, lamp], "sky": None, "sun": None}
    first, again, other = (trace_panorama(scene, EYE, (16, 32), 4, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_glossy_part_reflects_what_diffuse_does_not():
    lamp = quad([-1, 3, -11], [2, 0, 0], [0, 2, 0], radiance=(50.0, 50.0, 50.0))
    dull, shiny = (trace_panorama({"parts": [{**GROUND, "roughness": r}, lamp], "sky": None, "sun": None},
                                  EYE, (32, 64), 32, 2, 0) for r in (None, 0.2))
    assert shiny[17:24].max() > 3 * dull[17:24].max()


def test_sun_directions_fill_a_disc():
    axis = torch.nn.functional.normalize(torch.tensor([0.3, 0.8, -0.2]), dim=0)
    rays = sun_directions(axis)
    angle = torch.acos((rays.double() @ axis.double()).clamp(-1, 1))
    assert angle.max() < module.SUN_RADIUS_RAD * 1.02 and angle.max() > 0.9 * module.SUN_RADIUS_RAD
    assert torch.allclose(rays.mean(0), axis, atol=2e-4)


def test_splat_keeps_energy_of_the_visible_share():
    visible = torch.arange(64) < 16
    seen = splat_sun(torch.zeros(64, 128, 3), (0.4, 0.5, 0.6), (8.0, 4.0, 2.0), visible)
    energy = (seen * latlong.solid_angles(64, 128)[..., None]).sum((0, 1))
    assert torch.allclose(energy, torch.tensor([2.0, 1.0, 0.5]), rtol=1e-4)


def test_bad_scenes_are_refused():
    with pytest.raises(RenderError, match="neither"):
        trace_panorama({"parts": [], "sky": None, "sun": None}, EYE, (16, 32), 4)
    broken = {**GROUND, "texture": np.full((2, 2, 3), np.nan)}
    with pytest.raises(RenderError, match="not finite"):
        trace_panorama({"parts": [broken], "sky": np.ones((8, 16, 3), np.float32), "sun": None}, EYE, (16, 32), 4)


def test_lamps_are_picked_in_proportion_to_their_power():
    big, small = (quad([0, 3, 0], [size, 0, 0], [0, 0, size], radiance=(level,) * 3)
                  for size, level in ((2, 1), (0.1, 8)))
    weights = sorted(float(e.sampling_weight()) for e in module.build_scene({"parts": [GROUND, big, small]}).emitters())
    assert weights[1] / weights[0] == pytest.approx(4 / (0.01 * 8), rel=1e-3)
