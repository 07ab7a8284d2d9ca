"""The shadow on the proxy: unbiased, coarse to fine without a trace of it, nothing traced where nothing changes."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.render import proxy_sites
from dipir.render.mitsuba_scene import build
from dipir.render.path_traced import PathTracer
from dipir.render.proxy_pass import Sites, trace
from dipir.render.transport_record import Recorder, TransportSettings
from dipir.scene.assets.asset import Part
from dipir.scene.proxy import Proxy
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sunny

SKY = sunny((0.5, 0.6, -0.6), peak=0.0) + 0.2
SUN = sunny((0.6, 0.6, -0.5), height=64, peak=400.0)


def slab(size: float = 1.0, y: float = 0.0) -> Part:
    v = np.array([[-size, y, 2], [size, y, 2], [size, y, 4], [-size, y, 4]], np.float32)
    return Part("slab", v, np.array([[0, 2, 1], [0, 3, 2]], np.uint32))


def things(size: int = 24):
    sphere, box = (simple_asset(kind, MATERIALS["diffuse"]) for kind in ("sphere", "box"))
    return scene_of(placed(sphere, x=-0.5), placed(box, x=0.5, z=3.2, name="b"), size=size)


@pytest.mark.parametrize("env", [SKY, SUN], ids=["sky", "sun"])
def test_coarse_to_fine_is_what_every_pixel_gives(env, monkeypatch):
    """Large pictures: cells whose shadow is smooth are interpolated; compared with all pixels traced."""
    scene = things(192)
    monkeypatch.setattr(proxy_sites, "_CELLS", 48)
    tracer = PathTracer(scene, gbuffer_samples=4)
    found = tracer.passes(env, seed=1, spp=64).shadow_ratio
    built, camera = tracer.built, scene.camera
    pixels = torch.arange(192 * 192)
    full = torch.stack([trace(built, camera, Sites(pixels), env, seed=10 + s, spp=64).ratio for s in range(9)])
    def picture(rows):
        return rows.T.reshape(1, 3, 192, 192)
    truth, every = picture(full[:8].mean(0)), picture(full[8])
    ground = tracer.gbuffers.ground == 1
    gaps = [(r - truth).abs().amax(1, keepdim=True)[ground] for r in (found, every)]
    ours, theirs = (float(gap.square().mean().sqrt()) for gap in gaps)
    assert ours < 1.05 * theirs and float(gaps[0].quantile(0.999)) < 1.2 * float(gaps[1].quantile(0.999))
    assert abs(float((found - truth).mean())) < 5e-4


def test_only_what_changes_is_traced(monkeypatch):
    """Far from a sun's shadow nothing is sampled pixel by pixel, and an untouched pixel is 1 exactly."""
    traced = []
    real = proxy_sites.trace
    monkeypatch.setattr(proxy_sites, "trace", lambda b, c, sites, *a, **k: traced.append(
        (sites.side, len(sites.corner))) or real(b, c, sites, *a, **k))
    monkeypatch.setattr(proxy_sites, "_CELLS", 64)
    scene = things(256)
    ratio = PathTracer(scene, gbuffer_samples=1).passes(SUN, spp=16).shadow_ratio
    fine = [count for side, count in traced if side == 1]
    assert [side for side, _ in traced] == [4, 1] and 0 < fine[0] < 256 * 256 / 2
    assert float(ratio.min()) < 0.3 and int((ratio == 1).all(1).sum()) > 256 * 256 / 10


def test_edges_are_bends_not_slopes():
    slope = torch.linspace(0, 1, 20)[None, :, None].expand(12, 20, 3)
    assert not proxy_sites.edges(slope)[1:-1, 2:-2].any()
    step = (slope > 0.5).float()
    found = proxy_sites.edges(step)
    assert found[:, 8:12].all() and not found[:, :6].any() and not found[:, 14:].any()
    dot = torch.zeros(12, 20, 3)
    dot[6, 10] = 0.05
    assert proxy_sites.edges(dot)[5:8, 9:12].all()


def test_no_object_no_shadow():
    scene = scene_of(placed(simple_asset("sphere", MATERIALS["diffuse"]), z=-300.0), size=600)
    assert (PathTracer(scene, gbuffer_samples=1).passes(SUN, spp=4).shadow_ratio == 1).all()


def test_mesh_catcher_of_a_large_picture(monkeypatch):
    monkeypatch.setattr(proxy_sites, "_CELLS", 32)
    objects = things().objects
    mesh, plane = (PathTracer(scene_of(*objects, size=96, proxy=p), gbuffer_samples=4) for p in (
        Proxy(slab(3.0)), Proxy()))
    on = (mesh.gbuffers.ground == 1)[0, 0]
    a, b = (t.passes(SUN, seed=2, spp=64).shadow_ratio[0].mean(0)[on] for t in (mesh, plane))
    assert float((a - b).abs().mean()) < 0.02 and float(a.min()) < 0.3


@pytest.mark.parametrize("elevation_deg", [12.0, 41.0, 75.0])
def test_the_ground_receives_of_a_sun_what_it_sends(elevation_deg):
    """Level plane and a mesh, in maps of any size above the coarse one: less than 1 % off the formula."""
    e = math.radians(elevation_deg)
    sun = Source(torch.tensor([math.cos(e) * 0.6, math.sin(e), -math.cos(e) * 0.8]), torch.tensor([3.0, 2.0, 1.0]))
    exact = sun.irradiance * sun.direction[1] / torch.pi
    for rows in (256, 1024):
        envmap = sun.lobe().envmap(rows, 2 * rows)
        torch.testing.assert_close(proxy_sites.plane_light(envmap), exact, rtol=0.01, atol=0)
        level = proxy_sites.Catcher(torch.ones(2), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.8, -0.6]]))
        got = proxy_sites.unshadowed(level, envmap)
        torch.testing.assert_close(got[0], exact, rtol=0.01, atol=0)
        facing = float(torch.tensor([0.0, 0.8, -0.6]) @ sun.direction) / torch.pi
        torch.testing.assert_close(got[1], sun.irradiance * facing, rtol=0.01, atol=0)


def test_pixels_left_out_of_a_recording_have_no_shadow_to_speak_of():
    """Of an even sky: those that lose more than a thousandth (twice that, for the noise) are all looked at."""
    scene = things(32)
    built = build(scene)
    near = proxy_sites.shaded_pixels(built, scene.camera)
    blocked, pixels, lit = Recorder(built, scene.camera, TransportSettings(samples=32)).proxy_map()
    dark = pixels[blocked.sum(1) > 2 * proxy_sites.NEGLIGIBLE * float(lit.sum())]
    assert bool(torch.isin(dark, near).all()) and len(dark) > 100
    far = replace(scene, objects=tuple(placed(o.asset, x=12 * x, z=20.0, height_m=0.2)
                                       for x, o in zip((-0.3, 0.3), scene.objects, strict=True)))
    assert 0 < len(proxy_sites.shaded_pixels(build(far), scene.camera)) < 0.2 * 32 * 32
    assert len(proxy_sites.shaded_pixels(build(replace(scene, objects=())), scene.camera)) == 0
