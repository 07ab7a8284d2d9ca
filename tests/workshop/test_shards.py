"""Sets in shards: made once, told apart, one process a file."""
from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dipir.errors import ConfigError, RenderError
from dipir.workshop import shards


@dataclass(frozen=True)
class Settings:
    size: int = 3


NUMBERS = shards.DataSet("numbers", 7, "value", "whole numbers")


def _squares(indices: range, factor: int) -> dict[str, torch.Tensor]:
    return {"value": torch.tensor([factor * i * i for i in indices]), "process": torch.tensor([os.getpid()])}


def _made(folder: Path, count: int, factor: int = 1, **more) -> Path:
    metadata = NUMBERS.metadata(factor, Settings())
    return NUMBERS.generate(count, folder, _squares, (factor,), metadata, shard=2, **more)


def test_a_set_is_made_in_order_and_goes_on(tmp_path: Path) -> None:
    events = []
    _made(tmp_path, 3, on_event=events.append)
    assert [(e.stage, e.step, e.steps) for e in events] == [("numbers", 2, 3), ("numbers", 3, 3)]
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert sorted(before) == ["numbers_000000.safetensors", "numbers_000002.safetensors"]
    _made(tmp_path, 5, workers=2)
    values = NUMBERS.load(tmp_path, lambda shard: shard["value"].tolist())
    assert values == [[0, 1], [4, 9], [16]]
    assert (tmp_path / "numbers_000000.safetensors").stat().st_mtime_ns == before["numbers_000000.safetensors"]
    assert NUMBERS.load(tmp_path, lambda shard: len(shard), 1) == [2]
    processes = {int(p) for p in NUMBERS.load(tmp_path, lambda shard: shard["process"])}
    assert os.getpid() not in processes and len(processes) == 3


def test_sets_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _made(tmp_path, 2)
    with pytest.raises(ConfigError, match="another set"):
        _made(tmp_path, 2, factor=2)
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    assert NUMBERS.default_dir() == tmp_path / "numbers" / "v7"
    about = NUMBERS.metadata(4, Settings(5), meshes="a")
    assert about == {"format": "dipir numbers", "version": "7", "seed": "4", "settings": '{"size": 5}', "meshes": "a"}


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no whole numbers; make them with `dipir synth numbers`"):
        NUMBERS.load(tmp_path, dict)
    _made(tmp_path, 2)
    with pytest.raises(ConfigError, match="not a readable shard .*absent"):
        NUMBERS.load(tmp_path, lambda shard: shard["absent"])
    for count, workers in ((0, 1), (2, 0)):
        with pytest.raises(ConfigError, match="numbers: count .* at least 1"):
            _made(tmp_path, count, workers=workers)


def test_wholeness_is_the_sets_affair(tmp_path: Path) -> None:
    """A longer shard serves a smaller set, unless rows must be equal."""
    _made(tmp_path, 2)
    stamp = (tmp_path / "numbers_000000.safetensors").stat().st_mtime_ns
    _made(tmp_path, 1)
    assert (tmp_path / "numbers_000000.safetensors").stat().st_mtime_ns == stamp
    exact = shards.DataSet("numbers", 7, "value", "numbers", operator.eq)
    exact.generate(1, tmp_path, _squares, (1,), exact.metadata(1, Settings()), shard=2)
    assert exact.load(tmp_path, lambda shard: shard["value"].tolist()) == [[0]]


def _fails(path: Path) -> None:
    raise SystemExit(3)


def _waits(path: Path) -> None:
    import time

    time.sleep(600)


def test_processes_end_with_their_codes(tmp_path: Path) -> None:
    pool = shards.Workers(background=True)
    pool.start(_fails, tmp_path / "a")
    pool.start(_waits, tmp_path / "b")
    codes = {}
    while not codes:
        pool.wait()
        codes = pool.ended()
    assert codes == {tmp_path / "a": 3} and list(pool.running) == [tmp_path / "b"]
    process = pool.running[tmp_path / "b"]
    pool.close()
    assert not process.is_alive() and not pool.running


def _one_fails(path: Path, indices: range) -> None:
    if indices.start:
        raise SystemExit(1)


def test_a_failed_worker_is_told(tmp_path: Path) -> None:
    jobs = [(tmp_path / name, range(k, k + 1)) for k, name in enumerate("ab")]
    made = shards.work(jobs, 1, _one_fails)
    assert next(made) == range(1)
    with pytest.raises(RenderError, match="b: the worker that makes items 1-1 ended with code 1"):
        next(made)
