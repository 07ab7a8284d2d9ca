"""What scenes are made of: files, the data folder, and what either says when something is missing."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import AssetError, ConfigError
from dipir.workshop import backbone
from dipir.workshop.surfaces import ingredients
from dipir.workshop.surfaces.ingredients import SIZE_PX, DataFolder, Files

CUBE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a mesh and panoramas of each half; where what was made is kept."""
    halves = {"train": "a", "train_more": "b", "val": "c", "val_more": "d"}
    (tmp_path / "meshes_more").mkdir()
    for name in halves.values():
        (tmp_path / "meshes_more" / f"{name}.obj").write_text(CUBE)
    listing = {"meshes": {split: [f"{name}.obj"] for split, name in halves.items()},
               "hdri": {split: [f"{name}_goegap.hdr"] for split, name in halves.items()}}
    (tmp_path / "splits.json").write_text(json.dumps(listing))
    for name in ("training_meshes", "panorama_files"):
        plain = getattr(ingredients, name)
        monkeypatch.setattr(ingredients, name, lambda *splits, of=plain: of(*splits, data=tmp_path))
    # One for each split that is asked for: as bright as its name is far in the alphabet.
    monkeypatch.setattr(ingredients, "real_panoramas",
                        lambda *splits: [torch.full((32, 64, 3), 1.0 + ord(halves[s])) for s in splits])
    return tmp_path / "made"


def test_each_half_of_the_data_folder_has_its_own(folder):
    train, val = (DataFolder().ingredients(held_out, folder / str(held_out)) for held_out in (False, True))
    assert (train.names, val.names) == (("a.obj", "b.obj"), ("c.obj", "d.obj"))
    assert train.patched.startswith("photographed_patches_") and train.patched != val.patched
    assert train.patches().shape == (32, 192, 192, 3) and train.patch_file.parent == folder / "False"
    behind = val.behind()
    assert behind.places.shape == (12, 3, SIZE_PX, SIZE_PX) and len(behind.skies) == 36
    assert val.backdrop_file.parent == folder / "True"
    assert [len(asset.parts[0].faces) for asset in train.assets([1, 0])] == [4, 4]


def test_what_was_made_is_not_made_again(folder, monkeypatch):
    first = DataFolder().ingredients(False, folder)
    monkeypatch.setattr(ingredients.backdrops, "made", lambda *args: pytest.fail("made again"))
    monkeypatch.setattr(ingredients.photo_textures, "patches", lambda *args: pytest.fail("made again"))
    assert DataFolder().ingredients(False, folder) == first


def test_what_lets_light_through_is_left_out(tmp_path):
    material = "newmtl glass\nKd 1 1 1\nd {}\n"
    for name, opacity in (("solid", 1.0), ("glass", 0.3)):
        (tmp_path / f"{name}.mtl").write_text(material.format(opacity))
        (tmp_path / f"{name}.obj").write_text(f"mtllib {name}.mtl\nusemtl glass\n{CUBE}")
    files = Files((tmp_path / "glass.obj", tmp_path / "solid.obj"))
    assert [asset.path.name for asset in files.assets([0, 1])] == ["solid.obj"] and files.assets([0]) == []


def test_none_are_given():
    files = Files()
    assert files.names == () and files.patched == "none" and files.patches() is None and files.assets([]) == []
    with pytest.raises(ConfigError, match="no backdrops were given; take"):
        files.behind()


def test_broken_files_are_named(tmp_path):
    (tmp_path / "patches.safetensors").write_bytes(b"nothing")
    (tmp_path / "a.obj").write_text("v 0 0")
    files = Files((tmp_path / "a.obj",), tmp_path / "patches.safetensors")
    with pytest.raises(ConfigError, match="patches.safetensors"):
        files.patches()
    with pytest.raises(AssetError, match="a.obj"):
        files.assets([0])


def test_the_backbone_is_the_installed_one(monkeypatch):
    monkeypatch.setattr(backbone, "pretrained", lambda: {"w": np.pi})
    assert DataFolder().backbone() == {"w": np.pi}
