"""Material descriptions of files -> :class:`Material`: channels split, factors multiplied in, colours linear.

What all formats share, and MTL; glTF is in ``scene/gltf/materials.py``. An RGB texture on a scalar slot would be read
as luminance by Mitsuba, so every scalar slot gets a 2-D array.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dipir.scene.assets.asset import ROUGHNESS_MIN, SPECULAR_MIN, Material
from dipir.scene.assets.files import SRGB_TO_LINEAR

# Texture reference -> (H, W, 4) uint8 RGBA.
Fetch = Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Built:
    """material, whether it needs UVs, and remarks for the user."""

    material: Material
    needs_uvs: bool
    notes: tuple[str, ...]


def linear_rgb(rgba: np.ndarray, factor: Any = (1.0, 1.0, 1.0)) -> np.ndarray:
    """(H, W, 3) float32 linear from sRGB bytes, times a linear factor (3,)."""
    return SRGB_TO_LINEAR[rgba[..., :3]] * np.asarray(factor, np.float32)


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


def _unit(values: Any) -> tuple:
    return tuple(float(np.clip(v, 0, 1)) for v in values)


def has_textures(material: Material) -> bool:
    """Whether any slot holds a texture, so that the mesh must have UVs."""
    return any(getattr(material, slot) is not None for slot in
               ("base_color_texture", "roughness_texture", "metallic_texture", "normal_texture", "emission_texture",
                "opacity_texture"))


# --- OBJ MTL ---------------------------------------------------------------------------------------------------

def mtl_material(name: str, entry: dict[str, str], fetch: Fetch) -> Built:
    """Material of one ``newmtl`` block: lower-case keys to the rest of their lines; ``fetch`` takes a map statement.

    Kd is linear (as Blender writes it). Without Pr, Ns gives roughness (2 / (Ns + 2)) ** (1/4), i.e. the Beckmann width
    with the same peak as the Blinn-Phong lobe. A bump map is used when it is a normal map, else ignored with a note.
    """
    notes: list[str] = []
    values = _mtl_color(name, entry, fetch, notes)
    values |= _mtl_surface(entry, fetch)
    values |= _mtl_opacity(entry, fetch)
    emission = np.maximum(_mtl_numbers(entry, "ke", 3, 0.0), 0)
    if "map_ke" in entry:
        texture = linear_rgb(fetch(entry["map_ke"]), emission if emission.any() else (1, 1, 1))
        values |= {"emission": tuple(float(v) for v in texture.mean((0, 1))), "emission_texture": texture}
    else:
        values["emission"] = tuple(float(v) for v in emission)
    for key in ("norm", "map_bump", "bump", "map_kn"):
        if key in entry:
            rgba = fetch(entry[key])
            mean = rgba[..., :3].reshape(-1, 3).mean(0)
            if mean[2] > 170 and mean[2] > mean[:2].max() + 30:
                values["normal_texture"] = normal_map(rgba)
            else:
                notes.append(f"material '{name}': {key} is a height map, not a normal map, and was ignored.")
            break
    material = Material(name=name, double_sided=True, **values)
    return Built(material, has_textures(material), tuple(notes))


def _mtl_numbers(entry: dict[str, str], key: str, count: int, default: float) -> np.ndarray:
    """The leading numbers of a statement; one number stands for all (``Kd 0.5``)."""
    words = entry.get(key, "").split()[:count]
    try:
        numbers = [float(w) for w in words]
    except ValueError:
        numbers = [float(words[0])] if _is_number(words[0]) else []
    numbers = numbers if numbers and np.isfinite(numbers).all() else [default]
    return np.array((numbers * count)[:count])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _mtl_color(name: str, entry: dict[str, str], fetch: Fetch, notes: list[str]) -> dict:
    factor = np.clip(_mtl_numbers(entry, "kd", 3, 1.0 if "map_kd" in entry else 0.5), 0, 1)
    if "map_kd" not in entry:
        return {"base_color": _unit(factor)}
    if not factor.any():
        notes.append(f"material '{name}': Kd is black although map_Kd is given; the map was used as it is.")
        factor = np.ones(3)
    texture = linear_rgb(fetch(entry["map_kd"]), factor)
    return {"base_color": _unit(texture.mean((0, 1))), "base_color_texture": texture}


def _mtl_surface(entry: dict[str, str], fetch: Fetch) -> dict:
    shininess = max(_mtl_numbers(entry, "ns", 1, 20.0)[0], 0.0)
    roughness = _mtl_numbers(entry, "pr", 1, (2 / (shininess + 2)) ** 0.25)[0]
    values: dict = {"roughness": float(np.clip(roughness, ROUGHNESS_MIN, 1)),
                    "metallic": float(np.clip(_mtl_numbers(entry, "pm", 1, 0.0)[0], 0, 1)),
                    "specular": float(np.clip(_mtl_numbers(entry, "ks", 3, 0.5).mean(), SPECULAR_MIN, 1))}
    for key, slot, low in (("map_pr", "roughness", ROUGHNESS_MIN), ("map_pm", "metallic", 0.0)):
        if key in entry:
            values[slot], values[f"{slot}_texture"] = scalar_map(fetch(entry[key])[..., 0], 1.0, low)
    return values


def _mtl_opacity(entry: dict[str, str], fetch: Fetch) -> dict:
    opacity = _mtl_numbers(entry, "d", 1, 1 - _mtl_numbers(entry, "tr", 1, 0.0)[0])[0]
    opacity = float(np.clip(opacity, 0, 1))
    if "map_d" not in entry:
        return {"opacity": opacity}
    rgba = fetch(entry["map_d"])
    channel = rgba[..., 3] if rgba[..., 3].min() < 255 else rgba[..., 0]
    value, texture = scalar_map(channel, opacity)
    return {"opacity": value, "opacity_texture": texture}
