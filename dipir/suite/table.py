"""What a suite's jobs came to: one row a job, groups by what was varied, differences that are real."""
from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipir.errors import ConfigError
from dipir.suite.run import SUITE, job_folder, read_status
from dipir.suite.statistics import Difference, differences, mean_and_error

PARQUET = "results.parquet"


@dataclass(frozen=True)
class Row:
    """A job and what it came to."""

    name: str
    method: str
    scene: str
    seed: int
    varied: Mapping[str, Any]
    """Settings in which the jobs of the suite differ."""
    state: str
    """waiting, running, done or failed."""
    figures: Mapping[str, float]
    """Of a job that is done."""
    seconds: float | None = None
    """Of its last attempt."""
    peak_gib: float | None = None
    """Of its last attempt."""
    tries: int = 0
    """Attempts begun."""
    cause: str = ""
    """Why it failed."""

    @property
    def case(self) -> tuple[str, int]:
        """What it shares with jobs of other settings."""
        return Path(self.scene).stem, self.seed

    @property
    def label(self) -> str:
        """Its varied settings in words."""
        return ", ".join(f"{k.rsplit('.', 1)[-1]} = {v}" for k, v in self.varied.items()) or "all"


def read_rows(out: Path) -> list[Row]:
    """In the order of the suite. ConfigError when ``out`` holds no run."""
    try:
        suite = json.loads((out / SUITE).read_text())
        jobs = suite["jobs"]
    except (OSError, ValueError, KeyError) as problem:
        raise ConfigError(f"{out}: holds no run of a suite; accepted is the --out of `dipir bench run`.") from problem
    rows = []
    for job in jobs:
        s = read_status(job_folder(out, job["name"]))
        rows.append(Row(job["name"], job["method"], job["scene"], job["seed"], job["varied"], s["state"],
                        s.get("figures", {}), s.get("seconds"), s.get("peak_gib"), s.get("attempt", 0),
                        s.get("cause", "")))
    return rows


def flat(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat record a row: ``set.KEY`` for settings, ``figure.KEY`` for figures."""
    return [{"name": r.name, "method": r.method, "scene": r.scene, "seed": r.seed, "state": r.state, "tries": r.tries,
             "seconds": r.seconds, "peak_gib": r.peak_gib, "cause": r.cause,
             **{f"set.{k}": v if isinstance(v, (int, float)) else str(v) for k, v in r.varied.items()},
             **{f"figure.{k}": v for k, v in r.figures.items()}} for r in rows]


def write_parquet(out: Path, rows: Sequence[Row]) -> Path:
    """``results.parquet``: ``pandas.read_parquet`` gives the table of `flat`. ConfigError without the extra."""
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as problem:
        raise ConfigError(f"{PARQUET} needs pandas and pyarrow: `pip install dipir[bench]`.") from problem
    from dipir.disk import atomic_path

    with atomic_path(out / PARQUET) as temporary:
        pandas.DataFrame(flat(rows)).to_parquet(temporary)
    return out / PARQUET


# ---- status ----------------------------------------------------------------------------------------------------------

def status_text(out: Path, workers: int | None = None) -> str:
    """A few lines: how many are done, which run since when, what failed and why, about how long it takes still."""
    rows = read_rows(out)
    count = {state: sum(r.state == state for r in rows) for state in ("done", "failed", "running", "waiting")}
    lines = [f"{out}: " + ", ".join(f"{n} {state}" for state, n in count.items()) + f" of {len(rows)}"]
    seconds = [r.seconds for r in rows if r.state == "done" and r.seconds is not None]
    left = count["running"] + count["waiting"]
    if seconds and left:
        at_once = workers or max(1, count["running"])
        lines.append(f"a job takes {np.median(seconds):.1f} s (median); about "
                     f"{left * float(np.mean(seconds)) / at_once / 60:.1f} min left with {at_once} at a time")
    for r in rows:
        if r.state == "running":
            since = time.time() - read_status(job_folder(out, r.name)).get("time", time.time())
            lines.append(f"running  {r.name}  {since:.0f} s")
        elif r.state == "failed":
            lines.append(f"failed   {r.name}  {r.cause.strip().splitlines()[-1][:160] if r.cause.strip() else '?'}")
    return "\n".join(lines)


# ---- tables ----------------------------------------------------------------------------------------------------------

def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their varied settings, in the order of the suite."""
    found: dict[str, list[Row]] = {}
    for r in rows:
        found.setdefault(r.label, []).append(r)
    return found


def grouped(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """(head, lines) of the table: a line a group; jobs done of all, figures as mean +- error, seconds a job."""
    names = list(dict.fromkeys(k for r in rows for k in r.figures))
    head, lines = ["settings", "done", *names, "s a job"], []
    for label, members in groups(rows).items():
        done = [r for r in members if r.state == "done"]
        cells = [number(*mean_and_error([r.figures[n] for r in done if n in r.figures])) for n in names]
        seconds = [r.seconds for r in done if r.seconds is not None]
        lines.append([label, f"{len(done)} of {len(members)}", *cells, f"{np.mean(seconds):.1f}" if seconds else "-"])
    return head, lines


def number(mean: float, error: float = float("nan")) -> str:
    """Three significant digits, with its error when there is one."""
    if np.isnan(mean):
        return "-"
    return f"{mean:.3g}" if np.isnan(error) else f"{mean:.3g} ± {error:.2g}"


def written(head: Sequence[str], lines: Sequence[Sequence[str]], style: str = "markdown") -> str:
    """A table as markdown, csv or latex."""
    from tabulate import tabulate

    if style == "csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([head, *lines])
        return stream.getvalue()
    if style == "latex":
        text = tabulate(lines, head, "latex_booktabs", disable_numparse=True,
                        colalign=("left", *["right"] * (len(head) - 1)))
        return text.replace("±", r"$\pm$") + "\n"
    rows = [[cell.replace("|", "\\|") for cell in line] for line in (head, *lines)]
    return tabulate(rows[1:], rows[0], "github", disable_numparse=True) + "\n"


# ---- comparison ------------------------------------------------------------------------------------------------------

def compare(a: Sequence[Row], b: Sequence[Row], seed: int = 0) -> list[Difference]:
    """Jobs with the same scene, seed and settings in both are pairs. ConfigError when there are fewer than three.

    What was varied counts as a setting only where both runs vary it: two runs that differ in one thing are compared on
    all else.
    """
    common = {k for r in a for k in r.varied} & {k for r in b for k in r.varied}

    def key(r: Row) -> tuple[str, int, str]:
        return *r.case, json.dumps({k: v for k, v in r.varied.items() if k in common}, sort_keys=True)

    first, second = ({key(r): r for r in rows if r.state == "done"} for rows in (a, b))
    pairs = [(first[k], second[k]) for k in first if k in second]
    if len(pairs) < 3:
        raise ConfigError(f"the runs have {len(pairs)} jobs in common that are done; accepted are 3 or more with the "
                          "same scene, seed and settings.")
    figures = {}
    for name in dict.fromkeys(k for x, y in pairs for k in x.figures if k in y.figures):
        both = np.array([(x.figures[name], y.figures[name]) for x, y in pairs
                         if name in x.figures and name in y.figures], float)
        figures[name] = both[np.isfinite(both).all(1)]
    return differences(figures, seed)
