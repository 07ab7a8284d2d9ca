"""Spherical Gaussians, maps, fusion, dominant direction, export."""
from __future__ import annotations

import json
import math

import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.scene.light import (
    EnvironmentMap,
    SphericalGaussians,
    azimuth_elevation_deg,
    bright_region,
    dominant_direction,
    fibonacci_sphere,
    fit_gaussians,
    fuse,
    fusion_weight,
    towards,
)


def random_light(sigma: float, count: int = 5, seed: int = 0) -> SphericalGaussians:
    g = torch.Generator().manual_seed(seed)
    axes, colours = torch.randn(count, 3, generator=g), torch.rand(count, 3, generator=g) + 0.1
    return SphericalGaussians.of(axes, colours, torch.full((count,), sigma))


def energy(envmap: torch.Tensor) -> torch.Tensor:
    return (envmap * latlong.solid_angles(*envmap.shape[:2])[..., None]).sum((0, 1))


@pytest.mark.parametrize("sigma", [0.0023, 0.0101, 0.03, 0.1, 0.4, 1.0, 1.9])
@pytest.mark.parametrize("height", [8, 16, 64, 128, 512])
def test_no_energy_is_lost(sigma, height):
    light = random_light(sigma)
    torch.testing.assert_close(energy(light.envmap(height, 2 * height)), light.energy.sum(0), rtol=1e-4, atol=0)


def test_energy_formula_against_quadrature():
    light = random_light(0.3, count=1)
    cos = torch.linspace(-1, 1, 400001, dtype=torch.float64)
    integral = 2 * math.pi * torch.trapezoid(torch.exp((cos - 1) / 0.3**2), cos)
    torch.testing.assert_close(light.energy[0].double(), integral * light.amplitude[0].double(), rtol=1e-5, atol=0)


def test_wide_lobes_equal_pointwise_radiance():
    light = random_light(0.6)
    exact = light.radiance(latlong.directions(64, 128))
    torch.testing.assert_close(light.envmap(64, 128), exact, rtol=0.03, atol=0.01)


def test_parameters_are_bounded_and_round_trip():
    raw = SphericalGaussians(torch.randn(4, 3), torch.randn(4, 3) * 50, torch.tensor([-1e4, -3.0, 3.0, 1e4]))
    assert (raw.sigma >= 0.0019).all() and (raw.sigma <= 2.01).all() and (raw.amplitude >= 0).all()
    assert torch.equal(SphericalGaussians.from_parameters(raw.parameters("x"), "x").axis, raw.axis)


@pytest.mark.parametrize("elevation_deg", [89.9, 60.3, 41.0, 2.0])
@pytest.mark.parametrize("turn_deg", [0.0, 0.35, 179.99])
def test_a_sun_in_a_map_stands_where_it_is(elevation_deg, turn_deg):
    """On a texel's border, at the pole and at the seam: energy, direction and width of the sun's disc in 512 rows."""
    e, a = math.radians(elevation_deg), math.radians(turn_deg)
    axis = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), -math.cos(a) * math.cos(e)])
    envmap = SphericalGaussians.of(axis[None], torch.full((1, 3), 7e4), torch.tensor([0.0023])).envmap(512, 1024)
    weight = (envmap[..., :1] * latlong.solid_angles(512, 1024)[..., None]).double()
    rays = latlong.directions(512, 1024, torch.float64)
    total, moment = weight.sum(), (weight * rays).sum((0, 1))
    assert float(total) == pytest.approx(2 * math.pi * 0.0023**2 * 7e4, rel=1e-3)
    spacing = math.pi / 512
    assert float((moment / moment.norm() - axis).norm()) < 0.05 * spacing
    width = (weight[..., 0] * (rays - axis).square().sum(-1)).sum() / total / 2
    assert float(width.sqrt()) < 0.85 * spacing


def test_lobes_are_split_joined_and_widened():
    sun = SphericalGaussians.of(torch.tensor([[0.0, 1.0, 1.0]]), torch.full((1, 3), 7e4), torch.tensor([0.0023]))
    both = random_light(0.3).joined(sun)
    wide, sharp = both.split(0.01)
    assert len(wide.sigma) == len(both.sigma) - 1 and torch.equal(sharp.raw_width, sun.raw_width)
    assert random_light(0.3).split(0.01)[1] is None and sun.split(0.01)[0] is None
    spread = both.widened(0.02)
    assert float(spread.sigma.min()) == pytest.approx(0.02, rel=1e-3)
    torch.testing.assert_close(spread.energy, both.energy, rtol=1e-3, atol=0)


def test_a_sun_survives_light_json():
    sun = SphericalGaussians.of(torch.tensor([[0.3, 0.6, -0.7]]), torch.full((1, 3), 7e4), torch.tensor([0.0023]))
    again = SphericalGaussians.from_dict(json.loads(json.dumps(sun.to_dict())))
    torch.testing.assert_close(again.energy, sun.energy, rtol=1e-4, atol=0)
    torch.testing.assert_close(again.sigma, sun.sigma, rtol=1e-4, atol=0)
    assert float(again.mu[0] @ sun.mu[0]) > 1 - 1e-6


def test_a_light_of_an_older_version_means_the_same():
    """Widths were bounded at 0.01 then; files hold sharpness, not what the width is made of."""
    lobe = {"axis": [0.0, 0.8, -0.6], "sharpness": 9000.0, "sigma": 0.010541, "colour": [900.0, 800.0, 700.0]}
    light = SphericalGaussians.from_dict({"kind": "spherical_gaussians", "lobes": [lobe]})
    assert float(light.sigma) == pytest.approx(9000**-0.5, rel=1e-4)
    torch.testing.assert_close(light.amplitude, torch.tensor([[900.0, 800.0, 700.0]]), rtol=1e-4, atol=0)


def test_gradient_against_finite_differences():
    light = random_light(0.3, count=3)
    values = [t.double().requires_grad_() for t in (light.axis, light.log_amplitude, light.raw_width)]
    weight = torch.rand(8, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    def loss(*v):
        return (SphericalGaussians(*v).envmap(8, 16) * weight).sum()
    assert torch.autograd.gradcheck(loss, values, eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("log_amplitude", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("raw_width", [-20.0, 0.0, 20.0])
def test_gradients_stay_finite_over_decades(log_amplitude, raw_width):
    light = SphericalGaussians(*(t.requires_grad_() for t in (
        torch.randn(2, 3), torch.full((2, 3), log_amplitude), torch.full((2,), raw_width))))
    light.envmap(16, 32).sum().backward()
    assert all(t.grad.isfinite().all() for t in (light.axis, light.log_amplitude, light.raw_width))


def test_uniform_light_is_nearly_constant():
    envmap = SphericalGaussians.uniform(torch.tensor([1.0, 2.0, 3.0])).envmap(16, 32)
    torch.testing.assert_close(envmap, torch.tensor([1.0, 2.0, 3.0]).expand(16, 32, 3), rtol=0.05, atol=0)


@pytest.mark.parametrize("size", [(8, 16), (16, 32), (24, 48), (40, 80)])
def test_environment_map_keeps_energy_at_any_size(size):
    data = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(2)) + 0.5
    torch.testing.assert_close(energy(EnvironmentMap(data).envmap(*size)), energy(data), rtol=0.01, atol=0)


@pytest.mark.parametrize("direction, azimuth, elevation", [((0, 0, -1), 0, 0), ((-1, 0, 0), 90, 0), ((0, 0, 1), 180, 0),
                                                           ((1, 0, 0), -90, 0), ((0, 1, 0), None, 90)])
def test_azimuth_convention(direction, azimuth, elevation):
    a, e = azimuth_elevation_deg(torch.tensor(direction, dtype=torch.float32))
    assert e == pytest.approx(elevation, abs=1e-3)
    assert azimuth is None or abs(a) == pytest.approx(abs(azimuth), abs=1e-3)
    if azimuth is not None and abs(azimuth) == 90:
        assert a == pytest.approx(azimuth, abs=1e-3)


def test_a_bright_region_goes_on_across_the_seam():
    """Half of the peak is in it, less is not, and neither is what is apart."""
    lum = torch.full((8, 16), 0.1)
    lum[3, 0], lum[3, 15], lum[3, 14], lum[3, 7] = 1.0, 0.5, 0.4, 0.9
    assert bright_region(lum).nonzero().tolist() == [[3, 0], [3, 15]]
    assert bool(bright_region(torch.ones(4, 8)).all())


@pytest.mark.parametrize("axis", [(0.3, 0.5, -0.8), (0.02, 0.3, -1.0), (-0.02, 0.3, -1.0), (0.0, 1.0, 0.05)])
def test_dominant_direction_across_seam_and_pole(axis):
    axis = torch.tensor(axis)
    axes = torch.stack([axis, torch.tensor([0.0, -1.0, 0.0])])
    light = SphericalGaussians.of(axes, torch.tensor([[9.0] * 3, [0.5] * 3]), torch.tensor([0.15, 1.0]))
    assert float(dominant_direction(light.envmap(64, 128)) @ (axis / axis.norm())) > math.cos(math.radians(1.5))


def test_fusion_schedules():
    """By hand; the adaptive one does not look at the time but at the maps."""
    a, b = torch.ones(4, 8, 3), 3 * torch.ones(4, 8, 3)
    def at(kind, x, other=b):
        return fusion_weight(kind, x, a, other)
    assert [at("linear", x) for x in (0, 0.3, 1)] == [0, 0.3, 1] and at("none", 1) == 0
    assert [at("step", x) for x in (0, 0.49, 0.5, 1)] == [0, 0, 1, 1]
    assert at("exponential", 0) == 0 and at("exponential", 1) == 1 and 0.07 < at("exponential", 0.5) < 0.08
    assert at("adaptive", 0) == pytest.approx(1 / 3) == at("adaptive", 1) and at("adaptive", 0, a) == pytest.approx(1)
    assert at("adaptive", 1, torch.zeros(4, 8, 3)) == 0


def test_fuse_ends():
    a, b = (random_light(0.4, seed=s).envmap(16, 32) for s in (1, 2))
    torch.testing.assert_close(fuse(a, b, 0.0), a)
    torch.testing.assert_close(fuse(a, a, 1.0), a)
    # A peak of both survives; a foreground peak that the shadow map denies is weakened towards it.
    peak = int(a.sum(-1).argmax())
    denied = fuse(a, a * 0.01, 1.0).reshape(-1, 3)[peak]
    assert (denied < 0.995 * a.reshape(-1, 3)[peak]).all()


def test_fit_gaussians_keeps_irradiance():
    """A sky with one small window: the irradiance of every normal within a few percent."""
    target = torch.full((16, 32, 3), 0.2)
    target[4:6, 10:12] = 20.0
    found = fit_gaussians(target).envmap(16, 32)
    weight = latlong.solid_angles(16, 32)[..., None].expand(16, 32, 1).reshape(-1)
    cosine = (fibonacci_sphere(100) @ latlong.directions(16, 32).reshape(-1, 3).T).clamp_min(0) * weight
    torch.testing.assert_close(cosine @ found.reshape(-1, 3), cosine @ target.reshape(-1, 3), rtol=0.08, atol=0.02)
    assert float(dominant_direction(found) @ dominant_direction(target)) > math.cos(math.radians(4))


def test_json_round_trip_and_foreign_files():
    light = random_light(0.3)
    again = SphericalGaussians.from_dict(json.loads(json.dumps(light.to_dict())))
    torch.testing.assert_close(again.envmap(16, 32), light.envmap(16, 32), rtol=1e-3, atol=1e-4)
    for bad in ({}, {"lobes": []}, {"lobes": [{"axis": [0, 1], "colour": [1, 1, 1], "sharpness": 3}]},
                {"lobes": [{"axis": [0, 1, 0], "colour": [float("nan"), 1, 1], "sharpness": 3}]}):
        with pytest.raises(ConfigError, match="lobes"):
            SphericalGaussians.from_dict(bad)


@pytest.mark.parametrize("azimuth, elevation", [(0, 0), (90, 30), (-150, -60), (180, 10)])
def test_towards_is_the_inverse_of_the_angles(azimuth, elevation):
    found = azimuth_elevation_deg(towards(azimuth, elevation))
    assert (found[0] - azimuth + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    assert found[1] == pytest.approx(elevation, abs=1e-3)


@pytest.mark.parametrize("change", [
    {"axis": [0, 0, 0]}, {"axis": [10**400, 0, 1]}, {"axis": [1e-30, 0, 0]}, {"sharpness": None}, {"colour": [1, 2]},
    {"colour": [math.inf, 1, 1]}, {"axis": "x"}, {"sharpness": -1}, {"colour": [-1, 1, 1]}])
def test_lobes_that_are_none(change):
    data = SphericalGaussians.uniform(torch.ones(3), 2).to_dict()
    data["lobes"][1] |= change
    with pytest.raises(ConfigError, match="not a light of ours"):
        SphericalGaussians.from_dict(data)


def test_sharpness_is_one_number_a_lobe():
    data = SphericalGaussians.uniform(torch.ones(3), 2).to_dict()
    for lobe in data["lobes"]:
        lobe["sharpness"] = []
    with pytest.raises(ConfigError, match="not a light of ours"):
        SphericalGaussians.from_dict(data)
