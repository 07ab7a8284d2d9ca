"""Photographed data of the data folder."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dipir.errors import AssetError, ConfigError
from dipir.image.files import write_exr
from dipir.workshop.data import TRAIN, VAL, panorama_files, real_panoramas, training_meshes
from tests.support.hdr import write_hdr


def test_data_folder_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DIPIR_DATA"):
        training_meshes("train", data=tmp_path)
    with pytest.raises(AssetError, match="DIPIR_DATA"):
        real_panoramas("train", data=tmp_path)


def test_the_split_is_read_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text(json.dumps({
        "hdri": {"train": ["b.hdr", "a.hdr"], "val": []}, "meshes": {"train": ["cup", "none"], "val": ["other"]}}))
    (tmp_path / "hdri").mkdir()
    for name, level in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        write_hdr(tmp_path / "hdri" / f"{name}.hdr", torch.full((4, 8, 3), level))
    assert [float(p.mean()) for p in real_panoramas("train", data=tmp_path)] == [2.0, 1.0]
    (tmp_path / "meshes" / "cup").mkdir(parents=True)
    for name in ("z.obj", "b.glb", "a.gltf", "a.txt"):
        (tmp_path / "meshes" / "cup" / name).write_text("")
    assert [p.name for p in training_meshes("train", data=tmp_path)] == ["a.gltf", "b.glb", "z.obj"]


@pytest.fixture
def two_parts(tmp_path: Path) -> Path:
    """A data folder with both parts of the training split."""
    (tmp_path / "splits.json").write_text(json.dumps({
        "hdri": {"train": ["a.hdr"], "train_more": ["b.exr"], "val": [], "val_more": []},
        "meshes": {"train": ["cup"], "train_more": ["jug.glb"], "val": [], "val_more": []}}))
    (tmp_path / "hdri").mkdir()
    write_hdr(tmp_path / "hdri" / "a.hdr", torch.full((4, 8, 3), 1.0))
    # Brighter than a half float's sun would be when clipped to display range.
    write_exr(tmp_path / "hdri" / "b.exr", {c: torch.full((4, 8), 30000.0).half() for c in "RGB"})
    (tmp_path / "meshes" / "cup").mkdir(parents=True)
    (tmp_path / "meshes" / "cup" / "cup.obj").write_text("")
    return tmp_path


def test_parts_are_read_together(two_parts: Path) -> None:
    assert [float(p.mean()) for p in real_panoramas(*TRAIN, data=two_parts)] == [1.0, 30000.0]
    assert [f.name for f in panorama_files(*TRAIN, data=two_parts)] == ["a.hdr", "b.exr"]
    assert panorama_files(*VAL, data=two_parts) == [] == training_meshes(*VAL, data=two_parts)
    files = training_meshes(*TRAIN, data=two_parts)
    assert [str(f.relative_to(two_parts)) for f in files] == ["meshes/cup/cup.obj", "meshes_more/jug.glb"]


def test_an_unknown_part_is_named_with_those_there_are(two_parts: Path) -> None:
    with pytest.raises(AssetError, match="'test'; it has train, train_more, val, val_more"):
        real_panoramas("test", data=two_parts)
    with pytest.raises(ConfigError, match="'test'; it has train"):
        training_meshes("test", data=two_parts)
