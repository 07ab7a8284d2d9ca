"""Mesh helpers shared by the asset loader and the procedural objects: normals split at sharp edges, box projection."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from dipir.scene.assets.asset import Part


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
    # ---- corners that share a position and lean less than the angle ----
    cross = face_cross(vertices, faces)
    normal = unit(cross)
    extent = max(float(np.ptp(vertices, axis=0).max()), 1e-12)
    _, place = np.unique(np.round(vertices / extent * 1e5).astype(np.int64), axis=0, return_inverse=True)
    corner_place, corner_face = place.reshape(-1)[faces.reshape(-1)], np.repeat(np.arange(len(faces)), 3)
    at = sparse.csr_matrix((np.ones(len(corner_face), np.int32), (np.arange(len(corner_face)), corner_place)))
    pair = (at @ at.T).tocoo()
    near = np.einsum("nk,nk->n", normal[corner_face[pair.row]], normal[corner_face[pair.col]])
    keep = near >= np.cos(np.radians(angle_deg)) - 1e-9
    # ---- their mean, weighted by area ----
    total = np.stack([np.bincount(pair.row[keep], cross[corner_face[pair.col[keep]], k], len(corner_face))
                      for k in range(3)], -1)
    corner_normal = unit(total)
    # ---- one vertex for equal corners ----
    columns = [corner_place[:, None], np.round(corner_normal * 1e4).astype(np.int64)]
    corner_uv = None
    if uvs is not None:
        corner_uv = uvs.reshape(-1, 2) if uvs.ndim == 3 else uvs[faces.reshape(-1)]
        columns.append(np.round(corner_uv * 1e5).astype(np.int64))
    _, first, index = np.unique(np.concatenate(columns, 1), axis=0, return_index=True, return_inverse=True)
    return (vertices[faces.reshape(-1)[first]].astype(np.float32), index.reshape(-1, 3).astype(np.uint32),
            corner_normal[first].astype(np.float32),
            None if corner_uv is None else corner_uv[first].astype(np.float32))


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
