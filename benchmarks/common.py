"""What the benchmarks share: the machine's name, results on disk, Markdown tables."""
from __future__ import annotations

import json
import math
import os
import platform
import re
from pathlib import Path

from dipir import disk

RESULTS = Path(__file__).resolve().parent / "results"
DATA = disk.data_dir()
ONE_THREAD = {"DIPIR_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
"""Environment of a job's process, so that the number of workers changes no figure."""


def machine(gpu: str | None = None) -> str:
    """CPU model, cores in use, memory, and the name of the GPU that was used, if any."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1] if model else platform.processor()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {gpu or 'no GPU used'}"


def write(name: str, data: dict, table: str, quiet: bool = False) -> None:
    """``results/NAME.json`` and ``results/NAME.md`` (NAME may have a folder in it); shows the table."""
    (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(compact(data))
    (RESULTS / f"{name}.md").write_text(table)
    if not quiet:
        print(table)


def compact(data: object) -> str:
    """JSON with numbers of five digits, innermost mappings and lists on one line: small, and readable in a diff."""
    return _json(data, 0) + "\n"


def _json(value: object, depth: int) -> str:
    if isinstance(value, float):
        return json.dumps(float(f"{value:.5g}")) if math.isfinite(value) else "null"
    items = value.items() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    if items is None:
        return json.dumps(value)
    left, right = "{}" if isinstance(value, dict) else "[]"
    lines = [f"{json.dumps(str(i[0]))}: {_json(i[1], depth + 1)}" if left == "{" else _json(i, depth + 1)
             for i in items]
    inner = value.values() if isinstance(value, dict) else value
    if not any(isinstance(v, (dict, list, tuple)) and v for v in inner):
        return f"{left}{', '.join(lines)}{right}"
    pad = " " * (depth + 1)
    return f"{left}\n" + ",\n".join(pad + line for line in lines) + f"\n{' ' * depth}{right}"


def markdown(rows: list[list[str]]) -> str:
    """Rows, the first of them the head, as a Markdown table."""
    lines = ["| " + " | ".join(r) + " |" for r in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"
