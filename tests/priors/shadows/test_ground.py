"""The ground in a plate."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from dipir.priors.shadows.ground import WORKING, WorkingPlate, grow, hue, in_reach, seed_of
from dipir.scene.camera import Camera
from tests.support.shadowed_ground import TILTED, ground_plate, long_shadow, paved


def test_reach_is_twelve_camera_heights():
    camera = Camera.looking(40, 800, 3.0, 2.0, 20.0)
    camera = replace(camera, focal_px=800.0)
    rows = np.nonzero(in_reach(camera)[:, 20])[0]
    ray = camera.directions(np.array([20.5, rows[0] + 0.5]))
    far = -2.0 / ray[1] * np.hypot(ray[0], ray[2])
    assert rows[-1] == 799 and 23.0 < far < 24.0
    assert not in_reach(camera, 2.5).any(), "a plane above the camera is not seen from above"
    nearer = np.nonzero(in_reach(camera, 1.0)[:, 20])[0][0]
    assert nearer == rows[0], "the same angle, whatever the height"


def test_large_plates_are_made_small_and_clipping_is_known():
    camera = Camera.looking(800, 600, 60.0, 1.6, 20.0)
    plate = torch.full((1, 3, 600, 800), 0.3)
    plate[..., :300, :] = 1.0
    view = WorkingPlate.of(plate, camera, 0.0)
    assert view.logs.shape == (300, WORKING, 3) and view.clipped[:149].all() and not view.clipped[151:].any()
    assert not WorkingPlate.of(plate * 0.5, camera, 0.0).clipped.any(), "only 1 is where a photo ends"
    assert not WorkingPlate.of(plate * 8, camera, 0.0).clipped.any()


def test_seed_is_where_it_is_asked_for():
    ground = np.zeros((100, 200), bool)
    ground[40:] = True
    seed = seed_of(ground, (150, 70))
    rows, columns = np.nonzero(seed)
    assert abs(rows.mean() - 70) < 1 and abs(columns.mean() - 150) < 1 and seed[70, 150]
    front = seed_of(ground, None)
    assert front[99, 100] and not front[45, 100] and not front[99, 5]
    assert (seed_of(ground, (150, 5)) == front).all(), "no ground there"


def test_lit_ground_is_one_region_without_its_shadow():
    plate = ground_plate(paved, long_shadow)
    view = WorkingPlate.of(plate, TILTED, 0.0)
    region, colour = grow(view, seed_of(view.ground, None))
    bare = WorkingPlate.of(ground_plate(paved), TILTED, 0.0)
    changed = np.abs(view.logs - bare.logs).max(-1) > 1.0
    assert changed.sum() > 1000
    assert (region & changed).sum() < 0.02 * changed.sum()
    assert (region & ~changed & view.ground).sum() > 0.85 * (~changed & view.ground).sum()
    assert np.abs(view.plain - colour)[region].mean() < 0.2


def test_nothing_grows_from_nothing():
    view = WorkingPlate.of(ground_plate(), TILTED, 0.0)
    assert grow(view, np.zeros_like(view.ground)) is None


def test_hue_ignores_brightness():
    assert np.allclose(hue(np.array([[1.0, 1.0, 1.0], [-2.0, -2.0, -2.0]])), 0, atol=1e-6)
    assert hue(np.array([[0.0, 0.0, 1.0]]))[0] > 0.9
