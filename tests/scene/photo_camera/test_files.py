"""dipir.scene.photo_camera.files: all forms of a camera file, and what is refused."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from dipir.errors import ConfigError, SceneError
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraOptions, resolve_camera, see
from dipir.scene.photo_camera.files import load_camera, read_camera
from dipir.scene.plate import plate_from_tensor


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


LENS = "{width: 640, height: 480, fx: 500, fy: 490, cx: 330, cy: 230, height_m: 1, lens: OPENCV, distortion: [%s]}"


def test_a_lens_of_a_file(tmp_path):
    """The camera is that of the straight picture, at the plate's size; who does not straighten it is told so."""
    path = write(tmp_path, LENS % "-0.2, 0.05, 0.001, 0")
    given = read_camera(path)
    assert given.lens.params == (500, 490, 330, 230, -0.2, 0.05, 0.001, 0)
    assert (given.camera.width, given.camera.height, given.camera.focal_px) == (640, 490, 500)
    half = read_camera(path, (320, 240))
    assert half.lens.size == (320, 240) and half.camera.focal_px == 250
    assert half.lens.params[4:] == given.lens.params[4:]
    with pytest.raises(SceneError, match="made for 640 x 480 pixels, but the plate has 640 x 640"):
        read_camera(path, (640, 640))
    with pytest.raises(SceneError, match="has a lens \\(OPENCV\\), and the photo is not made straight here"):
        load_camera(path)
    plate = plate_from_tensor(torch.full((1, 3, 240, 320), 0.5))
    with pytest.raises(SceneError, match="not made straight here. Use `dipir insert`"):
        resolve_camera(plate, CameraOptions(file=path))
    seen, estimate = see(plate, CameraOptions(file=path, pitch_deg=10))
    assert seen.size == (320, 245) == (estimate.camera.width, estimate.camera.height)
    assert seen.original.disp is plate.disp and estimate.camera.angles_deg[0] == pytest.approx(10)


def test_a_lens_that_bends_nothing_is_none(tmp_path):
    given = read_camera(write(tmp_path, (LENS % "0, 0, 0, 0").replace("fy: 490, ", "")), (320, 240))
    assert given.lens is None and given.camera.focal_px == 250


@pytest.mark.parametrize("change, text", [
    ("[-0.2]", "5 parameters of a OPENCV camera"), ("[-9, 0, 0, 0]", "would show some places twice"),
    ("[a, 0, 0, 0]", "distortion"), ("[.nan, 0, 0, 0]", "nan")])
def test_lenses_that_cannot_be_used(tmp_path, change, text):
    with pytest.raises(SceneError, match=text):
        read_camera(write(tmp_path, LENS.replace("[%s]", change)))


def test_a_lens_needs_a_name_that_is_known(tmp_path):
    with pytest.raises(SceneError, match="'OPENVC' is not supported.*Did you mean 'OPENCV'"):
        read_camera(write(tmp_path, (LENS % "0.1, 0, 0, 0").replace("OPENCV", "OPENVC")))
    with pytest.raises(SceneError, match="distortion without a lens"):
        read_camera(write(tmp_path, (LENS % "0.1, 0, 0, 0").replace("lens: OPENCV, ", "").replace("fy: 490, ", "")))
