"""What the benchmarks share: the machine's name, results on disk, tables, commands and timed processes."""
from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NoReturn

from dipir import disk
from dipir.errors import DipirError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DATA = disk.data_dir()
DEMO = ROOT / "scenes" / "demo.yaml"
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


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of them the head, as a Markdown table."""
    from dipir.suite.table import written

    return written(rows[0], rows[1:])


def typed(*words: str) -> str:
    """A command as results name it."""
    return without_paths(shlex.join(words))


def without_paths(text: str) -> str:
    """A text without folders of this machine: the data folder and others by names that hold everywhere."""
    for folder, name in ((DATA, "$DIPIR_DATA"), (ROOT, "."), (tempfile.gettempdir(), "$TMPDIR"), (Path.home(), "~")):
        text = text.replace(str(folder), name)
    return text


def timed(command: Sequence[str], log: IO) -> tuple[int, float, float]:
    """(exit code, seconds, peak GiB) of a process that writes to ``log``."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, time.monotonic() - began, usage.ru_maxrss / 2**20


def timed_process(command: Sequence[str]) -> tuple[float, float]:
    """(seconds, peak GiB) of a process that must succeed."""
    with tempfile.TemporaryFile() as log:
        code, seconds, peak = timed(command, log)
        if code:
            log.seek(0)
            sys.exit(f"benchmarks: {' '.join(command)} ended with {code}:\n{log.read().decode()[-2000:]}")
    return seconds, peak


def as_command(main: Callable[[list[str]], int | None]) -> NoReturn:
    """``main`` with what was typed; exit code 2 for what cannot be used."""
    try:
        sys.exit(main(sys.argv[1:]))
    except DipirError as problem:
        print(f"benchmarks: error: {problem}", file=sys.stderr)
        sys.exit(2)
