"""RTI relighting: IllumiNet against PTM and HSH on the held-out lights of rendered dome captures.

``python -m benchmarks rti`` renders three captures (cached), fits a network to each and writes the table. A run that
was stopped goes on with the same command: finished scenes are kept in ``--out``, an unfinished one resumes.
"""
from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.common import as_command, machine, markdown, typed, write

METHODS = {"ptm": "PTM", "hsh9": "HSH 9", "hsh16": "HSH 16", "net": "IllumiNet"}


def capture_file(kind: str, settings) -> Path:
    """The .lp file of a rendered capture, rendered first where the cache has none."""
    from dipir.captures.rti import write_lp
    from dipir.cli.progress import Progress
    from dipir.disk import cache_dir
    from dipir.fit.checkpoint import run_hash
    from dipir.settings.yaml import to_dict
    from dipir.workshop.captures import dome

    folder = cache_dir() / "rti" / f"{kind}_{settings.size}_{settings.lights}_{run_hash(to_dict(settings))[:8]}"
    path = folder / "capture.lp"
    if not path.is_file():
        with Progress() as progress:
            capture = dome.render(kind, settings, progress)
        folder.mkdir(parents=True, exist_ok=True)
        write_lp(path, capture)
    return path


def judged(kind: str, path: Path, config, out: Path) -> dict:
    """The verdict of a network fitted to a capture: of the one in ``out`` when it was made with the same settings."""
    from dipir.captures.rti import read_capture
    from dipir.cli.progress import Progress
    from dipir.errors import PriorError
    from dipir.rti import method as illuminet

    capture = read_capture(path)
    try:
        fitted = illuminet.load(out)
        same = replace(fitted.config, minutes=config.minutes) == config
        if same and fitted.verdict.get("lights") == len(capture.images) and (
                fitted.verdict.get("size") == [capture.images.shape[3], capture.images.shape[2]]):
            return dict(fitted.verdict)
    except PriorError:
        pass
    out.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        fitted = illuminet.train(capture.directions, capture.images, config, out=out, on_event=progress, resume=True)
    return dict(fitted.verdict)


def summary(verdicts: dict[str, dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Scene -> method -> PSNR and SSIM, with the mean over the scenes last."""
    table = {kind: {m: v["methods"][m] for m in METHODS} for kind, v in verdicts.items()}
    mean = {m: {f: sum(row[m][f] for row in table.values()) / len(table) for f in ("psnr", "ssim")} for m in METHODS}
    return {**table, "mean": mean}


def table(result: dict) -> str:
    """Markdown: figures by scene, then what training cost."""
    rows = [["PSNR in dB / SSIM on held-out lights", *METHODS.values(), "IllumiNet over PTM"]]
    for kind, row in result["summary"].items():
        cells = [f"{row[m]['psnr']:.2f} / {row[m]['ssim']:.3f}" for m in METHODS]
        rows.append([kind, *cells, f"{row['net']['psnr'] - row['ptm']['psnr']:+.2f} dB"])
    cost = [["training", "steps", "processor time", "wall time"]]
    for kind, training in result["training"].items():
        cost.append([kind, str(training["steps"]), f"{training['processor_seconds'] / 60:.1f} min",
                     f"{training['seconds'] / 60:.1f} min"])
    return (f"Made by `{result['command']}`; {result['what']}; {result['machine']}; {result['threads']} thread(s), "
            f"load average {result['load']:.1f} (where it exceeds the threads other programs ran meanwhile, and the "
            f"processor time tells more than the wall time).\n\n{markdown(rows)}\n{markdown(cost)}")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m benchmarks rti", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", type=int, default=256, help="pixels of a side")
    p.add_argument("--lights", type=int, default=60, help="of the dome; a fifth of them is held out")
    p.add_argument("--minutes", type=float, help="wall time of each training (default: that of the settings)")
    p.add_argument("--scenes", default="relief,glossy,shadows", help="default: %(default)s")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the training")
    p.add_argument("--out", type=Path, default=Path("out") / "rti", metavar="DIR", help="networks and comparisons")
    return p


def main(arguments: list[str] | None = None) -> int:
    """See the module's text. Returns 0; raises DipirError for bad input."""
    import torch

    from dipir.errors import ConfigError, nearest
    from dipir.rti import method as illuminet
    from dipir.workshop.captures import dome

    arguments = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(arguments)
    kinds = args.scenes.split(",")
    unknown = [kind for kind in kinds if kind not in dome.SCENES]
    if unknown:
        raise ConfigError(f"--scenes: '{unknown[0]}' is none of {', '.join(dome.SCENES)}."
                          f"{nearest(unknown[0], dome.SCENES)}")
    settings = dome.DomeSettings(size=args.size, lights=args.lights)
    minutes = [] if args.minutes is None else [f"minutes={args.minutes!r}"]
    config = illuminet.load_config(None, minutes + args.set)
    verdicts = {kind: judged(kind, capture_file(kind, settings), config, args.out / kind) for kind in kinds}
    held_out = len(next(iter(verdicts.values()))["held_out"])
    result = {"command": typed("python", "-m", "benchmarks", "rti", *arguments), "machine": machine(),
              "what": f"{len(kinds)} path-traced captures of {args.size}x{args.size} pixels, {args.lights - held_out} "
                      f"training lights, {held_out} held-out ones",
              "threads": torch.get_num_threads(), "load": os.getloadavg()[2], "summary": summary(verdicts),
              "training": {kind: v["training"] for kind, v in verdicts.items()},
              "held_out": {kind: v["held_out"] for kind, v in verdicts.items()}}
    write("rti", result, table(result))
    return 0


if __name__ == "__main__":
    as_command(main)
