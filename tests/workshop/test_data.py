"""Photographed data of the data folder."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dipir.errors import AssetError, ConfigError
from dipir.workshop.data import real_panoramas, training_meshes
from tests.support.hdr import write_hdr


def test_data_folder_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DIPIR_DATA"):
        training_meshes("train", tmp_path)
    with pytest.raises(AssetError, match="DIPIR_DATA"):
        real_panoramas("train", tmp_path)


def test_the_split_is_read_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps({
        "hdri": {"train": ["b.hdr", "a.hdr"], "val": []}, "meshes": {"train": ["cup", "none"], "val": ["other"]}}))
    (tmp_path / "hdri").mkdir()
    for name, level in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        write_hdr(tmp_path / "hdri" / f"{name}.hdr", torch.full((4, 8, 3), level))
    assert [float(p.mean()) for p in real_panoramas("train", tmp_path)] == [2.0, 1.0]
    (tmp_path / "meshes" / "cup").mkdir(parents=True)
    for name in ("z.obj", "b.glb", "a.gltf", "a.txt"):
        (tmp_path / "meshes" / "cup" / name).write_text("")
    assert [p.name for p in training_meshes("train", tmp_path)] == ["a.gltf", "b.glb", "z.obj"]
