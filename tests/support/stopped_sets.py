"""Generated sets without a renderer: what is made, what a stopped set makes again, what is refused."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.workshop import shards


def quick_scenes(monkeypatch: pytest.MonkeyPatch, module: ModuleType, data: Any) -> list[int]:
    """Scenes of ``module`` are rows of ``data``, made in this process; the seeds of those that were made."""
    made: list[int] = []

    def record(seed, *_):
        made.append(seed)
        return data.part(slice(seed % 4, seed % 4 + 1))

    def work(jobs, workers, make, arguments=()):
        for path, indices in jobs:
            make(path, indices, *arguments)
            yield indices

    monkeypatch.setattr(module, "record", record)
    monkeypatch.setattr(shards, "work", work)
    return made


def goes_on(module: ModuleType, make: Callable[[int], Path], made: list[int]) -> None:
    """``make(scenes)`` of the set 5, two a shard: broken and half-full shards are made again, whole ones are kept."""
    folder = make(5)
    files = sorted(p.name for p in folder.iterdir())
    assert files == [f"{module.SET.name}_{k:06d}.safetensors" for k in (0, 2, 4)]
    assert made == [split_seed(5, "scene", k) for k in range(5)]
    first, kept = module.load(folder), (folder / files[0]).stat().st_mtime_ns
    (folder / files[1]).write_bytes((folder / files[1]).read_bytes()[:1000])
    made.clear()
    make(5)
    assert made == [split_seed(5, "scene", k) for k in (2, 3)] and (folder / files[0]).stat().st_mtime_ns == kept
    made.clear()
    make(6)  # The last shard was half full.
    assert made == [split_seed(5, "scene", k) for k in (4, 5)]
    again = module.load(folder)
    assert len(again) == 6 and torch.equal(again.lit[:5], first.lit) and len(module.load(folder, 2)) == 4
    assert sorted(os.listdir(folder)) == files


def refuses_another(module: ModuleType, folder: Path, same: dict[str, Any], change: dict[str, Any]) -> None:
    """A folder of one set takes no scenes of another, and stays as it is."""
    module.generate(2, folder, **same)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ConfigError, match="holds data of another set"):
        module.generate(4, folder, **{**same, **change})
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
