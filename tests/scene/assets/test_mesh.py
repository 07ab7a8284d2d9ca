"""dipir.scene.assets.mesh against solids whose areas, normals and volumes are known."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.scene.assets.asset import Part
from dipir.scene.assets.mesh import box_uvs, face_cross, rest_together, signed_volume, split_normals, unit
from tests.support.asset_samples import BOX, BOX_FACES


def cylinder(sides: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Mantle of radius 1 and height 2, without lids."""
    angle = np.arange(sides) / sides * 2 * np.pi
    ring = np.stack([np.sin(angle), np.zeros(sides), np.cos(angle)], -1)
    k, n = np.arange(sides), (np.arange(sides) + 1) % sides
    faces = np.concatenate([np.stack([k, n, n + sides], -1), np.stack([k, n + sides, k + sides], -1)])
    return np.concatenate([ring, ring + [0, 2, 0]]), faces


def test_area_and_volume_of_a_box():
    """2 x 1 x 4: surface 28, volume 8; turned inside out the volume is negative."""
    assert np.linalg.norm(face_cross(BOX, BOX_FACES), axis=1).sum() / 2 == pytest.approx(28)
    assert signed_volume(BOX, BOX_FACES) == pytest.approx(8)
    assert signed_volume(BOX + 100, BOX_FACES[:, ::-1]) == pytest.approx(-8)


def test_a_vector_without_direction_points_up():
    assert unit(np.array([[0.0, 0, 0], [3.0, 0, 4.0]])).tolist() == [[0, 1, 0], [0.6, 0, 0.8]]


def test_sharp_edges_are_split_and_round_ones_are_not():
    vertices, faces, normals, _ = split_normals(BOX, BOX_FACES)
    assert len(vertices) == 24
    np.testing.assert_allclose(normals[faces], unit(face_cross(vertices, faces))[:, None].repeat(3, 1), atol=1e-6)
    vertices, faces, normals, _ = split_normals(*cylinder())
    assert len(vertices) == 96
    # Of three faces at a corner two are of one side: the mean leans by a sixth of the 7.5 degrees between sides.
    assert (normals * unit(vertices * [1, 0, 1])).sum(-1).min() > np.cos(np.radians(7.5 / 6 + 0.01))


def test_box_projection_keeps_the_shape_of_every_face():
    """Axis-aligned faces: lengths in the picture are lengths in space over the longest side."""
    uvs = box_uvs(BOX, BOX_FACES)
    corners = BOX[BOX_FACES]
    for a, b in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_allclose(np.linalg.norm(uvs[:, a] - uvs[:, b], axis=1) * 4,
                                   np.linalg.norm(corners[:, a] - corners[:, b], axis=1), atol=1e-6)


def test_parts_rest_together():
    parts = [Part(name, (BOX + by).astype(np.float32), BOX_FACES) for name, by in (("a", 0), ("b", [5, 7, -3]))]
    a, b = rest_together(parts)
    points = np.concatenate([a.vertices, b.vertices])
    np.testing.assert_allclose(points.min(0) + points.max(0) * [1, 0, 1], [0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(b.vertices - a.vertices, np.broadcast_to([5, 7, -3], (8, 3)), atol=1e-5)
