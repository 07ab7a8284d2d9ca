"""dipir.captures.nerfstudio: transforms.json that cannot be used."""
from __future__ import annotations

import json

import numpy as np
import pytest

from dipir.captures.colmap import read_colmap
from dipir.captures.nerfstudio import read_transforms
from dipir.errors import SceneError
from tests.support.posed_folders import as_transforms


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
