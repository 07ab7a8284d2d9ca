"""The camera of the composites: curves with known values, clipping, noise of the stated size, shared exposure."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.image.color import linear_to_srgb
from dipir.workshop.insertion.photo import (
    SENSOR,
    PhotoConfig,
    Response,
    Shooting,
    grade,
    jpeg,
    random_gains,
    random_shooting,
)


def test_the_plain_camera_is_srgb_clipped_in_steps_of_eight_bits() -> None:
    ramp = torch.linspace(0, 2, 3 * 8 * 8).reshape(3, 8, 8)
    photo = Shooting().photo(ramp, np.random.default_rng(0))
    torch.testing.assert_close(photo, (linear_to_srgb(ramp.clamp(0, 1)) * 255).round() / 255, atol=1e-6, rtol=0)


def test_a_soft_shoulder_bends_where_it_should() -> None:
    """Below the knee nothing changes; above it 1 - (1 - k) exp(-(x - k) / (1 - k)), whose slope at the knee is 1."""
    response = Response(knee=0.5)
    levels = torch.tensor([0.2, 0.5, 1.0, 2.0])
    expected = torch.tensor([0.2, 0.5, 1 - 0.5 * math.exp(-1), 1 - 0.5 * math.exp(-3)])
    got = response(levels.expand(1, 3, 4))[0, 0]
    torch.testing.assert_close(got, linear_to_srgb(expected), atol=1e-5, rtol=0)
    assert response.white == SENSOR and Response().white == 1


@pytest.mark.parametrize("seed", range(8))
def test_every_curve_rises_and_keeps_black_and_grey(seed: int) -> None:
    rng = np.random.default_rng(seed)
    response = random_shooting(rng, PhotoConfig(response=1.0)).response
    grey = response(torch.linspace(0, 1, 200).expand(1, 3, 200))
    assert grey[..., 0].abs().max() == 0 and (grey[0, 0].diff() >= -1e-6).all() and 0.8 < grey[0, 0, -1] <= 1
    torch.testing.assert_close(grey[0, 0], grey[0, 2], atol=1e-5, rtol=0)


def test_contrast_and_gamma_by_hand() -> None:
    middle = torch.full((3, 1, 1), 0.214041)  # 0.5 in display values
    torch.testing.assert_close(Response(gamma=2.0)(middle), torch.full((3, 1, 1), 0.25), atol=1e-4, rtol=0)
    quarter = torch.full((3, 1, 1), 0.050876)  # 0.25; the S-curve 3 x^2 - 2 x^3 gives 0.15625
    torch.testing.assert_close(Response(contrast=0.5)(quarter), torch.full((3, 1, 1), 0.203125), atol=1e-4, rtol=0)


def test_noise_has_the_stated_variance() -> None:
    level = 0.25
    camera = Shooting(Response(), read=0.01, shot=4e-4)
    photo = camera.photo(torch.full((3, 64, 64), level), np.random.default_rng(0))
    slope = 1.055 / 2.4 * level ** (1 / 2.4 - 1)
    expected = slope * math.sqrt(0.01**2 + 4e-4 * level)
    assert float(photo.std()) == pytest.approx(expected, rel=0.05)


def test_jpeg_keeps_flat_colour_and_channel_order() -> None:
    colour = torch.tensor([0.8, 0.4, 0.2])[:, None, None].expand(3, 64, 64)
    torch.testing.assert_close(jpeg(colour, 90), colour, atol=0.02, rtol=0)
    noise = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    assert (jpeg(noise, 20) - noise).square().mean() > 2 * (jpeg(noise, 95) - noise).square().mean()


def test_saturation_keeps_luminance_and_grey() -> None:
    x = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    def luminance(t):
        return torch.einsum("c,chw->hw", torch.tensor([0.2126, 0.7152, 0.0722]), t)
    torch.testing.assert_close(luminance(grade(x, 1.4)), luminance(x), atol=1e-5, rtol=0)
    assert torch.allclose(grade(x, 0.0)[0], grade(x, 0.0)[2], atol=1e-6)
    gains = torch.tensor([2.0, 0.5, 1.0])
    torch.testing.assert_close(grade(x, 1.0, gains), x * gains[:, None, None], atol=1e-6, rtol=0)
    torch.testing.assert_close(grade(x, 1.4, gains), grade(x, 1.4) * gains[:, None, None], atol=1e-6, rtol=0)
    assert grade(torch.tensor([1.0, 0.0, 0.0])[:, None, None], 1.5).min() == 0


def test_gains_centre_on_an_automatic_exposure() -> None:
    rng = np.random.default_rng(0)
    plate = torch.rand(3, 32, 32) * 5
    plain = PhotoConfig(stops=0.0, balance=0.0)
    for scale in (0.01, 100.0):
        gains = torch.stack([random_gains(rng, plate * scale, plain) for _ in range(20)]) * scale
        assert 0.02 < gains.min() and gains.max() < 2
    assert random_shooting(np.random.default_rng(4)) == random_shooting(np.random.default_rng(4))
