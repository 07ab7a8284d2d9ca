"""Skies and suns: stated irradiance, gaps in clouds, colour of low suns."""
from __future__ import annotations

import math

import numpy as np
import pytest

from dipir.workshop.worlds import skies


@pytest.mark.parametrize("level", [0.01, 1.0])
def test_sky_has_the_stated_irradiance_and_is_brightest_at_the_sun(level):
    sun = skies.direction(1.0, 40)
    style = skies.SkyStyle(sun, haze=0.1, glow=1.0, level=level)
    radiance, _ = skies.sky(np.random.default_rng(0), style, 64, 128)
    d = skies.sky_directions(64, 128)
    omega = np.sin((np.arange(64) + 0.5) / 64 * np.pi)[:, None] * 2 * np.pi ** 2 / (64 * 128)
    assert (radiance.mean(-1) * np.clip(d[..., 1], 0, 1) * omega).sum() == pytest.approx(level, rel=0.01)
    peak = d.reshape(-1, 3)[radiance.mean(-1).argmax()]
    assert math.degrees(math.acos(min(1.0, float(peak @ sun)))) < 4


def test_cloud_hole_frees_the_sun():
    sun = skies.direction(2.0, 50)
    opacity = [skies.sky(np.random.default_rng(3), skies.SkyStyle(sun, clouds=0.95, hole_rad=hole))[1]
               for hole in (0.0, 0.3)]
    near = skies.sky_directions(128, 256) @ sun > math.cos(0.05)
    assert opacity[0][near].mean() > 0.5 > 0.05 > opacity[1][near].mean()


def test_direct_sun_keeps_its_ratio_and_reddens_when_low():
    high, low = (skies.direct_sun(np.random.default_rng(0), e, 5.0) for e in (50, 4))
    assert high.mean() * math.sin(math.radians(50)) == pytest.approx(5.0)
    assert low.mean() < 0.6 * high.mean() and low[0] / low[2] > 2 * high[0] / high[2]
