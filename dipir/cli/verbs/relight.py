"""``dipir relight``: other light, or colour, on a picture."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dipir.cli.options import (
    add_colours,
    add_output,
    add_settings,
    colours_of,
    number,
    overrides,
    pair,
    positive,
    running,
    saved,
)
from dipir.errors import ConfigError

if TYPE_CHECKING:
    from dipir.relight.config import RelightConfig
    from dipir.relight.method import RelightRequest
    from dipir.relight.numbered import Numbered

_EXAMPLES = """\
examples:
  dipir relight photo.jpg --prompt "light from the left"
  dipir relight cutout.png --direction 60,30 --engine net --out out/cutout
  dipir relight cutout.png --light out/demo
  dipir relight 'shot.%04d.png' --direction -80,20 --frames 1001-1100 --out out/shot
  dipir relight drawing.png --colourise --prompt "a red apple on a blue plate"
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("relight", help="change the light on a photo, or colour a drawing", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Change the light on what exists as pixels only, in layers that can be dialled "
                                        "back. Azimuth: 0 = from the camera, 90 = from the picture's right, 180 = from "
                                        "behind; elevation: 90 = from above.")
    p.add_argument("image", type=Path, metavar="IMAGE", help="photo; PNG or EXR cut-out with alpha; frames of "
                                                                 "a shot: 'shot.%%04d.png', 'shot.####.png', a folder")
    light = p.add_argument_group("light (one of these)")
    light.add_argument("--prompt", help="where light comes from: 'from the upper left', 'soft rim light'")
    light.add_argument("--direction", type=pair(float, "azimuth,elevation in degrees", "-45,30"), metavar="AZ,EL")
    light.add_argument("--light", type=Path, metavar="FILE|RESULT",
                       help="a whole light: light.json or the folder of a result, or a latlong .exr or .hdr")
    light.add_argument("--size", type=number, metavar="DEG", help="half width of the light, 1 to 60; small: hard")
    light.add_argument("--strength", type=number, metavar="PART",
                       help="part of the light that is the new one, 0 to 1 (default); the rest is the old one")
    light.add_argument("--key-to-fill", type=positive, metavar="RATIO",
                       help="how many times as strong as the fill from all around the light is; with --light "
                            "in place of what that has")
    p.add_argument("--mask", type=Path, metavar="FILE", help="white where light may change; of the picture's size")
    p.add_argument("--frames", metavar="FIRST-LAST[xSTEP]", help="of a shot; all that are there by default")
    p.add_argument("--premultiplied", action="store_true", help="the colours of a PNG cut-out are multiplied by its "
                                                                "alpha (those of an EXR always are)")
    p.add_argument("--colourise", "--colorize", action="store_true", help="colour a grey drawing by the prompt's words")
    p.add_argument("--engine", choices=("layers", "net"), help="layers: fitted in seconds, can be dialled back "
                                                               "(default); net: at once")
    add_colours(p)
    add_settings(p, "relight")
    p.add_argument("--controlnet", metavar="DIR", help="ControlNet folder for a diffusers prior")
    p.add_argument("--resume", action="store_true", help="continue a run that was stopped (same settings, same --out)")
    add_output(p, "out/relight_<image name>")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Everything that can be wrong is found before the folder is made."""
    from dipir.disk import named_folder
    from dipir.relight import method
    from dipir.relight.config import load_config
    from dipir.relight.numbered import numbered
    from dipir.relight.reading import read_picture
    from dipir.relight.result import save
    from dipir.scene.plate import PlateColours

    config = load_config(args.preset, args.config, overrides_of(args))
    request = request_of(args, text_model=_knows_text(config.prior))
    files = numbered(args.image)
    if files is not None:
        _run_frames(args, files, config, request)
        return
    if args.frames is not None:
        raise ConfigError(f"--frames was given with one picture, {args.image}; accepted is a name with a place for the "
                          "frame's number, such as shot.%04d.png, or a folder of frames.")
    picture = read_picture(args.image, args.mask, args.premultiplied, colours_of(args, PlateColours()))
    engine = method.find_engine(config, request)
    with running(args, args.out or named_folder("out", f"relight_{args.image.stem}")) as (out, progress):
        progress.remarks(picture.notes)
        result = method.relight(picture, request, config, engine=engine, on_event=progress, out=out, resume=args.resume)
        saved(lambda folder: save(result, folder), out)


def _run_frames(args: argparse.Namespace, files: Numbered, config: RelightConfig, request: RelightRequest) -> None:
    """Frames of a shot."""
    from dipir.disk import named_folder
    from dipir.relight.frames import Frames, refuse_fitted, relight_frames
    from dipir.relight.method import find_engine
    from dipir.relight.numbered import find_shot, numbered, parse_range
    from dipir.scene.plate import PlateColours

    refuse_fitted(config, request)
    shot = find_shot(files, None if args.frames is None else parse_range(args.frames))
    frames = Frames(shot, args.mask and (numbered(args.mask) or args.mask), args.premultiplied,
                    colours_of(args, PlateColours()))
    frames.read(shot.numbers[0])
    engine = find_engine(config, request)
    name = files.before.strip(" ._-") or files.folder.resolve().name
    with running(args, args.out or named_folder("out", f"relight_{name}")) as (out, progress):
        relight_frames(frames, request, config, out=out, engine=engine, on_event=progress, resume=args.resume)


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Options that are settings."""
    fill = None if args.key_to_fill is None else 1 / args.key_to_fill
    return overrides(args, {"engine": args.engine, "prior": args.prior, "prior_config": args.prior_config,
                            "controlnet": args.controlnet, "seed": args.seed, "strength": args.strength, "fill": fill})


def _knows_text(prior: str) -> bool:
    from dipir.diffusion.single_file.kinds import is_foreign

    return prior != "embedded" and (is_foreign(prior) or not prior.endswith(".safetensors"))


def request_of(args: argparse.Namespace, text_model: bool) -> RelightRequest:
    """What the options ask for. ConfigError for none, several that contradict each other, or words that only a model
    with text (``text_model``) understands."""
    from dataclasses import replace

    from dipir.image.palette import parse_palette
    from dipir.relight.method import RelightRequest
    from dipir.relight.reading import read_light
    from dipir.scene.direction import LightDirection, parse_words

    given = [name for name in ("prompt", "direction", "light") if getattr(args, name) is not None]
    if args.colourise:
        if given != ["prompt"]:
            raise ConfigError("--colourise needs --prompt with colours ('a red apple on a blue plate') and no "
                              "direction of light.")
        return RelightRequest(None, args.prompt, parse_palette(args.prompt))
    if not given or len(set(given) - {"prompt"}) > 1 or (len(given) > 1 and not text_model):
        raise ConfigError(f"{' and '.join('--' + g for g in given) or 'no light'} given; accepted is one of --prompt "
                          "\"from the left\", --direction AZIMUTH,ELEVATION and --light light.json.")
    direction = light = None
    if args.direction is not None:
        direction = LightDirection(*args.direction)
    elif args.light is not None:
        light = read_light(args.light)
    elif not text_model:
        direction = parse_words(args.prompt)
    if args.size is not None:
        direction = direction and replace(direction, size_deg=args.size)
        light = light and replace(light, direction=replace(light.direction, size_deg=args.size))
    return RelightRequest(direction, args.prompt or "", light=light)
