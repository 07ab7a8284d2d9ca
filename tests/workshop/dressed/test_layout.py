"""Where things stand: on the ground, in view, apart from each other, of sizes that can be seen."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.scene.camera import Camera
from dipir.workshop.dressed import layout
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS

CUBE = simple_asset("box", MATERIALS["diffuse"])


def test_a_view_makes_the_camera_of_its_numbers() -> None:
    camera = layout.camera_of((60.0, 12.0, -1.0, 1.4), (256, 192))
    expected = Camera.looking(256, 192, 60, 1.4, 12, -1)
    assert camera.to_dict() == expected.to_dict()


def test_views_keep_to_their_ranges() -> None:
    rng, ranges = np.random.default_rng(0), layout.Ranges()
    fov, pitch, roll, height = np.array([layout.random_view(rng) for _ in range(500)]).T
    for values, limits in ((fov, ranges.fov_deg), (pitch, ranges.pitch_deg), (height, ranges.height_m)):
        assert limits[0] <= values.min() < values.max() <= limits[2]
        assert np.ptp(values) > 0.6 * (limits[2] - limits[0])
    assert 0.8 < roll.std() < 1.2


@pytest.mark.parametrize("pitch, roll", [(5, 0), (30, 2), (70, 0)])
def test_points_lie_on_the_ground_in_view(pitch: float, roll: float) -> None:
    camera = Camera.looking(256, 192, 60, 1.3, pitch, roll)
    points = layout.ground_points(np.random.default_rng(1), camera, 200)
    assert len(points) > 20 and (points[:, 1] == 0).all()
    assert np.hypot(points[:, 0], points[:, 2]).max() < 3.5 * 1.3
    pixels, depth = camera.project(points)
    assert (depth > 0).all() and (pixels > -1e-6).all() and (pixels < np.array([256, 192]) + 1e-6).all()


def test_there_is_no_ground_in_the_sky() -> None:
    camera = Camera.looking(64, 48, 60, 1.3, pitch_deg=-60)
    assert layout.ground_points(np.random.default_rng(0), camera, 50).shape == (0, 3)
    assert layout.stand(np.random.default_rng(0), camera, [CUBE]) == []


def test_things_stand_apart_on_the_ground_and_can_be_seen() -> None:
    rng, total = np.random.default_rng(2), 0
    for _ in range(30):
        camera = layout.camera_of(layout.random_view(rng), (256, 192))
        placed = layout.stand(rng, camera, [CUBE] * 6)
        total += len(placed)
        spots = []
        for thing in placed:
            points = np.concatenate([p.vertices for p in thing.parts]).astype(float)
            size = np.ptp(CUBE.bounds, axis=0).max() * np.cbrt(np.linalg.det(thing.to_world[:3, :3]))
            distance = np.linalg.norm(thing.to_world[:3, 3] - camera.position)
            assert abs(points[:, 1].min()) < 1e-5
            assert layout.SMALLEST_M - 1e-9 <= size <= layout.LARGEST_M + 1e-9
            assert size * camera.focal_px / distance > 13 or size > 0.49 * distance
            spots.append((thing.to_world[[0, 2], 3], np.hypot(*np.ptp(points, axis=0)[[0, 2]]) / 2))
        # Apart by the radii of circles around their (unturned) feet: the turned cubes do not touch.
        assert all(np.hypot(*(a - b)) > 0.7 * (r + s) for k, (a, r) in enumerate(spots) for b, s in spots[:k])
        assert all(np.hypot(*a) > 0.35 * camera.position[1] for a, _ in spots)
    assert total > 60


def test_sizes_are_mixed() -> None:
    rng = np.random.default_rng(3)
    camera = Camera.looking(256, 192, 60, 1.4, 15)
    scales = [np.cbrt(np.linalg.det(t.to_world[:3, :3])) for _ in range(40) for t in layout.stand(rng, camera, [CUBE])]
    assert max(scales) / min(scales) > 3
