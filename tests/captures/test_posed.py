"""nerfstudio and COLMAP folders: the same cameras however they are written, real photos, broken files."""
from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dipir.captures.colmap import find_model, read_colmap
from dipir.captures.nerfstudio import read_transforms
from dipir.captures.posed import poses_file, read_posed
from dipir.captures.sequence import Frame, distorted, frame_plate
from dipir.errors import SceneError
from dipir.scene.camera import Camera

DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[3] / "shared/data"))
SIZE, FOCAL, CENTRE, LENS = (40, 30), (35.0, 34.0), (19.0, 15.5), (0.08, -0.2, 0.01, -0.005)
POINTS = np.random.default_rng(0).uniform(-1, 1, (20, 3))


def cameras() -> list[tuple[np.ndarray, np.ndarray]]:
    """World-to-camera R, t with OpenCV's axes, the points about 5 in front."""
    made = []
    for k in range(3):
        rotation = cv2.Rodrigues(np.array([0.2 * k, 0.3 - 0.2 * k, 0.1]))[0]
        made.append((rotation, np.array([0.1 * k, -0.2, 5.0])))
    return made


def quaternion(r: np.ndarray) -> np.ndarray:
    w = np.sqrt(1 + np.trace(r)) / 2
    return np.array([w, (r[2, 1] - r[1, 2]) / (4 * w), (r[0, 2] - r[2, 0]) / (4 * w), (r[1, 0] - r[0, 1]) / (4 * w)])


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), np.full((SIZE[1], SIZE[0], 3), 40 * k, np.uint8))
    return tmp_path


def as_transforms(folder) -> None:
    frames = []
    for k, (r, t) in enumerate(cameras()):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = r.T @ np.diag([1, -1, -1]), -r.T @ t
        frames.append({"file_path": f"images/{k}.png", "transform_matrix": pose.tolist()})
    k = dict(zip(("k1", "k2", "p1", "p2"), LENS, strict=True))
    (folder / "transforms.json").write_text(json.dumps({
        "camera_model": "OPENCV", "w": SIZE[0], "h": SIZE[1], "fl_x": FOCAL[0], "fl_y": FOCAL[1], "cx": CENTRE[0],
        "cy": CENTRE[1], **k, "frames": frames, "applied_scale": 1.0}))


def as_text(folder) -> None:
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    numbers = " ".join(map(repr, (*FOCAL, *CENTRE, *LENS)))
    (model / "cameras.txt").write_text(f"# comment\n7 OPENCV {SIZE[0]} {SIZE[1]} {numbers}\n")
    lines = []
    for k, (r, t) in enumerate(cameras()):
        values = " ".join(repr(float(v)) for v in (*quaternion(r), *t))
        lines += [f"{k + 1} {values} 7 {k}.png", "" if k == 1 else "1.0 2.0 -1"]
    (model / "images.txt").write_text("# comment\n" + "\n".join(lines) + "\n")
    rows = [f"{k} {x} {y} {z} 0 0 0 0.5 1 2\n" for k, (x, y, z) in enumerate(POINTS)]
    (model / "points3D.txt").write_text("".join(rows))


def as_binary(folder) -> None:
    model = folder / "sparse"
    model.mkdir(parents=True)
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 7, 4, *SIZE, *FOCAL, *CENTRE, *LENS))
    data = struct.pack("<Q", 3)
    for k, (r, t) in enumerate(cameras()):
        data += struct.pack("<i7di", k + 1, *quaternion(r), *t, 7) + f"{k}.png".encode() + b"\0"
        data += struct.pack("<Q", k) + struct.pack("<ddq", 1.0, 2.0, -1) * k
    (model / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(POINTS))
    for k, p in enumerate(POINTS):
        data += struct.pack("<Q3d3BdQ", k, *p, 1, 2, 3, 0.5, k % 3) + struct.pack("<ii", 1, 2) * (k % 3)
    (model / "points3D.bin").write_bytes(data)


@pytest.mark.parametrize("write, read, points", [(as_transforms, read_transforms, 0), (as_text, read_colmap, 20),
                                                 (as_binary, read_colmap, 20)])
def test_cameras_are_those_of_opencv(photos, write, read, points):
    """Pixels (from the corner) of OpenCV's K [R|t] without a lens, rows stretched to square pixels."""
    write(photos)
    sequence = read(photos)
    assert len(sequence.frames) == 3 and sequence.points.shape == (points, 3)
    if points:
        assert np.allclose(sequence.points, POINTS)
    for k, (frame, (r, t)) in enumerate(zip(sequence.frames, cameras(), strict=True)):
        assert frame.image.name == f"{k}.png" and frame.distortion == pytest.approx(LENS)
        local = POINTS @ r.T + t
        expected = local[:, :2] / local[:, 2:] * FOCAL + CENTRE
        assert np.abs(frame.camera.project(POINTS)[0] / [1, frame.stretch] - expected).max() < 1e-5
        assert frame.stretch == pytest.approx(FOCAL[0] / FOCAL[1])


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


@pytest.mark.parametrize("change", [
    {"camera_model": "OPENCV_FISHEYE"}, {"fl_x": -3}, {"fl_x": "wide"}, {"frames": None}, {"frames": []},
    {"frames": [{"file_path": "../x.png", "transform_matrix": np.eye(4).tolist()}]},
    {"frames": [{"file_path": "images/0.png", "transform_matrix": np.zeros((4, 4)).tolist()}]},
    {"frames": [{"file_path": "images/0.png"}]}, {"frames": [{"file_path": "images/none.png",
                                                              "transform_matrix": np.eye(4).tolist()}]}])
def test_unusable_transforms(photos, change):
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text()) | change
    (photos / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(SceneError):
        read_transforms(photos)


def test_no_json_and_nothing(photos):
    with pytest.raises(SceneError):
        read_transforms(photos)
    with pytest.raises(SceneError):
        read_colmap(photos)
    (photos / "transforms.json").write_text("{")
    with pytest.raises(SceneError):
        read_transforms(photos)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("cut", [5, 20, 60])
def test_cut_models(photos, name, cut):
    as_binary(photos)
    path = photos / "sparse" / f"{name}.bin"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SceneError):
        read_colmap(photos)


def test_other_lenses_and_photos_elsewhere(photos, tmp_path):
    as_text(photos)
    model = photos / "sparse" / "0"
    assert find_model(photos) == model
    (photos / "images").rename(photos / "photos")
    with pytest.raises(SceneError, match="none of the 3"):
        read_colmap(photos)
    assert len(read_colmap(photos, photos / "photos").frames) == 3
    (model / "cameras.txt").write_text("7 FULL_OPENCV 40 30 " + "1 " * 12)
    with pytest.raises(SceneError, match="FULL_OPENCV"):
        read_colmap(photos, photos / "photos")


def test_a_photo_of_another_size(photos):
    as_text(photos)
    cv2.imwrite(str(photos / "images" / "0.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(SceneError, match="20 x 20"):
        frame_plate(read_colmap(photos).frames[0])


@pytest.mark.skipif(not DATA.is_dir(), reason="DIPIR_DATA not there")
def test_real_photos(tmp_path):
    """Berlin cathedral by OpenSfM: written as a COLMAP model, its points fall where they were seen."""
    folder = DATA / "multiview" / "berlin"
    given = json.loads((folder / "cameras.json").read_text())["images"]
    points = json.loads((folder / "reconstruction_example.json").read_text())[0]["points"]
    cams, images = [], []
    for k, (name, c) in enumerate(given.items()):
        # Its principal point counts from the centre of the first pixel.
        values = (c["K"][0][0], c["K"][0][2] + 0.5, c["K"][1][2] + 0.5, *c["radial"])
        cams.append(f"{k} RADIAL {c['width']} {c['height']} " + " ".join(map(repr, values)))
        pose = " ".join(repr(float(v)) for v in (*quaternion(np.array(c["R"])), *c["t"]))
        images += [f"{k} {pose} {k} {name}", ""]
    (tmp_path / "cameras.txt").write_text("\n".join(cams))
    (tmp_path / "images.txt").write_text("\n".join(images))
    sequence = read_colmap(tmp_path, folder / "images")
    seen = {}
    for line in (folder / "tracks_example.csv").read_text().splitlines()[1:]:
        name, track, _, x, y, *_ = line.split("\t")
        if track in points:
            seen.setdefault(name, []).append((track, float(x), float(y)))
    for frame in sequence.frames:
        rows = seen[frame.image.name]
        world = np.array([points[track]["coordinates"] for track, *_ in rows])
        measured = np.array([[x, y] for _, x, y in rows]) * 3264 + [1632, 1224]
        pixels = frame.camera.project(world)[0]
        at = (pixels - [frame.camera.cx, frame.camera.cy]) / frame.camera.focal_px
        through = np.stack(distorted(*at.T, frame.distortion), 1) * frame.camera.focal_px + [frame.camera.cx,
                                                                                             frame.camera.cy]
        assert np.median(np.linalg.norm(through - measured, axis=1)) < 4
    plate, camera = frame_plate(sequence.frames[0], 200)
    assert plate.size == (200, 150) and camera.width == 200


def test_one_door_for_all(photos):
    """COLMAP's model, and nerfstudio's file before it where both are there; a folder of neither is said to be so."""
    as_text(photos)
    both = read_posed(photos).frames[0].camera, read_colmap(photos).frames[0].camera
    assert np.array_equal(both[0].to_world, both[1].to_world) and both[0].focal_px == both[1].focal_px
    assert poses_file(photos).name == "images.txt"
    (photos / "transforms.json").write_text("{}")
    with pytest.raises(SceneError, match="transforms.json"):
        read_posed(photos)
    assert poses_file(photos / "images") is None
    with pytest.raises(SceneError, match="no posed sequence"):
        read_posed(photos / "images")


def test_white_stays_white_when_it_is_made_smaller(tmp_path):
    cv2.imwrite(str(tmp_path / "white.png"), np.full((733, 971, 3), 255, np.uint8))
    plate, camera = frame_plate(Frame(0, tmp_path / "white.png", Camera.looking(971, 733, 50)), 160)
    assert plate.disp.max() == 1 and plate.size == (camera.width, camera.height) == (160, 121)
