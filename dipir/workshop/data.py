"""Photographed environments and meshes that training and judging use: those that ``splits.json`` of the data folder
lists."""
from __future__ import annotations

import json
from pathlib import Path

from dipir import disk
from dipir.arrays import EnvMap
from dipir.errors import AssetError, ConfigError
from dipir.image.files import read_envmap

DATA = disk.data_dir()
TRAIN, VAL = ("train", "train_more"), ("val", "val_more")
"""The parts of ``splits.json`` to train on and to choose on."""


def panorama_files(*splits: str, data: Path = DATA) -> list[Path]:
    """The files of the photographed environments of some parts of splits.json ("train", "train_more", "val",
    "val_more"), in its order. AssetError without the data folder."""
    listing = data / "splits.json"
    if not listing.is_file():
        raise AssetError(f"{listing}: not found; set DIPIR_DATA to the folder that holds splits.json and hdri/")
    parts = json.loads(listing.read_text())["hdri"]
    return [data / "hdri" / name for split in splits for name in _names(parts, split, listing, AssetError)]


def real_panoramas(*splits: str, data: Path = DATA) -> list[EnvMap]:
    """Those of :func:`panorama_files`, full resolution."""
    return [read_envmap(file) for file in panorama_files(*splits, data=data)]


def training_meshes(*splits: str, data: Path = DATA) -> list[Path]:
    """Mesh files of some parts of splits.json: those in the folder ``meshes/NAME`` by name, or the one file
    ``meshes_more/NAME.glb``. ConfigError without the data folder."""
    listing = data / "splits.json"
    if not listing.is_file():
        raise ConfigError(f"{listing}: not found; set DIPIR_DATA to the folder with the shared data.")
    parts = json.loads(listing.read_text())["meshes"]
    return [file for split in splits for name in _names(parts, split, listing, ConfigError)
            for file in _mesh_files(data, name)]


def _mesh_files(data: Path, name: str) -> list[Path]:
    if Path(name).suffix:
        return [data / "meshes_more" / name]
    return [f for pattern in ("*.gltf", "*.glb", "*.obj") for f in sorted((data / "meshes" / name).glob(pattern))]


def _names(parts: dict[str, list[str]], split: str, listing: Path, error: type[Exception]) -> list[str]:
    if split not in parts:
        raise error(f"{listing}: has no part '{split}'; it has {', '.join(parts)}. Ask for one of these.")
    return parts[split]
