"""``dipir init``: a first scene file for a photo and an asset."""
from __future__ import annotations

import argparse
from pathlib import Path

from dipir.cli.options import say
from dipir.cli.verbs.insert import add_camera, camera_options
from dipir.errors import ConfigError


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("init", help="write a scene file for a photo and an asset")
    p.add_argument("photo", type=Path, metavar="PHOTO")
    p.add_argument("asset", type=Path, metavar="ASSET")
    add_camera(p.add_argument_group("camera (what is left out is estimated)"))
    p.add_argument("--out", type=Path, default=Path("scene.yaml"), metavar="FILE", help="default: scene.yaml")
    p.add_argument("--overwrite", action="store_true", help="write the file and its grid anew where they exist")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Write the file, say what was guessed and what to do next."""
    from dipir.scene.photo_camera.estimate import CameraOptions
    from dipir.scene.photo_camera.starter import init_scene

    try:
        options = camera_options(args, CameraOptions())
    except ValueError as problem:
        raise ConfigError(f"command line: {problem}") from problem
    written, notes = init_scene(args.photo, args.asset, args.out, options, args.overwrite)
    say(notes, quiet=False)
    print(f"{written}\nLook at {written.with_suffix('.grid.png')}: the grid should lie on the ground. Then:\n"
          f"dipir insert {written}")
