"""``dipir init``: a first scene file for a photo and an asset, and the grid by which its camera is judged."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dipir.cli import terminal
from dipir.cli.options import add_colours, add_strict, colours_of, say
from dipir.cli.progress import refuse_warnings
from dipir.cli.verbs.insert import SCENE_SUFFIXES, add_camera, add_placement, camera_options, scene_file_of
from dipir.errors import ConfigError

_EXAMPLES = """\
examples:
  dipir init photo.jpg chair.glb --out chair.yaml
  dipir init chair.yaml --grid-only --pitch 14      try another camera: the grid is drawn, the scene stays
  dipir init photo.jpg chair.glb --out chair.yaml --force --pitch 14      keep it
"""
_DEFAULT_OUT = Path("scene.yaml")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("init", help="write a scene file for a photo and an asset", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Write a scene file and a picture of its ground grid, or draw that again.")
    p.add_argument("inputs", nargs="+", type=Path, metavar="PHOTO ASSET | SCENE.yaml",
                   help="a photo and a mesh (GLB, glTF, OBJ, PLY, STL); with --grid-only a scene file")
    add_camera(p.add_argument_group("camera (what is left out is estimated)"))
    scene = p.add_argument_group("object (what is left out is suggested)")
    add_placement(scene)
    scene.add_argument("--prompt", help="what the finished picture shows (default: from the asset's name)")
    add_colours(p, textures=True)
    p.add_argument("--out", type=Path, metavar="FILE", help=f"the scene file (default: {_DEFAULT_OUT})")
    p.add_argument("--force", "--overwrite", dest="force", action="store_true",
                   help="write the file and its grid anew where they exist")
    add_strict(p)
    p.add_argument("--grid-only", action="store_true", help="draw the grid of a scene that is there, with its camera "
                                                            "or that of the options; the scene file stays as it is")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Write the file, or only its grid; say what was guessed and what to do next."""
    scene = _is_scene(args.inputs[0]) and len(args.inputs) == 1
    if not scene and (len(args.inputs) != 2 or any(map(_is_scene, args.inputs))):
        given = " ".join(map(str, args.inputs))
        raise ConfigError(f"'{given}': give a photo and an asset (photo.jpg chair.glb), or a scene file (.yaml) with "
                          "--grid-only.")
    if args.grid_only:
        _redraw(args)
    elif scene:
        raise ConfigError(f"'{args.inputs[0]}' is a scene file: --grid-only draws its grid again. A new one is made of "
                          f"a photo and an asset: dipir init PHOTO ASSET --out {args.inputs[0]} --force.")
    else:
        _write(args)


def _is_scene(path: Path) -> bool:
    return path.suffix.lower() in SCENE_SUFFIXES


def _write(args: argparse.Namespace) -> None:
    from dipir.scene.photo_camera.estimate import CameraOptions
    from dipir.scene.photo_camera.placement import PlacementOptions
    from dipir.scene.photo_camera.starter import grid_path, init_scene
    from dipir.scene.plate import PlateColours

    if args.height is not None and args.scale is not None:
        raise ConfigError("--height and --scale were both given; give one of them.")
    try:
        options = camera_options(args, CameraOptions())
    except ValueError as problem:
        raise ConfigError(f"command line: {problem}") from problem
    placement = PlacementOptions(args.at, args.height, args.scale, args.yaw or 0.0, args.unit, args.up)
    written, notes = init_scene(*args.inputs, args.out or _DEFAULT_OUT, options, overwrite=args.force,
                                placement=placement, prompt=args.prompt,
                                check=refuse_warnings if args.strict else None,
                                colours=colours_of(args, PlateColours()), textures=args.texture_colourspace)
    say(notes, quiet=False)
    terminal.say(f"{written}\nLook at {grid_path(written)}: the grid should lie on the ground, and the object stand "
                 f"where you want it. Another camera is tried with\ndipir init {written} --grid-only --pitch 10\n"
                 f"Then:\ndipir insert {written}", sys.stdout)


def _redraw(args: argparse.Namespace) -> None:
    """The scene is the one input, or with photo and asset what they were written to."""
    from dipir.scene.photo_camera.starter import grid_path, redraw_grid, scene_path

    path = args.inputs[0]
    if len(args.inputs) == 2:
        path = args.out or _DEFAULT_OUT
        path = path if path.is_file() else scene_path(path)
        if not path.is_file():
            raise ConfigError(f"{path}: no such scene, so its grid cannot be drawn again. Name it with --out, or leave "
                              "--grid-only out to write it.")
    elif args.out is not None or args.force:
        raise ConfigError("--out and --force say what is written from a photo and an asset; with a scene file and "
                          "--grid-only the grid beside it is drawn again. Leave them out.")
    scene_file = scene_file_of(argparse.Namespace(**{**vars(args), "inputs": [path], "quiet": False}))
    if len(args.inputs) == 2:
        _check_same(args.inputs, scene_file, path)
    # A scene that comes with dipir may have no folder here.
    grid = grid_path(path if path.parent.is_dir() else Path(path.name))
    _, notes = redraw_grid(scene_file, grid)
    say([*notes, *_tried(args, path)], quiet=False)
    terminal.say(f"{grid}\n{path} stays as it is.", sys.stdout)


def _check_same(inputs: list[Path], scene_file, path: Path) -> None:
    """Photo and asset must be those of the scene: another name for --out was meant otherwise."""
    photo, asset = inputs
    for given, kept in ((photo, [scene_file.plate]), (asset, [spec.asset for spec in scene_file.objects])):
        if given.resolve() not in [file.resolve() for file in kept]:
            raise ConfigError(f"{path} shows {', '.join(map(str, kept))}, not {given}. Name another scene with --out, "
                              f"or draw its own grid: dipir init {path} --grid-only.")


def _tried(args: argparse.Namespace, path: Path) -> list[str]:
    """The remark that the command line, and not the scene file, has decided some numbers."""
    keys = {"fov": "camera.fov_deg", "pitch": "camera.pitch_deg", "roll": "camera.roll_deg",
            "camera_height": "camera.height_m", "camera": "camera.file", "camera_up": "camera.up",
            "redistort": "camera.redistort", "at": "at", "height": "height_m", "scale": "scale", "yaw": "yaw_deg",
            "unit": "unit", "up": "up", "colourspace": "colour.colourspace", "layer": "colour.layer",
            "ocio": "colour.ocio", "output_colourspace": "colour.output_colourspace",
            "texture_colourspace": "texture_colourspace"}
    given = {name: getattr(args, name) for name in keys if getattr(args, name) is not None}
    if not given:
        return []
    names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    lines = "; ".join(f"{keys[name]}: {list(value) if isinstance(value, tuple) else value}"
                      for name, value in given.items())
    return [f"{names}: only tried, {path} was not changed. To keep what you see, write there {lines}; or give the same "
            "options to dipir insert."]
