"""Material descriptions of files -> :class:`Material`: channels split, factors multiplied in, colours linear.

What all formats share; glTF is in ``scene/gltf/materials.py``, MTL in ``scene/wavefront/mtl.py``. An RGB texture on a
scalar slot would be read as luminance by Mitsuba, so every scalar slot gets a 2-D array.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np

from dipir.event import warn
from dipir.image.formats.spaces import ColourSpace, as_values
from dipir.scene.assets.asset import Material
from dipir.scene.assets.files import SRGB_TO_LINEAR

_space: ContextVar[ColourSpace | None] = ContextVar("space of textures", default=None)


@contextlib.contextmanager
def textures_in(space: ColourSpace | None) -> Iterator[None]:
    """Textures that are read in the block are in that colour space; None = sRGB."""
    token = _space.set(space)
    try:
        yield
    finally:
        _space.reset(token)


def linear_rgb(rgba: np.ndarray, factor: Any = (1.0, 1.0, 1.0)) -> np.ndarray:
    """(H, W, 3) float32 linear BT.709, at least 0, from bytes in sRGB or the space of `textures_in`, times a linear
    factor (3,)."""
    space = _space.get()
    if space is None:
        light = SRGB_TO_LINEAR[rgba[..., :3]]
    else:
        # Nothing reflects less than no light: what lies outside of BT.709 becomes its edge.
        light = space.to_light(as_values(rgba[..., :3])).clip(0, None)
    return light * np.asarray(factor, np.float32)


def scalar_map(channel: np.ndarray, factor: float = 1.0, low: float = 0.0) -> tuple[float, np.ndarray | None]:
    """Mean and (H, W) float32 map of one channel of bytes times a factor; no map when it is constant to one level."""
    values = np.clip(channel.astype(np.float32) / 255 * np.float32(factor), low, 1.0)
    return float(values.mean()), values if float(np.ptp(values)) > 1 / 255 + 1e-6 else None


def normal_map(rgba: np.ndarray, scale: float = 1.0) -> np.ndarray | None:
    """(H, W, 3) float32 in [0, 1], +Y, with ``scale`` applied to x and y; None when it is flat."""
    n = rgba[..., :3].astype(np.float32) / 127.5 - 1
    if np.abs(n[..., :2] - n[..., :2].mean((0, 1))).max() < 0.012 and np.abs(n[..., :2].mean((0, 1))).max() < 0.012:
        return None
    n[..., :2] *= np.float32(scale)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-6)
    return n * 0.5 + 0.5


def numbers(value: Any, default: tuple[float, ...]) -> list[float]:
    """``value`` as finite floats of the length of ``default``, or the default (broken files are common)."""
    try:
        numbers = [float(v) for v in value][:len(default)]
    except (TypeError, ValueError):
        return list(default)
    return numbers if len(numbers) == len(default) and np.isfinite(numbers).all() else list(default)


def number(value: Any, default: float) -> float:
    """``value`` as a finite float, or the default."""
    return numbers([value], (default,))[0]


def has_textures(material: Material) -> bool:
    """Whether any slot holds a texture, so that the mesh must have UVs."""
    return any(getattr(material, slot) is not None for slot in
               ("base_color_texture", "roughness_texture", "metallic_texture", "normal_texture", "emission_texture",
                "opacity_texture"))


def untextured(material: Material) -> Material:
    """The material with the means of its textures in their place."""
    slots = ("base_color", "roughness", "metallic", "normal", "emission", "opacity")
    return replace(material, sampling=(), **{f"{slot}_texture": None for slot in slots})


def tinted(material: Material, colors: np.ndarray, notes: list[str]) -> tuple[Material, np.ndarray | None]:
    """Colours of vertices (V, 3), linear: as they are, as the base colour where all are the same, or over a texture as
    one mean, which is said."""
    texture, one = material.base_color_texture, bool(np.ptp(colors, axis=0).max() < 1e-3)
    if one and np.allclose(colors, 1, atol=1e-3):
        return material, None
    if texture is None:
        mean = colors.mean(0) * material.base_color
        return (replace(material, base_color=tuple(float(c) for c in mean)), None) if one else (material, colors)
    if not one:
        notes.append(warn(f"material '{material.name}': colours of vertices over a texture were averaged to one "
                          "colour; bake them into the texture."))
    texture = texture * colors.mean(0).astype(np.float32)
    return replace(material, base_color=tuple(float(c) for c in texture.mean((0, 1))), base_color_texture=texture), None
