"""dipir.scene.framing: the window shows what its camera sees."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import SceneError
from dipir.scene.camera import Camera
from dipir.scene.framing import Window, as_directions, grounded, projected_box, wide_view, working_window
from dipir.scene.proxy import PlacedAsset
from dipir.workshop.things.objects import simple_asset

CAMERA = Camera.looking(320, 240, 60, 1.6, 20)
BALL = simple_asset("sphere")


def at(x: float, z: float, size: float = 0.5) -> PlacedAsset:
    return PlacedAsset(BALL, grounded(float(np.ptp(BALL.bounds[:, 1])), size, np.array([x, 0.0, z]), 0.3))


def test_whole_pixels_are_cut_exactly_and_edges_repeated():
    image = torch.arange(48.0).reshape(1, 1, 6, 8)
    assert torch.equal(Window(2, 1, 4).cut(image, 4), image[..., 1:5, 2:6])
    outside = Window(-3, -2, 4).cut(image, 4)
    assert torch.equal(outside[0, 0, :, 0], torch.tensor([0.0, 0.0, 0.0, 8.0]))


def test_the_windows_camera_sees_the_window():
    seen = Window(40, 30, 64).camera(CAMERA, 64)
    np.testing.assert_allclose(seen.directions(), CAMERA.directions()[30:94, 40:104], atol=1e-12)


def test_the_box_holds_what_is_projected():
    box = projected_box((at(0, 4), at(0.8, 5)), CAMERA)
    points = np.concatenate([p.vertices for o in (at(0, 4), at(0.8, 5)) for p in o.parts])
    pixels, _ = CAMERA.project(points.astype(float))
    np.testing.assert_allclose(box, [pixels.min(0), pixels.max(0)])
    with pytest.raises(SceneError, match="in front of the camera"):
        projected_box((at(0, -4),), CAMERA)


@pytest.mark.parametrize("x, z", [(0.0, 4.0), (-1.2, 4.0), (0.6, 3.0)])
def test_the_window_is_a_multiple_of_the_object_within_the_plate(x, z):
    objects = (at(x, z),)
    box, window = projected_box(objects, CAMERA), working_window(objects, CAMERA)
    assert window.side == round(2.4 * float((box[1] - box[0]).max()))
    assert 0 <= window.x0 <= 320 - window.side and 0 <= window.y0 <= 240 - window.side
    assert window.x0 < box[0, 0] and box[1, 0] < window.x0 + window.side


def test_an_asset_stands_upright_at_its_size():
    pose = grounded(2.0, 0.5, np.array([1.0, 2.0, 3.0]), math.pi / 2)
    np.testing.assert_allclose(pose @ [0, 2.0, 0, 1], [1, 2.5, 3, 1], atol=1e-12)
    np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], [0.25, 0, 0], atol=1e-12)  # +Z turned to +X, a quarter long.


def test_views_have_the_size_and_directions_asked_for():
    assert wide_view(torch.full((1, 3, 24, 32), 0.3), 8).unique().tolist() == pytest.approx([0.3])
    assert torch.equal(as_directions(CAMERA), torch.from_numpy(CAMERA.directions()).float())
