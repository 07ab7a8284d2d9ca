"""The five open questions as suites (``configs/suites``), run, compared and tabulated.
Protocol: docs/bench-questions.md.

usage: python -m benchmarks questions [--suites material,fusion,...] [--workers N] [--out DIR]
"""
from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import ONE_THREAD, ROOT, as_command, machine, write
from dipir.cli.progress import Progress
from dipir.cli.suite import failures
from dipir.errors import ConfigError, nearest
from dipir.suite.file import load_suite
from dipir.suite.report import write_results
from dipir.suite.run import Local, run_suite
from dipir.suite.table import Row, compare, grouped, groups, number, written

SUITES = {"material": ("fg_disp_rmse", "holder"), "fusion": ("fg_si_rmse_rel", "light.fusion"),
          "unusual": ("fg_si_rmse_rel", "method"), "objects": ("fg_si_rmse_rel", "fit"),
          "lora": ("fg_si_rmse_rel", ""), "lora_posterior": ("fg_si_rmse_rel", "")}
"""Suite -> the figure that differences are given of, and the setting whose first value they are to, with all others
alike; "" = to the first group of the same method."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run suites; 1 when jobs failed. ConfigError for unknown names, before any work."""
    p = argparse.ArgumentParser(prog="dipir bench questions", description=__doc__.split("\n\n")[0])
    p.add_argument("--suites", default=",".join(SUITES))
    p.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    p.add_argument("--out", type=Path, default=Path("out/bench-questions"), metavar="DIR")
    p.add_argument("--quiet", action="store_true")
    a = p.parse_args(arguments)
    names = a.suites.split(",")
    unknown = [n for n in names if n not in SUITES]
    if unknown or a.workers < 1:
        raise ConfigError(f"--suites {a.suites} --workers {a.workers}: accepted are {', '.join(SUITES)} and 1 or more "
                          f"workers.{nearest(unknown[0], SUITES) if unknown else ''}")
    os.environ |= ONE_THREAD
    suites = {n: load_suite(ROOT / "configs" / "suites" / f"{n}.yaml") for n in names}
    failed = {}
    for name, suite in suites.items():
        out = a.out / name
        with Progress(None, quiet=a.quiet) as progress:
            ended = run_suite(suite, out, Local(a.workers), progress)
        failed |= {f"{name} {job}": cause for job, cause in ended["failed"].items()}
        rows = write_results(out, name)
        result = {"schema": "dipir.bench.questions.1", "suite": name, "machine": machine(),
                  "jobs": {r.name: {"state": r.state, "seconds": r.seconds, **r.figures} for r in rows}}
        write(f"question_{name}", result, table(name, rows), a.quiet)
    return failures(failed)


def table(name: str, rows: Sequence[Row]) -> str:
    """All groups, and how they differ."""
    head, lines = grouped(rows)
    text = [f"Made by `dipir bench questions --suites {name}`: {len(rows)} jobs of "
            f"`configs/suites/{name}.yaml`, means over {_scenes(rows)}, half of the 95 % "
            f"bootstrap interval after the sign; {machine()}, one thread a job.\n", written(head, lines)]
    figure, members = SUITES[name][0], groups(rows)
    lines = []
    for label, others in members.items():
        base = members[base_of(name, members, label)]
        if base is others:
            continue
        try:
            (d,) = compare([_bare(r, figure) for r in base], [_bare(r, figure) for r in others])
        except (ConfigError, ValueError):
            # Too few scenes are done, or they have no such figure.
            continue
        lines.append([label, base[0].label, number(d.b - d.a), f"{d.low:+.3g} to {d.high:+.3g}", f"{d.p:.2g}"])
    if lines:
        count = len({r.case for r in rows})
        text += [f"\n**Differences of {figure}**, on the same views; with {count} of them no p is below "
                 f"{2 ** (1 - count):.2g}:\n",
                 written(["settings", "to", "difference", "95 % interval (BCa)", "p (sign flips)"], lines)]
    return "\n".join(text)


def _scenes(rows: Sequence[Row]) -> str:
    return f"{len({r.case for r in rows})} views of {len({r.scene for r in rows})} panoramas"


def base_of(name: str, members: Mapping[str, Sequence[Row]], label: str) -> str:
    """The group that a group is compared with."""
    key, labels = SUITES[name][1], list(members)
    if not key:
        def method(name):
            return members[name][0].varied.get("method")

        return next(other for other in labels if method(other) == method(label))

    def rest(varied):
        return {k: v for k, v in varied.items() if k != key}

    return next(other for other in labels if rest(members[other][0].varied) == rest(members[label][0].varied))


def _bare(row: Row, figure: str) -> Row:
    """With one figure and without what is varied: to be paired by scene and seed alone."""
    kept = {k: v for k, v in row.figures.items() if k == figure}
    return Row(row.name, row.method, row.scene, row.seed, {}, row.state, kept)


if __name__ == "__main__":
    as_command(main)
