"""``dipir insert``: assets into a plate."""
from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dipir.cli.options import (
    add_colours,
    add_composite,
    add_output,
    add_redistort,
    add_settings,
    axis,
    colours_of,
    found,
    number,
    overrides,
    pair,
    positive,
    running,
    saved,
    wants_exr,
)
from dipir.errors import ConfigError

if TYPE_CHECKING:
    from dipir.insert.config import InsertConfig
    from dipir.scene.photo_camera.estimate import CameraEstimate, CameraOptions
    from dipir.scene.scene import Scene
    from dipir.scene.scene_file import ObjectSpec, SceneFile

SCENE_SUFFIXES = (".yaml", ".yml", ".json")
_EXAMPLES = """\
examples:
  dipir insert scenes/demo.yaml
  dipir insert photo.jpg chair.glb --at 640,700 --height 0.9 --prompt "a chair in a yard" --out out/chair
  dipir insert scenes/demo.yaml --preset fast --guess 2 --log json
  dipir insert scenes/demo.yaml --set guidance.kind=posterior --set fit.steps=50
  dipir insert shot.exr chair.glb --at 640,700 --colourspace ACEScg --layer beauty
"""
_OF_A_FIT = {"prior", "prior_config", "optimize", "fit", "tone", "material", "guidance", "personalise", "memory",
             "resume"}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("insert", help="put assets into a plate", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Find the light of a photo and put an asset into it.")
    p.add_argument("inputs", nargs="+", type=Path, metavar="SCENE.yaml | PLATE ASSET",
                   help="a scene file, or a photo and a mesh (GLB, glTF, OBJ, PLY, STL)")
    scene = p.add_argument_group("scene (with SCENE.yaml: replaces what the file says)")
    scene.add_argument("--prompt", help="what the finished picture shows")
    add_placement(scene)
    add_camera(scene)
    add_colours(p, textures=True)
    fit = p.add_argument_group("fit")
    add_settings(fit, "insert")
    fit.add_argument("--optimize", type=_words, metavar="LIST",
                     help="what is fitted, where guidance.kind is not none: light,tone,material,emission")
    fit.add_argument("--guess", type=int, choices=(0, 1, 2, 3), metavar="N",
                     help="light from the light prior's guess N, 1 to 3 (0: as it decides)")
    fit.add_argument("--light", type=Path, metavar="FILE",
                     help="start from this light: light.json as it is, or a latlong .exr or .hdr (a probe)")
    fit.add_argument("--no-denoise", action="store_true", help="leave the final picture as it is sampled")
    fit.add_argument("--resume", action="store_true",
                     help="continue a run that was stopped (same settings, same --out)")
    add_composite(p)
    add_output(p, "out/<scene name>")
    p.set_defaults(verb=run)


def add_placement(group: argparse._ActionsContainer) -> None:
    """Where the object stands and how large it is."""
    group.add_argument("--at", type=pair(number, "X,Y in pixels"), metavar="X,Y",
                       help="plate pixel of the contact point")
    group.add_argument("--height", type=positive, metavar="M", help="height of the object in metres")
    group.add_argument("--scale", type=positive, metavar="S", help="factor on the asset's own size instead of --height")
    group.add_argument("--yaw", type=number, metavar="DEG", help="turn about the vertical")
    add_file_axes(group)


def add_file_axes(group: argparse._ActionsContainer) -> None:
    """What an asset's file may not state: its unit and the axis that points up."""
    group.add_argument("--unit", metavar="U", help="unit of the asset's file: m, cm, mm, in or ft (glTF: metres; "
                                                   "others: guessed by size)")
    group.add_argument("--up", type=axis, metavar="AXIS", help="axis of the asset's file that points up: y, z, x, -y, "
                                                               "-z or -x (PLY and STL: guessed as z, others: y)")


def add_camera(group: argparse._ActionsContainer) -> None:
    """What is known of the camera; :func:`camera_options` reads it."""
    group.add_argument("--fov", type=number, metavar="DEG", help="horizontal field of view")
    group.add_argument("--pitch", type=number, metavar="DEG", help="camera tilt, > 0 looks down")
    group.add_argument("--roll", type=number, metavar="DEG", help="camera roll, > 0 clockwise")
    group.add_argument("--camera-height", type=positive, metavar="M", help="height of the lens above the ground")
    group.add_argument("--camera", type=Path, metavar="FILE", help="camera file (YAML or JSON), or one of fSpy")
    group.add_argument("--camera-up", type=axis, metavar="AXIS", help="axis of an fSpy file that points up (default z)")
    add_redistort(group)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def run(args: argparse.Namespace) -> None:
    """In the order of cost, so that the user's mistakes are found before any work, and before a folder is made."""
    scene_file = scene_file_of(args)
    from dipir.disk import named_folder
    from dipir.insert import method
    from dipir.insert.final import final_quality
    from dipir.insert.result import save
    from dipir.scene.photo_camera.estimate import see
    from dipir.scene.plate import read_plate
    from dipir.scene.scene_file import build_scene, write_scene_file

    config = method.load_config(args.preset, args.config, overrides_of(args))
    plate, estimate = see(read_plate(scene_file.plate, scene_file.colour), scene_file.camera)
    scene = build_scene(scene_file, str(args.inputs[0]), (plate, estimate))
    with running(args, args.out or named_folder("out", scene.name, "scene")) as (out, progress):
        progress.remarks([*scene.notes, *estimate.notes])
        prior, light_prior = method.ready(config)
        progress.remarks([*_show_camera(scene, estimate, out), *final_quality(config.final)[2], *_idle(config, args)])
        result = method.insert(scene, config, prior=prior, light_prior=light_prior, on_event=progress, out=out,
                               resume=args.resume)

        def write(folder: Path) -> None:
            save(result, folder, wants_exr(args))
            write_scene_file(scene_file, folder / "scene.yaml")

        saved(write, out)


def scene_file_of(args: argparse.Namespace) -> SceneFile:
    """The scene that the arguments describe. Raises ConfigError or SceneError."""
    from dipir.scene.scene_file import ObjectSpec, SceneFile, load_scene_file, settled

    placement = {"at": args.at, "height_m": args.height, "scale": args.scale, "yaw_deg": args.yaw,
                 "unit": args.unit, "up": args.up, "texture_colourspace": args.texture_colourspace}
    placement = {key: value for key, value in placement.items() if value is not None}
    try:
        if len(args.inputs) == 1 and args.inputs[0].suffix.lower() in SCENE_SUFFIXES:
            scene = load_scene_file(found(args.inputs[0], args.quiet))
            scene = replace(scene, objects=_moved(scene.objects, placement, args.inputs[0]))
        elif len(args.inputs) == 2 and args.inputs[0].suffix.lower() not in SCENE_SUFFIXES:
            plate, asset = args.inputs
            if args.at is None:
                raise ConfigError("--at X,Y is needed: the plate pixel where the object touches the ground. "
                                  f"`dipir init {plate} {asset}` suggests one.")
            scene = SceneFile(plate, (ObjectSpec(asset, **placement),), name=f"{plate.stem}-{asset.stem}")
        else:
            given = " ".join(map(str, args.inputs))
            raise ConfigError(f"'{given}': give one scene file (.yaml), or a plate and an asset (photo.jpg chair.glb).")
        return settled(replace(scene, camera=camera_options(args, scene.camera), colour=colours_of(args, scene.colour),
                               prompt=scene.prompt if args.prompt is None else args.prompt))
    except ValueError as problem:
        # The dataclasses check their own ranges.
        raise ConfigError(f"command line: {problem}") from problem


def _moved(objects: tuple[ObjectSpec, ...], placement: dict, path: Path) -> tuple[ObjectSpec, ...]:
    if not placement:
        return objects
    if len(objects) > 1:
        raise ConfigError(f"{path} has {len(objects)} objects, so --at, --height, --scale, --yaw, --unit, --up and "
                          "--texture-colourspace are ambiguous. Change them in the file.")
    # Height and scale exclude each other; the one on the command line wins over the file's.
    if placement.keys() & {"height_m", "scale"}:
        placement = {"height_m": None, "scale": None, **placement}
    return (replace(objects[0], **placement),)


def camera_options(args: argparse.Namespace, known: CameraOptions) -> CameraOptions:
    """``known`` with what the options of :func:`add_camera` say. Raises ValueError for numbers out of range."""
    given = {"fov_deg": args.fov, "pitch_deg": args.pitch, "roll_deg": args.roll, "height_m": args.camera_height,
             "file": args.camera, "up": args.camera_up, "redistort": args.redistort}
    return replace(known, **{key: value for key, value in given.items() if value is not None})


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Options that are settings."""
    return overrides(args, {"prior": args.prior, "prior_config": args.prior_config, "seed": args.seed,
                            "optimize": args.optimize, "light.guess": args.guess,
                            "light.start": None if args.light is None else str(args.light),
                            "final.denoise": False if args.no_denoise else None})


def _idle(config: InsertConfig, args: argparse.Namespace) -> list[str]:
    """The remark that the command line has settings of a fit although ``config`` fits nothing."""
    keys = [*(word.split("=")[0] for word in overrides_of(args)), *(["resume"] if args.resume else [])]
    idle = [key for key in keys if key.split(".")[0] in _OF_A_FIT and key not in ("guidance", "guidance.kind")]
    if config.guidance.kind != "none" or not idle:
        return []
    return [f"{', '.join(idle)}: without effect, since nothing is fitted (guidance.kind is none); add "
            "--set guidance.kind=posterior"]


def _show_camera(scene: Scene, estimate: CameraEstimate, out: Path) -> list[str]:
    """The camera as a grid over the plate (camera.png), so that a person can judge it; a remark where it is a guess."""
    from dipir.image.files import write_png
    from dipir.scene.photo_camera.grid import draw_grid

    write_png(out / "camera.png", draw_grid(scene.plate, scene.camera, estimate.heading_deg))
    return [f"the camera is a guess (confidence {estimate.confidence:.2f}); look at {out / 'camera.png'} and correct "
             "it with --fov, --pitch, --camera-height"] if estimate.confidence < 0.5 else []
