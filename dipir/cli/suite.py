"""``dipir bench run|status|table|compare``: suites of jobs on this machine or a cluster."""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dipir import device, disk
from dipir.cli import terminal
from dipir.cli.options import out_folder, positive
from dipir.errors import ConfigError

VERBS = ("run", "status", "table", "compare")


def main(arguments: Sequence[str]) -> int:
    """Exit code 0 when all went well, 1 when jobs failed. Raises ConfigError."""
    args = parser().parse_args(arguments)
    return {"run": _run, "status": _status, "table": _table, "compare": _compare}[args.verb](args)


def parser() -> argparse.ArgumentParser:
    """Of the four verbs."""
    p = argparse.ArgumentParser(prog="dipir bench", description="Suites of jobs: docs/benchmarks.md.")
    verbs = p.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run a suite; what is done is skipped")
    run.add_argument("suite", type=Path)
    where = run.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
                       help="jobs at a time on this machine (default: all cores)")
    where.add_argument("--ray", metavar="ADDRESS", help="auto, local, HOST:PORT or ray://HOST:PORT")
    run.add_argument("--out", type=Path, metavar="DIR", help="default: runs/NAME")
    run.add_argument("--resume", action="store_true", help="go on with a run that is there; without it an --out that "
                                                           "holds one is refused")
    run.add_argument("--tensorboard", action="store_true", help="each job also logs for TensorBoard: `tensorboard "
                                                                "--logdir OUT/jobs`")
    device.add_option(run)
    run.add_argument("--quiet", action="store_true")
    run.add_argument("--log", choices=("text", "json"), default="text")
    status = verbs.add_parser("status", help="how far a run is")
    status.add_argument("out", type=Path)
    status.add_argument("--watch", type=positive, metavar="SECONDS", help="again every so often until it has ended")
    table = verbs.add_parser("table", help="its results; also writes results.parquet and report.html")
    table.add_argument("out", type=Path)
    style = table.add_mutually_exclusive_group()
    style.add_argument("--latex", dest="style", action="store_const", const="latex", default="markdown")
    style.add_argument("--csv", dest="style", action="store_const", const="csv")
    compare = verbs.add_parser("compare", help="what differs between two runs, and whether it is real")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    return p


def _run(args: argparse.Namespace) -> int:
    from dipir.cli.progress import Progress
    from dipir.suite.file import load_suite
    from dipir.suite.methods import check
    from dipir.suite.report import write_results
    from dipir.suite.run import SUITE, Local, run_suite

    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: accepted are 1 or more.")
    suite = load_suite(args.suite)
    check(suite.jobs)
    out = args.out or disk.named_folder("runs", suite.name, "suite")
    if (out / SUITE).is_file() and not args.resume:
        raise ConfigError(f"{out}: holds a run already. Go on with it by --resume, or choose another --out.")
    device.use_option(args)
    starter = Local(args.workers)
    if args.ray:
        from dipir.suite.cluster import connect

        starter = connect(args.ray, suite.limits)
    else:
        device.current()  # What cannot be used is said here, not by every job.
    if args.tensorboard:
        from dipir.fit.board import writer

        writer()
    with out_folder(out), disk.locked(out), Progress(None, log=args.log, quiet=args.quiet) as progress:
        if not args.ray:
            progress.device(device.current())
            if device.current().gpu and args.workers > 1 and not args.quiet:
                terminal.say(f"note: {args.workers} jobs at a time share one GPU; give fewer --workers when its memory "
                             "is too small for them")
        ended = run_suite(suite, out, starter, progress, args.tensorboard)
        write_results(out)
        progress.done(out)
    return failures(ended["failed"])


def failures(failed: Mapping[str, str]) -> int:
    """Job -> cause: a line of stderr for each; the exit code."""
    for name, cause in failed.items():
        terminal.say(f"failed: {name}: {cause.strip().splitlines()[-1][:300]}")
    return 1 if failed else 0


def _status(args: argparse.Namespace) -> int:
    from dipir.suite.table import read_rows, status_text

    while True:
        terminal.say(status_text(args.out), sys.stdout)
        if args.watch is None or all(r.state in ("done", "failed") for r in read_rows(args.out)):
            return 0
        time.sleep(args.watch)


def _table(args: argparse.Namespace) -> int:
    from dipir.suite.report import write_results
    from dipir.suite.table import grouped, written

    terminal.say(written(*grouped(write_results(args.out)), args.style).rstrip("\n"), sys.stdout)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from dipir.suite.table import compare, number, read_rows, written

    found = compare(read_rows(args.a), read_rows(args.b))
    head = ["figure", "pairs", str(args.a), str(args.b), "difference (95 %)", "p (Holm)", "real"]
    lines = [[d.figure, str(d.pairs), number(d.a), number(d.b), f"{d.b - d.a:+.3g} ({d.low:+.3g} to {d.high:+.3g})",
              f"{d.p:.2g}", "yes" if d.real else "no"] for d in found]
    terminal.say(written(head, lines).rstrip("\n"), sys.stdout)
    return 0
