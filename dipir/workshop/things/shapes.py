"""Parametric closed shapes for procedural objects: plain arrays, outward faces, +Y up, no fixed scale.

Every maker returns a :data:`Shape`: vertices (V, 3), faces (F, 3), uvs (V, 2) or None (box projection follows later).
``n`` is the number of segments around; triangle counts grow with its square.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh

from dipir.scene.assets.mesh import signed_volume

Shape = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def outward(shape: Shape) -> Shape:
    """The same closed shape with its faces turned outwards and degenerate faces removed."""
    vertices, faces, uvs = shape
    points = vertices[faces]
    area = np.linalg.norm(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]), axis=1)
    faces = faces[area > 1e-9 * max(float(area.max()), 1e-30)]
    return (vertices, faces[:, ::-1] if signed_volume(vertices, faces) < 0 else faces, uvs)


def grid(points: np.ndarray) -> Shape:
    """A sheet of (rows, columns, 3) points as triangles; u along columns, v along rows. Seams are doubled points."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (x.reshape(-1) for x in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    v, u = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return outward((points.reshape(-1, 3), faces, np.stack([u, v], -1).reshape(-1, 2)))


def revolve(profile: np.ndarray, n: int = 32) -> Shape:
    """Turn a profile (m, 2) of (radius, height) about +Y; start and end on the axis (or together) to close it.

    v follows arc length, so textures do not stretch where profile points lie far apart.
    """
    turn = np.linspace(0, 2 * np.pi, n + 1)
    ring = np.stack([np.cos(turn), np.zeros_like(turn), np.sin(turn)], -1)
    points = profile[:, None, :1] * ring + profile[:, None, 1:] * np.array([0.0, 1.0, 0.0])
    vertices, faces, uvs = grid(points)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    return vertices, faces, np.stack([uvs[:, 0], np.repeat(length / length[-1], n + 1)], -1)


def sphere(n: int = 40) -> Shape:
    """Sphere of diameter 1."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, n // 2 + 1)
    return revolve(np.stack([np.cos(angle) * (np.abs(angle) < 1.5707), np.sin(angle)], -1) / 2, n)


def cylinder(n: int = 40, top: float = 1.0) -> Shape:
    """Cylinder of diameter and height 1; ``top`` scales the upper radius (0 = cone)."""
    rows = np.linspace(0, 1, 9)
    side = np.stack([0.5 * (1 + (top - 1) * rows), rows], -1)
    return revolve(np.concatenate([[[0, 0]], side, [[0, 1]]] if top > 0 else [[[0, 0]], side]), n)


def capsule(n: int = 32, length: float = 1.0) -> Shape:
    """Capsule of diameter 1 with a straight part of ``length``."""
    low = np.linspace(-np.pi / 2, 0, n // 4 + 1)
    cap = np.stack([np.cos(low), np.sin(low)], -1) / 2
    cap[0, 0] = 0
    return revolve(np.concatenate([cap, cap[::-1] * [1, -1] + [0, length]]), n)


def torus(n: int = 40, tube: float = 0.3) -> Shape:
    """Torus about +Y with ring radius 1 and tube radius ``tube``."""
    angle = np.linspace(0, 2 * np.pi, n // 2 + 1)
    return revolve(np.stack([1 + tube * np.cos(angle), tube * np.sin(angle)], -1), n)


def box(size: tuple[float, float, float] = (1, 1, 1), centre: tuple[float, float, float] = (0, 0, 0)) -> Shape:
    """Axis-aligned box."""
    mesh = trimesh.creation.box(extents=size)
    return np.asarray(mesh.vertices) + centre, np.asarray(mesh.faces), None


def rounded_box(size: np.ndarray, radius: float, n: int = 10) -> Shape:
    """Box with rounded edges: a finely divided box pulled onto the offset surface of its core."""
    # Points are placed densely in the rounded rims, where they are needed, by a smooth step of the grid.
    t = np.linspace(-1, 1, n + 1)
    t = np.sin(t * np.pi / 2)
    u, v = np.meshgrid(t, t, indexing="ij")
    sides, count = [], 0
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            points = np.insert(np.stack([u, v], -1), axis, sign, axis=-1)
            _, side_faces, _ = grid(points)
            flat = points.reshape(-1, 3)
            a, b, c = flat[side_faces[0]]
            cross = np.cross(b - a, c - a)
            faces.append((side_faces if cross[axis] * sign > 0 else side_faces[:, ::-1]) + count)
            sides.append(flat)
            count += len(flat)
    points = np.concatenate(sides) * size / 2
    core = np.clip(points, -size / 2 + radius, size / 2 - radius)
    away = points - core
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)
    return core + radius * away, np.concatenate(faces), None


def vase(rng: np.random.Generator, n: int = 36) -> Shape:
    """Open vessel with a wall, turned from a random smooth profile."""
    height = np.linspace(0, 1, 15)
    wave = sum(rng.normal(0, 0.22 / k) * np.sin(k * np.pi * height + rng.uniform(0, 2 * np.pi)) for k in (1, 2, 3))
    radius = np.clip(0.34 + wave, 0.1, 0.6)
    wall = rng.uniform(0.02, 0.06)
    outer = np.stack([radius, height], -1)
    inner = np.stack([np.maximum(radius - wall, 0.02), np.maximum(height, wall)], -1)[::-1]
    return revolve(np.concatenate([[[0, 0]], outer, inner[:-1], [[inner[-2, 0], wall], [0, wall]]]), n)


def lathe(rng: np.random.Generator, n: int = 36) -> Shape:
    """Solid turned from a random profile of straight and round steps (chess piece, baluster, spinning top)."""
    count = int(rng.integers(3, 7))
    knots = np.concatenate([[0], np.sort(rng.uniform(0.08, 0.92, count)), [1]])
    radii = rng.uniform(0.12, 0.5, count + 2)
    height = np.linspace(0, 1, 24)
    step = np.searchsorted(knots, height, side="right").clip(1, count + 1)
    radius = np.interp(height, knots, radii) if rng.random() < 0.6 else radii[step]
    return revolve(np.concatenate([[[0, 0]], np.stack([radius, height], -1), [[0, 1]]]), n)


def bumpy(rng: np.random.Generator, n: int = 44) -> Shape:
    """Sphere displaced along its radius by a sum of random smooth waves."""
    vertices, faces, uvs = sphere(n)
    direction = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    rough, offset = rng.uniform(0.08, 0.35), np.zeros(len(vertices))
    for _ in range(10):
        frequency = rng.normal(0, rng.uniform(1.5, 5.0), 3)
        offset += rough / np.sqrt(10) * np.sin(direction @ frequency + rng.uniform(0, 2 * np.pi))
    return direction * np.clip(0.5 * (1 + offset), 0.15, None)[:, None], faces, uvs


def star(rng: np.random.Generator) -> np.ndarray:
    """(m, 2) random outline, star-shaped about the origin: polygon, star, gear or rounded blob."""
    kind, corners = int(rng.integers(4)), int(rng.integers(3, 9))
    if kind == 0:
        radius, count = np.ones(corners), corners
    elif kind == 1:
        radius, count = np.where(np.arange(2 * corners) % 2, rng.uniform(0.4, 0.8), 1.0), 2 * corners
    elif kind == 2:
        radius, count = np.where(np.arange(8 * corners) // 2 % 2, rng.uniform(0.7, 0.85), 1.0), 8 * corners
    else:
        count = 48
        radius = 1 + rng.uniform(0.1, 0.4) * np.cos(corners * np.linspace(0, 2 * np.pi, count, endpoint=False))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def prism(outline: np.ndarray, twist_rad: float = 0.0, taper: float = 1.0, rows: int = 1) -> Shape:
    """Extrude an outline (m, 2) by 1 along +Y with twist and taper; caps are fans about the axis."""
    m, height = len(outline), np.linspace(0, 1, rows + 1)
    c, s = np.cos(twist_rad * height)[:, None], np.sin(twist_rad * height)[:, None]
    scale = (1 + (taper - 1) * height)[:, None]
    x, z = outline[:, 0] * c - outline[:, 1] * s, outline[:, 0] * s + outline[:, 1] * c
    points = np.stack([x * scale, np.broadcast_to(height[:, None], x.shape), z * scale], -1)
    vertices = np.concatenate([points.reshape(-1, 3), [[0, 0, 0], [0, 1, 0]]])
    j, k = np.arange(m), (np.arange(m) + 1) % m
    faces = []
    for row in range(rows):
        a, b = row * m, (row + 1) * m
        faces += [np.stack([a + j, a + k, b + k], 1), np.stack([a + j, b + k, b + j], 1)]
    low, high = len(vertices) - 2, len(vertices) - 1
    faces += [np.stack([k, j, np.full(m, low)], 1), np.stack([rows * m + j, rows * m + k, np.full(m, high)], 1)]
    return outward((vertices, np.concatenate(faces), None))


def tube(path: np.ndarray, radius: float, n: int = 12) -> Shape:
    """Tube of constant radius around an open path (m, 3), closed by flat ends."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent, [0.31, 0.87, 0.38])
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    other = np.cross(tangent, side)
    turn = np.linspace(0, 2 * np.pi, n + 1)
    ring = np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * other[:, None]
    points = path[:, None] + radius * ring
    ends = [np.broadcast_to(path[i], (1, n + 1, 3)) for i in (0, -1)]
    return grid(np.concatenate([ends[0], points, ends[1]]))


def joined(pieces: Sequence[Shape]) -> Shape:
    """Several shapes as one, without uvs."""
    offsets = np.cumsum([0, *[len(p[0]) for p in pieces[:-1]]])
    return (np.concatenate([p[0] for p in pieces]),
            np.concatenate([p[1] + o for p, o in zip(pieces, offsets, strict=True)]), None)
