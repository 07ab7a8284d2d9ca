"""Mesh helpers shared by the asset loader and the procedural objects: normals split at sharp edges, box projection."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dipir.scene.assets.asset import Material, Part

_CROWD, _CELL, _PAIRS = 64, 0.35, 1 << 22


@dataclass(frozen=True)
class Piece:
    """A primitive as a file has it, in the file's axes and units."""

    name: str
    vertices: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int64
    normals: np.ndarray | None  # (V, 3) float64, of any length, or None = not given
    uvs: np.ndarray | None  # (V, 2) float64, v up
    colors: np.ndarray | None  # (V, 3) float64, linear, times the base colour
    material: Material
    needs_uvs: bool = False
    smooth: bool = False  # make normals where none are given; else faces are flat


def distinct(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(first of each distinct row, the distinct row of each) for columns of whole numbers >= 0."""
    key, top = columns[0], int(columns[0].max()) + 1
    for column in columns[1:]:
        span = int(column.max()) + 1
        if top * span >= 2**62:
            key = np.unique(key, return_inverse=True)[1].reshape(-1)
            top = int(key.max()) + 1
        key, top = key * span + column, top * span
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    return first, index


def face_cross(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3) float64, normal of every face times twice its area (m^2), right-hand rule."""
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.cross(b - a, c - a)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows without a direction become +Y, because a zero normal makes a renderer return NaN."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-20, vectors / np.maximum(length, 1e-20), np.array([0.0, 1.0, 0.0]))


def split_normals(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray | None = None, angle_deg: float = 40.0
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Smooth normals that break at edges sharper than ``angle_deg``.

    vertices (V, 3) metres, faces (F, 3), uvs (V, 2) or (F, 3, 2) per corner, or None. Every corner averages the
    area-weighted normals of the faces that meet in its *position* (so UV seams stay smooth) and lie within the
    angle of its own face. Returns vertices (N, 3) float32, faces (F, 3) uint32, unit normals (N, 3) float32 and
    uvs (N, 2) float32 or None.
    """
    corner_uv = None
    if uvs is not None:
        corner_uv = uvs.reshape(-1, 2) if uvs.ndim == 3 else uvs[faces.reshape(-1)]
    first, split, normals = split_corners(vertices, faces, [] if corner_uv is None else [(corner_uv, 1e5)], angle_deg)
    return (vertices[faces.reshape(-1)[first]].astype(np.float32), split, normals,
            None if corner_uv is None else corner_uv[first].astype(np.float32))


def split_corners(vertices: np.ndarray, faces: np.ndarray, values: Sequence[tuple[np.ndarray, float]] = (),
                  angle_deg: float = 40.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """:func:`split_normals` for any values of the corners, ((F * 3, K) array, steps to a unit that count as different)
    each: the corner (N,) from which each new vertex comes, faces (F, 3) uint32, unit normals (N, 3) float32. Time goes
    with n log n, however many corners meet in one place."""
    cross = face_cross(vertices, faces)
    place, corner_face = _places(vertices, faces), np.repeat(np.arange(len(faces)), 3)
    corner_normal = unit(_gathered(place, unit(cross)[corner_face], cross[corner_face], angle_deg))
    # ---- one vertex for equal corners ----
    columns = [place[:, None], np.round(corner_normal * 1e4).astype(np.int64)]
    columns += [np.round(array * steps).astype(np.int64) for array, steps in values]
    _, first, index = np.unique(np.concatenate(columns, 1), axis=0, return_index=True, return_inverse=True)
    return first, index.reshape(-1, 3).astype(np.uint32), corner_normal[first].astype(np.float32)


def _places(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F * 3,) number of the place of each corner. Places lie apart by 1e-5 of the extent, or less where a small thing
    stands far from another."""
    a, b = vertices[faces].astype(np.float64), vertices[faces[:, [1, 2, 0]]].astype(np.float64)
    edge = np.linalg.norm(a - b, axis=-1).reshape(-1)
    edge = edge[edge > 0]
    extent = max(float(np.ptp(vertices, axis=0).max()), 1e-12)
    step = min(extent * 1e-5, 0.1 * float(np.percentile(edge, 5)) if len(edge) else np.inf)
    grid = np.round((vertices - vertices.min(0)) / max(step, extent * 1e-15)).astype(np.int64)
    _, place = np.unique(grid, axis=0, return_inverse=True)
    return place.reshape(-1)[faces.reshape(-1)]


def _gathered(place: np.ndarray, normal: np.ndarray, weighted: np.ndarray, angle_deg: float) -> np.ndarray:
    """(C, 3) for each corner: ``weighted`` of all corners in its place whose unit normal is within the angle of its."""
    cos = np.cos(np.radians(angle_deg)) - 1e-9
    _, place, count = np.unique(place, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    crowded = count[place] > _CROWD
    if not crowded.any():
        return _paired(place, normal, weighted, cos)
    # ---- where very many meet, those that look about the same way count as one ----
    cell = np.where(crowded[:, None], np.round(normal / _CELL).astype(np.int64), 0)
    keys = np.column_stack([place, np.where(crowded, -1, np.arange(len(place))), cell])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    looks, summed = (np.stack([np.bincount(group, a[:, k]) for k in range(3)], -1) for a in (normal, weighted))
    return _paired(place[first], unit(looks), summed, cos)[group]


def _paired(place: np.ndarray, normal: np.ndarray, weighted: np.ndarray, cos: float) -> np.ndarray:
    """The sums of :func:`_gathered` over all pairs in a place, some places at once."""
    order = np.argsort(place, kind="stable")
    _, start, count = np.unique(place[order], return_index=True, return_counts=True)
    total = np.zeros((len(place), 3))
    pairs = np.concatenate([[0], np.cumsum(count.astype(np.int64) ** 2)])
    begin = 0
    while begin < len(count):
        end = max(begin + 1, int(np.searchsorted(pairs, pairs[begin] + _PAIRS, "right")) - 1)
        here, many = np.arange(start[begin], start[end - 1] + count[end - 1]), np.repeat(count[begin:end],
                                                                                         count[begin:end])
        row = np.repeat(here, many)
        within = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        col = np.repeat(np.repeat(start[begin:end], count[begin:end]), many) + within
        row, col = order[row], order[col]
        near = np.einsum("nk,nk->n", normal[row], normal[col]) >= cos
        row, col = row[near], col[near]
        for k in range(3):
            total[:, k] += np.bincount(row, weighted[col, k], len(place))
        begin = end
    return total


def box_uvs(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 3, 2) corner UVs, each face projected along the axis that its normal is nearest to; longest side = 1."""
    low, size = vertices.min(0), max(float(np.ptp(vertices, axis=0).max()), 1e-12)
    axis = np.abs(face_cross(vertices, faces)).argmax(1)
    local = (vertices[faces] - low) / size
    pick = np.array([[2, 1], [0, 2], [0, 1]])[axis]
    return np.take_along_axis(local, np.repeat(pick[:, None, :], 3, 1), axis=2)


def signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume enclosed, m^3; negative when the faces of a closed mesh point inwards."""
    a = vertices[faces[:, 0]] - vertices.mean(0)
    return float(np.einsum("nk,nk->", a, face_cross(vertices, faces)) / 6)


def rest_together(parts: list[Part]) -> tuple[Part, ...]:
    """The parts moved together so that they rest on y = 0 and the box of all is centred on x = z = 0."""
    points = np.concatenate([p.vertices for p in parts])
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    shift = np.array([(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2])
    return tuple(replace(p, vertices=(p.vertices - shift).astype(np.float32)) for p in parts)
