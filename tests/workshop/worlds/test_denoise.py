"""Filters of noisy renderings: energy, lights and textures stay, noise goes."""
from __future__ import annotations

import pytest
import torch

from dipir.image import latlong
from dipir.workshop.worlds.denoise import Hits, Surface, denoise_panorama, denoise_plate, pixel_means, remove_fireflies


# ----------------------------------------------------------------------------------------------------------- panoramas
def test_fireflies_are_spread_with_their_energy_and_lights_stay():
    panorama = torch.full((16, 32, 3), 0.2)
    panorama[5, 31] = 40.0
    panorama[9, 3] = 40.0
    panorama[12, 8] = 40.0
    error = torch.full((16, 32), 0.01)
    error[5, 31] = error[9, 3] = 30.0
    light = torch.zeros(16, 32, dtype=torch.bool)
    light[9, 3] = True
    out = remove_fireflies(panorama, error, light)
    assert out[5, 31].max() < 0.5
    assert torch.equal(out[9, 3], panorama[9, 3]) and torch.equal(out[12, 8], panorama[12, 8])
    assert torch.allclose((out * latlong.solid_angles(16, 32)[..., None]).sum(),
                          (panorama * latlong.solid_angles(16, 32)[..., None]).sum(), rtol=1e-5)


def flat_surface(light=None, albedo=None):
    normal = torch.zeros(16, 32, 3)
    normal[..., 1] = 1
    none = torch.zeros(16, 32, dtype=torch.bool)
    return Surface(none if light is None else light, torch.full((16, 32, 3), 0.5) if albedo is None else albedo, normal,
                   torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0, 1]))


def test_denoise_removes_noise_keeps_mean_texture_and_lights():
    generator = torch.Generator().manual_seed(1)
    albedo = 0.1 + 0.8 * torch.rand(16, 32, 1, generator=generator).expand(16, 32, 3)
    truth = 2.0 * (albedo + 0.02)
    noise = 0.3 * truth * torch.randn(16, 32, 1, generator=generator)
    light = torch.zeros(16, 32, dtype=torch.bool)
    light[3, 3] = True
    noisy = truth + noise
    noisy[3, 3] = 100.0
    out = denoise_panorama(noisy, (0.3 * truth).mean(-1), flat_surface(light, albedo))
    assert torch.equal(out[3, 3], noisy[3, 3])
    rest = ~light
    assert ((out - truth) / truth)[rest].std() < 0.3 * 0.3
    assert (out / truth)[rest].mean() == pytest.approx((noisy / truth)[rest].mean().item(), abs=0.05)


def test_denoise_leaves_a_shadow_edge_that_is_certain():
    panorama = torch.full((16, 32, 3), 1.0)
    panorama[:, 16:] = 0.1
    out = denoise_panorama(panorama, torch.full((16, 32), 1e-3), flat_surface())
    assert torch.allclose(out, panorama, atol=1e-4)


# -------------------------------------------------------------------------------------------------------------- plates
def test_a_firefly_is_bounded_and_even_light_is_kept():
    paths = torch.ones(1, 4, 4, 8, 3)
    assert torch.equal(pixel_means(paths)[0], torch.ones(1, 3, 4, 4)) and pixel_means(paths)[1].max() == 0
    paths[0, 1, 2, 5] = 1000.0
    mean, _ = pixel_means(paths)
    assert mean[0, :, 1, 2].tolist() == pytest.approx([(7 + 6) / 8] * 3)


def test_the_filter_smooths_noise_but_not_texture_or_edges():
    h, w = 24, 32
    generator = torch.Generator().manual_seed(1)
    normal = torch.tensor([0.0, 1.0, 0.0]).expand(h, w, 3).clone()
    normal[:, w // 2:] = torch.tensor([1.0, 0.0, 0.0])
    y, x = torch.meshgrid(torch.arange(h) * 1.0, torch.arange(w) * 1.0, indexing="ij")
    point = torch.stack([x, 0 * x, y], -1)
    point[:, w // 2:] = torch.stack([0 * x, x, y], -1)[:, w // 2:]
    albedo = (0.2 + 0.6 * ((x + y) % 2))[..., None].expand(h, w, 3)
    light = torch.where(x < w // 2, 1.0, 3.0)
    hits = Hits(torch.ones(h, w), point, normal, albedo, torch.zeros(h, w, dtype=torch.bool))
    truth = (albedo + 0.02).permute(2, 0, 1) * light
    noisy = truth * (1 + 0.2 * torch.randn(2, 1, h, w, generator=generator))
    out = denoise_plate(noisy, (0.2 * truth.mean(0)).expand(2, h, w), hits)
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    before, after = (((z - truth) / truth)[inner].square().mean().sqrt() for z in (noisy, out))
    assert after < 0.4 * before
