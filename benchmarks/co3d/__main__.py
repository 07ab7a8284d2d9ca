"""CO3D-style sequences: an asset beside or instead of the object, several frames, one light for all; how far views
agree, how long it takes, what fails; against the truth where the set has one (``dipir synth co3d``).
Protocol and measures: docs/bench-co3d.md.

usage: python -m benchmarks co3d --root DIR | --known N [--category C] [--subset S] [--limit N]
                                 [--asset FILE]
                                 [--place beside|instead] [--height H] [--frames N] [--preset P] [--set KEY=VALUE]
                                 [--workers N | --ray ADDRESS] [--out DIR]
"""
from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import ONE_THREAD, ROOT, as_command, machine, markdown, typed, write
from benchmarks.insert.cases import panorama_files
from dipir.captures.co3d import categories, read_category, read_set_lists
from dipir.captures.posed import poses_file
from dipir.cli.progress import Progress
from dipir.cli.suite import failures
from dipir.disk import cache_dir
from dipir.errors import ConfigError
from dipir.insert.config import load_config
from dipir.insert.sequence import SequenceSettings
from dipir.scene.assets.load import load_asset
from dipir.suite.file import JobSpec, Limits, Suite
from dipir.suite.report import write_results
from dipir.suite.run import Local, run_suite
from dipir.suite.table import Row, mean_and_error, number
from dipir.workshop.captures import co3d as synth

COMMITTED = ("--known", "4", "--name", "co3d")
SEED = 20_000
JOB = "benchmarks.co3d.job:job"
ASSET = ROOT / "assets" / "demo" / "vase.glb"
NAMES = {"light_deg": "dominant light, one light for all (degrees)",
         "light_alone_deg": "dominant light, each frame by itself (degrees)",
         "sun_deg": "the same with a sun or one strong lamp, one light for all",
         "sun_alone_deg": "with a sun or one strong lamp, each frame by itself",
         "soft_deg": "without one, one light for all", "soft_alone_deg": "without one, each frame by itself",
         "ground_deg": "ground plane (degrees)",
         "round_trip_px": "camera round trip (pixels)", "flicker": "flicker of the object, one light for all",
         "flicker_alone": "flicker of the object, each frame by itself",
         "flicker_truth": "change over views that the true light does not make",
         "spread_alone_deg": "spread of the frames' own lights (degrees)",
         "ground_confidence": "confidence of the ground", "frames": "frames", "seconds_all": "seconds a sequence"}


def parser() -> argparse.ArgumentParser:
    """Its options."""
    p = argparse.ArgumentParser(prog="dipir bench co3d", description=__doc__.split("usage")[0])
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--root", type=Path, metavar="DIR", help="of the data set, or of one sequence of nerfstudio or "
                                                                 "COLMAP")
    source.add_argument("--known", type=int, metavar="N", help="rendered truth: N sequences of each category")
    p.add_argument("--category", action="append", metavar="C", help="may be repeated; default: all that are there")
    p.add_argument("--subset", metavar="S", help="only sequences of this set list")
    p.add_argument("--limit", type=int, metavar="N", help="sequences of each category")
    p.add_argument("--asset", type=Path, default=ASSET, metavar="FILE")
    p.add_argument("--place", choices=("beside", "instead"), default="instead")
    p.add_argument("--height", type=float, default=1.0, metavar="H", help="of the asset, in heights of the object")
    p.add_argument("--frames", type=int, default=6, metavar="N")
    p.add_argument("--preset", default="default")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--seed", type=int, default=0)
    where = p.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    where.add_argument("--ray", metavar="ADDRESS")
    p.add_argument("--out", type=Path, default=Path("out/bench-co3d"), metavar="DIR")
    p.add_argument("--name", metavar="NAME", help="also commit as benchmarks/results/NAME")
    p.add_argument("--quiet", action="store_true")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 1 when sequences failed. Raises DipirError for what cannot be used, before work starts."""
    args = parser().parse_args(arguments)
    if min(args.workers, args.frames, 1 if args.limit is None else args.limit, args.known or 1) < 1:
        raise ConfigError("--workers, --frames, --limit, --known: accepted are 1 or more.")
    SequenceSettings(frames=args.frames, place=args.place, height=args.height)
    load_asset(args.asset)
    load_config(args.preset, [], args.set)
    os.environ |= ONE_THREAD
    if args.known:
        with Progress(None, quiet=args.quiet) as progress:
            args.root = known(args.known, args.workers, progress)
    suite = plan(args)
    starter = Local(args.workers)
    if args.ray:
        from dipir.suite.cluster import connect

        starter = connect(args.ray, suite.limits)
    with Progress(None, quiet=args.quiet) as progress:
        ended = run_suite(suite, args.out, starter, progress)
    rows = write_results(args.out, suite.name)
    text = table(rows)
    if args.name:
        result = {"schema": "dipir.bench.co3d.1", "machine": machine(),
                  "command": typed("dipir", "bench", "co3d", *(arguments or ())),
                  "sequences": {r.name: {"state": r.state, **r.figures} for r in rows}}
        write(args.name, result, f"Made by `{result['command']}`; {machine()}.\n\n{text}", args.quiet)
    elif not args.quiet:
        print(text)
    return failures(ended["failed"])


def known(count: int, workers: int, on_event) -> Path:
    """The folder of a set with truth: ``count`` sequences of each category under the panoramas of the split val."""
    settings = synth.Co3dSettings(sequences=count,
                                  environments=tuple(str(p) for p in panorama_files(None, "val").values()))
    return synth.generate(cache_dir() / "co3d" / f"val_{count}_v{synth.VERSION}", SEED, settings, workers, on_event)


def plan(args: argparse.Namespace) -> Suite:
    """A job for each sequence, or for the only one of a folder of COLMAP or nerfstudio. DipirError for categories and
    subsets that are not there."""
    settings = {"root": str(args.root.resolve()), "asset": str(args.asset.resolve()), "preset": args.preset,
                "set": list(args.set), "place": args.place, "frames": args.frames, "height": args.height}
    posed = poses_file(args.root)
    if posed is not None:
        if args.category or args.subset:
            raise ConfigError(f"{args.root}: holds one sequence; --category and --subset belong to sets of CO3D.")
        name = args.root.resolve().name
        return _suite([JobSpec(name, JOB, str(posed.resolve()), args.seed, {**settings, "category": ""},
                               {"category": name})])
    jobs = []
    for name in args.category or categories(args.root):
        category = read_category(args.root, name)
        if args.subset is not None:
            listed = read_set_lists(args.root, name, args.subset)
            wanted = {s for part in listed.values() for s, _, _ in part}
        else:
            wanted = set(category.frames)
        for sequence in [s for s in category.frames if s in wanted][:args.limit]:
            jobs.append(JobSpec(f"{name}_{sequence}", JOB,
                                str((args.root / name / "frame_annotations.jgz").resolve()), args.seed,
                                {**settings, "category": name, "sequence": sequence}, {"category": name}))
    if not jobs:
        raise ConfigError(f"{args.root}: no sequence to run; choose another --category or --subset.")
    return _suite(jobs)


def _suite(jobs: Sequence[JobSpec]) -> Suite:
    return Suite("co3d", tuple(jobs), Limits(minutes=60))


def table(rows: Sequence[Row]) -> str:
    """A column for each category and for all."""
    groups = {"all": list(rows)}
    for r in rows:
        groups.setdefault(str(r.varied["category"]), []).append(r)
    lines = [["", *groups], ["done", *(f"{sum(r.state == 'done' for r in g)} of {len(g)}" for g in groups.values())]]
    for key, name in NAMES.items():
        if any(key in r.figures for r in rows):
            lines.append([name, *(number(*mean_and_error([r.figures[key] for r in g if np.isfinite(
                r.figures.get(key, np.nan))])) for g in groups.values())])
    return markdown(lines)


if __name__ == "__main__":
    as_command(main)
