"""Meshes made ready to stand in a photo: all materials of one kind, so that every scene runs the same kernel."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.assets.load import load_asset

COLOUR_PX, GRAIN_PX = 256, 128
"""Sides of the textures of colour, and of roughness and metallic: each size compiles a kernel of its own."""


def read_thing(path: Path) -> Asset | None:
    """A mesh whose parts are :func:`plain`; None for one with glass, holes or lamps, which would need kernels and
    shadows of their own. AssetError for a broken file."""
    asset = load_asset(path)
    if not all(is_plain(part.material) for part in asset.parts):
        return None
    return replace(asset, parts=tuple(plain(part) for part in asset.parts))


def is_plain(material: Material) -> bool:
    """Opaque and without light of its own."""
    m = material
    return m.opacity == 1 and m.opacity_texture is None and m.transmission == 0 and not any(m.emission) and (
        m.emission_texture is None)


def plain(part: Part) -> Part:
    """The part with textures for colour, roughness and metallic, whatever it had, and no normal map."""
    m = part.material
    uvs = part.uvs if part.uvs is not None else np.zeros((len(part.vertices), 2), np.float32)
    made = Material(m.name, base_color_texture=_texture(m.base_color_texture, m.base_color, COLOUR_PX),
                    roughness_texture=_texture(m.roughness_texture, m.roughness, GRAIN_PX),
                    metallic_texture=_texture(m.metallic_texture, m.metallic, GRAIN_PX))
    return replace(part, uvs=uvs, material=made)


def _texture(texture: np.ndarray | None, value, side: int) -> np.ndarray:
    """(side, side, 3) or (side, side) float32."""
    if texture is None:
        return np.broadcast_to(np.float32(value), (side, side, *np.shape(value))).copy()
    return cv2.resize(np.ascontiguousarray(texture, np.float32), (side, side), interpolation=cv2.INTER_AREA)


def tinted(rng: np.random.Generator, asset: Asset, share: float) -> Asset:
    """``asset`` with the colours of a ``share`` of its parts changed: another hue, lighter or darker."""
    return replace(asset, parts=tuple(_tinted(rng, p) if rng.random() < share else p for p in asset.parts))


def _tinted(rng: np.random.Generator, part: Part) -> Part:
    gain = np.exp(rng.normal(size=3) * 0.35 + rng.uniform(-0.8, 0.4)).astype(np.float32)
    colour = np.clip(part.material.base_color_texture * gain, 0, 0.9)
    return replace(part, material=replace(part.material, base_color_texture=colour))


def upright(asset: Asset) -> float:
    """How often a thing is chosen, relative to the others: its height over its width, 0.25 to 2."""
    width, height, length = np.ptp(asset.bounds, axis=0)
    return float(np.clip(height / max(width, length, 1e-9), 0.25, 2.0))


def choose(rng: np.random.Generator, things: Sequence[Asset], count: int) -> list[Asset]:
    """``count`` of them, upright ones preferred, each at most once as long as there are enough."""
    if not count:
        return []
    weight = np.array([upright(t) for t in things])
    chosen = rng.choice(len(things), count, replace=count > len(things), p=weight / weight.sum())
    return [things[k] for k in chosen]
