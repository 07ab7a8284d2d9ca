"""Dressed plates obey what light does: shadows fall away from the sun and keep the rest's light; energy is kept."""
from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from dipir.image import latlong
from dipir.workshop.light.batches import directions
from dipir.workshop.light.dressing import (
    Lit,
    Painted,
    dressed,
    irradiance,
    looked_up,
    open_share,
    pooled,
    seen_from,
    sun_share,
)
from dipir.workshop.light.props import BOX, ELLIPSOID, NONE
from tests.support.light_sets import UP, lit, solids, unit

ROWS, COLUMNS, HEIGHT_M = 24, 32, 1.5
POLE = solids((BOX, (0.0, 1.5, 5.0), (0.12, 1.5, 0.12)))
NOTHING = solids((NONE, (0, 0, 0), (1, 1, 1)))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def grid(x: tuple[float, float], z: tuple[float, float]) -> torch.Tensor:
    a, b = (torch.linspace(*r, n) for r, n in ((x, COLUMNS), (z, ROWS)))
    return torch.stack(torch.meshgrid(a, b, indexing="xy"), -1)


def picture(rays: torch.Tensor, props=NOTHING, light: Lit | None = None, level: float = 0.3, **more):
    plate = torch.full((1, 3, *rays.shape[1:3]), level)
    return dressed(plate, rays, torch.tensor([HEIGHT_M]), props, light or lit(unit(90, 35)), generator(), **more)


def view(pitch_deg: float = 15.0) -> torch.Tensor:
    return directions(torch.tensor([[60.0, pitch_deg, 0.0]]), COLUMNS, ROWS)


def test_without_things_a_crop_stays_as_it_is() -> None:
    plate = torch.rand(1, 3, ROWS, COLUMNS, generator=generator())
    out, mask = dressed(plate, view(), torch.tensor([HEIGHT_M]), NOTHING, lit(unit(40, 30)), generator())
    torch.testing.assert_close(out, plate, rtol=1e-5, atol=1e-6)
    assert not bool(mask.any())


@pytest.mark.parametrize("azimuth_deg", [90, -90, 180, 30])
def test_a_shadow_falls_away_from_the_sun_and_keeps_the_light_of_the_rest(azimuth_deg: float) -> None:
    """A pole, 3 metres high, and a sun 35 degrees high: 2 to 3.6 metres behind it the ground has only the rest's
    light; on the side towards the sun nothing is taken."""
    light = lit(unit(azimuth_deg, 35))
    toward = unit(azimuth_deg, 0)[[0, 2]]
    side = torch.stack([toward[1], -toward[0]])
    along = torch.linspace(2.0, 3.6, COLUMNS)
    across = torch.linspace(-0.04, 0.04, ROWS)
    foot = torch.tensor([0.0, 5.0])
    direct = 3.0 * math.sin(math.radians(35))
    expected = math.pi / (math.pi + direct)
    def kept(sign: float) -> torch.Tensor:
        points = foot + sign * along[None, :, None] * toward + across[:, None, None] * side
        # From straight above, so that the pole hides none of them.
        rays = torch.cat([points[..., :1], -50 + 0 * points[..., :1], points[..., 1:]], -1)
        rays = functional.normalize(rays, dim=-1)
        out, mask = dressed(torch.full((1, 3, ROWS, COLUMNS), 0.3), rays[None], torch.tensor([50.0]), POLE, light,
                            generator())
        assert not bool(mask.any())
        return out / 0.3
    shadow, lit_side = kept(-1.0), kept(1.0)
    # The pole also hides a little of the sky.
    assert float(shadow.mean()) == pytest.approx(expected, abs=0.02) and shadow.max() < expected + 2e-3
    assert float(lit_side.mean()) > 0.97 and lit_side.max() <= 1 + 1e-5


def test_an_even_environment_leaves_a_diffuse_thing_with_its_albedo_times_the_radiance() -> None:
    ball = solids((ELLIPSOID, (0.0, 2.0, 5.0), (1.0, 1.0, 1.0)), colour=0.6)
    out, mask = picture(view(0.0), ball, lit(unit(0, 40), strength=0.0, level=2.0))
    seen = out[0][:, mask[0, 0]]
    assert seen.shape[1] > 20
    torch.testing.assert_close(seen, torch.full_like(seen, 0.6 * 2.0), rtol=0.01, atol=0)


def test_a_thing_in_the_sun_has_lamberts_radiance() -> None:
    """The face of a box that looks at the camera, the sun in the camera's back."""
    light = lit(unit(180, 25), strength=4.0, level=1.0)
    box = solids((BOX, (0.0, 1.5, 5.0), (2.0, 1.4, 0.5)), colour=0.5)
    out, mask = picture(view(0.0), box, light)
    expected = 0.5 / math.pi * (4.0 * math.cos(math.radians(25)) + math.pi)
    middle = out[0, :, 8:14, 12:20]
    assert bool(mask[0, 0, 8:14, 12:20].all())
    torch.testing.assert_close(middle, torch.full_like(middle, expected), rtol=0.01, atol=0)


def test_a_mirror_shows_what_is_behind_the_camera() -> None:
    rest = torch.ones(1, 64, 128, 3)
    rest[:, 28:37, :8], rest[:, 28:37, -8:] = 7.0, 7.0  # u = 0 is -Z
    light = Lit(rest, unit(0, 50)[None], torch.zeros(1, 3), torch.tensor([0.004]))
    out, _ = picture(view(0.0), solids((BOX, (0.0, 1.5, 5.0), (2.0, 1.5, 0.5)), gloss=1.0), light)
    assert float(out[0, 0, 11:13, 15:17].mean()) == pytest.approx(7.0, rel=1e-4)


def test_below_a_slab_it_is_dark_and_far_from_it_as_bright_as_ever() -> None:
    slab = solids((BOX, (0.0, 0.4, 5.0), (2.0, 0.05, 2.0)))
    even = lit(unit(0, 40), strength=0.0)
    def kept(x, z):
        points = grid(x, z)
        point = torch.cat([points[..., :1], 0.002 + 0 * points[..., :1], points[..., 1:]], -1).reshape(1, -1, 3)
        normal = torch.tensor(UP).expand_as(point)
        return open_share(slab, even, point, normal, generator())
    assert kept((-0.3, 0.3), (4.7, 5.3)).mean() < 0.06
    assert kept((7, 8), (4.7, 5.3)).mean() > 0.97
    # At the edge half of the sky is left.
    assert float(kept((1.99, 2.01), (4.8, 5.2)).mean()) == pytest.approx(0.5, abs=0.05)


def test_the_edge_of_a_wide_source_is_soft() -> None:
    """A point from which the upper edge of a wall stands before the middle of the source sees half of it."""
    wall = solids((BOX, (0.0, 1.0, 4.0), (50.0, 1.0, 0.1)))
    source = lit(unit(0, math.degrees(math.atan2(2.0, 1.9))), sigma=0.05)
    point = torch.zeros(1, 4000, 3) + torch.tensor([0.0, 0.0, 2.0])
    assert float(sun_share(wall, source, point, generator()).mean()) == pytest.approx(0.5, abs=0.05)
    assert sun_share(wall, lit(unit(0, 30), sigma=0.05), point, generator()).max() == 0
    assert sun_share(wall, lit(unit(0, 60), sigma=0.05), point, generator()).min() == 1


def test_painted_ground_is_lit_by_the_same_light() -> None:
    light, rays = lit(unit(60, 30), strength=2.0), view(40.0)
    albedo = torch.full((1, ROWS * COLUMNS, 3), 0.25)
    out, _ = picture(rays, NOTHING, light, painted=Painted(albedo, torch.tensor([True])))
    expected = 0.25 / math.pi * (2.0 * 0.5 + math.pi)
    torch.testing.assert_close(out, torch.full_like(out, expected), rtol=0.01, atol=0)
    same, _ = picture(rays, NOTHING, light, painted=Painted(albedo, torch.tensor([False])))
    torch.testing.assert_close(same, torch.full_like(same, 0.3))


# -------------------------------------------------------------------------------------------------- what it is made of
def test_irradiance_of_known_maps() -> None:
    """Under 1 + y it is pi (1 + 2/3 n.y)."""
    rest = (1 + latlong.directions(64, 128)[..., 1:2]).expand(-1, -1, 3)[None]
    light = Lit(rest, unit(0, 40)[None], torch.zeros(1, 3), torch.tensor([0.004]))
    normal = functional.normalize(torch.randn(1, 50, 3, generator=generator()), dim=-1)
    expected = math.pi * (1 + 2 / 3 * normal[..., 1:2]).expand(-1, -1, 3)
    torch.testing.assert_close(irradiance(light, normal), expected, rtol=0.01, atol=0.01)


def test_pooled_is_resize_and_lookup_takes_the_texel() -> None:
    maps = torch.rand(2, 64, 128, 3, generator=generator())
    for whole, small in zip(maps, pooled(maps, 16, 32), strict=True):
        torch.testing.assert_close(small, latlong.resize(whole, 16, 32))
    rays = latlong.directions(64, 128).reshape(1, -1, 3).expand(2, -1, -1)
    assert torch.equal(looked_up(maps, rays), maps.flatten(1, 2))


# ------------------------------------------------------------------------------------------------ the light at a place
def test_a_wall_between_a_place_and_the_sun_takes_it_away() -> None:
    place = torch.tensor([[0.0, 0.02, 3.0]])
    light = lit(unit(0, 30), strength=5.0)
    wall = solids((BOX, (0.0, 2.0, 5.0), (3.0, 2.0, 0.2)), colour=0.5)
    behind = solids((BOX, (0.0, 2.0, 1.0), (3.0, 2.0, 0.2)), colour=0.5)
    bare, reached = seen_from(NOTHING, light, place, generator())
    assert float(reached) == 1
    torch.testing.assert_close(bare, pooled(light.rest, 16, 32))
    around, reached = seen_from(wall, light, place, generator())
    assert float(reached) == 0
    # Its side towards the place is in its own shadow, that of a wall behind the place is in the sun.
    row, ahead, back = 6, 16, 0
    sky = 0.8 * 1.0
    assert float(around[0, row, ahead, 0]) == pytest.approx(0.5 * sky, rel=0.02)
    around, reached = seen_from(behind, light, place, generator())
    assert float(reached) == 1
    sunny = 0.5 / math.pi * 5.0 * math.cos(math.radians(30)) + 0.5 * sky
    assert float(around[0, row, back, 0]) == pytest.approx(sunny, rel=0.02)
    assert float(around[0, row, ahead, 0]) == pytest.approx(1.0)
