"""Albedo textures drawn with numpy for the procedural panoramas. Everything linear, float32."""
from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

Rng = np.random.Generator
Color = tuple[float, float, float] | np.ndarray
TILE_PX = 256


def fractal(rng: Rng, shape: tuple[int, int], cells: float = 4, octaves: int = 6, gain: float = 0.55) -> np.ndarray:
    """(H, W) multi-scale noise, mean 0 and deviation about 1: octave i has ``cells * 2^i`` cells across."""
    out = np.zeros(shape, np.float32)
    for octave in range(octaves):
        count = [max(2, min(side, round(cells * 2 ** octave * side / max(shape)))) for side in shape]
        grid = rng.standard_normal(count).astype(np.float32)
        out += gain ** octave * cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return out / max(float(out.std()), 1e-6)


def clean(texture: np.ndarray) -> np.ndarray:
    """Albedo within what real materials have."""
    return np.clip(texture, 0.015, 0.9).astype(np.float32)


def jittered(rng: Rng, color: Color, amount: float = 0.15) -> np.ndarray:
    """(3,) a colour of the same family: brightness and hue shifted by a factor."""
    varied = np.asarray(color) * math.exp(rng.normal(0, 2 * amount)) * np.exp(rng.normal(0, 0.4 * amount, 3))
    return np.clip(varied, 0.015, 0.88)


def tinted(rng: Rng, color: Color, amount: float = 0.05) -> np.ndarray:
    """(3,) a colour of light varied in hue, without an upper limit."""
    return np.asarray(color) * np.exp(rng.normal(0, amount, 3))


def random_color(rng: Rng, saturation: float = 0.5, low: float = 0.05, high: float = 0.7) -> np.ndarray:
    """(3,) a colour of random hue; ``saturation`` 0 = grey."""
    value = math.exp(rng.uniform(math.log(low), math.log(high)))
    hue = rng.random(3)
    return np.clip(value * (1 - saturation + saturation * hue / hue.mean()), 0.015, 0.88)


def rough_ground(rng: Rng, color: Color, second: Color, contrast: float = 0.3, size: int = 512) -> np.ndarray:
    """Grass, dirt, sand, asphalt, carpet, plaster: two colours mixed by coarse noise, brightness by fine noise."""
    shape = (size, size)
    mix = 1 / (1 + np.exp(-1.5 * fractal(rng, shape, rng.uniform(2, 6), 5)))[..., None]
    fine = np.exp(contrast * fractal(rng, shape, 40, 4, 0.8) + 0.5 * contrast * fractal(rng, shape, 3, 3))[..., None]
    return clean((mix * np.asarray(color) + (1 - mix) * np.asarray(second)) * fine)


@dataclass(frozen=True)
class Tiling:
    """A pattern of tiles."""

    columns: int = 4  # columns, rows: tiles across one texture
    rows: int = 4
    joint: float = 0.04  # width of the gap as a share of a tile
    offset: float = 0.0  # shift of every other row in tiles
    variation: float = 0.15  # deviation of log brightness between tiles


def tiled(rng: Rng, color: Color, joint_color: Color, tiling: Tiling, size: int = TILE_PX) -> np.ndarray:
    """Paving, bricks, planks, wall tiles: tiles of varied colour with joints between them."""
    y, x = np.meshgrid((np.arange(size) + 0.5) / size * tiling.rows, (np.arange(size) + 0.5) / size * tiling.columns,
                       indexing="ij")
    row = y.astype(int)
    x = x + tiling.offset * (row % 2)
    column = x.astype(int) % tiling.columns
    shade = np.exp(rng.normal(0, tiling.variation, (tiling.rows, tiling.columns, 1))
                   + rng.normal(0, tiling.variation * 0.3, (tiling.rows, tiling.columns, 3)))
    stone = np.asarray(color) * shade[row, column] * np.exp(0.08 * fractal(rng, (size, size), 6, 5))[..., None]
    edge = np.minimum(np.minimum(x % 1, 1 - x % 1) / tiling.columns, np.minimum(y % 1, 1 - y % 1) / tiling.rows)
    gap = edge < tiling.joint / max(tiling.columns, tiling.rows)
    return clean(np.where(gap[..., None], np.asarray(joint_color), stone))


def planks(rng: Rng, color: Color, count: int = 8, size: int = TILE_PX) -> np.ndarray:
    """Wooden boards along v with grain."""
    base = tiled(rng, color, np.asarray(color) * 0.3, Tiling(count, 2, 0.02, 0.0, rng.uniform(0.05, 0.25)), size)
    grain = cv2.resize(fractal(rng, (size // 16, size), 60, 2), (size, size), interpolation=cv2.INTER_LINEAR)
    return clean(base * np.exp(0.12 * grain)[..., None])


def facade(rng: Rng, wall: np.ndarray, bays: int = 4) -> np.ndarray:
    """``bays x bays`` bays of a wall (texture) with windows, frames and blinds."""
    size = TILE_PX
    out = cv2.resize(wall, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    out *= np.exp(0.08 * fractal(rng, (size, size), 4, 5))[..., None]
    cell = size // bays
    width, height = cell * rng.uniform(0.3, 0.85), cell * rng.uniform(0.4, 0.75)
    frame = jittered(rng, (0.5, 0.5, 0.5), 0.3)
    for row in range(bays):
        for column in range(bays):
            x0, y0 = int((column + 0.5) * cell - width / 2), int((row + 0.5) * cell - height / 2)
            x1, y1 = x0 + int(width), y0 + int(height)
            out[y0 - 2:y1 + 2, x0 - 2:x1 + 2] = frame
            dark = rng.random() < 0.75
            out[y0:y1, x0:x1] = jittered(rng, (0.04, 0.05, 0.06) if dark else (0.4, 0.4, 0.36), 0.2)
            out[y0:y1, (x0 + x1) // 2:(x0 + x1) // 2 + 1] = frame
    return clean(out)
