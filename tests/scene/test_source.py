"""dipir.scene.source: strength on the ground, by hand and by integrals; size of the sun."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.image import latlong
from dipir.scene.source import SUN_SIGMA, Source, ground_irradiance, ground_irradiances

EVEN = torch.full((16, 32, 3), 0.5)


def source(elevation_deg: float = 30.0, irradiance=(3.0, 2.0, 1.0), sigma: float = SUN_SIGMA) -> Source:
    e = math.radians(elevation_deg)
    return Source(torch.tensor([0.0, math.sin(e), -math.cos(e)]), torch.tensor(irradiance), sigma)


def test_the_suns_width_has_the_second_moment_of_its_disc():
    """Mean square angle of a disc of 0.533 degrees against that of the lobe, by quadrature."""
    angle = torch.linspace(0, 0.05, 200001, dtype=torch.float64)
    lobe = torch.exp((angle.cos() - 1) / SUN_SIGMA**2) * angle.sin()
    radius = math.radians(0.533 / 2)
    assert float((lobe * angle**2).sum() / lobe.sum()) == pytest.approx(radius**2 / 2, rel=0.03)
    assert source().disc_rad == pytest.approx(radius, rel=0.015)


@pytest.mark.parametrize("sigma", [SUN_SIGMA, 0.02, 0.1])
def test_the_lobe_has_the_irradiance_as_its_energy(sigma):
    torch.testing.assert_close(source(sigma=sigma).lobe().energy[0], torch.tensor([3.0, 2.0, 1.0]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("up", [None, (0.0, 1.0, 0.0), (0.0, 0.6, -0.8), (0.6, 0.8, 0.0)])
def test_an_even_sky_gives_any_ground_pi(up):
    got = ground_irradiance(EVEN, None if up is None else torch.tensor(up))
    torch.testing.assert_close(got, torch.full((3,), 0.5 * math.pi), rtol=2e-3, atol=0)


def test_tilted_ground_sees_the_maps_own_integral():
    light = torch.rand(64, 128, 3, generator=torch.Generator().manual_seed(0))
    up = torch.nn.functional.normalize(torch.tensor([0.3, 0.8, -0.4]), dim=0)
    exact = ((latlong.directions(64, 128) @ up).clamp_min(0)[..., None] * light
             * latlong.solid_angles(64, 128)[..., None]).sum((0, 1))
    torch.testing.assert_close(ground_irradiance(light, up), exact, rtol=1e-4, atol=0)
    both = ground_irradiances(torch.stack([light, 2 * light]), up)
    torch.testing.assert_close(both, torch.stack([exact, 2 * exact]), rtol=1e-4, atol=0)


def test_share_by_hand():
    """Irradiance 2 from 30 degrees puts 1 on level ground, beside pi / 2 of the sky; 2 on ground that faces it."""
    sun = source(irradiance=(2.0, 2.0, 2.0))
    assert sun.ground_share(EVEN) == pytest.approx(1 / (1 + math.pi / 2), rel=1e-4)
    assert sun.ground_share(EVEN, sun.direction) == pytest.approx(2 / (2 + math.pi / 2), rel=2e-3)
    assert source(-10).ground_share(EVEN) == 0


@pytest.mark.parametrize("up", [None, torch.tensor([0.0, 0.8, -0.6])])
def test_a_wanted_share_is_had_and_the_colour_kept(up):
    made = source().with_ground_share(EVEN, 0.78, up)
    assert made.ground_share(EVEN, up) == pytest.approx(0.78, rel=1e-4)
    torch.testing.assert_close(made.irradiance / made.irradiance[0], torch.tensor([1.0, 2 / 3, 1 / 3]))


@pytest.mark.parametrize("up", [None, torch.tensor([0.0, 0.8, -0.6])])
def test_shared_out_light_leaves_the_ground_as_bright(up):
    sun = source()
    made, rest = sun.shared_out(EVEN, 0.6, up)
    def level(one, around):
        cosine = one.direction[1] if up is None else one.direction @ up
        return float((one.irradiance * cosine + ground_irradiance(around, up)) @ torch.tensor([0.2126, 0.7152, 0.0722]))
    assert level(made, rest) == pytest.approx(level(sun, EVEN), rel=1e-4)
    assert made.ground_share(rest, up) == pytest.approx(0.6, rel=1e-4)


def test_what_a_person_is_told():
    assert source().describe() == "a sun from azimuth 0, elevation 30"
    assert source(sigma=0.1).describe().startswith("a lamp or window")
