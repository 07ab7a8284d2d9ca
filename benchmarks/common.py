"""What the benchmarks share: the machine's name, results on disk, Markdown tables."""
from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def machine() -> str:
    """CPU model, cores in use, memory."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1] if model else platform.processor()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, no GPU used"


def write(name: str, data: dict, table: str) -> None:
    """``results/NAME.json`` and ``results/NAME.md``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(table)
    print(table)


def markdown(rows: list[list[str]]) -> str:
    """Rows, the first of them the head, as a Markdown table."""
    lines = ["| " + " | ".join(r) + " |" for r in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"
