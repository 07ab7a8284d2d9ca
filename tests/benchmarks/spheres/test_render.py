"""Spheres under a map: closed forms, and against Mitsuba."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.spheres import render as spheres_render
from benchmarks.spheres.render import MATERIALS, Sphere, camera, render
from dipir.image import latlong
from dipir.image.color import luminance
from tests.support.spheres import SMALL, smooth_map


def lamp(direction, sharpness: float = 60.0, height: int = 32) -> torch.Tensor:
    """(H, 2 H, 3) one soft light on a dim grey surrounding."""
    towards = torch.tensor(direction, dtype=torch.float32)
    cosine = latlong.directions(height, 2 * height) @ (towards / towards.norm())
    return (0.05 + 20 * torch.exp(sharpness * (cosine - 1)))[..., None].expand(-1, -1, 3).contiguous()


def test_camera_and_silhouette():
    """85 mm on 36 mm and 960 columns; seen from afar d = sqrt(260) the silhouette has the radius f / sqrt(d^2 - 1)."""
    view = camera()
    assert (view.width, view.height) == (960, 540) and view.focal_px == pytest.approx(85 / 36 * 960)
    np.testing.assert_allclose(view.project(np.zeros(3))[0], (480, 270), atol=1e-9)
    sphere = Sphere.seen_by(view, rays=2)
    radius = view.focal_px / math.sqrt(259)
    assert float(sphere.alpha.sum()) == pytest.approx(math.pi * radius**2, rel=2e-4)
    columns = sphere.alpha[0, 0].amax(0).nonzero()
    assert columns.min() == 960 - 1 - columns.max() == math.floor(480 - radius)
    # +Y is up in the picture, +Z (the middle of a map) on its right.
    assert view.project(np.array([0.0, 1, 0]))[0][1] < 270 and view.project(np.array([0.0, 0, 1]))[0][0] > 480


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("direction, side", [((0, 0, 1), "right"), ((0, 0, -1), "left"), ((0, 1, 0), "top"),
                                             ((0, -1, 0), "bottom")])
def test_light_on_one_side_lights_that_side(material, direction, side):
    image = luminance(next(render([lamp(direction)], material, SMALL)))[0, 0]
    halves = {"left": image[:, :48], "right": image[:, 48:], "top": image[:27], "bottom": image[27:]}
    other = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[side]
    assert halves[side].sum() > 1.5 * halves[other].sum()


def test_mirror_shows_lights_where_they_are_reflected():
    """A light behind the camera is seen in the middle; one at a right angle to the view where the normal stands at 45
    degrees: 0.707 of the radius away from the middle."""
    sphere, view = Sphere.seen_by(camera(216, 384), rays=2), camera(216, 384)

    def place(d):
        return divmod(int(luminance(next(render([lamp(d, 2000.0, 128)], "mirror", sphere))).argmax()), 384)

    row, column = place(view.position)
    assert abs(row - 108) <= 1 and abs(column - 192) <= 1
    row, column = place((0.0, 0.0, 1.0))
    radius = view.focal_px / math.sqrt(259)
    assert column - 192 == pytest.approx(radius * math.sqrt(0.5), abs=2.5) and abs(row - 108) <= 2


def test_constant_light_gives_the_reflectance():
    """Under radiance 1 all spheres are grey, alike at every azimuth around the view, about 0.8 in the middle (the base
    colour) and nowhere brighter than the light; the mirror is 0.8 + 0.2 (1 - cos)^5."""
    white = torch.ones(64, 128, 3)
    cosine = (SMALL.normal * SMALL.view).sum(-1)
    inside = SMALL.alpha.flatten()[SMALL.pixels] == 1
    for material in MATERIALS:
        image = next(render([white], material, SMALL)).reshape(3, -1)[:, SMALL.pixels].T
        assert torch.equal(image[:, 0], image[:, 1]) and image.max() <= 1.001
        for low in (0.5, 0.7, 0.9):
            ring = image[inside & (cosine > low) & (cosine < low + 0.03), 0]
            assert len(ring) > 9 and ring.std() < 0.01 * ring.mean()
        if material == "mirror":
            at = inside & (cosine > 0.5)
            torch.testing.assert_close(image[at, 0], 0.8 + 0.2 * (1 - cosine[at]) ** 5, atol=2e-3, rtol=0)
        assert 0.7 < float(image[inside & (cosine > 0.99), 0].mean()) < 0.85


def test_rendering_is_linear_and_in_the_order_of_the_maps():
    a, b = smooth_map(32), lamp((1.0, 2.0, 3.0))
    for material in MATERIALS:
        first, second, both = render([a, b, 2 * a + b], material, SMALL)
        torch.testing.assert_close(both, 2 * first + second, rtol=1e-4, atol=1e-5)
        assert first.shape == (1, 3, 54, 96) and not torch.allclose(first, second)
        assert float(first[:, :, SMALL.alpha[0, 0] == 0].abs().max()) == 0


@pytest.mark.parametrize("material", MATERIALS)
def test_against_mitsuba(material):
    """The same sphere, material and map in Mitsuba's path tracer."""
    from dipir.render.backend import mitsuba
    from dipir.render.bridge import padded_envmap, to_drjit
    from dipir.render.mitsuba_scene import sensor_dict

    mi = mitsuba()
    envmap = smooth_map(128)
    bsdf = {"type": "principled", "base_color": {"type": "rgb", "value": 0.8}, **MATERIALS[material]}
    scene = mi.load_dict({"type": "scene", "sphere": {"type": "sphere", "bsdf": bsdf}, "environment": {
        "type": "envmap", "bitmap": mi.Bitmap(np.ones((256, 512, 3), np.float32))}})
    params = mi.traverse(scene)
    params["environment.data"] = to_drjit(padded_envmap(envmap))
    params.update()
    integrator = mi.load_dict({"type": "path", "max_depth": 2, "hide_emitters": True})
    sensor = mi.load_dict(sensor_dict(camera(54, 96), 1024))
    expected = mi.render(scene, integrator=integrator, sensor=sensor, seed=1).torch()
    got = next(render([envmap], material, SMALL))[0].permute(1, 2, 0)
    torch.testing.assert_close(expected[..., 3], SMALL.alpha[0, 0], atol=0.15, rtol=0)
    inside = SMALL.alpha[0, 0] == 1
    error = (got - expected[..., :3])[inside]
    # The path tracer's noise is 1 to 2 % a pixel; the mean over the sphere shows a difference of half a percent.
    assert error.square().mean().sqrt() < 0.03 * expected[inside][:, :3].mean()
    assert error.mean().abs() < 0.005 * expected[inside][:, :3].mean()


def test_no_kernel_is_compiled_for_a_second_block():
    import drjit as dr

    towards = latlong.directions(16, 32).reshape(-1, 3)

    def block(i):
        return spheres_render.response(SMALL.normal[i:i + 9], SMALL.view[i:i + 9], towards, MATERIALS["matte"])

    block(0)
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory, True):
        dr.kernel_history_clear()
        block(100)
        kernels = [k for k in dr.kernel_history() if k["type"] == dr.KernelType.JIT]
    assert kernels and all(k["cache_hit"] for k in kernels)
