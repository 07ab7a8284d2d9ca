"""dipir.scene.photo_camera.grid: the grid lies on the ground."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.scene.assets.asset import Asset, Part
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.grid import LEAST_WIDTH, Marker, draw_grid, grid_step_m
from dipir.scene.plate import plate_from_tensor
from dipir.scene.proxy import place

FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
                  [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.uint32)


def gray(width: int, height: int):
    return plate_from_tensor(torch.full((1, 3, height, width), 0.5))


def box() -> Asset:
    """0.5 m wide, 1 m high."""
    ends = np.array([[-0.25, 0, -0.25], [0.25, 1, 0.25]])
    corners = np.array([[ends[k >> a & 1, a] for a in range(3)] for k in range(8)], np.float32)
    return Asset((Part("box", corners, FACES),), Path("box.glb"))


def green(drawn: torch.Tensor) -> torch.Tensor:
    """(H, W) where the picture has the markers' colour, thin lines included."""
    red, value, blue = drawn[0]
    return (value - red > 0.2) & (value - blue > 0.2)


def test_grid_lines_lie_on_the_ground_and_the_horizon_where_it_is():
    camera = Camera.looking(1000, 750, 60, 1.6, 15)
    plate = plate_from_tensor(torch.full((1, 3, 750, 1000), 0.5))
    drawn = draw_grid(plate, camera)
    assert drawn.shape == plate.disp.shape and 0 <= drawn.min() and drawn.max() <= 1
    changed = (drawn - plate.disp).abs().amax(1)[0] > 0.2
    assert changed[int(round(camera.horizon_y(100))), 50:600].all()
    at = camera.project(np.array([[1.0, 0, 5.0], [-1, 0, 3.0], [2.0, 0, 4.5]]))[0]
    assert all(changed[int(y), int(x)] for x, y in at)
    between = camera.project(np.array([[0.5, 0, 3.5]]))[0][0]
    assert not changed[int(between[1]), int(between[0])]
    # A camera under the ground, straight down or with the horizon far away draws what there is and does not fail.
    for fov, height, pitch in ((60, -1.0, 0), (60, 1.6, 89.9999), (3, 300, -60)):
        assert torch.isfinite(draw_grid(plate, Camera.looking(1000, 750, fov, height, pitch), 30.0)).all()
    assert [grid_step_m(h) for h in (1.6, 0.7, 0.3, 12.0)] == [1, 1, 0.1, 10]


@pytest.mark.parametrize("width, height", [(160, 120), (320, 240), (320, 568), (640, 480)])
def test_small_plates_are_enlarged_and_the_grid_with_them(width, height):
    """The same picture as that of the large camera: lines and letters do not shrink with the plate."""
    drawn = draw_grid(gray(width, height), Camera.looking(width, height, 60, 1.6, 12))
    tall = round(height * LEAST_WIDTH / width)
    assert drawn.shape == (1, 3, tall, LEAST_WIDTH)
    large = draw_grid(gray(LEAST_WIDTH, tall), Camera.looking(LEAST_WIDTH, tall, 60, 1.6, 12))
    assert float((drawn - large).abs().mean()) < 2e-3
    # The numbers in the corner: rows of white letters at least 9 pixels high, within the picture.
    rows = torch.nonzero((drawn[0, :, :40, :].min(0).values > 0.9).any(1)).flatten()
    columns = torch.nonzero((drawn[0, :, :40, :].min(0).values > 0.9).any(0)).flatten()
    assert rows.max() - rows.min() >= 9 and columns.max() < LEAST_WIDTH - 8


def test_large_plates_keep_their_size_and_their_letters_grow():
    drawn = draw_grid(gray(2400, 1800), Camera.looking(2400, 1800, 60, 1.6, 12))
    assert drawn.shape == (1, 3, 1800, 2400)
    rows = torch.nonzero((drawn[0, :, :100, :].min(0).values > 0.9).any(1)).flatten()
    assert rows.max() - rows.min() >= 20


def test_letters_have_their_rim_on_both_sides():
    """On white the letters show by their dark rim alone: it must end where the letters do."""
    white = draw_grid(plate_from_tensor(torch.ones(1, 3, 750, 1000)), Camera.looking(1000, 750, 60, 1.6, 12))
    black = draw_grid(plate_from_tensor(torch.zeros(1, 3, 750, 1000)), Camera.looking(1000, 750, 60, 1.6, 12))
    rim = torch.nonzero((white[0, :, :34].max(0).values < 0.2).any(0)).flatten()
    letters = torch.nonzero((black[0, :, :34].min(0).values > 0.8).any(0)).flatten()
    assert abs(int(rim.max() - letters.max())) < 5 and abs(int(rim.min() - letters.min())) < 5


def test_a_marker_stands_where_the_object_does():
    """Its box ends at the projected top and foot; the ring is at the contact pixel, also on an enlarged plate."""
    for width, scale in ((1000, 1.0), (500, LEAST_WIDTH / 500)):
        camera = Camera.looking(width, width * 3 // 4, 60, 1.6, 15)
        at = (0.6 * width, 0.6 * width)
        placed = place(box(), camera, at, height_m=1.0, name="stool")
        marker = Marker.of(placed)
        assert marker.label == "stool 1 m" and np.allclose(camera.project(marker.foot)[0], at, atol=1e-6)
        pixels = camera.project(placed.parts[0].vertices.astype(float))[0]
        drawn = draw_grid(gray(width, width * 3 // 4), camera, markers=[marker])
        plain = draw_grid(gray(width, width * 3 // 4), camera)
        changed = (drawn - plain).abs().amax(1)[0] > 0.1
        low = torch.nonzero(changed.any(1)).flatten().max() / scale
        assert float(low) == pytest.approx(pixels[:, 1].max(), abs=4)
        for x, y in pixels:
            near = green(drawn)[max(0, int(y * scale) - 4):int(y * scale) + 5,
                                max(0, int(x * scale) - 4):int(x * scale) + 5]
            assert near.any(), "no line ends at a corner of the box"
        x, y = (int(round(v * scale)) for v in at)
        assert green(drawn)[y - 1:y + 2, x - 1:x + 2].any()


def test_markers_behind_the_camera_and_odd_names_do_no_harm():
    camera = Camera.looking(1000, 750, 60, 1.6, 15)
    marker = Marker("Stühlchen 椅子", np.array([0, 0, -5.0]), np.array([[x, y, z] for x in (0, 1) for y in (0, 1)
                                                                    for z in (-5.0, 2.0)]))
    drawn = draw_grid(gray(1000, 750), camera, markers=[marker])
    assert torch.isfinite(drawn).all() and green(drawn).any()
