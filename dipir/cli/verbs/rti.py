"""``dipir illuminet``: fit a network to an RTI capture, and relight the object with it."""
from __future__ import annotations

import argparse
import math
from pathlib import Path

from dipir.cli import terminal
from dipir.cli.options import add_output, count, natural, out_folder, overrides, pair, positive, running, say
from dipir.cli.progress import Progress
from dipir.errors import ConfigError

_EXAMPLES = """\
examples:
  dipir illuminet train --data coin/coin.lp --longest 512 --out out/coin
  dipir illuminet relight out/coin --direction 45,30 --out coin-left.png
  dipir illuminet relight out/coin --dome 24 --out ring/
"""
_MOST_PICTURES = 720


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = commands.add_parser("illuminet", help="relight an object that was photographed under many lights (RTI)",
                                 description="Fit a network to an RTI dome capture; then see the object under any "
                                             "light.",
                                 epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", metavar="train | relight", required=True)
    _train_parser(actions)
    _relight_parser(actions)


def _train_parser(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("train", help="fit a network to a capture",
                           description="A fifth of the lights is held out and judged beside PTM and HSH: see "
                                       "report.json and comparison.png in the out folder.")
    p.add_argument("--data", type=Path, required=True, metavar="FILE", help="RTI .lp file, or arrays .npz "
                   "(light_directions (n, 3), target_images (n, h, w, 3))")
    p.add_argument("--minutes", type=positive, help="stop after this time (default: the settings')")
    p.add_argument("--longest", type=count, metavar="N", help="shrink the photos to N pixels on their longer side")
    p.add_argument("--config", type=Path, metavar="FILE", help="settings on top of configs/illuminet/default.yaml")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    p.add_argument("--seed", type=natural)
    p.add_argument("--resume", action="store_true",
                   help="continue a run that was stopped (same data, same settings, same --out)")
    add_output(p, "out/<name of the data>")
    p.set_defaults(verb=train)


def _relight_parser(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("relight", help="the object under other lights",
                           description="Azimuth: 0 = from the camera, 90 = from the picture's right, -90 = from its "
                                       "left. Elevation: 0 = level with the camera, 90 = from the picture's top.")
    p.add_argument("folder", type=Path, metavar="DIR", help="the --out folder of a finished `dipir illuminet train`")
    light = p.add_mutually_exclusive_group(required=True)
    light.add_argument("--direction", type=pair(float, "azimuth,elevation in degrees", "-45,30"), metavar="AZ,EL",
                       help="one light")
    light.add_argument("--dome", type=count, metavar="N", help="N lights in a ring, 35 degrees over the object")
    add_output(p, "DIR/relit.png, a file; with --dome the folder DIR/relit")
    p.set_defaults(verb=relight)


def train(args: argparse.Namespace) -> None:
    """In the order of cost, so that mistakes are found before any work, and before a folder is made."""
    from dipir.disk import named_folder
    from dipir.rti import method

    config = method.load_config(args.config, overrides(args, {"minutes": args.minutes, "seed": args.seed}))
    from dipir.captures.rti import read_capture

    capture = read_capture(args.data, args.longest)
    say(capture.notes, args.quiet)
    out = args.out or named_folder("out", args.data.resolve().stem, "rti")
    with running(args, out, names_device=False) as (out, progress):
        fitted = method.train(capture.directions, capture.images, config, out=out, on_event=progress,
                              resume=args.resume)
        if not args.quiet:
            terminal.say(summary(fitted.verdict))


def relight(args: argparse.Namespace) -> None:
    """One picture, or one for each light of the ring."""
    one = args.dome is None
    out = args.out or args.folder / ("relit.png" if one else "relit")
    if one and out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: accepted is a .png file with --direction. Give one.")
    if not one and args.dome > _MOST_PICTURES:
        raise ConfigError(f"--dome {args.dome}: at most {_MOST_PICTURES} pictures are made at once.")
    from dipir.event import Event
    from dipir.image.files import write_png
    from dipir.rti import method
    from dipir.scene.direction import LightDirection

    lights = [LightDirection(*angles) for angles in ([args.direction] if one else ring(args.dome))]
    fitted = method.load(args.folder)
    with out_folder(out.parent if one else out) as folder, \
            Progress(log=args.log, quiet=args.quiet, board=args.tensorboard) as progress:
        for i, light in enumerate(lights):
            write_png(out if one else folder / f"light_{i:03d}.png", fitted.relight(light.vector))
            progress(Event("relight", i + 1, len(lights)))
        progress.done(out)


def summary(verdict: dict) -> str:
    """Two lines for people: what the held-out lights say."""
    methods = verdict.get("methods", {})
    if not methods:
        return "no lights were held out, so nothing is known about new ones (held_out=0)"
    figures = ", ".join(f"{name} {values['psnr']:.2f} dB" for name, values in methods.items())
    return f"PSNR on {len(verdict['held_out'])} held-out lights: {figures}"


def ring(lights: int) -> list[tuple[float, float]]:
    """(azimuth, elevation) in degrees of lights around the camera's axis, 35 degrees over the picture's plane."""
    height, radius = math.sin(math.radians(35)), math.cos(math.radians(35))
    turns = [2 * math.pi * i / lights for i in range(lights)]
    points = [(radius * math.cos(t), radius * math.sin(t), height) for t in turns]
    return [(math.degrees(math.atan2(x, z)), math.degrees(math.asin(y))) for x, y, z in points]
