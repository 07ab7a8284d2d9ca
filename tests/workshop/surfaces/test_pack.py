"""One file of all that scenes are made of: what was put in comes back, and scenes are made of it without the folders it
came from."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dipir.errors import ConfigError
from dipir.scene.assets.asset import Asset, Material
from dipir.workshop.surfaces import data as surfaces
from dipir.workshop.surfaces import pack
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import SurfaceSettings
from dipir.workshop.surfaces.ingredients import SIZE_PX
from dipir.workshop.surfaces.pack import backdrop_code, backdrop_of, opened, patch_code, patch_of, write
from dipir.workshop.things.objects import simple_asset


def waves(side: int, number: int) -> np.ndarray:
    """(side, side, 3) smooth, about 1, others for each number."""
    axis = np.linspace(0, 5 + number, side, dtype=np.float32)
    one = np.sin(axis)[:, None] * np.cos(axis)[None]
    return np.stack([1 + 0.8 * one, 1 - 0.5 * one, 1 + 0.3 * one], -1).astype(np.float32)


@dataclass(frozen=True)
class Few:
    """Three meshes, the second of which lets light through; patches and backdrops of smooth waves."""

    held_out: bool
    patched: str = "some"
    names: tuple[str, ...] = ("a.glb", "b.glb", "c.glb")

    def assets(self, rows) -> list[Asset]:
        kinds = {0: "sphere", 2: "torus"}
        return [simple_asset(kinds[row], Material(self.names[row], (0.8, 0.2, 0.1))) for row in rows if row in kinds]

    def patches(self):
        return None if self.patched == "none" else np.stack([waves(192, k + 3 * self.held_out) for k in range(3)])

    def behind(self) -> Backdrops:
        crops = torch.stack([torch.from_numpy(waves(SIZE_PX, k)).permute(2, 0, 1) for k in range(3)]).half()
        return Backdrops(crops * 2, crops[:2])


class Kitchen:
    """A source of them."""

    patched = "some"

    def ingredients(self, held_out: bool, folder: Path) -> Few:
        assert folder == surfaces.part_dir(held_out)
        return Few(held_out, self.patched)

    def backbone(self) -> dict[str, Tensor]:
        return {"stem.weight": torch.linspace(-1, 1, 27).view(3, 3, 3)}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "surfaces.pack"
    assert write(path, Kitchen()) == path.stat().st_size < 2**20
    return path


def changed(path: Path, tmp_path: Path, change=lambda values: None, **metadata: str) -> Path:
    """A copy with other tensors or metadata; "" takes an entry away."""
    with safe_open(path, "pt") as file:
        about = {**file.metadata(), **metadata}
    values = load_file(path)
    change(values)
    save_file(values, tmp_path / "a.pack", {key: value for key, value in about.items() if value})
    return tmp_path / "a.pack"


# ---- what comes back -------------------------------------------------------------------------------------------------

def test_ingredients_come_back(path, tmp_path):
    for held_out in (False, True):
        ours, theirs = Few(held_out), opened(path).ingredients(held_out, tmp_path)
        assert theirs.names == ours.names and theirs.patched == "some packed"
        patches = theirs.patches()
        assert len(patches) == 3 and patches[np.int64(2)].shape == (192, 192, 3)
        for wanted, got in zip(ours.patches(), patches, strict=True):
            assert np.abs(got - wanted).mean() < 0.03
        for wanted, got in zip(vars(ours.behind()).values(), vars(theirs.behind()).values(), strict=True):
            assert got.shape == wanted.shape and got.dtype == torch.float16
            assert float((got.float() / wanted.float() - 1).abs().mean()) < 0.04
    assert list(tmp_path.iterdir()) == []
    torch.testing.assert_close(opened(path).backbone(), Kitchen().backbone(), atol=1e-3, rtol=0)


def test_meshes_come_back_but_for_what_lets_light_through(path, tmp_path):
    found = opened(path).ingredients(False, tmp_path)
    assert [asset.parts[0].material.name for asset in found.assets([2, 1, 0])] == ["c.glb", "a.glb"]
    assert found.assets([1]) == []
    assert np.array_equal(found.assets([0])[0].parts[0].faces, Few(False).assets([0])[0].parts[0].faces)


def test_codes_are_finer_than_two_percent():
    patch = np.geomspace(0.15, 3.5, 300, dtype=np.float32)[:, None, None].repeat(3, 2)
    assert np.abs(patch_of(patch_code(patch)) / patch - 1).max() < 0.02
    crop = torch.logspace(-2, 1.3, 300)[None, :, None].expand(3, -1, 4)
    assert float((backdrop_of(backdrop_code(crop)).float() / crop - 1).abs().max()) < 0.02
    # What is brighter is limited, what is black stays dark.
    assert float(backdrop_of(backdrop_code(torch.full((3, 2, 2), 90.0))).min()) == pytest.approx(2**4.5, rel=0.01)
    assert float(backdrop_of(backdrop_code(torch.zeros(3, 2, 2))).max()) < 0.005


def test_scenes_are_made_in_other_processes_without_the_data_folder(path, tmp_path, monkeypatch):
    """As from the ingredients themselves, up to rounding."""
    monkeypatch.setenv("DIPIR_DATA", str(tmp_path / "absent"))
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path / "cache"))
    settings = SurfaceSettings(size=32, lights=2, spp=2, meshes=1.0, worlds=0.0, shard=2)
    packed = opened(path).ingredients(False, tmp_path)
    made = surfaces.load(surfaces.generate(2, tmp_path / "a", 5, settings=settings, ingredients=packed))
    monkeypatch.setattr(surfaces.shards, "work", lambda jobs, workers, make, arguments: [
        make(job, indices, *arguments) or indices for job, indices in jobs])
    again = surfaces.load(surfaces.generate(2, tmp_path / "b", 5, settings=settings, ingredients=Few(False)))
    apart = (made.albedo.float() - again.albedo.float()).abs()
    assert float(apart.mean()) < 2 and bool(made.subject.any()) and torch.equal(made.kind, again.kind)
    assert float((made.subject.float() - again.subject.float()).abs().mean()) < 1


def test_without_patches(tmp_path, monkeypatch):
    monkeypatch.setattr(Kitchen, "patched", "none")
    write(tmp_path / "a.pack", Kitchen())
    found = opened(tmp_path / "a.pack").ingredients(True, tmp_path)
    assert found.patched == "none" and found.patches() is None and len(found.behind().skies) == 2


# ---- limits, other files ---------------------------------------------------------------------------------------------

def test_what_is_too_large_is_not_written(tmp_path, monkeypatch, path):
    monkeypatch.setattr(pack, "LIMIT", 10_000)
    with pytest.raises(ConfigError, match="can be carried: give fewer meshes"):
        write(tmp_path / "a.pack", Kitchen())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="a pack has at most"):
        opened(path)


def test_other_files_are_refused(path, tmp_path):
    other = tmp_path / "b.pack"
    with pytest.raises(ConfigError, match="not a readable pack.*--pack FILE"):
        opened(other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match="not a readable pack"):
        opened(other)
    for kind, said in (("", "no kind"), ("dipir.light_pack.1", "dipir.light_pack.1 kind")):
        with pytest.raises(ConfigError, match=f"{said}; expected {pack.KIND}"):
            opened(changed(path, tmp_path, kind=kind))
    for contents in ("", "[]", "{", json.dumps({"train": {"meshes": 3, "patches": "x"}})):
        with pytest.raises(ConfigError, match="does not list what it holds"):
            opened(changed(path, tmp_path, contents=contents))
    with pytest.raises(ConfigError, match="holds no skies for `val`"):
        opened(changed(path, tmp_path, lambda values: values.pop("val/skies/bytes")))


def test_broken_contents_are_refused(path, tmp_path):
    def spoiled(name: str, value: Tensor, **more: Tensor):
        found = {name: value, **{f"{name.rpartition('/')[0]}/{key}": one for key, one in more.items()}}
        return opened(changed(path, tmp_path, lambda values: values.update(found))).ingredients(False, tmp_path)

    nothing = torch.zeros(50, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="a broken pack of surfaces.*no mesh"):
        spoiled("train/mesh/0000", nothing).assets([0])
    with pytest.raises(ConfigError, match="lengths of `train/patch` do not fit its 50 bytes"):
        spoiled("train/patch/bytes", nothing).patches()
    with pytest.raises(ConfigError, match="lengths of `train/places`"):
        spoiled("train/places/lengths", torch.tensor([-5])).behind()
    larger = torch.from_numpy(np.frombuffer(pack.jpeg(np.zeros((500, 500, 3), np.uint8), 88), np.uint8).copy())
    patches = spoiled("train/patch/bytes", larger, lengths=torch.tensor([len(larger)])).patches()
    with pytest.raises(ConfigError, match=r"\(500, 500\).*wanted 192 x 192"):
        patches[0]
