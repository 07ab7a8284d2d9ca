"""``dipir light``: the light of a finished result, changed by hand."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dipir.cli.options import (
    add_colours,
    add_composite,
    add_output,
    add_redistort,
    colours_of,
    count,
    free_folder,
    pair,
    running,
    saved,
    say,
    wants_exr,
)
from dipir.errors import ConfigError

if TYPE_CHECKING:
    from dipir.insert.again import Changes
    from dipir.scene.light_edit import LightEdit

_EXAMPLES = """\
examples:
  dipir light out/demo --guess 2
  dipir light out/demo --sun -60,35 --strength 0.8
  dipir light out/demo --size 4 --colour 4500K --ambient -0.5
  dipir light out/demo --add window:-90,20,0.3,15,6500 --remove sun
  dipir light out/demo --hdri probe.exr --rotate 90

Azimuth: 0 = from the camera, 90 = from the picture's right, 180 = from behind, -90 = from the left; elevation: 90 =
from above. Strength: the lamp's share of the ground's light; in its shadow 1 - strength is left. docs/light.md
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("light", help="change the light of a result by hand", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Change the light of a result of `dipir insert` and render it, without "
                                        "fitting; the old result is kept.")
    p.add_argument("result", type=Path, metavar="RESULT", help="the --out folder of a finished `dipir insert`")
    whole = p.add_argument_group("another light (one of these)")
    whole.add_argument("--guess", type=int, choices=(1, 2, 3), metavar="N", help="the light prior's guess 1, 2 or 3")
    whole.add_argument("--light", type=Path, metavar="light.json", help="the light of another result")
    whole.add_argument("--hdri", type=Path, metavar="FILE", help="a light probe shot on set: latlong .exr or .hdr")
    lamp = p.add_argument_group("the sun (the first lamp; one is made when there is none)")
    lamp.add_argument("--sun", type=pair(float, "azimuth,elevation in degrees", "-60,35"), metavar="AZ,EL")
    lamp.add_argument("--strength", type=float, metavar="S", help="share of the ground's light, 0 to 0.98")
    lamp.add_argument("--size", type=float, metavar="DEG", help="diameter; the sun 0.53, larger = softer shadow")
    lamp.add_argument("--colour", "--color", metavar="R,G,B|K", help="linear colour, or a temperature: 5500K")
    rest = p.add_argument_group("all of it")
    rest.add_argument("--rotate", type=float, default=0.0, metavar="DEG", help="added to every azimuth")
    rest.add_argument("--exposure", type=float, default=0.0, metavar="STOPS", help="all of the light")
    rest.add_argument("--ambient", type=float, default=0.0, metavar="STOPS", help="what is around the lamps")
    rest.add_argument("--add", action="append", default=[], metavar="NAME:AZ,EL,STRENGTH[,SIZE[,KELVIN]]",
                      help="one more lamp, or another one of that name; may be repeated")
    rest.add_argument("--remove", action="append", default=[], metavar="NAME", help="a lamp; may be repeated")
    p.add_argument("--spp", type=count, metavar="N", help="samples per pixel")
    add_redistort(p)
    add_colours(p)
    add_composite(p)
    add_output(p, "RESULT/light_1, light_2, ...")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Everything that can be wrong is found before the folder is made."""
    changes = changes_of(args)
    from dipir.insert.again import render_again
    from dipir.insert.result import load_result, save
    from dipir.scene.scene_file import write_scene_file

    light = load_result(args.result).light
    for name in changes.edit.remove:
        if not (changes.guess or changes.light):
            light.lamp(name)
    with running(args, args.out or free_folder(args.result, "light")) as (out, progress):
        result, scene_file = render_again(args.result, changes, progress)
        say([*result.provenance["render_notes"], f"light: {result.light.describe()}"], args.quiet)

        def write(folder: Path) -> None:
            save(result, folder, wants_exr(args))
            write_scene_file(scene_file, folder / "scene.yaml")

        saved(write, out)


def changes_of(args: argparse.Namespace) -> Changes:
    """What the options ask for. ConfigError for nothing, or several whole lights."""
    from dipir.insert.again import Changes
    from dipir.scene.plate import PlateColours

    given = [f"--{name}" for name in ("guess", "light", "hdri") if getattr(args, name) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} given; accepted is one of them.")
    for path in (args.light, args.hdri):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: no such file; accepted are a light.json for --light, a latlong .exr or "
                              ".hdr for --hdri.")
    edit = edit_of(args)
    if not given and edit.empty and args.redistort is None:
        raise ConfigError("nothing to change was given; accepted are --guess, --light, --hdri, --sun, --strength, "
                          "--size, --colour, --rotate, --exposure, --ambient, --add, --remove (dipir light --help).")
    return Changes(guess=args.guess or 0, light=args.light or args.hdri, edit=edit, spp=args.spp,
                   redistort=args.redistort, colours=colours_of(args, PlateColours()))


def edit_of(args: argparse.Namespace) -> LightEdit:
    """The changes to a light. ConfigError for values out of range."""
    from dipir.scene.light_edit import LampEdit, LightEdit, colour_of, lamp_of

    colour = None if args.colour is None else colour_of(args.colour)
    values = (*(args.sun or (None, None)), args.strength, args.size, colour)
    sun = None if all(value is None for value in values) else LampEdit(*values)
    return LightEdit(remove=tuple(args.remove), rotate_deg=args.rotate, sun=sun,
                     add=tuple(lamp_of(text) for text in args.add), ambient_stops=args.ambient,
                     exposure_stops=args.exposure)
