"""One small function per verb of the command line; heavy modules are imported inside."""
from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dipir import device, disk
from dipir.errors import ConfigError, MissingExtra, nearest

if TYPE_CHECKING:
    from dipir.scene.scene_file import SceneFile

# Which prior is trained by which module; each has a main(arguments).
# Kind of prior -> folder of the workshop that trains it.
PRIORS = {"light": "light", "insert": "insertion", "geometry": "geometry", "relight": "relight", "illuminet": "rti",
          "colour": "colour", "layout": "layout"}
_SCENE_SUFFIXES = (".yaml", ".yml", ".json")


def insert(args: argparse.Namespace) -> int:
    """``dipir insert``."""
    from dipir.cli.progress import Progress

    # In the order of cost, so that the user's mistakes are found before any work, and before a folder is made.
    scene_file = scene_file_of(args)
    from dipir.insert import method
    from dipir.insert.final import final_quality
    from dipir.insert.result import save
    from dipir.scene.scene_file import build_scene, write_scene_file

    config = method.load_config(args.preset, args.config, overrides_of(args))
    estimate = _estimate(scene_file)
    scene = build_scene(scene_file, str(args.inputs[0]), estimate)
    with out_folder(args.out or Path("out") / scene.name) as out, \
            Progress(out, log=args.log, quiet=args.quiet, board=args.tensorboard) as progress:
        progress.device(device.current())
        prior, light_prior = method.ready(config)
        _show_camera(scene, estimate, out, args.quiet)
        _say(final_quality(config.final)[2], args.quiet)
        result = method.insert(scene, config, prior=prior, light_prior=light_prior, on_event=progress, out=out,
                               resume=args.resume)
        save(result, out)
        write_scene_file(scene_file, out / "scene.yaml")
        progress.done(out)
    return 0


def render(args: argparse.Namespace) -> int:
    """``dipir render``."""
    from dipir.cli.progress import Progress
    from dipir.insert import method
    from dipir.insert.result import load_result, save

    # Reading the result first names a wrong folder before the new one is made.
    load_result(args.result)
    with out_folder(args.out or args.result / "render") as out, \
            Progress(out, log=args.log, quiet=args.quiet, board=args.tensorboard) as progress:
        progress.device(device.current())
        result = method.render_result(args.result, args.asset, args.size, args.spp, progress,
                                      denoise=False if args.no_denoise else None)
        _say(result.provenance["render_notes"], args.quiet)
        save(result, out)
        progress.done(out)
    return 0


@contextlib.contextmanager
def out_folder(path: Path) -> Iterator[Path]:
    """The folder, made and proved writable; taken away again when the run fails before anything was put into it."""
    from dipir.insert.result import prepare_out

    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield prepare_out(path)
    except BaseException:
        for folder in new:
            # Refused where something lies in it.
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def init(args: argparse.Namespace) -> int:
    """``dipir init``."""
    from dipir.scene.photo_camera.starter import init_scene

    written = init_scene(args.photo, args.asset, args.out)
    print(f"{written}\nLook at {written.with_suffix('.grid.png')}: the grid should lie on the ground. Then:\n"
          f"dipir insert {written}")
    return 0


def prior(args: argparse.Namespace) -> int:
    """``dipir prior train KIND``."""
    kind, *options = args.options[1:] if args.options[:1] == ["--kind"] else args.options or [""]
    if kind not in PRIORS:
        raise ConfigError(f"prior train '{kind}': accepted kinds are {', '.join(PRIORS)}."
                          f"{nearest(kind, PRIORS)}")
    importlib.import_module(f"dipir.workshop.{PRIORS[kind]}.train").main(options)
    return 0


def bench(args: argparse.Namespace) -> int:
    """``dipir bench``: suites, and the named benchmarks, whose folder lies beside the package in a source checkout."""
    from dipir.cli.verbs import suite as suite_cli

    if args.options and args.options[0] in suite_cli.VERBS:
        return suite_cli.main(args.options)

    root = disk.checkout()
    if root is None:
        raise MissingExtra("benchmarks are in the source checkout only; this is an installed package. "
                           "Clone the repository and run `pip install -e .` there.")
    # In this process, so that relative paths mean what they mean where the user stands; ours goes before any other
    # folder of that name.
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.__main__").main(args.options)


def doctor(args: argparse.Namespace) -> int:
    """``dipir doctor``."""
    from dipir.cli import doctor as examination

    return examination.main(args.json)


def _say(notes: Sequence[str], quiet: bool) -> None:
    """Remarks for the user, a line each."""
    for note in () if quiet else notes:
        print(f"note: {note}", file=sys.stderr)


def scene_file_of(args: argparse.Namespace) -> SceneFile:
    """The scene that ``dipir insert``'s arguments describe. Raises ConfigError or SceneError."""
    from dataclasses import replace

    from dipir.scene.scene_file import ObjectSpec, SceneFile, load_scene_file

    placement = {"at": args.at, "height_m": args.height, "scale": args.scale, "yaw_deg": args.yaw}
    placement = {key: value for key, value in placement.items() if value is not None}
    try:
        if len(args.inputs) == 1 and args.inputs[0].suffix.lower() in _SCENE_SUFFIXES:
            scene = load_scene_file(args.inputs[0])
            scene = replace(scene, objects=_moved(scene.objects, placement, args.inputs[0]))
        elif len(args.inputs) == 2 and args.inputs[0].suffix.lower() not in _SCENE_SUFFIXES:
            plate, asset = args.inputs
            if args.at is None:
                raise ConfigError("--at X,Y is needed: the plate pixel where the object touches the ground. "
                                  f"`dipir init {plate} {asset}` suggests one.")
            scene = SceneFile(plate, (ObjectSpec(asset, **placement),), name=f"{plate.stem}-{asset.stem}")
        else:
            given = " ".join(map(str, args.inputs))
            raise ConfigError(f"'{given}': give one scene file (.yaml), or a plate and an asset (photo.jpg chair.glb).")
        return replace(scene, camera=_camera_options(scene.camera, args),
                       prompt=scene.prompt if args.prompt is None else args.prompt)
    except ValueError as problem:
        # The dataclasses check their own ranges.
        raise ConfigError(f"command line: {problem}") from problem


def _moved(objects: tuple, placement: dict, path: Path) -> tuple:
    from dataclasses import replace

    if not placement:
        return objects
    if len(objects) > 1:
        raise ConfigError(f"{path} has {len(objects)} objects, so --at, --height, --scale and --yaw are ambiguous. "
                          "Change them in the file.")
    # Height and scale exclude each other; the one on the command line wins over the file's.
    if placement.keys() & {"height_m", "scale"}:
        placement = {"height_m": None, "scale": None, **placement}
    return (replace(objects[0], **placement),)


def _camera_options(options, args: argparse.Namespace):
    from dataclasses import replace

    given = {"fov_deg": args.fov, "pitch_deg": args.pitch, "roll_deg": args.roll, "height_m": args.camera_height,
             "file": args.camera}
    return replace(options, **{key: value for key, value in given.items() if value is not None})


def overrides_of(args: argparse.Namespace) -> list[str]:
    """``--prior``, ``--seed``, ``--optimize`` and ``--set`` as settings; ``--set`` has the last word."""
    # A JSON string is a YAML string, whatever the path looks like.
    short = [] if args.prior is None else [f"prior={json.dumps(str(args.prior))}"]
    short += [] if args.seed is None else [f"seed={args.seed}"]
    short += [] if args.optimize is None else [f"optimize=[{', '.join(args.optimize)}]"]
    short += ["final.denoise=false"] if args.no_denoise else []
    return short + args.set


def _estimate(scene_file: SceneFile):
    from dipir.scene.photo_camera.estimate import resolve_camera
    from dipir.scene.plate import read_plate

    return resolve_camera(read_plate(scene_file.plate), scene_file.camera)


def _show_camera(scene, estimate, out: Path, quiet: bool) -> None:
    """The camera as a grid over the plate (camera.png), so that a person can judge it."""
    from dipir.image.files import write_png
    from dipir.scene.photo_camera.grid import draw_grid

    write_png(out / "camera.png", draw_grid(scene.plate, scene.camera, estimate.heading_deg))
    guess = [f"the camera is a guess (confidence {estimate.confidence:.2f}); look at {out / 'camera.png'} and correct "
             "it with --fov, --pitch, --camera-height"] if estimate.confidence < 0.5 else []
    _say([*scene.plate.notes, *estimate.notes, *guess], quiet)
