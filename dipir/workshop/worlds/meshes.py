"""Mesh pieces for the procedural panoramas: every piece is (vertices, faces, uv), metres and metres of texture."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Rng = np.random.Generator
Piece = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class Builder:
    """Pieces gathered by material; :meth:`parts` merges each material into one mesh, as the renderer wants it."""

    materials: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    solids: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def material(self, name: str, texture: np.ndarray, tile_m: float = 2.0, roughness: float | None = None,
                 radiance: Any = None) -> str:
        """Declare a material; ``tile_m``: metres that one texture covers."""
        texture = np.asarray(texture, np.float32)
        texture = np.broadcast_to(texture, (2, 2, 3)) if texture.ndim == 1 else texture
        self.materials[name] = {"texture": texture, "tile_m": tile_m, "roughness": roughness, "radiance": radiance}
        self.pieces.setdefault(name, [])
        return name

    def add(self, name: str, piece: Piece) -> None:
        """Add a piece made of a declared material."""
        self.pieces[name].append(piece)

    def parts(self) -> list[dict[str, Any]]:
        """One merged mesh per material that is in use."""
        out = []
        for name, pieces in self.pieces.items():
            if pieces:
                material = dict(self.materials[name])
                vertices, faces, uv = merge(pieces)
                out.append({"name": name, "vertices": vertices, "faces": faces, "uv": uv / material.pop("tile_m"),
                            **material})
        return out


def merge(pieces: list[Piece]) -> Piece:
    """One piece out of many."""
    starts = np.cumsum([0] + [len(p[0]) for p in pieces[:-1]])
    return (np.concatenate([p[0] for p in pieces]).astype(np.float32),
            np.concatenate([p[1] + s for p, s in zip(pieces, starts, strict=True)]).astype(np.uint32),
            np.concatenate([p[2] for p in pieces]).astype(np.float32))


def turn(points: np.ndarray, yaw_rad: float) -> np.ndarray:
    """Rotate (N, 3) about +Y."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def place(piece: Piece, at: Any, yaw_rad: float = 0.0) -> Piece:
    """Turn about +Y, then move to ``at`` (3,)."""
    return turn(piece[0], yaw_rad) + np.asarray(at), piece[1], piece[2]


def quad(corner: Any, edge_u: Any, edge_v: Any) -> Piece:
    """A rectangle from a corner and two edges (3,); uv in metres."""
    corner, edge_u, edge_v = (np.asarray(x, float) for x in (corner, edge_u, edge_v))
    a, b = np.linalg.norm(edge_u), np.linalg.norm(edge_v)
    return (np.stack([corner, corner + edge_u, corner + edge_u + edge_v, corner + edge_v]),
            np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 0], [a, 0], [a, b], [0, b]]))


def box(size: Any, bottom: float = 0.0) -> Piece:
    """A box (sx, sy, sz) centred over the origin, standing on y = ``bottom``; v of the uv runs along its height."""
    size = np.asarray(size, float)
    low = np.array([-size[0] / 2, bottom, -size[2] / 2])
    x, y, z = np.diag(size)
    # Windings face outwards: only the front of a surface emits.
    return merge([quad(low, z, y), quad(low + x + z, -z, y), quad(low + x, -x, y), quad(low + z, x, y),
                  quad(low, x, z), quad(low + y, z, x)])


def cylinder(radius: float, height: float, sides: int = 10, top: float = 1.0) -> Piece:
    """An open tube standing on y = 0; ``top``: radius at the top as a share of that at the bottom."""
    angle = np.arange(sides + 1) / sides * 2 * np.pi
    ring = np.stack([np.cos(angle), np.zeros(sides + 1), np.sin(angle)], 1) * radius
    vertices = np.concatenate([ring, ring * top + [0, height, 0]])
    i = np.arange(sides)
    faces = np.concatenate([np.stack([i, i + 1, i + sides + 2], 1), np.stack([i, i + sides + 2, i + sides + 1], 1)])
    across = np.arange(sides + 1) / sides * 2 * np.pi * radius
    uv = np.concatenate([np.stack([across, 0 * across], 1), np.stack([across, 0 * across + height], 1)])
    return vertices, faces, uv


def ball(radius: Any, rng: Rng | None = None, bumps: float = 0.0, rings: int = 8) -> Piece:
    """A sphere or ellipsoid (radius a number or (3,)) about the origin, displaced by ``bumps`` of its radius."""
    v, u = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    points = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1)
    if rng is not None and bumps:
        factor = 1 + bumps * rng.standard_normal(v.shape)
        factor[:, -1], factor[0], factor[-1] = factor[:, 0], factor[0, 0], factor[-1, 0]
        points = points * factor[..., None]
    i, j = np.meshgrid(np.arange(rings), np.arange(2 * rings), indexing="ij")
    first = (i * (2 * rings + 1) + j).ravel()
    below = first + 2 * rings + 1
    faces = np.concatenate([np.stack([first, below + 1, below], 1), np.stack([first, first + 1, below + 1], 1)])
    size = float(np.mean(radius))
    return points.reshape(-1, 3) * radius, faces, np.stack([u, v], -1).reshape(-1, 2) * size


def leaves(rng: Rng, radius: Any, count: int, size: float) -> Piece:
    """``count`` random quads in an ellipsoid about the origin: foliage that lets spots of sun through."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    centre = direction * rng.random((count, 1)) ** 0.45 * np.asarray(radius)
    a, b = rng.standard_normal((2, count, 1, 3)) * size * 0.4
    corners = np.concatenate([-a - b, a - b, a + b, b - a], 1) + centre[:, None]
    start = np.arange(count)[:, None] * 4
    faces = np.concatenate([start + [0, 1, 2], start + [0, 2, 3]])
    return corners.reshape(-1, 3), faces, (rng.random((count, 1, 2)) * 4 + np.zeros((1, 4, 1))).reshape(-1, 2)


def ridge(rng: Rng, distance: float, height: float) -> Piece:
    """A ring of hills, trees or roofs on the horizon: a wall of noisy height."""
    count = 96
    angle = np.arange(count + 1) / count * 2 * np.pi
    waves = sum(rng.normal(0, 0.8 ** k) * np.sin((k + 1) * angle + rng.uniform(0, 7)) for k in range(1, 8))
    top = height * (0.35 + 0.65 * (waves - waves.min()) / (waves.max() - waves.min()))
    top = top * (1 + rng.uniform(0, 0.25) * rng.random(count + 1))
    top[-1] = top[0]
    ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1) * distance
    vertices = np.concatenate([ring - [0, 3, 0], ring * 1.3 + np.stack([0 * top, top, 0 * top], 1)])
    i = np.arange(count)
    faces = np.concatenate([np.stack([i, i + 1, i + count + 2], 1), np.stack([i, i + count + 2, i + count + 1], 1)])
    across = angle * distance
    return vertices, faces, np.concatenate([np.stack([across, 0 * across], 1), np.stack([across, top], 1)])


def gable(size: Any, rise: float) -> Piece:
    """A pitched roof over a box of ``size`` (sx, sy, sz): two slopes along x and two triangles."""
    x, y, z = size[0] * 0.53, size[1], size[2] * 0.55
    points = np.array([[-x, y, -z], [x, y, -z], [x, y, z], [-x, y, z], [-x, y + rise, 0], [x, y + rise, 0]])
    faces = np.array([[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [0, 4, 3], [1, 2, 5]])
    return points, faces, points[:, [0, 2]]


def sunlit(points: np.ndarray, sun: np.ndarray, openings: list[Piece],
           solids: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(N,) bool: points inside a room that see the sun through one of the ``openings`` (quads) past the ``solids``
    (axis-aligned boxes: low (3,), high (3,))."""
    seen = np.zeros(len(points), bool)
    for vertices, _, _ in openings:
        edge_u, edge_v = vertices[1] - vertices[0], vertices[3] - vertices[0]
        normal = np.cross(edge_u, edge_v)
        facing = float(sun @ normal)
        if abs(facing) < 1e-6:
            continue
        along = ((vertices[0] - points) @ normal) / facing
        local = points + along[:, None] * sun - vertices[0]
        s, t = local @ edge_u / (edge_u @ edge_u), local @ edge_v / (edge_v @ edge_v)
        seen |= (along > 1e-4) & (s > 0) & (s < 1) & (t > 0) & (t < 1)
    safe = np.where(np.abs(sun) < 1e-6, 1e-6, sun)
    for low, high in solids:
        a, b = (low - points) / safe, (high - points) / safe
        near, far = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
        seen &= ~((near < far) & (far > 0.02))
    return seen
