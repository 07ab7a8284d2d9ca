"""dipir.render.transport_record: texels and directions agree; the recorded plane is the exact one."""
from __future__ import annotations

import math

import drjit as dr
import pytest
import torch

from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, to_torch
from dipir.render.mitsuba_scene import build
from dipir.render.transport_record import DiscSky, Recorder, TransportSettings
from tests.support.scenes import sphere_scene


@pytest.fixture(scope="module")
def recorder():
    scene = sphere_scene(size=16)
    return Recorder(build(scene), scene.camera, TransportSettings(env_height=8, samples=2, bsdf_samples=2))


def test_a_direction_drawn_in_a_texel_falls_into_it(recorder):
    mi = mitsuba()
    count = 50 * recorder.texels
    sampler = recorder.sampler(count, "test")
    texel = dr.arange(mi.UInt32, count) % recorder.texels
    direction = recorder.sky.direction(texel, sampler.next_2d())
    found, _ = recorder.sky.find(direction)
    solid = recorder.sky.solid(texel)
    # On an edge rounding may decide for the neighbour.
    assert (to_torch(found) != to_torch(texel)).float().mean() < 1e-3
    assert float(to_torch(solid)[:recorder.texels].sum()) == pytest.approx(4 * math.pi, rel=1e-5)
    mean = columns(direction, 3).reshape(50, recorder.texels, 3).mean(0).cpu()
    centre = latlong.directions(8, 16).reshape(-1, 3)
    assert float((torch.nn.functional.normalize(mean, dim=1) * centre).sum(1).min()) > math.cos(math.radians(8))


@pytest.mark.parametrize("radius_rad", [0.0046, 0.1])
def test_a_disc_is_drawn_evenly_and_found_again(radius_rad):
    """Mean direction, mean square angle and solid angle of a small cap; what is beside it is not found."""
    mi, axis = mitsuba(), torch.nn.functional.normalize(torch.tensor([-0.6, 0.5, 0.3]), dim=0)
    disc, count = DiscSky(axis, radius_rad), 20000
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(0, count)
    drawn = disc.direction(mi.UInt32(0), sampler.next_2d())
    found = to_torch(mi.Float(dr.select(disc.find(drawn)[1], 1.0, 0.0)))
    assert float(found.mean()) > 0.998
    rays = columns(drawn, 3).double().cpu()
    square = (rays - axis).square().sum(1)
    assert float(square.mean()) == pytest.approx(radius_rad**2 / 2, rel=0.02)
    assert float((torch.nn.functional.normalize(rays.mean(0), dim=0) - axis).norm()) < 0.02 * radius_rad
    assert disc.steradian == pytest.approx(2 * math.pi * (1 - math.cos(radius_rad)), rel=1e-6)
    beside = mi.Vector3f(*(float(v) for v in torch.nn.functional.normalize(axis + torch.tensor([0, 2 * radius_rad, 0]),
                                                                           dim=0)))
    assert not dr.any(disc.find(beside)[1])
    assert float(disc.plane_weights()) == pytest.approx(disc.steradian * 0.5 / math.sqrt(0.7) / math.pi, rel=1e-3)


def test_what_the_plane_receives_is_exact_and_what_is_blocked_is_a_part_of_it(recorder):
    blocked, pixels, lit = recorder.proxy_map()
    torch.testing.assert_close(lit.cpu(), latlong.plane_weights(8, 16).reshape(-1))
    assert 0 < len(pixels) < 256 and float(blocked.min()) >= 0
    # A pixel's samples that miss the plane block nothing; jitter within a texel leaves its weight.
    assert bool((blocked.cpu() <= lit.cpu() * (1 + 1e-5)).all())


def test_the_object_reflects_no_more_than_it_receives(recorder):
    """Row sums are the colour under a sky of 1: that of the paint (0.7, 0.4, 0.2), and a little white gloss."""
    maps, pixels = recorder.object_map()
    total = maps.sum(2)
    assert len(pixels) == len(maps) and bool((pixels.diff() > 0).all())
    assert float(total.min()) > 0 and float(total.max()) < 1
    red, green, blue = total.median(0).values.tolist()
    assert 0.7 / 0.4 > red / green > 0.95 * 0.7 / 0.4 and 0.4 / 0.2 > green / blue > 0.9 * 0.4 / 0.2
