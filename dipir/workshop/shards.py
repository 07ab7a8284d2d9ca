"""Sets of generated data in shards: made by worker processes that live for one shard each, because Mitsuba does not
give back the memory of the scenes it loaded; resumable, because a finished shard is never made again."""
from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dipir import device, disk
from dipir.errors import ConfigError, RenderError
from dipir.fit.loop import Event

Job = tuple[Path, range]


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a shard, atomically."""
    with disk.atomic_path(path, ConfigError) as temporary:
        save_file(dict(tensors), temporary, metadata=dict(metadata))


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


def generate(count: int, folder: Path, prefix: str, shard: int, is_whole: Callable[[Path, range], bool],
             make: Callable[..., None], arguments: tuple, workers: int,
             on_event: Callable[[Event], None] | None = None) -> Path:
    """Make items 0 ... count - 1 in files ``prefix_START`` of ``shard`` items each, but for the files that ``is_whole``
    accepts. Returns the folder. ConfigError for numbers out of range, RenderError when a worker fails."""
    check_numbers(prefix, count, workers)
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [range(start, min(start + shard, count)) for start in range(0, count, shard)]
    files = [(folder / f"{prefix}_{indices.start:06d}.safetensors", indices) for indices in ranges]
    jobs = [(path, indices) for path, indices in files if not is_whole(path, indices)]
    missing = sum(len(indices) for _, indices in jobs)
    done, began = count - missing, time.monotonic()
    for indices in work(jobs, workers, make, arguments):
        done += len(indices)
        left = (time.monotonic() - began) / (done - count + missing) * (count - done)
        if on_event is not None:
            on_event(Event(prefix, done, count, left))
    return folder


def _process(make: Callable[..., None], path: Path, indices: range, arguments: tuple) -> None:
    """The work of one process, on one thread, which is set before the renderer is loaded."""
    os.environ["DIPIR_THREADS"] = "1"
    torch.set_num_threads(1)
    make(path, indices, *arguments)


def work(jobs: list[Job], workers: int, make: Callable[..., None], arguments: tuple = ()) -> Iterator[range]:
    """Run ``make(path, indices, *arguments)`` for every job in a process of its own, ``workers`` at a time; yields the
    indices of each as it ends. RenderError when one fails."""
    context, waiting, running = multiprocessing.get_context("spawn"), list(reversed(jobs)), {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                path, indices = waiting.pop()
                process = context.Process(target=_process, args=(make, path, indices, arguments))
                process.start()
                running[process.sentinel] = (process, path, indices)
            for sentinel in wait(list(running)):
                process, path, indices = running.pop(sentinel)
                process.join()
                if process.exitcode != 0:
                    raise RenderError(f"{path}: the worker that makes items {indices.start}-{indices.stop - 1} "
                                      f"ended with code {process.exitcode}; see its output above. "
                                      "Finished shards are kept, run again to go on")
                yield indices
    finally:
        for process, _, _ in running.values():
            process.terminate()
