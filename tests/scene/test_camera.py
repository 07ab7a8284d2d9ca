"""dipir.scene.camera and camera_files: geometry against independent formulas, every form of a camera file."""
from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.scene.camera import Camera

angle = st.floats(-80, 80)
cameras = st.builds(lambda f, h, p, r, y: Camera.looking(640, 480, f, h, p, r, yaw_deg=y), st.floats(20, 110),
                    st.floats(0.1, 9), angle, st.floats(-85, 85), st.floats(-179, 179))


@settings(max_examples=60, deadline=None)
@given(cameras)
def test_directions_and_projection_are_inverse_and_the_pose_is_rigid(camera):
    pixels = np.array([[0.0, 0.0], [640, 480], [123.4, 7.5], [320, 240]])
    back, depth = camera.project(camera.position + 3 * camera.directions(pixels))
    assert np.allclose(back, pixels, atol=1e-6) and (depth > 0).all()
    assert np.allclose(camera.to_world[:3, :3] @ camera.to_world[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.to_world[:3, :3]) == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.floats(20, 110), angle, st.floats(-85, 85), st.floats(-179, 179))
def test_angles_are_the_inverse_of_looking(fov, pitch, roll, yaw):
    camera = Camera.looking(640, 480, fov, 1.6, pitch, roll, yaw_deg=yaw)
    assert np.allclose(camera.angles_deg, (pitch, roll, yaw), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(cameras, st.floats(0, 640))
def test_the_horizon_is_where_rays_are_level(camera, x):
    y = camera.horizon_y(x)
    assert camera.directions(np.array([x, y]))[1] == pytest.approx(0, abs=1e-6)
    below = camera.directions(np.array([x, y + 50]))[1]
    assert below < 0


def test_the_senses_of_pitch_roll_and_yaw():
    down = Camera.looking(640, 480, 60, 1.6, pitch_deg=20)
    assert down.horizon_y(320) == pytest.approx(240 - down.focal_px * np.tan(np.radians(20)))
    # A camera turned clockwise shows the world turned counter-clockwise: the horizon rises to the right.
    rolled = Camera.looking(640, 480, 60, 1.6, roll_deg=10)
    assert rolled.horizon_y(640) < rolled.horizon_y(0)
    left = Camera.looking(640, 480, 60, 1.6, yaw_deg=90).directions(np.array([320.0, 240.0]))
    assert np.allclose(left, [1, 0, 0], atol=1e-12)


def test_to_dict_and_back_is_exact():
    camera = Camera.looking(640, 480, 47.123, 1.7, 3, 2, yaw_deg=1).crop(10, 20, 300, 200, 300, 200)
    back = Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    assert (back.to_world == camera.to_world).all() and (back.focal_px, back.cx, back.cy) == (
        camera.focal_px, camera.cx, camera.cy)


def test_from_dict_refuses_nonsense():
    data = Camera.looking(8, 6, 50).to_dict()
    for change in ({"focal_px": 0}, {"to_world": [[1, 2], [3, 4]]}, {"cx": float("nan")}):
        with pytest.raises(ValueError, match="to_world"):
            Camera.from_dict({**data, **change})
