"""Random materials over the whole principled range: even, patterned, worn and bumpy ones, dielectrics and metals."""
from __future__ import annotations

import colorsys

import numpy as np

from dipir.image.color import srgb_to_linear_array
from dipir.scene.assets.asset import Material


def random_color(rng: np.random.Generator) -> np.ndarray:
    """(3,) linear BT.709 colour: near-white, near-black or grey in 12 % each, else random in hue, saturation, value."""
    kind = rng.random()
    if kind < 0.36:
        low, high = ((0.85, 0.95), (0.01, 0.12), (0.15, 0.8))[int(kind / 0.12)]
        display = rng.uniform(low, high) + rng.uniform(-0.03, 0.03, 3)
    else:
        display = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 1.0), rng.uniform(0.15, 1.0)))
    return np.clip(srgb_to_linear_array(np.clip(display, 0, 1)), 0.003, 0.95)


def random_material(rng: np.random.Generator, name: str = "random") -> Material:
    """Metal in 25 %, mixed in 5 %; base colour textured in 40 %, roughness in 20 %, normals in 25 %. Roughness is even
    over its range; reflectance of dielectrics over its range in 30 %, near that of index 1.5 otherwise."""
    kind = rng.random()
    metallic = 0.0 if kind < 0.7 else 1.0 if kind < 0.95 else float(rng.uniform(0.05, 0.95))
    color, texture = random_color(rng), None
    if rng.random() < 0.4:
        texture = random_texture(rng, color, random_color(rng))
        color = texture.reshape(-1, 3).mean(0)
    roughness, roughness_texture = float(rng.uniform(0.05, 1.0)), None
    if rng.random() < 0.2:
        other = float(rng.uniform(0.05, 1.0))
        roughness_texture = (roughness + random_pattern(rng) * (other - roughness)).astype(np.float32)
        roughness = float(roughness_texture.mean())
    specular = float(rng.uniform(0.02, 1.0) if rng.random() < 0.3 else rng.uniform(0.35, 0.65))
    normals = bumps(random_pattern(rng), float(np.exp(rng.uniform(-1.2, 1.2)))) if rng.random() < 0.25 else None
    return Material(name, tuple(float(c) for c in color), roughness=roughness, metallic=metallic, specular=specular,
                    base_color_texture=texture, roughness_texture=roughness_texture, normal_texture=normals)


def random_texture(rng: np.random.Generator, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, N, 3) float32 linear: a random pattern of two colours."""
    return (first + random_pattern(rng)[..., None] * (second - first)).astype(np.float32)


def random_pattern(rng: np.random.Generator) -> np.ndarray:
    """(N, N) in [0, 1], N in 64..128: checker, stripes, soft noise or spots; seamless."""
    size, kind = int(rng.choice([64, 96, 128])), int(rng.integers(4))
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
    if kind == 0:
        count = 2 * int(rng.integers(1, 5))
        return (np.floor(x * count) + np.floor(y * count)) % 2
    if kind == 1:
        a, b = ((1, 0), (0, 1), (1, 1), (1, -1))[int(rng.integers(4))]
        wave = np.sin(2 * np.pi * int(rng.integers(2, 10)) * (a * x + b * y))
        return np.clip(0.5 + wave * rng.choice([0.5, 8.0]), 0, 1)
    return _tile_noise(rng, size) if kind == 2 else _spots(rng, x, y)


def bumps(height: np.ndarray, strength: float) -> np.ndarray:
    """(N, N, 3) float32 in [0, 1], OpenGL convention: the normal map of a seamless relief (N, N) in [0, 1]; the root
    mean square of its slopes is ``strength`` / 4."""
    for axis in range(2):
        height = (np.roll(height, 1, axis) + 2 * height + np.roll(height, -1, axis)) / 4
    slope_x, slope_y = ((np.roll(height, -1, axis) - np.roll(height, 1, axis)) / 2 for axis in (1, 0))
    scale = strength / 4 / max(float(np.sqrt((slope_x**2 + slope_y**2).mean())), 1e-9)
    # Rows run down the texture, its second axis up.
    normal = np.stack([-slope_x * scale, slope_y * scale, np.ones_like(height)], -1)
    return (normal / np.linalg.norm(normal, axis=-1, keepdims=True) * 0.5 + 0.5).astype(np.float32)


def _tile_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise with a falling spectrum, periodic because it is filtered by the Fourier transform; stretched to [0, 1]."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) * size] * 2)) + 1.0
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / frequency ** rng.uniform(1.0, 2.2)
    noise = np.fft.ifft2(spectrum).real
    return np.clip(0.5 + (noise - noise.mean()) / (4 * noise.std()), 0, 1)


def _spots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    mix = np.zeros_like(x)
    for cx, cy, radius in zip(rng.random(24), rng.random(24), rng.uniform(0.03, 0.12, 24), strict=True):
        dx, dy = (np.abs(d - c) for d, c in ((x, cx), (y, cy)))
        distance = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
        mix = np.maximum(mix, np.clip((radius - distance) * 40 + 0.5, 0, 1))
    return mix
