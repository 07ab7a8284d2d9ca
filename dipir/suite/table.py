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

PARQUET = "results.parquet"
DRAWS = 2000
_LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """A job. state : waiting, running, done or failed;  varied : settings in which the jobs differ
    figures : of a job that is done;  seconds, peak_gib : of its last attempt;  tries : attempts begun"""

    name: str
    method: str
    scene: str
    seed: int
    varied: Mapping[str, Any]
    state: str
    figures: Mapping[str, float]
    seconds: float | None = None
    peak_gib: float | None = None
    tries: int = 0
    cause: str = ""

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
    """``results.parquet``: ``pandas.read_parquet`` gives the table of :func:`flat`. ConfigError without the extra."""
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

def mean_and_error(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Mean, and 1.96 standard deviations of the means of ``DRAWS`` bootstrap samples; NaN for one value."""
    v = np.asarray(values, float)
    if len(v) < 2:
        return float(v.mean()) if len(v) else float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    return float(v.mean()), 1.96 * float(v[rng.integers(len(v), size=(DRAWS, len(v)))].mean(1).std())


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
    if style == "csv":
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([head, *lines])
        return stream.getvalue()
    if style == "latex":
        escape = lambda t: "".join({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "±": r"$\pm$"}.get(c, c) for c in t)
        body = [" & ".join(map(escape, line)) + r" \\" for line in lines]
        return "\n".join([rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule",
                          " & ".join(map(escape, head)) + r" \\", r"\midrule", *body, r"\bottomrule",
                          r"\end{tabular}"]) + "\n"
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in rows) + "\n"


# ---- comparison ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Difference:
    """B - A of one figure over the pairs. low, high : 95 % interval (BCa bootstrap);  p : of a sign flip test, two
    sided, corrected for the number of figures by Holm's method;  real : p below 0.05"""

    figure: str
    pairs: int
    a: float
    b: float
    low: float
    high: float
    p: float
    real: bool


def compare(a: Sequence[Row], b: Sequence[Row], seed: int = 0) -> list[Difference]:
    """Jobs with the same scene, seed and settings in both are pairs. ConfigError when there are fewer than three.

    What was varied counts as a setting only where both runs vary it: two runs that differ in one thing are compared on
    all else.
    """
    common = {k for r in a for k in r.varied} & {k for r in b for k in r.varied}
    key = lambda r: (*r.case, json.dumps({k: v for k, v in r.varied.items() if k in common}, sort_keys=True))
    first, second = ({key(r): r for r in rows if r.state == "done"} for rows in (a, b))
    pairs = [(first[k], second[k]) for k in first if k in second]
    if len(pairs) < 3:
        raise ConfigError(f"the runs have {len(pairs)} jobs in common that are done; accepted are 3 or more with the "
                          "same scene, seed and settings.")
    found = []
    for name in dict.fromkeys(k for x, y in pairs for k in x.figures if k in y.figures):
        both = np.array([(x.figures[name], y.figures[name]) for x, y in pairs
                         if name in x.figures and name in y.figures], float)
        both = both[np.isfinite(both).all(1)]
        if len(both) >= 3:
            found.append((name, both, *_interval(both[:, 1] - both[:, 0], seed)))
    order = sorted(range(len(found)), key=lambda i: found[i][4])
    corrected, running = {}, 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, found[i][4] * (len(found) - rank)))
        corrected[i] = running
    return [Difference(name, len(both), *map(float, both.mean(0)), low, high, corrected[i], corrected[i] < _LEVEL)
            for i, (name, both, low, high, _) in enumerate(found)]


def _interval(d: np.ndarray, seed: int) -> tuple[float, float, float]:
    """(low, high, p) of the mean of paired differences."""
    from scipy.stats import bootstrap, permutation_test

    if np.ptp(d) == 0:
        # The same everywhere: nothing to resample.
        return float(d[0]), float(d[0]), 1.0 if d[0] == 0 else 0.5 ** (len(d) - 1)
    rng = np.random.default_rng(seed)
    interval = bootstrap((d,), np.mean, n_resamples=DRAWS, method="BCa", random_state=rng).confidence_interval
    test = permutation_test((d,), np.mean, permutation_type="samples", n_resamples=DRAWS, random_state=rng)
    return float(interval.low), float(interval.high), float(test.pvalue)
