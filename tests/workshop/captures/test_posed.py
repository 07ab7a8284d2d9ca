"""Photos all around an object."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.workshop.captures.posed import PosedSettings, looking_at, orbit, photograph, surface_points

SMALL = PosedSettings(frames=12, width=48, height=36, spp=4, depth=2)


def sky() -> torch.Tensor:
    """A bright spot at +X, 45 degrees up, over grey."""
    env = torch.full((16, 32, 3), 0.3)
    env[4, 8] = 60.0
    return env


def test_a_camera_looks_where_it_should():
    pose = looking_at(np.array([0, 1.0, -2]), np.zeros(3))
    assert np.allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3)) and np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    assert np.allclose(pose[:3, 2], np.array([0, -1, 2]) / np.sqrt(5)) and pose[1, 1] > 0.8
    assert np.allclose(pose[:3, 0], [1, 0, 0])  # +X is left: seen along +Z that is the world's +X.
    for camera in orbit(np.random.default_rng(0), 0.3, SMALL):
        assert camera.position[1] > 0.1
        assert np.abs(camera.project(np.array([[0, 0.13, 0]]))[0] - [24, 18]).max() < 6


def test_photographs_show_one_thing_in_one_light():
    made = photograph("mug", sky(), 1, SMALL)
    assert len(made.shots) == 12 and all(s.image.shape == (1, 3, 36, 48) for s in made.shots)
    ratio = made.light / sky()
    assert torch.allclose(ratio, ratio[0, 0, 0].expand_as(ratio))
    points, colours = surface_points(made.shots, 2000, np.random.default_rng(0))
    assert points.shape == (2000, 3) and colours.dtype == np.uint8
    assert points[:, 1].min() > -0.01 and (np.abs(points[:, 1]) < 0.005).mean() > 0.4
    # What a camera sees of the points that another one saw lies where its own depth is, where nothing is in between.
    shot = made.shots[3]
    uv, depth = shot.camera.project(points)
    inside = (depth > 0) & (uv > 0).all(1) & (uv < [48, 36]).all(1)
    own = shot.depth[uv[inside, 1].astype(int), uv[inside, 0].astype(int)]
    assert np.median(np.abs(own - depth[inside])) < 0.02, "less than a pixel on the floor"
