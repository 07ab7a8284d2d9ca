"""Polygons -> triangles: fans where a polygon is convex, ear clipping where it is not."""
from __future__ import annotations

import numpy as np

MAX_CORNERS = 5_000
"""Of one polygon; ear clipping takes time with the square of it at worst."""
_BUDGET = 100_000_000  # Sum of those squares; what is beyond becomes fans.


def triangulate(vertices: np.ndarray, corners: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles of polygons: (T, 3) int64 numbers of corners, (T,) the polygon of each, in the polygons' order, and how
    many concave polygons became fans because it would have taken too long.

    vertices : (V, 3);  corners : (C,) vertex of each corner, polygon after polygon;  sizes : (P,) corners of each
    Polygons keep their side; those with fewer than three corners give nothing.
    """
    first = np.cumsum(sizes) - sizes
    found, owners, budget, rough = [], [], _BUDGET, 0
    for size in np.unique(sizes[sizes >= 3]):
        of_size = np.flatnonzero(sizes == size)
        ring = first[of_size][:, None] + np.arange(size)
        points = np.asarray(vertices, np.float64)[corners[ring]] if size > 3 else None
        local, owner, concave = _of_size(points, ring, budget // int(size) ** 2)
        done = min(concave, budget // int(size) ** 2)
        budget, rough = budget - done * int(size) ** 2, rough + concave - done
        found.append(local)
        owners.append(of_size[owner])
    if not found:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64), 0
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(found)[order], owner[order], rough


def _of_size(points: np.ndarray | None, ring: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles (T, 3) of polygons that all have as many corners, the row of each, and how many are concave, of which
    the first ``most`` are cut at their ears. points (k, n, 3), ring (k, n)."""
    count, size = ring.shape
    rows = np.arange(count)
    if points is None:
        return ring, rows, 0
    # ---- which way each corner turns about the polygon's normal (Newell) ----
    points = points - points.mean(1, keepdims=True)
    normal = np.cross(points, np.roll(points, -1, 1)).sum(1)
    edge = np.roll(points, -1, 1) - points
    turn = np.einsum("knj,kj->kn", np.cross(np.roll(edge, 1, 1), edge), normal)
    area = (normal * normal).sum(1)
    bent = np.isfinite(area) & (turn < -1e-7 * area[:, None]).any(1)
    # ---- convex: a fan; a bent quad: a fan from its bend ----
    start = np.zeros(count, np.int64)
    if size == 4:
        start[bent] = turn[bent].argmin(1)
        bent = np.zeros(count, bool)
    concave = np.flatnonzero(bent)
    bent[concave[most:]] = False
    plain = np.flatnonzero(~bent)
    turned = np.take_along_axis(ring[plain], (start[plain, None] + np.arange(size)) % size, 1)
    fans = np.stack([np.repeat(turned[:, :1], size - 2, 1), turned[:, 1:-1], turned[:, 2:]], -1)
    triangles, owner = [fans.reshape(-1, 3)], [np.repeat(plain, size - 2)]
    # ---- the others: ears ----
    for row in concave[:most]:
        ears = _ears(points[row], normal[row])
        triangles.append(ring[row][ears])
        owner.append(np.full(len(ears), row))
    return np.concatenate(triangles), np.concatenate(owner), len(concave)


def _ears(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Triangles (T, 3) of one polygon (n, 3), seen along its normal."""
    from mapbox_earcut import triangulate_float64

    # ---- the plane, with the polygon counter-clockwise in it ----
    normal = normal / np.linalg.norm(normal)
    across = np.cross(np.eye(3)[np.abs(normal).argmin()], normal)
    across /= np.linalg.norm(across)
    flat = np.stack([points @ across, points @ np.cross(normal, across)], -1)
    ears = triangulate_float64(np.ascontiguousarray(flat), np.array([len(flat)], np.uint32)).reshape(-1, 3)
    ears = ears.astype(np.int64)
    if not len(ears):
        steps = np.arange(1, len(points) - 1)
        return np.stack([np.zeros_like(steps), steps, steps + 1], -1)
    # ---- turned to the polygon's side ----
    a, b, c = (flat[ears[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    return np.where(area[:, None] < 0, ears[:, ::-1], ears)
