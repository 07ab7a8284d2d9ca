"""dipir.captures.nerfstudio: transforms.json that cannot be used."""
from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dipir.captures.colmap import read_colmap
from dipir.captures.nerfstudio import read_transforms
from dipir.errors import SceneError
from tests.support.posed_folders import as_binary, as_transforms


@pytest.mark.parametrize("change", [
    {"camera_model": "FISHEYE624"}, {"camera_model": "EQUIRECTANGULAR"},
    {"fl_x": -3}, {"fl_x": "wide"}, {"frames": None}, {"frames": []},
    {"frames": [{"file_path": "../x.png", "transform_matrix": np.eye(4).tolist()}]},
    {"frames": [{"file_path": "images/0.png", "transform_matrix": np.zeros((4, 4)).tolist()}]},
    {"frames": [{"file_path": "images/0.png"}]}, {"frames": [{"file_path": "images/none.png",
                                                              "transform_matrix": np.eye(4).tolist()}]},
    {"fl_x": 10**400}, {"fl_x": 1e-300}, {"h": 0}, {"w": 10**9}, {"k1": math.inf}, {"cx": math.nan}, {"fl_y": 1e-6},
    {"frames": 3}, {"frames": [3]}, {"k1": 10**400}])


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


def test_no_angle(photos):
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text())
    del data["fl_x"], data["fl_y"]
    for angle in (0, 1e-320, math.inf, "x"):
        (photos / "transforms.json").write_text(json.dumps({**data, "camera_angle_x": angle}))
        with pytest.raises(SceneError):
            read_transforms(photos)


@pytest.mark.parametrize("nested", ["[" * 100000, '{"frames": ' * 100000, "[]", "3"])
def test_no_frames(photos, nested):
    (photos / "transforms.json").write_text(nested)
    with pytest.raises(SceneError) as error:
        read_transforms(photos)
    assert len(str(error.value)) < 2100


@pytest.mark.parametrize("key, value", [("k4", -0.1), ("s1", 1e-3), ("k7", 1e-3), ("b1", 2.0),
                                        ("ftheta_p0", 1.0), ("fisheye_crop_radius", 300), ("latlong", True),
                                        ("rolling_shutter", [0, 0, 1])])
def test_every_lens_is_honoured_or_refused_by_name(photos, key, value):
    """At the top and at one frame; a key that says "nothing of it" is no reason to refuse."""
    as_transforms(photos)
    text = (photos / "transforms.json").read_text()
    for where in ("top", "frame"):
        data = json.loads(text)
        (data if where == "top" else data["frames"][1])[key] = value
        (photos / "transforms.json").write_text(json.dumps(data))
        with pytest.raises(SceneError, match=f"'{key}' says something of the lens"):
            read_transforms(photos)
    (photos / "transforms.json").write_text(json.dumps({**json.loads(text), key: 0, "is_fisheye": False}))
    assert len(read_transforms(photos).frames) == 3


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "RADIAL"])
def test_radial_models(photos, model):
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text()) | {"camera_model": model, "p1": 0.0, "p2": 0.0}
    (photos / "transforms.json").write_text(json.dumps(data))
    assert read_transforms(photos).frames[0].lens.params[4:] == (0.08, -0.2, 0.0, 0.0)


def test_more_frames_than_are_read(photos, monkeypatch):
    monkeypatch.setattr("dipir.captures.sequence.MOST_FRAMES", 2)
    as_transforms(photos)
    with pytest.raises(SceneError, match="3 frames; at most 2"):
        read_transforms(photos)
    as_binary(photos)
    with pytest.raises(SceneError, match="3 frames; at most 2"):
        read_colmap(photos)


@pytest.mark.parametrize("change, model, bent", [
    ({"k3": 0.05}, "FULL_OPENCV", (0.08, -0.2, 0.01, -0.005, 0.05, 0, 0, 0)),
    ({"camera_model": "OPENCV_FISHEYE", "p1": 0, "p2": 0, "k3": 0.02, "k4": 0.01}, "OPENCV_FISHEYE",
     (0.08, -0.2, 0.02, 0.01)),
    ({"camera_model": "RADIAL_FISHEYE", "p1": 0, "p2": 0}, "OPENCV_FISHEYE", (0.08, -0.2, 0, 0)),
    ({"is_fisheye": True, "p1": 0, "p2": 0}, "OPENCV_FISHEYE", (0.08, -0.2, 0, 0))])
def test_lenses_by_their_keys(photos, change, model, bent):
    """instant-ngp marks a fisheye by a key of its own."""
    as_transforms(photos)
    data = json.loads((photos / "transforms.json").read_text()) | change
    (photos / "transforms.json").write_text(json.dumps(data))
    lens = read_transforms(photos).frames[0].lens
    assert (lens.model, lens.params[4:]) == (model, bent)
    data["p1"] = 0.01
    (photos / "transforms.json").write_text(json.dumps(data))
    if model == "OPENCV_FISHEYE":
        with pytest.raises(SceneError, match="'p1' says something of the lens"):
            read_transforms(photos)
