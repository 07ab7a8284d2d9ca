"""dipir.scene.photo_camera.grid: the grid lies on the ground."""
from __future__ import annotations

import numpy as np
import torch

from dipir.scene.camera import Camera
from dipir.scene.photo_camera.grid import draw_grid, grid_step_m
from dipir.scene.plate import plate_from_tensor


def test_grid_lines_lie_on_the_ground_and_the_horizon_where_it_is():
    camera = Camera.looking(800, 600, 60, 1.6, 15)
    plate = plate_from_tensor(torch.full((1, 3, 600, 800), 0.5))
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
        assert torch.isfinite(draw_grid(plate, Camera.looking(800, 600, fov, height, pitch), 30.0)).all()
    assert [grid_step_m(h) for h in (1.6, 0.7, 0.3, 12.0)] == [1, 1, 0.1, 10]
