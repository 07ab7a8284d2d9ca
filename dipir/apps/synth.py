"""``dipir synth``: training data made by our own renderer, and a sheet of it to look at."""
from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

KINDS = ("views", "panoramas")
_DEFAULTS = {"views": 800, "panoramas": 1200}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb; this module imports nothing heavy before it runs."""
    p = commands.add_parser(
        "synth", help="make training data with our own renderer",
        description="views: plates of procedural scenes, each with the light at its insertion point (28 a scene). "
                    "panoramas: whole HDR environments, for training composites. Deterministic for a seed; what is "
                    "there is kept, so a stopped run goes on.")
    p.add_argument("kind", choices=KINDS)
    p.add_argument("--count", type=int, metavar="N", help="scenes or panoramas in all (default: 800, 1200)")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: views/ or panoramas/ in ~/.cache/dipir "
                                                           "(or $DIPIR_CACHE)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)")
    p.add_argument("--drawn", action="store_true",
                   help="views with drawn textures alone; otherwise patches of the `train` panoramas of the data "
                        "folder (DIPIR_DATA) lie on some surfaces, if there is one")
    p.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw 48 of them beside their light")
    p.add_argument("--quiet", action="store_true", help="errors only")
    p.add_argument("--log", choices=("text", "json"), default="text")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> int:
    """Make the set, print the rate, draw the sheet."""
    from dipir.apps.progress import Progress
    from dipir.methods.prior_light import DATA, real_panoramas
    from dipir.synth import panoramas, views

    count = args.count if args.count is not None else _DEFAULTS[args.kind]
    photographs = args.kind == "views" and not args.drawn and (DATA / "splits.json").is_file()
    began = time.monotonic()
    steps = []
    with Progress(None, log=args.log, quiet=args.quiet) as progress:
        def on_event(event) -> None:
            steps.append(event.step)
            progress(event)
        common = count, args.out, args.seed, args.workers, on_event
        if args.kind == "views":
            folder = views.generate(*common, panoramas=real_panoramas("train") if photographs else ())
        else:
            folder = panoramas.generate(*common)
        if args.sheet:
            draw_sheet(args.kind, folder, args.sheet)
        if steps and args.log == "text" and not args.quiet:
            print(f"{time.monotonic() - began:.0f} s, {args.workers} processes")
        progress.done(folder)
    return 0


def draw_sheet(kind: str, folder: Path, path: Path) -> None:
    """48 items spread over the set: views beside their light (the frame of the light turns with the camera, which
    looks to its middle), panoramas alone."""
    import torch
    from torch.nn import functional

    from dipir.image.color import linear_to_srgb
    from dipir.image.files import write_png
    from dipir.synth import panoramas, views

    if kind == "views":
        stored = views.load(folder)
        rows = torch.linspace(0, len(stored["plate"]) - 1, 48).long()
        env = functional.interpolate(stored["env"][rows].permute(0, 3, 1, 2), (96, 192), mode="nearest")
        plate = functional.interpolate(stored["plate"][rows].float(), (96, 128), mode="bilinear")
        tiles = torch.cat([0.75 * plate, 0.4 * env], -1)
    else:
        maps, _ = panoramas.load(folder)
        rows = torch.linspace(0, len(maps) - 1, 48).long()
        tiles = functional.interpolate(maps[rows].permute(0, 3, 1, 2), (128, 256), mode="area")
    tiles = linear_to_srgb(tiles.clamp(0, 1))
    rows = [torch.cat(list(tiles[i:i + 4]), -1) for i in range(0, len(tiles), 4)]
    write_png(path, torch.cat(rows, -2)[None])
