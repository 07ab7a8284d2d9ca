"""The runner of suites: 200 short jobs with injected faults against the same without; jobs per minute with 1 and 2
workers; what the runner adds to a job of 30 s; how many machines one runner can feed, from its measured work a job.

usage: python -m benchmarks suites [--jobs 200] [--parts faults,throughput,overhead,scaling] [--out DIR]
"""
from __future__ import annotations

import argparse
import heapq
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.common import as_command, machine, markdown, write
from dipir.cli.progress import Progress
from dipir.errors import ConfigError
from dipir.suite.file import JobSpec, Limits, Suite
from dipir.suite.job import Outcome
from dipir.suite.run import RESULT, Local, job_folder, read_status, run_suite
from dipir.suite.worker import ANSWER, JOB, WORK

PARTS = ("faults", "throughput", "overhead", "scaling")
FAULTS = ("none",) * 6 + ("kill", "killed", "hang", "memory", "disk", "checkpoint", "error", "bug")
METHOD = "benchmarks.suite_faults:job"
LONG_S, NODES = 30.0, 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 when a bar is missed."""
    p = argparse.ArgumentParser(prog="python -m benchmarks suites", description=__doc__.split("\n\n")[0])
    p.add_argument("--jobs", type=int, default=200)
    p.add_argument("--parts", default=",".join(PARTS))
    p.add_argument("--out", type=Path, default=Path("out/bench-suites"))
    p.add_argument("--quiet", action="store_true")
    a = p.parse_args(arguments)
    parts = a.parts.split(",")
    if a.jobs < len(FAULTS) or set(parts) - set(PARTS):
        raise ConfigError(f"accepted are --jobs of {len(FAULTS)} or more, --parts of {', '.join(PARTS)}.")
    result = {"schema": "dipir.bench.suites.1", "machine": machine(), "jobs": a.jobs}
    with Progress(None, quiet=a.quiet) as progress:
        for name in parts:
            result[name] = {"faults": faults, "throughput": throughput, "overhead": overhead,
                            "scaling": scaling}[name](a.out / name, a.jobs, progress)
    text = table(result)
    if set(parts) == set(PARTS):
        write("suites", result, f"Made by `python -m benchmarks suites`; {machine()}.\n\n{text}", a.quiet)
    else:
        print(text)
    return 0 if met(result) else 1


def suite_of(name: str, settings: Sequence[dict], limits: Limits = Limits()) -> Suite:
    """Jobs of ``suite_faults``, one for each settings."""
    return Suite(name, tuple(JobSpec(f"job{k:04d}", METHOD, "", k, {"number": k, **s}, {"number": k})
                             for k, s in enumerate(settings)), limits)


def faults(out: Path, jobs: int, progress: Progress) -> dict:
    """Every job must end, with its cause when it failed, and with the figures of a run without faults when not."""
    limits = Limits(minutes=0.3, memory_gib=0.8, tries=2)
    chosen = [FAULTS[k % len(FAULTS)] for k in range(jobs)]
    broken = suite_of("faults", [{"fault": f} for f in chosen], limits)
    whole = suite_of("whole", [{} for _ in chosen], limits)
    run_suite(broken, out / "broken", Local(2), progress)
    run_suite(whole, out / "whole", Local(2), progress)
    count = dict.fromkeys(("done", "failed", "neither", "different", "twice"), 0)
    by_fault: dict[str, dict[str, int]] = {}
    for job, fault in zip(broken.jobs, chosen, strict=True):
        one, other = (read_status(job_folder(out / place, job.name)) for place in ("broken", "whole"))
        ended = one["state"] == "done" or (one["state"] == "failed" and bool(one.get("cause")))
        state = one["state"] if ended else "neither"
        count[state] += 1
        by_fault.setdefault(fault, {}).setdefault(state, 0)
        by_fault[fault][state] += 1
        if state == "done":
            folder = job_folder(out / "broken", job.name) / RESULT
            value = (folder / "value.txt").read_text()
            same = one["figures"] == other["figures"] and float(value) == one["figures"]["value"]
            count["different"] += not same
            count["twice"] += value.count("\n") != 1
    return {**count, "by_fault": by_fault}


def throughput(out: Path, jobs: int, progress: Progress) -> dict:
    """Jobs per minute that do nothing but sleep a second."""
    made = {}
    for workers in (1, 2):
        few = min(jobs, 20)
        began = time.monotonic()
        run_suite(suite_of(f"workers{workers}", [{"seconds": 1.0}] * few), out / str(workers), Local(workers), progress)
        made[str(workers)] = 60 * few / (time.monotonic() - began)
    return {"per_minute": made, "ratio": made["2"] / made["1"]}


def overhead(out: Path, jobs: int, progress: Progress) -> dict:
    """Seconds that a job takes longer in the runner than its function in a process of its own, three times in turns."""
    code = ("import sys, time; from pathlib import Path; from dipir.suite.file import JobSpec; "
            "from benchmarks.suite_faults import job; "
            f"job(JobSpec('x', '', '', 0, {{'seconds': {LONG_S}}}, {{}}), Path(sys.argv[1]), lambda e: None)")
    alone, within = [], []
    for k in range(3):
        folder = out / f"alone{k}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "been_here").unlink(missing_ok=True)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
        alone.append(time.monotonic() - began)
        began = time.monotonic()
        run_suite(suite_of(f"long{k}", [{"seconds": LONG_S}]), out / f"within{k}-{time.time_ns()}", Local(1), progress)
        within.append(time.monotonic() - began)
    added = statistics.median(within) - statistics.median(alone)
    return {"alone_s": statistics.median(alone), "within_s": statistics.median(within), "added_s": added,
            "share": added / LONG_S}


class _Instant:
    """A starter whose attempts have already ended: what is left is the runner's own work."""

    slots = 4 * NODES

    def start(self, folder: Path, limits: Limits) -> _Instant:

        (folder / WORK).mkdir(exist_ok=True)
        key = json.loads((folder / JOB).read_text())["key"]
        answer = {"key": key, "figures": {"value": 1.0}, "notes": []}
        (folder / ANSWER).write_text(json.dumps(answer))
        one = _Instant()
        one.outcome = Outcome(answer, "", 1.0)
        return one

    def poll(self) -> Outcome:
        return self.outcome

    def end(self) -> None:
        pass


def scaling(out: Path, jobs: int, progress: Progress) -> dict:
    """The runner's own seconds a job, with as many jobs as a thousand machines have at a time, and what share of their
    time machines would wait for it: a queue with one server, jobs of ``LONG_S`` and of ten minutes."""
    many = suite_of("scaling", [{}] * (2 * NODES))
    began = time.monotonic()
    run_suite(replace(many, name=f"scaling{time.time_ns()}"), out / str(time.time_ns()), _Instant(), progress)
    each = (time.monotonic() - began) / len(many.jobs)
    simulated = {f"{length:g}": {str(n): simulate(n, length, each) for n in (1, 10, 100, NODES)}
                 for length in (LONG_S, 600.0)}
    return {"runner_s_a_job": each, "busy_share": simulated}


def simulate(nodes: int, length: float, each: float, rounds: int = 20) -> float:
    """Share of machine time that is spent on jobs when one runner needs ``each`` seconds for every job and jobs take
    ``length``, give or take a fifth (a fixed pattern): by events."""
    free = [(0.0, n) for n in range(nodes)]
    heapq.heapify(free)
    server, worked, last = 0.0, 0.0, 0.0
    for k in range(nodes * rounds):
        ready, node = heapq.heappop(free)
        server = max(server, ready) + each
        took = length * (0.8 + 0.4 * ((k * 0.61803398875) % 1))
        worked, last = worked + took, max(last, server + took)
        heapq.heappush(free, (server + took, node))
    return worked / (last * nodes)


def met(result: dict) -> bool:
    """Whether the bars hold."""
    f = result.get("faults")
    good = f is None or (f["neither"] == f["different"] == f["twice"] == 0)
    return good and ("overhead" not in result or result["overhead"]["share"] <= 0.05)


def table(result: dict) -> str:
    """What is in the result, in words and rows."""
    text = []
    if f := result.get("faults"):
        text.append(f"**Faults.** Of {result['jobs']} jobs {f['done']} ended as done, {f['failed']} as failed with "
                    f"their cause, {f['neither']} as neither; {f['different']} results differ from those of a run "
                    f"without faults, {f['twice']} were written twice.\n")
        text.append(markdown([["fault", "done", "failed"], *([name, str(c.get("done", 0)), str(c.get("failed", 0))]
                                                             for name, c in sorted(f["by_fault"].items()))]))
    if t := result.get("throughput"):
        text.append(f"**Throughput.** Jobs of one second: {t['per_minute']['1']:.1f} a minute with one worker, "
                    f"{t['per_minute']['2']:.1f} with two ({t['ratio']:.2f} times as many).\n")
    if o := result.get("overhead"):
        text.append(f"**Overhead.** A job of {LONG_S:g} s takes {o['added_s']:.2f} s longer in the runner than alone "
                    f"in a process: {o['share']:.1%}.\n")
    if s := result.get("scaling"):
        text.append(f"**Scaling.** The runner itself works {1000 * s['runner_s_a_job']:.1f} ms a job. Share of their "
                    "time in which machines would work, simulated with that figure:\n")
        nodes = list(next(iter(s["busy_share"].values())))
        text.append(markdown([["jobs of", *(f"{n} machines" for n in nodes)],
                              *([f"{length} s", *(f"{row[n]:.1%}" for n in nodes)]
                                for length, row in s["busy_share"].items())]))
    return "\n".join(text)


if __name__ == "__main__":
    as_command(main)
