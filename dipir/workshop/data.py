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


def real_panoramas(split: str, data: Path = DATA) -> list[EnvMap]:
    """The photographed environments of ``split`` ("train" or "val") of splits.json, full resolution."""
    listing = data / "splits.json"
    if not listing.is_file():
        raise AssetError(f"{listing}: not found; set DIPIR_DATA to the folder that holds splits.json and hdri/")
    return [read_envmap(data / "hdri" / name) for name in json.loads(listing.read_text())["hdri"][split]]


def training_meshes(split: str, data: Path = DATA) -> list[Path]:
    """Mesh files of one part of ``splits.json``, by name. ConfigError without the data folder."""
    splits = data / "splits.json"
    if not splits.is_file():
        raise ConfigError(f"{splits}: not found; set DIPIR_DATA to the folder with the shared data.")
    names = json.loads(splits.read_text())["meshes"][split]
    return [f for n in names for pattern in ("*.gltf", "*.glb", "*.obj")
            for f in sorted((data / "meshes" / n).glob(pattern))]
