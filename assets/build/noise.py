"""Procedural texture helpers shared by the demo scripts: periodic noise, normal maps, colour ramps (numpy only)."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw


def fractal(
    shape: tuple[int, int],
    seed: int,
    slope: float = 1.6,
    low: float = 1.0,
    high: float = 1e9,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> np.ndarray:
    """Periodic noise with spectrum f^-slope between ``low`` and ``high`` cycles per image; zero mean, unit deviation.

    ``stretch`` (rows, columns) multiplies the frequencies, so that (1, 8) gives streaks along the columns' axis."""
    h, w = shape
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(h)[:, None] * h * stretch[0]
    fx = np.fft.rfftfreq(w)[None] * w * stretch[1]
    f = np.hypot(fy, fx)
    weight = np.where((f >= low) & (f <= high), np.maximum(f, 1e-6) ** -slope, 0.0)
    weight[0, 0] = 0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * weight, s=shape)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between (low > high falls instead)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, t: np.ndarray) -> np.ndarray:
    """Colours a, b ((3,) or (H, W, 3)) blended by t (H, W)."""
    t = np.asarray(t)[..., None]
    return np.asarray(a, np.float32) * (1 - t) + np.asarray(b, np.float32) * t


def normal_map(height_m: np.ndarray, width_m: float, tall_m: float) -> np.ndarray:
    """(H, W, 3) in [0, 1], OpenGL convention, from a periodic height field in metres over a texture of that size."""
    h, w = height_m.shape
    du = (np.roll(height_m, -1, 1) - np.roll(height_m, 1, 1)) * (w / 2 / width_m)
    dv = (np.roll(height_m, 1, 0) - np.roll(height_m, -1, 0)) * (h / 2 / tall_m)  # Row 0 is the top: v runs upwards.
    n = np.stack([-du, -dv, np.ones_like(du)], -1)
    return (n / np.linalg.norm(n, axis=-1, keepdims=True)) * 0.5 + 0.5


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Periodic Gaussian blur of (H, W), in pixels."""
    h, w = image.shape
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2)), s=(h, w))


def to_srgb(linear: np.ndarray) -> np.ndarray:
    x = np.clip(linear, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-8) ** (1 / 2.4) - 0.055)


def to_linear(srgb) -> np.ndarray:
    x = np.asarray(srgb, np.float32)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def hex_srgb(code: str) -> np.ndarray:
    """'#rrggbb' as sRGB in [0, 1]."""
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)], np.float32) / 255


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W[, 3]) in [0, 1] to ``size`` (width, height)."""
    data = Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)).resize(size, Image.LANCZOS)
    return np.asarray(data, np.float32) / 255


def brush(size: tuple[int, int], strokes) -> np.ndarray:
    """(H, W) in [0, 1]: white where ``strokes(draw, w, h)`` draws; drawn three times side by side so that it wraps."""
    w, h = size
    sheet = Image.new("L", (3 * w, h))
    draw = ImageDraw.Draw(sheet)
    for k in range(3):
        strokes(draw, k * w, w, h)
    return np.asarray(sheet.crop((w, 0, 2 * w, h)), np.float32) / 255


def petal(draw: ImageDraw.ImageDraw, x: float, y: float, length: float, width: float, angle: float) -> None:
    t = np.linspace(0, 1, 24)
    half = width * np.sin(np.pi * t**0.8)
    along, across = np.concatenate([t, t[::-1]]) * length, np.concatenate([half, -half[::-1]])
    c, s = np.cos(angle), np.sin(angle)
    draw.polygon([(x + a * c - b * s, y + a * s + b * c) for a, b in zip(along, across, strict=True)], fill=255)
