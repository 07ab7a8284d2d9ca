"""dipir.scene.camera and camera_files: geometry against independent formulas, every form of a camera file."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import ConfigError, SceneError
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraOptions, resolve_camera
from dipir.scene.photo_camera.files import load_camera
from dipir.scene.plate import Plate

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


def write(tmp_path, text, name="camera.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def same(a: Camera, b: Camera) -> bool:
    return ((a.width, a.height) == (b.width, b.height) and np.allclose(a.to_world, b.to_world, atol=1e-9)
            and np.allclose([a.focal_px, a.cx, a.cy], [b.focal_px, b.cx, b.cy]))


def test_all_forms_of_a_file_give_the_same_camera(tmp_path):
    camera = Camera.looking(640, 480, 55, 1.3, 14, 6, yaw_deg=30)
    p = camera.to_world
    w = 0.5 * np.sqrt(1 + np.trace(p[:3, :3]))
    q = [w, *(np.array([p[2, 1] - p[1, 2], p[0, 2] - p[2, 0], p[1, 0] - p[0, 1]]) / (4 * w))]
    # OpenCV sees the same world with its x and y axes turned round.
    rotation = np.diag([-1, -1, 1]) @ p[:3, :3].T
    forms = [{"height_m": 1.3, "pitch_deg": 14, "roll_deg": 6, "yaw_deg": 30}, {"to_world": p.tolist()},
             {"position": p[:3, 3].tolist(), "rotation": [float(v) * 3 for v in q]},
             {"R": rotation.tolist(), "t": (-rotation @ p[:3, 3]).tolist()}]
    for form in forms:
        for lens in ({"fov_x_deg": 55}, {"fx": camera.focal_px, "fy": camera.focal_px}):
            path = write(tmp_path, json.dumps({"width": 640, "height": 480, **lens, **form}), "camera.json")
            assert same(load_camera(path), camera), form


def test_opencv_extrinsics_project_as_opencv_does(tmp_path):
    rng = np.random.default_rng(1)
    rotation = cv2.Rodrigues(rng.normal(size=3))[0]
    t, points = np.array([0.1, -0.3, 4.0]), rng.normal(size=(20, 3)) * 0.5
    text = json.dumps({"width": 640, "height": 480, "fx": 500, "cx": 300, "cy": 250, "R": rotation.tolist(),
                       "t": t.tolist()})
    camera = load_camera(write(tmp_path, text, "cv.json"))
    matrix = np.array([[500, 0, 300], [0, 500, 250], [0, 0, 1.0]])
    expected = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], t, matrix, None)[0].reshape(-1, 2)
    assert np.allclose(camera.project(points)[0], expected, atol=1e-6)


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


def test_another_size_is_scaled_and_another_shape_refused(tmp_path):
    path = write(tmp_path, "{width: 640, height: 480, fov_x_deg: 60, height_m: 1}")
    half = load_camera(path, (320, 240))
    assert half.fov_x_deg == pytest.approx(60) and (half.cx, half.cy) == (160, 120)
    with pytest.raises(SceneError, match="made for 640 x 480 pixels, but the plate has 640 x 640"):
        load_camera(path, (640, 640))


@pytest.mark.parametrize("keys, message", [
    ("fx: 500, fy: 550, height_m: 1", "fx 500 and fy 550 differ"), ("height_m: 1", "either fx"),
    ("fx: 500, fov_x_deg: 60, height_m: 1", "either fx"), ("fx: 500", "none was given"),
    ("fx: -3, height_m: 1", "positive"),
    ("fov_x_deg: 200, height_m: 1", "1 to 170"), ("fx: 500, height_m: 1, position: [0,0,0]", "not both"),
    ("fx: 500, position: [0, 0, 0]", "belong together"),
    ("fx: 500, position: [0,0,0], rotation: [0,0,0,0]", "not finite"),
    ("fx: 500, R: [[2,0,0],[0,2,0],[0,0,2]], t: [0,0,0]", "not orthonormal"),
    ("fx: 500, R: [[-1,0,0],[0,1,0],[0,0,1]], t: [0,0,0]", "mirrors"),
    ("fx: 500, to_world: [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,1.6,0,1]]", "last row"),
    ("fx: 500, pitch_deg: 95", "-89 to 89"), ("fx: 500, hight_m: 1", "Did you mean 'height_m'")])
def test_bad_camera_files(tmp_path, keys, message):
    path = write(tmp_path, f"{{width: 640, height: 480, {keys}}}")
    with pytest.raises(SceneError, match=message) as caught:
        load_camera(path)
    assert "camera.yaml" in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no.yaml"):
        load_camera(tmp_path / "no.yaml")


def test_options_override_single_numbers_of_a_file(tmp_path):
    pose = "height_m: 2, pitch_deg: 10, roll_deg: 3, yaw_deg: 40"
    path = write(tmp_path, f"{{width: 64, height: 48, fov_x_deg: 60, {pose}}}")
    gray = torch.full((1, 3, 48, 64), 0.5)
    e = resolve_camera(Plate(gray, gray), CameraOptions(file=path, pitch_deg=-5))
    assert np.allclose(e.camera.angles_deg, (-5, 3, 40)) and e.camera.position[1] == 2 and e.confidence == 1
    assert e.camera.fov_x_deg == pytest.approx(60)
    e = resolve_camera(Plate(gray, gray), CameraOptions(file=path, fov_deg=80, height_m=0.5, roll_deg=0))
    assert np.allclose(e.camera.angles_deg, (10, 0, 40)) and e.camera.position[1] == 0.5
    assert e.camera.fov_x_deg == pytest.approx(80)


@pytest.mark.parametrize("bad", [{"fov_deg": 0.0}, {"pitch_deg": 90.0}, {"height_m": -1.0}, {"roll_deg": 120.0}])
def test_options_are_bounded(bad):
    with pytest.raises(ValueError, match="must lie in"):
        CameraOptions(**bad)
