"""``dipir synth``: training data made by our own renderer, and a sheet of it to look at."""
from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from dipir import device
from dipir.cli import terminal
from dipir.cli.progress import Progress
from dipir.errors import ConfigError

# Scenes of each kind of set, where --count does not say how many.
COUNTS = {"views": 800, "panoramas": 1200, "relit": 2400, "surfaces": 10000, "sketches": 900, "layouts": 4000,
          "dressed": 20000}
KINDS = (*COUNTS, "co3d")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser(
        "synth", help="make training data with our own renderer",
        description="views: plates of procedural scenes, each with the light at its insertion point (28 a scene). "
                    "panoramas: whole HDR environments, for training composites. relit: objects before a backdrop, "
                    "each under twelve lights around it. surfaces: the like, and landscapes and rooms, under four "
                    "lights, with normals, depth, albedo and cast shadows. sketches: drawings and their coloured "
                    "pictures. layouts: captioned pictures of up to four things on a floor. dressed: crops of "
                    "photographed panoramas with meshes put on their ground in their light (needs the data folder). "
                    "co3d: a set in the format of CO3Dv2, photos all around objects under known light, with the truth "
                    "beside them. Deterministic for a seed; what is there is kept, so a stopped run goes on.")
    p.add_argument("kind", choices=KINDS)
    p.add_argument("--count", type=int, metavar="N",
                   help=f"scenes in all (default: {', '.join(f'{n} {k}' for k, n in COUNTS.items())}); dressed: "
                        "plates; co3d: sequences of each category")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: a folder in ~/.cache/dipir (or $DIPIR_CACHE)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, help="processes (default: all cores; with a GPU one, since several on a GPU "
                                               "slow each other)")
    device.add_option(p)
    p.add_argument("--held-out", action="store_true",
                   help="dressed: of the environments and meshes of `val` and `val_more`, in a folder of their own")
    p.add_argument("--drawn", action="store_true",
                   help="procedural things alone; otherwise patches of the training panoramas lie on some surfaces of "
                        "views and surfaces, and some objects are training meshes, where there is a data folder "
                        "(DIPIR_DATA)")
    p.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw 48 of them beside their light")
    p.add_argument("--export", type=Path, metavar="DIR", help="relit: also write pairs in the folder format of "
                                                              "diffusers' ControlNet and LoRA training scripts")
    p.add_argument("--pairs", type=int, default=1000, help="pairs to export")
    p.add_argument("--export-size", type=int, default=512, metavar="PX", help="their side")
    p.add_argument("--category", action="append", metavar="C", help="co3d: a kind of object; may be repeated (default: "
                                                                   "those of its settings)")
    p.add_argument("--frames", type=int, metavar="N", help="co3d: photos of each sequence")
    p.add_argument("--environments", type=Path, metavar="DIR",
                   help="co3d: .hdr and .exr files, the light of one sequence after the other (default: procedural)")
    p.add_argument("--quiet", action="store_true", help="errors only")
    p.add_argument("--log", choices=("text", "json"), default="text")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Make the set, print the rate, draw the sheet, export."""
    from dipir.workshop import shards

    args.workers = shards.default_workers() if args.workers is None else args.workers
    if args.export and args.kind != "relit":
        raise ConfigError(f"--export was given with {args.kind}; pairs are made of relit scenes: `dipir synth relit "
                          "--export DIR`.")
    began = time.monotonic()
    steps = []
    with Progress(None, log=args.log, quiet=args.quiet) as progress:
        def on_event(event) -> None:
            steps.append(event.step)
            progress(event)

        if args.export:
            from dipir.workshop.relight import data as relit
            from dipir.workshop.relight import export as relit_export

            relit_export.check(args.export, args.pairs, args.export_size)
        folder = _generate(args, on_event)
        if args.sheet:
            from dipir.workshop.sheets import draw_sheet

            draw_sheet(args.kind, folder, args.sheet)
        if args.export:
            relit_export.export(relit.load(folder), args.export, args.pairs, args.export_size, args.seed, progress)
        if steps and args.log == "text" and not args.quiet:
            terminal.say(f"{time.monotonic() - began:.0f} s, {args.workers} processes", sys.stdout)
        progress.done(args.export or folder)


def _generate(args: argparse.Namespace, on_event) -> Path:
    """The folder with the whole set."""
    if args.kind == "co3d":
        return _co3d(args, on_event)
    if args.kind == "dressed":
        return _dressed(args, on_event)
    from dipir.workshop.colour import data as sketches
    from dipir.workshop.data import DATA, TRAIN, real_panoramas, training_meshes
    from dipir.workshop.layout import data as layouts
    from dipir.workshop.relight import data as relit
    from dipir.workshop.surfaces import data as surfaces
    from dipir.workshop.surfaces.ingredients import DataFolder, Files
    from dipir.workshop.worlds import panoramas, views

    real = not args.drawn and (DATA / "splits.json").is_file()
    count = args.count if args.count is not None else COUNTS[args.kind]
    common = count, args.out, args.seed, args.workers, on_event
    if args.kind == "views":
        return views.generate(*common, panoramas=real_panoramas(*TRAIN) if real else ())
    if args.kind == "panoramas":
        return panoramas.generate(*common)
    if args.kind == "layouts":
        return layouts.generate(*common)
    if args.kind == "surfaces":
        folder = Path(args.out) if args.out is not None else surfaces.default_dir()
        return surfaces.generate(*common, ingredients=DataFolder().ingredients(False, folder) if real else Files())
    meshes = training_meshes(*TRAIN) if real else ()
    maker = relit if args.kind == "relit" else sketches
    return maker.generate(*common, meshes=meshes)


def _dressed(args: argparse.Namespace, on_event) -> Path:
    from dipir.workshop.data import TRAIN, VAL, training_meshes
    from dipir.workshop.dressed import data as dressed

    splits = VAL if args.held_out else TRAIN
    out = dressed.held_out_dir() if args.held_out and args.out is None else args.out
    count = args.count if args.count is not None else COUNTS["dressed"]
    return dressed.generate(count, out, args.seed, args.workers, on_event,
                            found=dressed.sources(splits, training_meshes(*splits)))


def _co3d(args: argparse.Namespace, on_event) -> Path:
    from dipir.workshop.captures import co3d

    found = ()
    if args.environments is not None:
        found = tuple(str(p.resolve()) for p in sorted(args.environments.glob("*")) if p.suffix in (".hdr", ".exr"))
        if not found:
            raise ConfigError(f"--environments {args.environments}: holds no .hdr or .exr file; accepted is a folder "
                              "with some.")
    usual = co3d.Co3dSettings()
    posed = usual.posed if args.frames is None else replace(usual.posed, frames=args.frames)
    settings = replace(usual, categories=tuple(args.category or usual.categories), posed=posed, environments=found,
                       sequences=usual.sequences if args.count is None else args.count)
    return co3d.generate(args.out, args.seed, settings, args.workers, on_event)
