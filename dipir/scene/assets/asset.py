"""The asset: mesh parts with PBR materials, units and axes normalised (metres, +Y up)."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np

# Near zero roughness gives NaN gradients, and specular 0 switches off the metal lobe (black metal) in Mitsuba.
ROUGHNESS_MIN, SPECULAR_MIN = 0.05, 0.01
_LATER = ("clearcoat", "clearcoat_gloss", "sheen", "sampling")
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
# Columns: where the file's x, y, z axes go so that the named axis points to +Y; all are rotations.
UP_AXES = {"y": np.eye(3), "-y": np.diag([1.0, -1, -1]),
           "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
           "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), "-x": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])}


@dataclass(frozen=True)
class Sampling:
    """How a texture is looked up."""

    wrap: Literal["repeat", "mirror", "clamp"] = "repeat"  # beyond [0, 1], along both axes
    nearest: bool = False  # the nearest texel instead of between four
    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """(2, 3) row by row: from the part's UVs to those of this texture, both with v down the image."""


@dataclass(frozen=True)
class Material:
    """Metallic-roughness PBR material. A texture, when given, is the value (factors already multiplied in); row 0 is
    the top row of the image file, v = 1 - (row + 0.5) / H (OpenGL / trimesh / Mitsuba UV convention)."""

    name: str = "default"
    base_color: tuple[float, float, float] = (0.5, 0.5, 0.5)  # (3,) float32, linear BT.709, [0, 1]
    roughness: float = 0.5  # [0.05, 1]
    metallic: float = 0.0  # [0, 1]
    specular: float = 0.5  # [0.01, 1], dielectric reflectance as in the principled model (0.5 = index 1.5)
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)  # (3,) float32, linear radiance, plate white = 1
    opacity: float = 1.0  # [0, 1]
    transmission: float = 0.0
    """[0, 1], refracted part of what is neither reflected nor metal, 1 = glass; for closed meshes."""
    double_sided: bool = True
    base_color_texture: np.ndarray | None = None  # (H, W, 3) float32, linear, or None
    roughness_texture: np.ndarray | None = None  # (H, W) float32, or None
    metallic_texture: np.ndarray | None = None  # (H, W) float32, or None
    normal_texture: np.ndarray | None = None  # (H, W, 3) float32 in [0, 1], OpenGL (+Y) convention, or None
    emission_texture: np.ndarray | None = None  # (H, W, 3) float32, or None
    opacity_texture: np.ndarray | None = None  # (H, W) float32 in [0, 1], or None
    clearcoat: float = 0.0  # [0, 1], share of a clear layer of index 1.5 on top
    clearcoat_gloss: float = 1.0  # [0, 1], 1 = smooth
    sheen: float = 0.0  # [0, 1], white light scattered at grazing angles, as of cloth
    sampling: tuple[tuple[str, Sampling], ...] = ()
    """How textures are looked up, by slot ("base_color", "normal", ...); the plain way for slots that are not here."""

    @property
    def invisible(self) -> bool:
        """Whether nothing of it can be seen: it covers nothing and gives no light."""
        return self.opacity == 0 and self.opacity_texture is None and not any(self.emission)

    def sampled(self, slot: str) -> Sampling:
        """How the texture of a slot is looked up."""
        return dict(self.sampling).get(slot, Sampling())


@dataclass(frozen=True)
class Part:
    """One mesh with one material."""

    name: str
    vertices: np.ndarray  # (V, 3) float32, metres
    faces: np.ndarray  # (F, 3) uint32
    normals: np.ndarray | None = None  # (V, 3) float32, unit, or None = face normals
    uvs: np.ndarray | None = None  # (V, 2) float32, v up, or None
    material: Material = field(default_factory=Material)
    colors: np.ndarray | None = None
    """(V, 3) float32, linear BT.709, [0, 1]: times the material's ``base_color`` at each vertex; None = white.
    Not beside a ``base_color_texture``: whoever reads a file with both puts the mean into the texture and says so."""


@dataclass(frozen=True)
class Asset:
    """Mesh parts in one frame: metres, +Y up, resting on y = 0, centred on x = z = 0."""

    parts: tuple[Part, ...]
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def bounds(self) -> np.ndarray:
        """(2, 3) axis-aligned minimum and maximum, metres."""
        points = np.concatenate([p.vertices for p in self.parts])
        return np.stack([points.min(0), points.max(0)])


def asset_hash(asset: Asset) -> str:
    """sha256 hex digest over geometry and materials; names, path and notes do not count (they change no picture)."""
    digest = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(repr(value).encode() + b";")

    for part in asset.parts:
        for array in (part.vertices, part.faces, part.normals, part.uvs):
            add(array)
        if part.colors is not None:
            add(part.colors)
        for item in fields(part.material):
            value = getattr(part.material, item.name)
            # What came later counts where it is used only, so that assets keep the hash they had.
            if item.name in _LATER and value != item.default:
                add(f"{item.name}={value!r}")
            elif item.name != "name" and item.name not in _LATER:
                add(tuple(float(v) for v in value) if isinstance(value, tuple) else
                    float(value) if isinstance(value, (int, float, np.floating)) else value)
    return digest.hexdigest()
