"""Sets of generated data in shards: made by worker processes that live for one shard each, because Mitsuba does not
give back the memory of the scenes it loaded; resumable, because a finished shard is never made again."""
from __future__ import annotations

import json
import multiprocessing
import operator
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from dipir import device, disk
from dipir.errors import ConfigError, RenderError
from dipir.event import Event, Notify

Job = tuple[Path, range]
T = TypeVar("T")


# -------------------------------------------------------------------------------------------------------------- files
def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a shard, atomically."""
    with disk.atomic_path(path, ConfigError) as temporary:
        save_file({key: value.contiguous() for key, value in tensors.items()}, temporary, metadata=dict(metadata))


def stored(path: Path, metadata: Mapping[str, str], key: str) -> int:
    """Items in a shard (rows of the tensor ``key``), 0 when it is missing or broken. Raises ConfigError when it belongs
    to another set."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as shard:
            found, rows = shard.metadata() or {}, shard.get_slice(key).get_shape()[0]
    except (SafetensorError, OSError):
        return 0
    if found != dict(metadata):
        raise ConfigError(f"{path}: holds data of another set ({found}), wanted {dict(metadata)}; "
                          "choose another folder or delete this one")
    return rows


# --------------------------------------------------------------------------------------------------------------- sets
@dataclass(frozen=True)
class DataSet:
    """A kind of generated set, made by ``dipir synth NAME`` in files ``NAME_START.safetensors``."""

    name: str
    version: int
    key: str  # a tensor with a row for each item
    what: str  # its items, in messages
    is_whole: Callable[[int, int], bool] = operator.ge
    """Of the stored rows of a shard and the items that are wanted in it."""

    def default_dir(self) -> Path:
        """``NAME/vVERSION`` in the cache folder."""
        return disk.cache_dir() / self.name / f"v{self.version}"

    def metadata(self, seed: int, settings: Any, **more: str) -> dict[str, str]:
        """What tells sets apart. settings : a dataclass."""
        return {"format": f"dipir {self.name}", "version": str(self.version), "seed": str(seed),
                "settings": json.dumps(asdict(settings)), **more}

    def generate(self, count: int, out_dir: str | Path | None, make: Callable[..., Mapping[str, Tensor]],
                 arguments: tuple, metadata: Mapping[str, str], *, shard: int, workers: int = 1,
                 on_event: Notify = None) -> Path:
        """Make items 0 ... count - 1 in files of ``shard`` items each, but for files that are whole: in each
        ``make(indices, *arguments)``. Returns the folder (default :meth:`default_dir`). ConfigError for a folder of
        another set or numbers out of range, RenderError when a worker fails."""
        check_numbers(self.name, count, workers)
        folder = Path(out_dir) if out_dir is not None else self.default_dir()
        folder.mkdir(parents=True, exist_ok=True)
        ranges = [range(start, min(start + shard, count)) for start in range(0, count, shard)]
        files = [(folder / f"{self.name}_{indices.start:06d}.safetensors", indices) for indices in ranges]
        jobs = [(path, indices) for path, indices in files
                if not self.is_whole(stored(path, metadata, self.key), len(indices))]
        missing = sum(len(indices) for _, indices in jobs)
        done, began = count - missing, time.monotonic()
        for indices in work(jobs, workers, _make_shard, (make, metadata, *arguments)):
            done += len(indices)
            left = (time.monotonic() - began) / (done - count + missing) * (count - done)
            if on_event is not None:
                on_event(Event(self.name, done, count, left))
        return folder

    def load(self, out_dir: str | Path | None, form: Callable[[dict[str, Tensor]], T], limit: int | None = None
             ) -> list[T]:
        """What ``form`` makes of each of the first ``limit`` shards of a folder. ConfigError when there are none or one
        is broken."""
        folder = Path(out_dir) if out_dir is not None else self.default_dir()
        paths = sorted(folder.glob(f"{self.name}_*.safetensors"))[:limit]
        if not paths:
            raise ConfigError(f"{folder}: holds no {self.what}; make them with `dipir synth {self.name}`")
        parts = []
        for path in paths:
            try:
                parts.append(form(load_file(path)))
            except (SafetensorError, OSError, TypeError, KeyError) as problem:
                raise ConfigError(f"{path}: is not a readable shard ({problem}); delete it and generate again"
                                  ) from problem
        return parts


def _make_shard(path: Path, indices: range, make: Callable[..., Mapping[str, Tensor]], metadata: Mapping[str, str],
                *arguments: Any) -> None:
    save(path, make(indices, *arguments), metadata)


# ---------------------------------------------------------------------------------------------------------- processes
def default_workers() -> int:
    """Processes that suit this machine: one where the renderer is on a GPU, which several would share and slow each
    other, else one for each core."""
    if device.current().variant == device.CUDA:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_numbers(prefix: str, count: int, workers: int) -> None:
    """ConfigError for numbers out of range, before anything is written."""
    if count < 1 or workers < 1:
        raise ConfigError(f"{prefix}: count {count} and workers {workers} were given; both must be at least 1")


class Workers:
    """Processes that make a file each. In the ``background`` they end with this one, and Ctrl-C is its to answer."""

    def __init__(self, background: bool = False) -> None:
        self.background = background
        self.running: dict[Path, multiprocessing.process.BaseProcess] = {}

    def start(self, make: Callable[..., None], path: Path, *arguments: Any) -> None:
        """Begin ``make(path, *arguments)``."""
        process = multiprocessing.get_context("spawn").Process(
            target=_process, args=(self.background, make, path, *arguments), daemon=self.background)
        process.start()
        self.running[path] = process

    def wait(self) -> None:
        """Until one has ended."""
        wait([process.sentinel for process in self.running.values()])

    def ended(self) -> dict[Path, int]:
        """The files of those that have ended since the last call, with their exit codes."""
        paths = [path for path, process in self.running.items() if not process.is_alive()]
        codes = {}
        for path in paths:
            process = self.running.pop(path)
            process.join()
            codes[path] = process.exitcode
        return codes

    def close(self) -> None:
        """End them all."""
        for process in self.running.values():
            process.terminate()
            process.join()
        self.running.clear()


def _process(background: bool, make: Callable[..., None], *arguments: Any) -> None:
    """The work of one process, on one thread, which is set before the renderer is loaded."""
    if background:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["DIPIR_THREADS"] = "1"
    torch.set_num_threads(1)
    make(*arguments)


def work(jobs: list[Job], workers: int, make: Callable[..., None], arguments: tuple = ()) -> Iterator[range]:
    """Run ``make(path, indices, *arguments)`` for every job in a process of its own, ``workers`` at a time; yields the
    indices of each as it ends. RenderError when one fails."""
    pool, waiting, wanted = Workers(), list(reversed(jobs)), dict(jobs)
    try:
        while waiting or pool.running:
            while waiting and len(pool.running) < workers:
                path, indices = waiting.pop()
                pool.start(make, path, indices, *arguments)
            pool.wait()
            for path, code in pool.ended().items():
                indices = wanted[path]
                if code != 0:
                    raise RenderError(f"{path}: the worker that makes items {indices.start}-{indices.stop - 1} "
                                      f"ended with code {code}; see its output above. "
                                      "Finished shards are kept, run again to go on")
                yield indices
    finally:
        pool.close()
