"""Environments and their one source: energy, direction and width are kept, an even sky has none."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.image import latlong
from dipir.scene.source import SUN_SIGMA, Source
from dipir.workshop.light.places import FAINT, STRONG, Places, hardness, plain_ground, split
from tests.support.light_sets import angle_deg, drawn, sky_with_sun, unit

STRENGTH = torch.tensor([9.0, 8.0, 6.0])


def _energy(env: torch.Tensor) -> torch.Tensor:
    return (env * latlong.solid_angles(*env.shape[:2])[..., None]).sum((0, 1))


@pytest.mark.parametrize("rows", [256, 200])  # The second is no multiple of 64.
@pytest.mark.parametrize("azimuth_deg, elevation_deg, sigma", [(30, 40, 0.02), (-120, 12, 0.012), (179, 70, 0.02)])
def test_a_sun_is_found_and_taken_out(rows: int, azimuth_deg: float, elevation_deg: float, sigma: float) -> None:
    true = Source(unit(azimuth_deg, elevation_deg), STRENGTH, sigma)
    envmap = sky_with_sun(rows, true)
    rest, found = split(envmap)
    assert rest.shape == (64, 128, 3)
    torch.testing.assert_close(_energy(rest) + found.irradiance, _energy(envmap), rtol=2e-4, atol=0)
    torch.testing.assert_close(found.irradiance, STRENGTH, rtol=0.02, atol=0)
    assert angle_deg(found.direction, true.direction) < 0.3
    # Texels widen the lobe: the second moment of the map is what is to be found.
    energy = (envmap - 1).mean(-1) * latlong.solid_angles(rows, 2 * rows)
    moment = float((energy * (1 - latlong.directions(rows, 2 * rows) @ true.direction)).sum() / energy.sum())
    assert found.sigma == pytest.approx(math.sqrt(moment), rel=0.05) and sigma < found.sigma < 1.5 * sigma
    # A lobe has flanks beyond the reach of five degrees.
    assert (rest - 1).abs().max() < 3e-4 * envmap.max(), "nothing of the sun stays behind"


def test_a_width_is_at_least_that_of_the_sun() -> None:
    envmap = torch.ones(1024, 2048, 3)
    envmap[300, 77] = 1e6
    assert split(envmap)[1].sigma == SUN_SIGMA


def test_an_even_sky_has_no_source() -> None:
    rest, found = split(torch.full((128, 256, 3), 0.7))
    assert found.irradiance.abs().max() == 0 and found.ground_share(rest) == 0
    torch.testing.assert_close(rest, torch.full((64, 128, 3), 0.7))
    sky = 0.5 + 0.5 * latlong.directions(128, 256)[..., 1:2].expand(-1, -1, 3)
    rest, found = split(sky)
    assert found.ground_share(rest) < 0.01
    torch.testing.assert_close(_energy(rest) + found.irradiance, _energy(sky), rtol=1e-4, atol=1e-5)


def test_of_two_suns_the_brighter_one_is_taken() -> None:
    strong, weak = Source(unit(80, 30), STRENGTH, 0.02), Source(unit(-60, 45), 0.3 * STRENGTH, 0.02)
    envmap = sky_with_sun(256, strong) + weak.lobe().envmap(256, 512)
    rest, found = split(envmap)
    assert angle_deg(found.direction, strong.direction) < 0.3
    torch.testing.assert_close(_energy(rest), _energy(torch.ones(256, 512, 3)) + weak.irradiance, rtol=0.02, atol=0)


def test_hardness_is_a_ramp() -> None:
    given = torch.tensor([0.0, FAINT, (FAINT + STRONG) / 2, STRONG, 1.0])
    torch.testing.assert_close(hardness(given), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))


def test_places_hold_what_split_found() -> None:
    source = Source(unit(30, 40), STRENGTH, 0.02)
    maps = [sky_with_sun(128, source), torch.full((64, 128, 3), 0.5)]
    places = Places.of(maps, 128)
    assert len(places) == 2 and places.padded.shape == (2, 3, 128, 258) and places.padded.dtype == torch.half
    for k, envmap in enumerate(maps):
        rest, found = split(envmap)
        assert torch.equal(places.rest[k], rest) and torch.equal(places.irradiance[k], found.irradiance)
        assert float(places.share[k]) == pytest.approx(found.ground_share(rest))
    # By hand: the even sky gives pi, the source its cosine.
    own = STRENGTH @ torch.tensor([0.2126, 0.7152, 0.0722]) * math.sin(math.radians(40))
    assert float(places.share[0]) == pytest.approx(float(own / (own + math.pi)), rel=0.02) and places.share[1] == 0
    wide = places.padded[0].float()
    assert torch.equal(wide[..., 0], wide[..., -2]) and torch.equal(wide[..., -1], wide[..., 1])
    torch.testing.assert_close(wide[..., 1:-1].permute(1, 2, 0), maps[0], rtol=2e-3, atol=2e-3)


def test_radiance_that_half_precision_cannot_hold_is_limited_in_the_picture_alone() -> None:
    envmap = torch.ones(64, 128, 3)
    envmap[16, 40] = 1e6
    places = Places.of([envmap], 64)
    assert places.padded.max() == 60000 and bool(torch.isfinite(places.padded).all())
    expected = (1e6 - 1) * float(latlong.solid_angles(64, 128)[16, 0])
    assert float(places.irradiance[0, 1]) == pytest.approx(expected, rel=0.01)


def test_pure_skies_have_no_ground() -> None:
    smooth = (0.5 + 0.4 * latlong.directions(128, 256)).permute(2, 0, 1)
    rough = smooth * (1 + 0.3 * torch.rand(1, 128, 256, generator=torch.Generator().manual_seed(0)))
    assert bool(plain_ground(smooth)) and not bool(plain_ground(rough))


def test_every_other_drawn_place_has_a_sun() -> None:
    assert (drawn(6, seed=0).share > FAINT).tolist() == [True, False] * 3
