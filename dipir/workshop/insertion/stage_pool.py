"""A pool of stages that is renewed while a network trains on it: a window that moves over an endless numbered series.

Which stages a step sees depends on the step alone; a stage that is not there yet is waited for. Files of stages that
lie behind the window are deleted, so that the pool on disk stays as large as it is. Every shard is recorded in a
process of its own, because Mitsuba does not give the memory of scenes back.
"""
from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError

from dipir import disk
from dipir.errors import ConfigError, RenderError
from dipir.event import Event, Notify
from dipir.workshop.insertion import stages
from dipir.workshop.insertion.stages import Stage, StageSettings
from dipir.workshop.shards import Workers

VERSION = 1
_BEHIND = 4
"""Shards kept behind the window, for a run that goes on from an earlier checkpoint."""


@dataclass(frozen=True)
class PoolConfig:
    """Which shards of an endless series make the pool."""

    first: int = 2  # shards there must be before the first step
    size: int = 32  # shards in the full window
    steps: int = 40  # after so many the window takes in another shard, 0 = never
    shard: int = 16  # stages in each
    ahead: int = 2  # shards recorded in advance

    def window(self, step: int) -> range:
        """Numbers of the shards that the step ``step`` draws from."""
        last = self.first + (step // self.steps if self.steps else 0)
        return range(max(0, last - self.size), last)


class StagePool:
    """Stages of a seed. Close it, or use it in a ``with``, so that recording in the background ends.

    name : folder below ``$DIPIR_CACHE/stages``; what determines the stages is part of the folder's name as well
    workers : processes that record. With 0, nothing is recorded in the background and a missing stage stops training
    until it is made.  Raises ConfigError for workers < 0, RenderError when a recording process fails.
    """

    def __init__(self, name: str, mesh_paths: Sequence[Path] = (), settings: StageSettings = StageSettings(),
                 config: PoolConfig = PoolConfig(), seed: int = 0, workers: int = 1, *,
                 on_event: Notify = None) -> None:
        if workers < 0:
            raise ConfigError(f"stages: {workers} workers were given; 0 or more are accepted")
        what = [VERSION, seed, asdict(settings), config.shard, [f"{p.parent.name}/{p.name}" for p in mesh_paths]]
        key = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
        self.folder = disk.cache_dir() / "stages" / f"{name}_{key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config, self.workers, self.name, self.on_event = config, workers, name, on_event
        self._arguments = (seed, settings, tuple(mesh_paths))
        self._loaded: dict[int, list[Stage]] = {}
        self._workers = Workers(background=True)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"stages_{shard:06d}.safetensors"

    def at(self, step: int) -> list[Stage]:
        """The stages of the step's window, waiting for those that are not recorded yet."""
        window = self.config.window(step)
        if any(k not in self._loaded for k in window):
            self._fetch(window)
        for k in [k for k in self._loaded if k not in window]:
            del self._loaded[k]
        for k in range(max(0, window.start - 2 * _BEHIND), max(0, window.start - _BEHIND)):
            self.path(k).unlink(missing_ok=True)
        self._reap()
        if self.workers and self.config.steps:
            self._start(range(window.start, window.stop + self.config.ahead))
        return [stage for k in window for stage in self._loaded[k]]

    def _fetch(self, window: range) -> None:
        began, made = time.monotonic(), 0
        missing = [k for k in window if k not in self._loaded]
        complete = self._load(missing)
        absent = sum(k not in self._loaded for k in missing)
        while not complete:
            self._start(window, max(1, self.workers))
            self._workers.wait()
            self._reap()
            complete = self._load(missing)
            made = absent - sum(k not in self._loaded for k in missing)
            if self.on_event and made:
                left = (time.monotonic() - began) / made * (absent - made)
                self.on_event(Event(f"stages/{self.name}", made, absent, left))

    def _load(self, wanted: Sequence[int]) -> bool:
        """Read what is there; whether all of it is. A broken file is made again."""
        for k in wanted:
            if k not in self._loaded and self.path(k).exists() and self.path(k) not in self._workers.running:
                try:
                    self._loaded[k] = stages.load(self.path(k))
                except (SafetensorError, OSError, KeyError):
                    self.path(k).unlink()
        return all(k in self._loaded for k in wanted)

    def _start(self, wanted: range, workers: int | None = None) -> None:
        for k in wanted:
            if len(self._workers.running) >= (workers or self.workers):
                return
            path = self.path(k)
            if k not in self._loaded and path not in self._workers.running and not path.exists():
                indices = range(k * self.config.shard, (k + 1) * self.config.shard)
                self._workers.start(stages.record_shard, path, indices, *self._arguments)

    def _reap(self) -> None:
        """Forget processes that have ended. RenderError when one failed."""
        for path, code in self._workers.ended().items():
            if code != 0:
                raise RenderError(f"{path}: recording its stages ended with code {code}; see the output above. "
                                  "Finished shards are kept, run again to go on")

    def close(self) -> None:
        """End recording; unfinished shards are lost, finished ones stay on disk."""
        self._workers.close()

    def __enter__(self) -> StagePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
