"""CO3D folders: cameras against PyTorch3D's and OpenCV's formulae, quirks of the format, broken sets."""
from __future__ import annotations

import gzip
import json

import cv2
import numpy as np
import pytest

from dipir.captures import co3d, co3d_pixels
from dipir.captures.co3d import FrameNote, SequenceNote, Viewpoint
from dipir.captures.point_cloud import write_points
from dipir.errors import SceneError
from dipir.scene.camera import Camera


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def viewpoint(rng: np.random.Generator, format: str = "ndc_isotropic", oblong: float = 1.0) -> Viewpoint:
    return Viewpoint(rotation(rng), rng.normal(size=3), np.array([2.1, 2.1 * oblong]), np.array([0.07, -0.05]), format)


# ---- cameras ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("format", co3d.FORMATS)
@pytest.mark.parametrize("size", [(768, 432), (432, 768), (500, 500)])
@pytest.mark.parametrize("oblong", [1.0, 1.04])
def test_pixels_are_those_of_pytorch3d_and_opencv(format, size, oblong):
    """Screen formula of PyTorch3D, and K [R|t] of its conversion to OpenCV, for 200 points in front."""
    rng = np.random.default_rng(0)
    height, width = size
    v = viewpoint(rng, format, oblong)
    local = rng.normal(size=(200, 3)) * [0.3, 0.3, 0.2] + [0, 0, 3]
    world = (local - v.T) @ v.R.T
    per = np.array([width, height]) / min(width, height) if format == co3d.LEGACY else np.ones(2)
    focal, principal, s = v.focal * per, v.principal * per, min(width, height) / 2
    screen = np.array([width, height]) / 2 - s * (focal * local[:, :2] / local[:, 2:] + principal)
    turn = np.diag([-1.0, -1, 1])
    k = np.array([[s * focal[0], 0, width / 2 - s * principal[0]], [0, s * focal[1], height / 2 - s * principal[1]],
                  [0, 0, 1]])
    cv = (world @ (v.R @ turn) + turn @ v.T) @ k.T
    assert np.abs(cv[:, :2] / cv[:, 2:] - screen).max() < 1e-9
    camera, stretch = co3d.camera_of(v, height, width)
    pixels, depth = camera.project(world)
    assert np.abs(pixels / [1, stretch] - screen).max() < 1e-8
    assert np.allclose(depth, local[:, 2]) and camera.height >= height * stretch - 1e-6
    assert stretch == pytest.approx(focal[0] / focal[1])


@pytest.mark.parametrize("format", co3d.FORMATS)
def test_round_trip_of_cameras(format):
    rng = np.random.default_rng(1)
    for _ in range(20):
        width, height = map(int, rng.integers(50, 900, 2))
        pitch, roll, yaw = rng.uniform(-40, 40, 3)
        camera = Camera.looking(width, height, 60, 1.2, pitch, roll, yaw_deg=yaw)
        back, stretch = co3d.camera_of(co3d.viewpoint_of(camera, format), camera.height, camera.width)
        points = camera.position + camera.directions(rng.uniform(0, 50, (30, 2))) * rng.uniform(1, 5, (30, 1))
        assert np.abs(back.project(points)[0] - camera.project(points)[0]).max() < 1e-6
        assert stretch == pytest.approx(1) and (back.width, back.height) == (camera.width, camera.height)


@pytest.mark.parametrize("change", [{"R": np.eye(3) * 2}, {"R": np.diag([1.0, 1, -1])}, {"T": np.array([np.nan, 0, 0])},
                                    {"focal": np.array([0.0, 1.0])}])
def test_what_is_no_camera(change):
    values = {"R": np.eye(3), "T": np.zeros(3), "focal": np.ones(2), "principal": np.zeros(2), **change}
    with pytest.raises(SceneError):
        co3d.camera_of(Viewpoint(**values), 10, 10)


# ---- folders ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def root(tmp_path):
    """One category, two sequences: "b" is whole, "a" has a frame without a camera and one without an image."""
    rng = np.random.default_rng(2)
    frames = []
    for sequence, count in (("a", 3), ("b", 4)):
        folder = tmp_path / "toy" / sequence
        for name in ("images", "masks", "depths", "depth_masks"):
            (folder / name).mkdir(parents=True)
        for k in range(count):
            def path(name, end, k=k, s=sequence):
                return f"toy/{s}/{name}/frame{k + 1:06d}.{end}"
            (tmp_path / path("images", "jpg")).write_bytes(cv2.imencode(".jpg", np.zeros((30, 20, 3), np.uint8))[1])
            co3d_pixels.write_mask(tmp_path / path("masks", "png"), np.full((30, 20), k / 4))
            co3d_pixels.write_depth(tmp_path / path("depths", "png"), np.full((30, 20), 1.5 + k))
            valid = np.zeros((30, 20))
            valid[:10] = 1
            co3d_pixels.write_mask(tmp_path / path("depth_masks", "png"), valid)
            frames.append(FrameNote(sequence, k, path("images", "jpg"), (30, 20),
                                    None if (sequence, k) == ("a", 1) else viewpoint(rng), path("masks", "png"),
                                    path("depths", "png"), 2.0, path("depth_masks", "png"), "train_known"))
    (tmp_path / frames[2].image).unlink()
    write_points(tmp_path / "toy/b/pointcloud.ply", rng.normal(size=(50, 3)))
    notes = [SequenceNote("a", "toy", None, {"viewpoints": 0.5}),
             SequenceNote("b", "toy", "toy/b/pointcloud.ply", {"points": 0.9, "viewpoints": 1.2})]
    rows = [[f.sequence, f.number, f.image] for f in frames]
    co3d.write_category(tmp_path, "toy", map(co3d.frame_record, frames[::-1]), notes,
                        {"fewview_dev": {"train": rows[:2], "val": [], "test": rows[2:]}},
                        {"fewview_dev": [rows[:2]]})
    return tmp_path


def test_a_category_comes_back(root):
    assert co3d.categories(root) == ["toy"] and co3d.subsets(root, "toy") == ["fewview_dev"]
    category = co3d.read_category(root, "toy")
    assert [f.number for f in category.frames["b"]] == [0, 1, 2, 3]
    sequence = co3d.read_sequence(category, "b")
    assert len(sequence.frames) == 4 and sequence.points.shape == (50, 3)
    assert sequence.quality == {"points": 0.9, "viewpoints": 1.2} and not sequence.notes
    frame = sequence.frames[2]
    assert frame.kind == "train_known" and np.abs(co3d_pixels.read_mask(frame.mask) - 0.5).max() < 0.01
    depth = co3d_pixels.read_depth(frame)
    assert (depth[:10] == 7).all() and (depth[10:] == 0).all()
    lists = co3d.read_set_lists(root, "toy", "fewview_dev")
    assert lists["train"][1] == ("a", 1, "toy/a/images/frame000002.jpg") and lists["val"] == []
    batches = json.loads((root / "toy" / "eval_batches" / "eval_batches_fewview_dev.json").read_text())
    assert [tuple(row) for row in batches[0]] == lists["train"]


def test_frames_that_cannot_be_used_are_left_out(root):
    sequence = co3d.read_sequence(co3d.read_category(root, "toy"), "a")
    assert [f.number for f in sequence.frames] == [0]
    assert sequence.notes[0] == "2 frames without a usable camera or image were left out"


def test_points_are_from_depths_where_there_is_no_cloud(root):
    """Known in the upper third of the photo, 3 units away along the axis."""
    sequence = co3d.read_sequence(co3d.read_category(root, "toy"), "a")
    assert sequence.notes[1] == "there is no point cloud; 4000 points are from depth maps"
    uv, depth = sequence.frames[0].camera.project(sequence.points)
    assert np.allclose(depth, 3, atol=1e-3) and uv.min() > 0 and uv[:, 1].max() < 10.01 * sequence.frames[0].stretch
    sequence.frames[0].depth.write_bytes(b"no picture")
    bare = co3d.read_sequence(co3d.read_category(root, "toy"), "a")
    assert len(bare.points) == 0 and bare.notes[1].startswith("there is no point cloud; 0 points")


def edited(root, change) -> None:
    path = root / "toy" / "frame_annotations.jgz"
    records = json.loads(gzip.decompress(path.read_bytes()))
    change(records)
    path.write_bytes(gzip.compress(json.dumps(records).encode()))


def test_unknown_keys_and_a_missing_format_are_read(root):
    def change(records):
        for r in records:
            r["new_key"] = {"a": 1}
            r["mask"]["bounding_box_xywh"] = [0, 0, 1, 1]
            if r["viewpoint"]:
                del r["viewpoint"]["intrinsics_format"]

    edited(root, change)
    frames = co3d.read_category(root, "toy").frames["b"]
    assert all(f.viewpoint.format == co3d.LEGACY for f in frames)
    assert co3d.read_sequence(co3d.read_category(root, "toy"), "b").frames[0].camera.focal_px == pytest.approx(21)


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "toy/../../x.jpg"])
def test_paths_do_not_leave_the_root(root, path):
    edited(root, lambda records: records[0]["image"].update(path=path))
    with pytest.raises(SceneError, match="outside"):
        co3d.read_sequence(co3d.read_category(root, "toy"), "b")


@pytest.mark.parametrize("change", [
    lambda r: r[0].pop("image"), lambda r: r[0]["image"].update(size=[0, 3]),
    lambda r: r[0]["viewpoint"].update(R=[[1, 2], [3, 4]]), lambda r: r[0]["viewpoint"].update(intrinsics_format="px"),
    lambda r: r.append(7)])
def test_broken_annotations(root, change):
    edited(root, change)
    with pytest.raises(SceneError, match="record"):
        co3d.read_category(root, "toy")


def test_what_is_not_there(root, tmp_path):
    category = co3d.read_category(root, "toy")
    for call in (lambda: co3d.categories(tmp_path / "none"), lambda: co3d.categories(root / "toy"),
                 lambda: co3d.read_category(root, "tov"), lambda: co3d.read_sequence(category, "c"),
                 lambda: co3d.read_set_lists(root, "toy", "fewview_test")):
        with pytest.raises(SceneError):
            call()
    with pytest.raises(SceneError, match="Did you mean 'toy'"):
        co3d.read_category(root, "tov")
    (root / "toy" / "frame_annotations.jgz").write_bytes(b"no gzip")
    with pytest.raises(SceneError, match="readable"):
        co3d.read_category(root, "toy")


def test_too_much_text(root, monkeypatch):
    monkeypatch.setattr(co3d, "MAX_JSON_BYTES", 100)
    with pytest.raises(SceneError, match="more than"):
        co3d.read_category(root, "toy")


@pytest.mark.parametrize("data", [
    b"", b"\x1f\x8b", gzip.compress(b"[]")[:-6], gzip.compress(b"[" * 200000), gzip.compress(b"[3]"),
    gzip.compress(b"{}"),
    gzip.compress(b"\xff\xfe"), gzip.compress(b"[]")[:10] + b"\xff" * 20,
    gzip.compress(b'[{"image": {"size": [1e400, 1]}}]'),
    gzip.compress(b'[{"image": {"size": [1' + b"0" * 400 + b', 1]}}]'), gzip.compress(b"[Infinity]"),
    gzip.compress(b"[" + b"9" * 5000 + b"]")])
def test_damaged_annotations(tmp_path, data):
    (tmp_path / "cup").mkdir()
    for kind in ("frame", "sequence"):
        (tmp_path / "cup" / f"{kind}_annotations.jgz").write_bytes(data)
    with pytest.raises(SceneError) as error:
        co3d.read_category(tmp_path, "cup")
    assert len(str(error.value)) < 2100


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """100 MiB of blanks in 100 KiB: the size that is read is bounded by the size of the file."""
    (tmp_path / "cup").mkdir()
    (tmp_path / "cup" / "frame_annotations.jgz").write_bytes(gzip.compress(b" " * (100 << 20), 9))
    with pytest.raises(SceneError, match="64 MiB of text for .* bytes of file"):
        co3d.read_category(tmp_path, "cup")
