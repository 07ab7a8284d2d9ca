"""Skies and suns for the procedural panoramas, drawn with numpy. Radiance in any unit; exposure is set at the end."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dipir.workshop.worlds import textures

Rng = np.random.Generator


def sky_directions(height: int, width: int) -> np.ndarray:
    """(H, W, 3) unit vectors of the texel centres, convention of dipir/arrays.py."""
    v = (np.arange(height) + 0.5)[:, None] / height * np.pi
    u = (np.arange(width) + 0.5)[None] / width * 2 * np.pi
    return np.stack([np.sin(u) * np.sin(v), np.broadcast_to(np.cos(v), (height, width)), -np.cos(u) * np.sin(v)], -1)


@dataclass(frozen=True)
class SkyStyle:
    """One sky. Horizontal irradiance of the sky alone is scaled to ``level``; sun added by the renderer."""

    sun: np.ndarray  # unit vector
    haze: float = 0.2  # 0 clear ... 1 white
    clouds: float = 0.0  # cover in [0, 1]
    glow: float = 1.0  # strength of the aureole
    dusk: float = 0.0  # 0 day ... 1 coloured horizon around the sun
    level: float = 1.0  # irradiance of the sky on the ground
    hole_rad: float = 0.0  # radius of the gap that clouds leave around the sun, 0 = none


def cloud_cover(rng: Rng, directions: np.ndarray, cover: float) -> np.ndarray:
    """(H, W) opacity of a cloud layer: noise on a plane above, seen in perspective, thicker towards the horizon."""
    up = np.maximum(directions[..., 1], 0.0) + 0.12
    noise = textures.fractal(rng, (512, 512), rng.uniform(4, 14), 7, rng.uniform(0.5, 0.65))
    x, z = (directions[..., 0] / up * 30 + 256) % 511, (directions[..., 2] / up * 30 + 256) % 511
    value = cv2.remap(noise, x.astype(np.float32), z.astype(np.float32), cv2.INTER_LINEAR)
    threshold = float(np.quantile(noise, 1 - np.clip(cover, 0.01, 0.999)))
    opacity = np.clip((value - threshold) / rng.uniform(0.3, 1.0), 0, 1)
    return (opacity * np.clip(directions[..., 1] / 0.05, 0, 1)).astype(np.float32)


def sky(rng: Rng, style: SkyStyle, height: int = 128, width: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """(radiance (H, W, 3), cloud opacity (H, W)): gradient, aureole, dusk colours and clouds, in the manner of the
    five-term luminance distributions (Perez, Seats, Michalsky 1993) with hand-set colours."""
    d = sky_directions(height, width)
    up = np.clip(d[..., 1], 0.02, 1)[..., None]
    cos_gamma = np.clip(d @ style.sun, -1, 1)[..., None]
    gamma = np.arccos(cos_gamma)
    # ---- clear air: gradient, aureole ----
    haze = style.haze
    zenith = (1 - haze) * textures.tinted(rng, (0.13, 0.3, 0.78), 0.06) + haze * np.array([0.75, 0.8, 0.88])
    horizon = (1 - haze) * textures.tinted(rng, (0.6, 0.78, 1.05), 0.05) + haze * np.array([0.85, 0.88, 0.92])
    band = np.exp(-up * rng.uniform(3, 7))
    color = zenith * (1 - band) + horizon * band * (1.4 - 0.7 * haze)
    warm = np.array([1.0, 0.95, 0.85]) * (1 - style.dusk) + np.array([1.0, 0.5, 0.2]) * style.dusk
    aureole = 0.8 * np.exp(-2.2 * gamma) + 3 * np.exp(-8 * gamma) + 12 * np.exp(-28 * gamma)
    color = color + style.glow * aureole * warm
    # ---- dusk ----
    side = 0.5 + 0.5 * cos_gamma
    afterglow = np.exp(-up * rng.uniform(4, 9)) * side ** 3
    color = color * (1 - 0.6 * style.dusk * (1 - side))
    color = color + style.dusk * 3 * afterglow * textures.tinted(rng, (1.0, 0.45, 0.18), 0.12)
    # ---- clouds ----
    opacity = cloud_cover(rng, d, style.clouds) if style.clouds > 0 else np.zeros((height, width), np.float32)
    if style.hole_rad > 0:
        opacity = opacity * (1 - np.exp(-(gamma[..., 0] / style.hole_rad) ** 2))
    shade = np.exp(0.25 * textures.fractal(rng, (height, width), 6, 4))[..., None] * rng.uniform(0.5, 1.3)
    cloud = shade * (0.8 + style.glow * (1.2 * np.exp(-2 * gamma) + 2.5 * np.exp(-7 * gamma)) * warm)
    cloud = cloud * (np.array([1, 1, 1]) * (1 - 0.7 * style.dusk) + 0.7 * style.dusk * np.array([1.0, 0.6, 0.5]))
    color = color * (1 - opacity[..., None]) + cloud * opacity[..., None]
    # ---- the stated irradiance ----
    weight = np.clip(d[..., 1], 0, 1) * np.sin((np.arange(height) + 0.5)[:, None] / height * np.pi)
    mean = float((color.mean(-1) * weight).sum()) * 2 * np.pi ** 2 / (height * width)
    color = color * (style.level / mean)
    # Below the horizon: what lies beyond the modelled ground, dim, so that no bright rim shows under the hills.
    color = np.where(d[..., 1:2] < 0, style.level / np.pi * 0.2, color)
    return color.astype(np.float32), opacity


def direction(azimuth_rad: float, elevation_deg: float) -> np.ndarray:
    """(3,) unit vector; azimuth from -Z towards +X."""
    e = math.radians(elevation_deg)
    return np.array([math.sin(azimuth_rad) * math.cos(e), math.sin(e), -math.cos(azimuth_rad) * math.cos(e)])


def direct_sun(rng: Rng, elevation_deg: float, ratio: float) -> np.ndarray:
    """(3,) irradiance facing the sun over the sky's horizontal one: ``ratio`` is sun : sky on the ground at 50 degrees,
    elsewhere dimmed and reddened by the air mass (Kasten, Young 1989)."""
    tau = np.array([0.07, 0.13, 0.26]) * rng.uniform(0.7, 1.4)

    def transmittance(degrees: float) -> np.ndarray:
        mass = 1 / (math.sin(math.radians(degrees)) + 0.50572 * (degrees + 6.07995) ** -1.6364)
        return np.exp(-tau * mass)
    return ratio / math.sin(math.radians(50)) * transmittance(elevation_deg) / transmittance(50).mean()


def daylight(rng: Rng) -> tuple[np.ndarray, dict[str, Any] | None, str]:
    """(sky radiance, sun or None, name): clear, hazy, partly cloudy, overcast, dusk with or without the sun up."""
    name = str(rng.choice(["clear", "hazy", "partly", "overcast", "dusk"], p=[0.22, 0.15, 0.24, 0.25, 0.14]))
    elevation = rng.uniform(3, 12) if name == "dusk" else rng.triangular(5, 48, 80)
    sun = direction(rng.uniform(0, 2 * math.pi), elevation)
    ratio = {"clear": rng.uniform(3, 8), "hazy": rng.uniform(0.5, 2.5), "partly": rng.uniform(2.5, 7),
             "overcast": 0.0, "dusk": rng.uniform(2, 8)}[name]
    low = max(0.0, 1 - elevation / 15)
    style = SkyStyle(
        sun, haze={"clear": rng.uniform(0, 0.3), "hazy": rng.uniform(0.5, 0.95), "overcast": rng.uniform(0.85, 1)}.get(
            name, rng.uniform(0.05, 0.4)),
        clouds={"partly": rng.uniform(0.15, 0.65), "overcast": rng.uniform(0.4, 1.0), "dusk": rng.uniform(0, 0.6)}.get(
            name, float(rng.random() < 0.4) * rng.uniform(0, 0.12)),
        glow={"clear": rng.uniform(0.3, 1.2), "hazy": rng.uniform(1.5, 4), "overcast": rng.uniform(0, 0.8)}.get(
            name, rng.uniform(0.5, 2)),
        dusk=max(low * rng.uniform(0.4, 1), rng.uniform(0.5, 1) if name == "dusk" else 0.0),
        hole_rad=rng.uniform(0.05, 0.25) if rng.random() < 0.75 else 0.0)
    radiance, opacity = sky(rng, style)
    row = min(int((90 - elevation) / 180 * len(radiance)), len(radiance) // 2 - 1)
    column = int(math.atan2(sun[0], -sun[2]) / (2 * math.pi) % 1 * radiance.shape[1])
    ratio *= math.exp(-5 * float(opacity[row, column]))
    if ratio < 0.05 or (name == "dusk" and rng.random() < 0.3):
        return radiance, None, name
    return radiance, {"direction": sun, "irradiance": direct_sun(rng, elevation, ratio)}, name
