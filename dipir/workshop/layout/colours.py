"""Colours of the layout pictures: a word's colour varied so little that the word stays right, and walls."""
from __future__ import annotations

import numpy as np
import torch

from dipir.image.color import linear_to_srgb, srgb_to_linear_array


def coloured(rng: np.random.Generator, display: np.ndarray, vary: bool = True) -> np.ndarray:
    """(..., 3) display sRGB -> (..., 3) linear reflectance; varied a little in brightness, hue and saturation."""
    linear = srgb_to_linear_array(display)
    if not vary:
        return linear
    shape = linear.shape[:-1]
    brightness, hue = (np.clip(rng.normal(0, scale, (*shape, channels)), -2 * scale, 2 * scale)
                       for scale, channels in ((0.08, 1), (0.05, 3)))
    linear = linear * np.exp(brightness + hue)
    pale = rng.uniform(0, 0.06, (*shape, 1))
    return np.clip(linear * (1 - pale) + pale * linear.mean(-1, keepdims=True), 0.003, 0.95)


def wall_colours(rng: np.random.Generator, things: np.ndarray, there: np.ndarray, tries: int = 3) -> np.ndarray:
    """(B, 3) muted linear colours, each the one of ``tries`` that is farthest from the colours of the things before
    it, (B, n, 3) linear, of which those count that are ``there``, (B, n)."""
    count = len(things)
    hue = rng.uniform(0, 2 * np.pi, (count, tries, 1)) + np.array([0, 2, 4]) * np.pi / 3
    chroma, value = rng.uniform(0, 0.12, (count, tries, 1)), rng.uniform(0.3, 0.85, (count, tries, 1))
    display = np.clip(value * (1 + chroma * np.cos(hue)), 0, 1)
    apart = np.linalg.norm(display[:, :, None] - _display(things)[:, None], axis=-1)
    apart = np.where(there[:, None], apart, np.inf).min(-1)
    return srgb_to_linear_array(display[np.arange(count), apart.argmax(1)])


def _display(linear: np.ndarray) -> np.ndarray:
    return linear_to_srgb(torch.from_numpy(linear)).numpy()
