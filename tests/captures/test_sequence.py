"""dipir.captures.sequence: photos as their cameras see them."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from dipir.captures.colmap import read_colmap
from dipir.captures.ground import fit_ground
from dipir.captures.nerfstudio import read_transforms
from dipir.captures.sequence import Frame, PosedSequence, frame_plate, on_ground
from dipir.errors import SceneError
from dipir.scene.camera import Camera
from tests.captures.test_ground import cloud, moved, orbit, turned
from tests.support.posed_folders import CENTRE, FOCAL, LENS, as_text, as_transforms


def test_lenses_are_straightened_as_opencv_does(photos):
    """A smooth picture through cv2.undistort; the corner convention differs from OpenCV's by half a pixel."""
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text())
    data |= {"fl_y": data["fl_x"], "k1": 0.4}
    (photos / "transforms.json").write_text(json.dumps(data))
    y, x = np.mgrid[0:30, 0:40]
    picture = np.stack([x * 5, y * 7, 100 + 30 * np.sin(x / 5)], -1).astype(np.float32)
    cv2.imwrite(str(photos / "images" / "0.png"), picture.round().astype(np.uint8)[..., ::-1])
    plate, camera = frame_plate(read_transforms(photos).frames[0])
    k = np.array([[FOCAL[0], 0, CENTRE[0] - 0.5], [0, FOCAL[0], CENTRE[1] - 0.5], [0, 0, 1]])
    expected = cv2.undistort(picture.round(), k, np.array([0.4, *LENS[1:]])) / 255
    inner = (slice(4, -4), slice(4, -4))
    got = plate.disp[0].permute(1, 2, 0).numpy()
    assert np.abs(got[inner] - expected[inner]).max() < 0.01 and camera.width == 40
    assert np.abs(got[inner] - picture[inner] / 255).max() > 0.02


def test_oblong_pixels_are_stretched_and_pictures_shrunk(photos):
    as_transforms(photos)
    frame = read_transforms(photos).frames[1]
    whole, camera = frame_plate(frame)
    assert whole.size == (camera.width, camera.height) == (40, 31)
    small, less = frame_plate(frame, 20)
    assert small.size == (less.width, less.height) == (20, 16) and less.focal_px == camera.focal_px / 2
    assert torch.allclose(small.disp, whole.disp.mean(), atol=0.01)


def test_a_photo_of_another_size(photos):
    as_text(photos)
    cv2.imwrite(str(photos / "images" / "0.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(SceneError, match="20 x 20"):
        frame_plate(read_colmap(photos).frames[0])


def test_white_stays_white_when_it_is_made_smaller(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((733, 971, 3), 255, np.uint8))
    plate, camera = frame_plate(Frame(0, tmp_path / "white.png", Camera.looking(971, 733, 50)), 160)
    assert plate.disp.max() == 1 and plate.size == (camera.width, camera.height) == (160, 121)


def test_a_sequence_in_our_world():
    world = turned(5)
    points, poses = moved(cloud(5), orbit(), world, 7.0)
    frames = tuple(Frame(k, None, Camera(40, 30, 50.0, 20, 15, pose), depth_scale=2.0) for k, pose in enumerate(poses))
    sequence = PosedSequence("s", frames, points)
    pixels = [f.camera.project(points[:100])[0] for f in frames]
    ours = on_ground(sequence, fit_ground(points, poses), 1.5)
    assert np.median(ours.centres[:, 1]) == pytest.approx(1.5, rel=1e-6)
    assert np.abs(ours.points[:600, 1]).max() < 0.05
    for frame, before in zip(ours.frames, pixels, strict=True):
        assert np.allclose(frame.camera.project(ours.points[:100])[0], before, atol=1e-6)
        assert np.linalg.det(frame.camera.to_world[:3, :3]) == pytest.approx(1)
    depth = frames[3].camera.project(points[:9])[1] * 2
    assert np.allclose(ours.frames[3].camera.project(ours.points[:9])[1] / depth * 2,
                       ours.frames[3].depth_scale / 2)
    ahead = ours.frames[0].camera.to_world[:3, 2]
    assert abs(ahead[0]) < 1e-9 and ahead[2] > 0
