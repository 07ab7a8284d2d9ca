"""``dipir layout``: a picture from a caption and boxes or masks, or a region of a photo made anew."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dipir.cli.options import add_colours, add_output, add_settings, colours_of, count, found, overrides, running, saved
from dipir.errors import ConfigError
from dipir.event import Remark

if TYPE_CHECKING:
    from dipir.layout.method import LayoutRequest
    from dipir.layout.regions import LayoutFile

_EXAMPLES = """\
examples:
  dipir layout --caption "a red cube and a mug on a grey floor" --box "a red cube: 0.1,0.5,0.4,0.9" --box "a mug: 0.5,0.4,0.9,0.8"
  dipir layout scenes/layout.yaml --seed 3 --out out/three
  dipir layout --edit photo.jpg --box "a blue chair: 0.2,0.4,0.6,0.9"
  dipir layout --mask "a dog: dog.png" --caption "a dog on a lawn" --prior priors/sd15 --preset paper
"""  # noqa: E501


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("layout", help="make a picture with things where boxes or masks say", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Make a picture from a caption and regions, or a region of a photo anew.\n"
                                        "Boxes are x0,y0,x1,y1 in [0, 1] from the top left. Where regions overlap, "
                                        "the smaller one lies above.")
    p.add_argument("file", nargs="?", type=Path, metavar="SCENE.yaml", help="caption and regions in a file")
    what = p.add_argument_group("what (with SCENE.yaml: replaces what the file says)")
    what.add_argument("--caption", help="the whole picture (default: made from the regions)")
    what.add_argument("--box", dest="regions", action="append", type=lambda text: ("box", text), default=[],
                      metavar="\"CAPTION: X0,Y0,X1,Y1\"", help="one thing and its box; may be repeated")
    what.add_argument("--mask", dest="regions", action="append", type=lambda text: ("mask", text),
                      metavar="\"CAPTION: FILE\"", help="one thing and its mask, white = the thing; may be repeated")
    what.add_argument("--background", metavar="CAPTION", help="what is around them (default: made from the caption)")
    what.add_argument("--edit", type=Path, metavar="IMAGE", help="change this picture in the regions, nowhere else")
    what.add_argument("--source", metavar="CAPTION", help="with --edit: what the picture shows now")
    add_colours(p)
    how = p.add_argument_group("how")
    add_settings(how, "layout")
    how.add_argument("--steps", type=count, metavar="N", help="steps of the sampler (default: the preset's)")
    scene = p.add_argument_group("for `dipir insert`")
    scene.add_argument("--as-scene", type=Path, metavar="NAME.yaml", help="write a scene with the picture as its plate")
    scene.add_argument("--asset", type=Path, metavar="FILE", help="with --as-scene: the mesh to put there")
    scene.add_argument("--place", metavar="N | BOX", help="with --as-scene: where, a region's number from 1 or a box "
                                                          "(default: the first region)")
    add_output(p, "out/<name of the file, or layout>")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Everything that can be known to be wrong is found before the prior is loaded and the folder is made."""
    from dipir.disk import named_folder
    from dipir.layout import as_scene as layout_scene
    from dipir.layout import method
    from dipir.layout.config import load_config
    from dipir.layout.result import save

    config = load_config(args.preset, args.config, overrides_of(args))
    request = request_of(args)
    method.check(request, config)
    box, notes = None, list(request.notes)
    if args.as_scene is not None:
        if args.asset is None:
            raise ConfigError("--as-scene needs --asset FILE, the mesh that shall stand there.")
        target, box = layout_scene.scene_path(args.as_scene), layout_scene.chosen_box(args.place, request.regions)
        notes += [Remark.about(args.asset.name, note) for note in layout_scene.load_asset(args.asset).notes]
    elif args.asset is not None or args.place is not None:
        raise ConfigError("--asset and --place belong to --as-scene NAME.yaml; leave them out, or name the scene.")
    prior = method.find_prior(config)
    with running(args, args.out or named_folder("out", request.name, "layout")) as (out, progress):
        progress.remarks(notes)
        result = method.layout(request, config, prior=prior, on_event=progress)
        saved(lambda folder: save(result, folder), out)
        if box is not None:
            layout_scene.write_scene(result.image, result.caption, box, args.asset, target)


def overrides_of(args: argparse.Namespace) -> list[str]:
    """Options that are settings."""
    return overrides(args, {"prior": args.prior, "prior_config": args.prior_config, "seed": args.seed,
                            "sampler.steps": args.steps})


def request_of(args: argparse.Namespace) -> LayoutRequest:
    """What the options and the file ask for, pictures and masks read. Raises SceneError, ImageError, ConfigError."""
    from dipir.layout.method import LayoutRequest
    from dipir.layout.regions import LayoutFile, load_layout, parse_box, parse_mask, read_picture
    from dipir.scene.plate import PlateColours

    file: LayoutFile = LayoutFile() if args.file is None else load_layout(found(args.file, args.quiet))
    typed = [{"box": parse_box, "mask": parse_mask}[kind](text) for kind, text in args.regions]
    regions = tuple(typed or (spec.region() for spec in file.regions))
    edit = args.edit or file.edit
    if args.source is not None and edit is None:
        raise ConfigError("--source says what the picture of --edit shows; there is none. Leave it out, or give one.")
    colours = colours_of(args, PlateColours())
    if edit is None and colours != PlateColours():
        raise ConfigError("--colourspace, --layer, --output-colourspace and --ocio are about the picture of --edit; "
                          "there is none. Leave them out, or give one.")
    plate = None if edit is None else read_picture(edit, colours)
    given = {} if plate is None else {"notes": plate.notes, "kind": plate.kind}
    name = f"layout_{args.edit.stem}" if args.file is None and args.edit is not None else file.name
    return LayoutRequest(file.caption if args.caption is None else args.caption, regions,
                         file.background if args.background is None else args.background,
                         None if plate is None else plate.disp, args.source or file.source, name, **given)
