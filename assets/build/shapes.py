"""Triangle meshes with UVs and normals for the demo scripts (numpy only). Metres, +Y up, counter-clockwise outside.

UVs are never mirrored (du x dv points outwards), so that normal maps mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Mesh:
    """vertices (V, 3), normals (V, 3), uvs (V, 2), faces (F, 3)"""

    vertices: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray

    def moved(self, matrix: np.ndarray) -> Mesh:
        """Transformed by a (4, 4) of rotation, scale and translation (uneven scale allowed)."""
        normals = self.normals @ np.linalg.inv(matrix[:3, :3])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Mesh(self.vertices @ matrix[:3, :3].T + matrix[:3, 3], normals, self.uvs, self.faces)


def join(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        *(np.concatenate([getattr(m, k) for m in meshes]) for k in ("vertices", "normals", "uvs")),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)]),
    )


def place(x: float = 0, y: float = 0, z: float = 0, yaw_deg: float = 0, tilt_deg: float = 0, scale=1.0) -> np.ndarray:
    """(4, 4): scale, then tilt about X, then yaw about Y, then translation."""
    a, b = np.radians(yaw_deg), np.radians(tilt_deg)
    yaw = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    out = np.eye(4)
    out[:3, :3] = yaw @ tilt @ np.diag(np.broadcast_to(np.asarray(scale, float), 3))
    out[:3, 3] = x, y, z
    return out


def grid(points: np.ndarray, normals: np.ndarray, uvs: np.ndarray) -> Mesh:
    """Quads over a (rows, columns, 3) lattice, columns along u, rows along v."""
    rows, columns = points.shape[:2]
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    quads = np.stack([i, i + 1, i + columns + 1, i + columns], 1)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    corners = points.reshape(-1, 3)[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), uvs.reshape(-1, 2), faces[area > 1e-12])


def smooth_curve(points, samples: int) -> np.ndarray:
    """(samples, D) Catmull-Rom curve through the points, nearly even in arc length."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, len(p) - 3 - 1e-9, 40 * len(p))
    i, f = t.astype(int), (t % 1)[:, None]
    a, b, c, d = (p[i + k] for k in range(4))
    fine = 0.5 * (2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2 + (3 * b - a - 3 * c + d) * f**3)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    even = np.linspace(0, length[-1], samples)
    return np.stack([np.interp(even, length, column) for column in fine.T], 1)


def revolve(profile: np.ndarray, segments: int = 64, v_range: tuple[float, float] = (0, 1), turns: float = 1.0) -> Mesh:
    """Surface of revolution about Y of a smooth profile (N, 2) of (radius, y); outside lies right of its direction."""
    profile = np.asarray(profile, float)
    tangent = np.gradient(profile, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-12)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    phi = np.linspace(0, 2 * np.pi, segments + 1)
    c, s = np.cos(phi), -np.sin(phi)
    r, y = profile[:, :1], profile[:, 1:]
    nr, ny = tangent[:, 1:], -tangent[:, :1]
    points = np.stack([r * c, y + 0 * c, r * s], -1)
    normals = np.stack([nr * c, ny + 0 * c, nr * s], -1)
    v = v_range[0] + (v_range[1] - v_range[0]) * length / length[-1]
    uvs = np.stack(np.broadcast_arrays(turns * phi / (2 * np.pi), v[:, None]), -1)
    return grid(points, normals, uvs)


def sweep(path: np.ndarray, radius, segments: int = 16, flat: float = 1.0, v_length: float = 1.0) -> Mesh:
    """Tube along a path (N, 3) with radius (N,) or float; ``flat`` squeezes it sideways. v runs along the path."""
    path = np.asarray(path, float)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent[0], [0.0, 0.0, 1.0] if abs(tangent[0, 2]) < 0.9 else [1.0, 0.0, 0.0])
    frames = []
    for t in tangent:  # Parallel transport: the frame turns no more than the path bends.
        side = side - t * (side @ t)
        side = side / np.linalg.norm(side)
        frames.append((side, np.cross(t, side)))
    a, b = (np.stack(k)[:, None] for k in zip(*frames, strict=True))
    phi = np.linspace(0, 2 * np.pi, segments + 1)[None, :, None]
    radius = np.broadcast_to(np.asarray(radius, float), len(path))[:, None, None]
    points = path[:, None] + radius * (a * np.cos(phi) * flat + b * np.sin(phi))
    normals = a * np.cos(phi) + b * np.sin(phi) * flat
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    uvs = np.stack(np.broadcast_arrays(phi[..., 0] / (2 * np.pi), (length / v_length)[:, None]), -1)
    return grid(points, normals, uvs)


def disc(y: float, radius: float, up: bool, segments: int = 48, uv_scale: float = 0.5) -> Mesh:
    """Flat round cap; UV (0.5, 0.5) at its centre."""
    profile = np.array([[radius, y], [radius * 0.5, y], [1e-5, y]])
    mesh = revolve(profile if up else profile[::-1], segments)
    uvs = 0.5 + mesh.vertices[:, [0, 2]] * [1, -1 if up else 1] / radius * uv_scale
    return Mesh(mesh.vertices, np.tile([0.0, 1.0 if up else -1.0, 0.0], (len(uvs), 1)), uvs, mesh.faces)


def box(size, bevel: float = 0.004, uv_per_m: float = 1.0, uv_offset=(0.0, 0.0)) -> Mesh:
    """Box of ``size`` (x, y, z) centred at the origin with a bevelled, smoothly shaded rim.

    Each face maps its own plane (``uv_per_m`` UV units per metre), the grain (u) along the longer side."""
    half = np.asarray(size, float) / 2
    bevel = min(bevel, *(half * 0.45))
    parts = []
    for axis in range(3):
        for sign in (1, -1):
            n = np.zeros(3)
            n[axis] = sign
            i, j = [k for k in range(3) if k != axis]
            if half[i] < half[j]:
                i, j = j, i
            du, dv = np.eye(3)[i], np.eye(3)[j]
            if np.cross(du, dv) @ n < 0:
                du = -du
            s = np.array([-1, -1 + bevel / half[i], 1 - bevel / half[i], 1])
            t = np.array([-1, -1 + bevel / half[j], 1 - bevel / half[j], 1])
            p = n * half[axis] + du * half[i] * s[None, :, None] + dv * half[j] * t[:, None, None]
            inset = np.clip(p, -(half - bevel), half - bevel)
            outward = p - inset  # Zero off the axis on the flat inside, diagonal at the rim.
            rounded = outward / np.linalg.norm(outward, axis=-1, keepdims=True)
            uvs = np.stack([p @ du, p @ dv], -1) * uv_per_m + np.asarray(uv_offset) + 0.37 * axis + 0.19 * sign
            parts.append(grid(inset + rounded * bevel, rounded, uvs))
    return join(parts)


def leaves(centres: np.ndarray, facing: np.ndarray, length: np.ndarray, seed: int, slim: float = 0.4) -> Mesh:
    """Bent leaves of four triangles at ``centres`` (N, 3), turned loosely towards ``facing``; one UV per leaf."""
    rng = np.random.default_rng(seed)
    n = len(centres)
    up = facing + rng.normal(0, 0.55, (n, 3))
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    along = np.cross(up, rng.normal(size=(n, 3)))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, up)
    length = np.broadcast_to(length, n)[:, None] * rng.uniform(0.7, 1.3, (n, 1))
    # Stem, left, right, middle rib, tip: folded along the rib and drooping at the tip.
    shape = np.array([[-0.5, 0, 0], [0, 0.5 * slim, 0.06], [0, -0.5 * slim, 0.06], [0.05, 0, 0], [0.5, 0, -0.08]])
    points = centres[:, None] + length[:, None] * (
        shape[None, :, :1] * along[:, None] + shape[None, :, 1:2] * side[:, None] + shape[None, :, 2:] * up[:, None]
    )
    normals = up[:, None] + side[:, None] * np.array([0, 0.35, -0.35, 0, 0])[None, :, None] * np.sign(slim)
    normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    faces = np.array([[0, 3, 1], [0, 2, 3], [3, 4, 1], [3, 2, 4]])
    uvs = np.repeat(rng.uniform(size=(n, 1, 2)), 5, 1) + rng.uniform(0, 0.02, (n, 5, 2))
    return Mesh(
        points.reshape(-1, 3),
        normals.reshape(-1, 3),
        uvs.reshape(-1, 2),
        (faces[None] + 5 * np.arange(n)[:, None, None]).reshape(-1, 3),
    )


def bush(centre, radii, count: int, leaf: float, seed: int, slim: float = 0.4) -> Mesh:
    """A lumpy ellipsoid of leaves, denser near its surface."""
    rng = np.random.default_rng(seed)
    lumps = rng.normal(size=(14, 3))
    lumps = lumps / np.linalg.norm(lumps, axis=1, keepdims=True) * 0.55
    owner = rng.integers(0, len(lumps), count)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    local = (
        lumps[owner]
        + direction * rng.uniform(0.25, 1, (count, 1)) ** 0.5 * rng.uniform(0.35, 0.6, len(lumps))[owner, None]
    )
    facing = local / np.linalg.norm(local, axis=1, keepdims=True) + [0, 0.6, 0]
    return leaves(np.asarray(centre) + local * radii, facing, leaf, seed + 1, slim)
