"""``dipir synth``: training data made by our own renderer, and a sheet of it to look at."""
from __future__ import annotations

import argparse
import time
from pathlib import Path

from dipir import device
from dipir.errors import ConfigError

KINDS = ("views", "panoramas", "relit", "sketches", "layouts", "co3d")
_DEFAULTS = {"views": 800, "panoramas": 1200, "relit": 2400, "sketches": 900, "layouts": 4000, "co3d": 3}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb; this module imports nothing heavy before it runs."""
    p = commands.add_parser(
        "synth", help="make training data with our own renderer",
        description="views: plates of procedural scenes, each with the light at its insertion point (28 a scene). "
                    "panoramas: whole HDR environments, for training composites. relit: objects before a backdrop, "
                    "each under twelve lights around it. sketches: drawings and their coloured pictures. layouts: "
                    "captioned pictures of up to four things on a floor. co3d: a set in the format of CO3Dv2, photos "
                    "all around objects under known light, with the truth beside them. Deterministic for a seed; what "
                    "is there is kept, so a stopped run goes on.")
    p.add_argument("kind", choices=KINDS)
    p.add_argument("--count", type=int, metavar="N",
                   help=f"scenes in all, sequences of each category (default: "
                        f"{', '.join(f'{n} {k}' for k, n in _DEFAULTS.items())})")
    p.add_argument("--out", type=Path, metavar="DIR", help="default: a folder in ~/.cache/dipir (or $DIPIR_CACHE)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, help="processes (default: all cores; with a GPU one, since several on a GPU "
                                               "slow each other)")
    device.add_option(p)
    p.add_argument("--drawn", action="store_true",
                   help="procedural things alone; otherwise patches of the `train` panoramas lie on some surfaces of "
                        "views, and some objects are `train` meshes, where there is a data folder (DIPIR_DATA)")
    p.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw 48 of them beside their light")
    p.add_argument("--export", type=Path, metavar="DIR", help="relit: also write pairs in the folder format of "
                                                              "diffusers' ControlNet and LoRA training scripts")
    p.add_argument("--pairs", type=int, default=1000, help="pairs to export")
    p.add_argument("--export-size", type=int, default=512, metavar="PX", help="their side")
    p.add_argument("--category", action="append", metavar="C", help="co3d: a kind of object; may be repeated (default: "
                                                                   "mug, furniture, rock)")
    p.add_argument("--frames", type=int, default=12, metavar="N", help="co3d: photos of each sequence")
    p.add_argument("--environments", type=Path, metavar="DIR",
                   help="co3d: .hdr and .exr files, the light of one sequence after the other (default: procedural)")
    p.add_argument("--quiet", action="store_true", help="errors only")
    p.add_argument("--log", choices=("text", "json"), default="text")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> int:
    """Make the set, print the rate, draw the sheet, export."""
    device.use_option(args)
    from dipir.cli.progress import Progress
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
            draw_sheet(args.kind, folder, args.sheet)
        if args.export:
            relit_export.export(relit.load(folder), args.export, args.pairs, args.export_size, args.seed, progress)
        if steps and args.log == "text" and not args.quiet:
            print(f"{time.monotonic() - began:.0f} s, {args.workers} processes")
        progress.done(args.export or folder)
    return 0


def _generate(args: argparse.Namespace, on_event) -> Path:
    """The folder with the whole set."""
    if args.kind == "co3d":
        return _co3d(args, on_event)
    from dipir.workshop.colour import data as sketches
    from dipir.workshop.data import DATA, real_panoramas, training_meshes
    from dipir.workshop.layout import data as layouts
    from dipir.workshop.relight import data as relit
    from dipir.workshop.worlds import panoramas, views

    real = not args.drawn and (DATA / "splits.json").is_file()
    count = args.count if args.count is not None else _DEFAULTS[args.kind]
    common = count, args.out, args.seed, args.workers, on_event
    if args.kind == "views":
        return views.generate(*common, panoramas=real_panoramas("train") if real else ())
    if args.kind == "panoramas":
        return panoramas.generate(*common)
    if args.kind == "layouts":
        return layouts.generate(*common)
    maker = relit if args.kind == "relit" else sketches
    return maker.generate(*common, meshes=training_meshes("train") if real else ())


def _co3d(args: argparse.Namespace, on_event) -> Path:
    from dipir.workshop.captures import co3d
    from dipir.workshop.captures.posed import PosedSettings

    found = ()
    if args.environments is not None:
        found = tuple(str(p.resolve()) for p in sorted(args.environments.glob("*")) if p.suffix in (".hdr", ".exr"))
        if not found:
            raise ConfigError(f"--environments {args.environments}: holds no .hdr or .exr file; accepted is a folder "
                              "with some.")
    settings = co3d.Co3dSettings(tuple(args.category or co3d.Co3dSettings().categories),
                                 _DEFAULTS["co3d"] if args.count is None else args.count,
                                 PosedSettings(frames=args.frames), found)
    return co3d.generate(args.out, args.seed, settings, args.workers, on_event)


def draw_sheet(kind: str, folder: Path, path: Path) -> None:
    """48 items spread over the set: views beside their light (the frame of the light turns with the camera, which
    looks to its middle), panoramas alone, relit scenes under four lights, drawings beside their pictures, layouts with
    the boxes of their things over their captions, photos of a CO3D set."""
    import torch

    from dipir.image.files import write_png

    tiles = {"views": _view_tiles, "panoramas": _panorama_tiles, "relit": _relit_tiles,
             "sketches": _sketch_tiles, "layouts": _layout_tiles, "co3d": _photo_tiles}[kind](folder)
    rows = [torch.cat(list(tiles[i:i + 4]), -1) for i in range(0, len(tiles), 4)]
    write_png(path, torch.cat(rows, -2)[None])


def _spread(count: int):
    """Rows of 48 items, evenly spread."""
    import torch

    return torch.linspace(0, count - 1, 48).long()


def _view_tiles(folder: Path):
    import torch
    from torch.nn import functional

    from dipir.image.color import linear_to_srgb
    from dipir.workshop.worlds import views

    stored = views.load(folder)
    rows = _spread(len(stored["plate"]))
    env = functional.interpolate(stored["env"][rows].permute(0, 3, 1, 2), (96, 192), mode="nearest")
    plate = functional.interpolate(stored["plate"][rows].float(), (96, 128), mode="bilinear")
    return linear_to_srgb(torch.cat([0.75 * plate, 0.4 * env], -1).clamp(0, 1))


def _panorama_tiles(folder: Path):
    from torch.nn import functional

    from dipir.image.color import linear_to_srgb
    from dipir.workshop.worlds import panoramas

    maps, _ = panoramas.load(folder)
    return linear_to_srgb(functional.interpolate(maps[_spread(len(maps))].permute(0, 3, 1, 2), (128, 256),
                                                 mode="area").clamp(0, 1))


def _relit_tiles(folder: Path):
    import torch

    from dipir.image.color import linear_to_srgb
    from dipir.workshop.relight import data as relit

    data = relit.load(folder)
    rows = _spread(len(data))
    lit = relit.decode(data.lit[rows][:, ::3][:, :4]) + 0.15 * relit.decode(data.sky[rows])[:, None]
    return linear_to_srgb((0.7 * torch.cat(lit.unbind(1), -1)).clamp(0, 1))


def _sketch_tiles(folder: Path):
    import numpy as np
    import torch

    from dipir.workshop.colour import data as sketches
    from dipir.workshop.colour import styles as sketch_styles

    recorded = sketches.load(folder)
    count = len(next(iter(recorded.values())))
    pairs = sketch_styles.draw(np.random.default_rng(0), recorded, _spread(count).numpy())
    return torch.cat([pairs.drawing.expand(-1, 3, -1, -1), pairs.picture], -1)


def _photo_tiles(folder: Path, side: int = 160):
    import torch
    from torch.nn import functional

    from dipir.image.files import read_image

    paths = sorted(folder.glob("*/*/images/*.jpg"))
    tiles = torch.ones(48, 3, side, side)
    for tile, k in zip(tiles, _spread(len(paths)), strict=True):
        photo = read_image(paths[k]).pixels
        height, width = photo.shape[2:]
        size = max(1, round(side * height / max(height, width))), max(1, round(side * width / max(height, width)))
        tile[:, :size[0], :size[1]] = functional.interpolate(photo, size, mode="bilinear", antialias=True)[0]
    return tiles


def _layout_tiles(folder: Path):
    import numpy as np
    import torch

    from dipir.workshop.layout import data as layouts

    pictures = layouts.draw(np.random.default_rng(0), layouts.load(folder), 48)
    return torch.stack([_captioned(*of_one) for of_one in zip(
        pictures.image, pictures.captions, pictures.things, pictures.boxes, strict=True)])


def _captioned(image, caption: str, things, boxes, scale: int = 4):
    """(3, 64, 64) display -> (3, 352, 256): enlarged, with the box of each thing, over the caption and the truth."""
    import textwrap

    import cv2
    import numpy as np
    import torch

    side = scale * image.shape[-1]
    enlarged = (image * 255).round().byte().repeat_interleave(scale, 1).repeat_interleave(scale, 2).permute(1, 2, 0)
    canvas = np.ascontiguousarray(np.concatenate([enlarged.numpy(), np.full((96, side, 3), 255, np.uint8)]))
    write = lambda text, x, y, level, width=1: cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36,
                                                           (level,) * 3, width, cv2.LINE_AA)
    for k, (x0, y0, x1, y1) in enumerate((boxes * side).round().int().tolist()):
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (255,) * 3, 1)
        cv2.rectangle(canvas, (x0 - 1, y0 - 1), (x1, y1), (0,) * 3, 1)
        write(str(k + 1), x0 + 2, y0 + 12, 255, 3)
        write(str(k + 1), x0 + 2, y0 + 12, 0)
    lines = [(line, 0) for line in textwrap.wrap(caption, 42)[:3]]
    lines += [(f"{k + 1} {thing.phrase}", 130) for k, thing in enumerate(things)]
    for k, (line, level) in enumerate(lines):
        write(line, 3, side + 12 + 13 * k, level)
    return torch.from_numpy(canvas).permute(2, 0, 1).float() / 255
