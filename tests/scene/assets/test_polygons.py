"""dipir.scene.assets.polygons: areas, sides and numbers of triangles."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.scene.assets import polygons
from dipir.scene.assets.mesh import face_cross
from dipir.scene.assets.polygons import triangulate

U = np.array([[-1, 0], [1, 0], [1, 2], [0.5, 2], [0.5, 0.5], [-0.5, 0.5], [-0.5, 2], [-1, 2]])


def in_space(flat: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a plane that lies anyhow, and its normal."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    return flat @ turn[:, :2].T + [3.0, -2.0, 5.0], turn[:, 2]


def area(flat: np.ndarray) -> float:
    x, y = flat.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


@pytest.mark.parametrize("flat", [U, U[::-1], np.roll(U, 3, axis=0), U[[0, 1, 2, 7]],
                                  np.array([[0, 0], [2, 0], [0.5, 0.5], [0, 2]])])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_polygon_keeps_its_area_and_its_side(flat, seed):
    """Each triangle alone as well: what is folded over would add to the area."""
    points, normal = in_space(flat, seed)
    triangles, owner, rough = triangulate(points, np.arange(len(flat)), np.array([len(flat)]))
    cross = face_cross(points, triangles) / 2
    assert len(triangles) == len(flat) - 2 and not owner.any() and rough == 0
    assert np.linalg.norm(cross, axis=1).sum() == pytest.approx(abs(area(flat)))
    assert cross.sum(0) == pytest.approx(normal * area(flat), abs=1e-9)


def test_a_bent_quad_is_cut_at_its_bend_whichever_corner_it_is():
    flat = np.array([[0, 0], [2, 0], [0.5, 0.5], [0, 2]])
    for k in range(4):
        points, _ = in_space(np.roll(flat, k, axis=0))
        triangles, _, _ = triangulate(points, np.arange(4), np.array([4]))
        assert np.linalg.norm(face_cross(points, triangles), axis=1).sum() / 2 == pytest.approx(area(flat))


def test_polygons_of_all_sizes_in_their_order():
    points, _ = in_space(U)
    corners = np.array([0, 1, 7, *range(8), 0, 1, 0, 1, 2, 7])
    triangles, owner, _ = triangulate(points, corners, np.array([3, 8, 2, 4]))
    assert owner.tolist() == [0] + [1] * 6 + [3] * 2
    assert triangles[0].tolist() == [0, 1, 2] and set(triangles[1:7].ravel()) == set(range(3, 11))
    assert set(triangles[7:].ravel()) == set(range(13, 17))


def test_beyond_the_budget_it_is_a_fan_and_counted(monkeypatch):
    monkeypatch.setattr(polygons, "_BUDGET", 70)
    points, _ = in_space(U)
    triangles, owner, rough = triangulate(points, np.tile(np.arange(8), 2), np.array([8, 8]))
    assert rough == 1 and len(triangles) == 12 and triangles[6:, 0].tolist() == [8] * 6


def test_what_has_no_area_gives_something_and_no_error():
    line = np.stack([np.arange(6.0), np.zeros(6), np.zeros(6)], -1)
    for points in (line, line * 0, line * np.nan):
        triangles, _, _ = triangulate(points, np.arange(6), np.array([6]))
        assert triangles.min() >= 0 and triangles.max() < 6
    assert triangulate(line, np.zeros(0, int), np.zeros(0, int))[0].shape == (0, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.2, 3.0), min_size=5, max_size=40), st.integers(0, 5))
def test_any_star_shaped_polygon(radii, seed):
    """Star-shaped about the origin: never crosses itself, whatever the radii."""
    angle = np.arange(len(radii)) / len(radii) * 2 * np.pi
    flat = np.stack([np.cos(angle), np.sin(angle)], -1) * np.array(radii)[:, None]
    points, _ = in_space(flat, seed)
    triangles, _, _ = triangulate(points, np.arange(len(flat)), np.array([len(flat)]))
    assert np.linalg.norm(face_cross(points, triangles), axis=1).sum() / 2 == pytest.approx(area(flat), rel=1e-6)
