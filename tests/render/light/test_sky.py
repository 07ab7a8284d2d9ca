"""dipir.render.light.sky: directions are drawn where they are found again, evenly."""
from __future__ import annotations

import math

import drjit as dr
import pytest
import torch

from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, to_torch
from dipir.render.light.sky import DiscSky, TexelSky


def test_a_direction_drawn_in_a_texel_falls_into_it():
    mi, sky = mitsuba(), TexelSky(8)
    count = 50 * sky.count
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(1, count)
    texel = dr.arange(mi.UInt32, count) % sky.count
    direction = sky.direction(texel, sampler.next_2d())
    found, _ = sky.find(direction)
    solid = sky.solid(texel)
    # On an edge rounding may decide for the neighbour.
    assert (to_torch(found) != to_torch(texel)).float().mean() < 1e-3
    assert float(to_torch(solid)[:sky.count].sum()) == pytest.approx(4 * math.pi, rel=1e-5)
    mean = columns(direction, 3).reshape(50, sky.count, 3).mean(0).cpu()
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
