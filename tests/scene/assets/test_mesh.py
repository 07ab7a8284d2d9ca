"""dipir.scene.assets.mesh against solids whose areas, normals and volumes are known."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.scene.assets import mesh
from dipir.scene.assets.asset import Part
from dipir.scene.assets.mesh import (
    box_uvs,
    distinct,
    face_cross,
    rest_together,
    signed_volume,
    split_corners,
    split_normals,
    unit,
)
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


def test_a_small_thing_far_from_another_keeps_its_round_normals():
    """A cylinder of 1 cm, and a triangle 2 km away: what is far decides no distance between its corners."""
    vertices, faces = cylinder()
    far = np.array([[2000.0, 0, 0], [2000, 1, 0], [2000, 0, 1]])
    both = np.concatenate([vertices * 0.01, far])
    found, split, normals, _ = split_normals(both, np.concatenate([faces, [[96, 97, 98]]]))
    near = found[:, 0] < 1
    assert near.sum() == 96
    assert (normals[near] * unit(found[near] * [1, 0, 1])).sum(-1).min() > np.cos(np.radians(7.5 / 6 + 0.01))


def fan(count: int, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangles from a tip down to a ring of radius 1."""
    angle = np.arange(count) / count * 2 * np.pi
    ring = np.stack([np.cos(angle), np.zeros(count), np.sin(angle)], -1)
    k = np.arange(count)
    return np.concatenate([[[0, height, 0]], ring]), np.stack([np.zeros_like(k), (k + 1) % count + 1, k + 1], -1)


def test_very_many_faces_on_one_point(monkeypatch):
    """A flat cap is flat at its middle; at the tip of a steep cone each face leans as its neighbours do. The pairs that
    are looked at grow with the number of faces and not with its square."""
    pairs, bincount = [], np.bincount
    monkeypatch.setattr(np, "bincount", lambda x, *more: pairs.append(len(x)) or bincount(x, *more))
    vertices, faces = fan(30_000, 0.0)
    _, _, normals, _ = split_normals(vertices, faces)
    np.testing.assert_allclose(normals, np.broadcast_to([0, 1, 0], normals.shape), atol=1e-6)
    vertices, faces = fan(30_000, 2.0)
    _, split, normals, _ = split_normals(vertices, faces)
    tip = normals[split[:, 0]]
    lean = (tip * unit(face_cross(vertices, faces))).sum(1)
    assert lean.min() > np.cos(np.radians(25)) and max(pairs) < 30 * 30_000


def test_crowds_are_counted_as_others_are(monkeypatch):
    """Within the grain of the crowd's cells the answer is the one of every pair."""
    vertices, faces = fan(60, 0.3)
    _, split, every, _ = split_normals(vertices, faces)
    monkeypatch.setattr(mesh, "_CROWD", 8)
    _, again, crowd, _ = split_normals(vertices, faces)
    assert (every[split[:, 0]] * crowd[again[:, 0]]).sum(1).min() > np.cos(np.radians(15))


def test_pairs_in_parts_are_the_pairs_at_once(monkeypatch):
    whole = split_normals(*cylinder())
    monkeypatch.setattr(mesh, "_PAIRS", 40)
    for one, other in zip(split_normals(*cylinder()), whole, strict=True):
        assert one is other is None or np.array_equal(one, other)


def test_corners_with_other_values_are_other_vertices():
    colors = np.zeros((len(BOX_FACES) * 3, 3))
    colors[:3] = 1
    first, faces, normals = split_corners(BOX, BOX_FACES, [(colors, 1e3)])
    assert len(first) == 24 + 2 and len(normals) == 26
    np.testing.assert_array_equal(colors[first][faces.astype(int)][0], np.ones((3, 3)))
    np.testing.assert_array_equal(BOX[BOX_FACES.reshape(-1)[first]][faces.astype(int)], BOX[BOX_FACES])


@pytest.mark.parametrize("columns", [[[3, 1, 3, 1], [0, 5, 0, 6]], [[2**40, 0, 2**40, 0], [2**40, 1, 2**40, 2]]])
def test_distinct_rows(columns):
    columns = [np.array(c) for c in columns]
    first, index = distinct(columns)
    rows = np.stack(columns, -1)
    np.testing.assert_array_equal(rows[first][index], rows)
    assert len(first) == 3


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
