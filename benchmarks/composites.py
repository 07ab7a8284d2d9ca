"""Composites for training the insertion prior: how many a second, and what they look like.

``python -m benchmarks.composites`` measures on one process and on one a core; ``--sheet FILE`` draws 48 of them.
"""
from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import as_command, machine, markdown, write


def main(arguments: list[str] | None = None) -> None:
    """Rate, or a contact sheet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composites", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--shards", type=int, default=1, help="shards of 16 stages; recorded first where missing")
    parser.add_argument("--sheet", type=Path, help="only write this contact sheet: plate, hint, composite; 48 times")
    parser.add_argument("--seed", type=int, default=0, help="of the sheet")
    a = parser.parse_args(arguments)
    _set_up(a.shards).close()
    if a.sheet:
        sheet(a.sheet, a.shards, a.seed)
        return
    counts = sorted({1, len(os.sched_getaffinity(0))})
    rows = [["processes", "composites a second", "in processor time, a core"]]
    for count in counts:
        wall, busy = rate(count, a.seconds, a.shards)
        rows.append([str(count), f"{wall:.0f}", f"{busy:.0f}"])
    load = f"load average {os.getloadavg()[0]:.1f}"
    command = f"python -m benchmarks.composites --seconds {a.seconds:g} --shards {a.shards}"
    write("composites", {"rows": rows, "machine": machine(), "load": load, "command": command},
          f"64 x 64 composites from recorded stages. Made by `{command}`; {machine()}; {load}.\n\n{markdown(rows)}")


def _set_up(shards: int):
    """The pool of training stages, recorded."""
    from dipir.workshop.insertion.stage_pool import PoolConfig
    from dipir.workshop.insertion.train import InsertPriorConfig, training_pool

    pool = training_pool(replace(InsertPriorConfig(), pool=PoolConfig(first=shards, size=shards, steps=0)))
    pool.at(0)
    return pool


def _work(shards: int, seconds: float, seed: int, ready, results) -> None:
    """One process that makes batches of 24."""
    from dipir.workshop.insertion import composites
    from dipir.workshop.insertion.train import InsertPriorConfig, training_sources

    torch.set_num_threads(1)
    config = InsertPriorConfig()
    pool, sources, rng = _set_up(shards), training_sources(config), np.random.default_rng(seed)
    stages = pool.at(0)
    composites.draw(rng, stages, sources, config.batch, config.composites)
    ready.wait()
    began, busy, made = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        made += len(composites.draw(rng, stages, sources, config.batch, config.composites))
    results.put((made, time.perf_counter() - began, time.process_time() - busy))


def rate(processes: int, seconds: float, shards: int) -> tuple[float, float]:
    """Composites a second of all processes together, and for each second of processor time."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes), context.Queue()
    running = [context.Process(target=_work, args=(shards, seconds, k, ready, results)) for k in range(processes)]
    for process in running:
        process.start()
    made, wall, busy = (np.array(x) for x in zip(*[results.get() for _ in running], strict=True))
    for process in running:
        process.join()
    return float((made / wall).sum()), float(made.sum() / busy.sum())


def sheet(path: Path, shards: int, seed: int, count: int = 48, columns: int = 6) -> None:
    """PNG of whole plate (squeezed), window, hint and composite beside each other, ``count`` times, each of a stage
    drawn at random."""
    from dipir.image.files import write_png
    from dipir.workshop.insertion import composites
    from dipir.workshop.insertion.train import InsertPriorConfig, training_sources

    config = InsertPriorConfig()
    batch = composites.draw(np.random.default_rng(seed), _set_up(shards).at(0), training_sources(config), count,
                            replace(config.composites, lights=1))
    rows = torch.cat([batch.wide, batch.plate, batch.hint, batch.target], -1)
    rows = torch.nn.functional.pad(rows, (0, 6, 0, 4), value=1.0)
    tiles = rows.reshape(count // columns, columns, *rows.shape[1:]).permute(2, 0, 3, 1, 4)
    write_png(path, tiles.reshape(1, 3, tiles.shape[1] * tiles.shape[2], -1))


if __name__ == "__main__":
    as_command(main)
