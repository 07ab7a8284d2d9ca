"""dipir.image.latlong against closed forms of the sphere."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.image import latlong

AXES = [((0.0, 0.0, -1.0), (0.0, 0.5)), ((1.0, 0.0, 0.0), (0.25, 0.5)),
        ((0.0, 0.0, 1.0), (0.5, 0.5)), ((-1.0, 0.0, 0.0), (0.75, 0.5))]


@pytest.mark.parametrize("axis, where", AXES)
def test_the_convention_of_the_axes(axis, where):
    """u = 0 is -Z, 0.25 is +X, 0.5 is +Z, 0.75 is -X (dipir/arrays.py)."""
    u, v = latlong.uv(torch.tensor(axis))
    assert (float(u), float(v)) == pytest.approx(where, abs=1e-6)


def test_poles():
    assert float(latlong.uv(torch.tensor([0.0, 2.0, 0.0]))[1]) == 0 and float(
        latlong.uv(torch.tensor([0.0, -1.0, 0.0]))[1]) == pytest.approx(1)


def test_directions_and_uv_are_inverse():
    d = latlong.directions(12, 24, torch.float64)
    assert torch.allclose(d.norm(dim=-1), torch.ones(12, 24, dtype=torch.float64))
    u, v = latlong.uv(d)
    torch.testing.assert_close(u * 24 - 0.5, torch.arange(24, dtype=torch.float64).expand(12, 24), atol=1e-9, rtol=0)
    torch.testing.assert_close(v * 12 - 0.5, torch.arange(12.0, dtype=torch.float64)[:, None].expand(12, 24), atol=1e-9,
                               rtol=0)


def test_solid_angles_and_plane_weights_are_exact():
    """4 pi over the sphere; cos / pi over the sky is 1, over the cap of the first row sin^2 of its edge."""
    assert float(latlong.solid_angles(7, 14, torch.float64).sum() * 14) == pytest.approx(4 * math.pi)
    weights = latlong.plane_weights(8, 16).double()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6) and float(weights[4:].abs().max()) == 0
    assert float(weights[0].sum()) == pytest.approx(math.sin(math.pi / 8) ** 2, abs=1e-6)


def test_lookup_is_exact_at_texels_and_wraps():
    env = torch.rand(6, 12, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(latlong.sample(env, latlong.directions(6, 12)), env, atol=1e-5, rtol=0)
    seam = torch.tensor([0.0, 0.0, -1.0])  # Between the last column and the first, rows 2 and 3.
    torch.testing.assert_close(latlong.sample(env, seam), (env[2:4, 0] + env[2:4, -1]).sum(0) / 4, atol=1e-5, rtol=0)


@pytest.mark.parametrize("yaw", [0.0, 90.0, -30.0, 360.0])
def test_turning_the_map_turns_the_light(yaw):
    """+Z moves towards +X: the map seen in a turned direction is the old one in the direction itself."""
    env = torch.rand(6, 12, 3, generator=torch.Generator().manual_seed(1))
    a = math.radians(yaw)
    turn = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    d = latlong.directions(6, 12)
    torch.testing.assert_close(latlong.sample(latlong.rotate_yaw(env, yaw), d @ turn.T), env, atol=1e-4, rtol=0)


def test_reduction_keeps_the_energy_and_refuses_other_sizes():
    env = torch.rand(12, 24, 3, generator=torch.Generator().manual_seed(2))
    small = latlong.resize(env, 4, 8)
    for e, (h, w) in ((env, (12, 24)), (small, (4, 8))):
        e_total = (e * latlong.solid_angles(h, w)[..., None]).sum((0, 1))
        torch.testing.assert_close(e_total, (env * latlong.solid_angles(12, 24)[..., None]).sum((0, 1)))
    with pytest.raises(ValueError, match="not a multiple"):
        latlong.resize(env, 5, 10)
