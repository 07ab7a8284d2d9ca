"""``dipir render``: a finished result rendered again."""
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
    pair,
    positive,
    running,
    saved,
    say,
    wants_exr,
)
from dipir.cli.verbs.insert import add_file_axes

if TYPE_CHECKING:
    from dipir.insert.again import Changes

_EXAMPLES = """\
examples:
  dipir render out/demo --size 640,480
  dipir render out/demo --object vase --at 700,820 --yaw -30
  dipir render out/demo --object vase --material roughness=0.1 --material base_color=0.1,0.2,0.6
  dipir render out/demo --asset chair.stl --unit mm --up z
  dipir render out/demo --scene moved.yaml --light out/other/light.json
"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("render", help="render a finished result again, without fitting", epilog=_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Render a result of `dipir insert` again with its light: objects moved or "
                                        "changed, another asset, size or quality. For its light: `dipir light`.")
    p.add_argument("result", type=Path, metavar="RESULT", help="the --out folder of a finished `dipir insert`")
    objects = p.add_argument_group("objects")
    objects.add_argument("--object", metavar="NAME", help="the one to change (needed when there are several)")
    objects.add_argument("--at", type=pair(float, "X,Y in pixels"), metavar="X,Y", help="plate pixel of its foot")
    objects.add_argument("--height", type=positive, metavar="M", help="its height in metres")
    objects.add_argument("--yaw", type=float, metavar="DEG", help="its turn about the vertical")
    objects.add_argument("--material", action="append", default=[], metavar="[PART.]KEY=VALUE",
                         help="base_color, roughness, metallic, transmission, emission or opacity; may be repeated")
    objects.add_argument("--asset", type=Path, metavar="FILE", help="another mesh in its place")
    add_file_axes(objects)
    objects.add_argument("--scene", type=Path, metavar="FILE", help="another scene file in place of the result's own")
    p.add_argument("--light", type=Path, metavar="FILE", help="another light: light.json, or a latlong .exr or .hdr")
    p.add_argument("--contrast", type=float, metavar="C", help="of the object's tone curve, -1 (flat) to 1 (hard)")
    p.add_argument("--size", type=pair(count, "W,H in pixels"), metavar="W,H")
    p.add_argument("--spp", type=count, metavar="N", help="samples per pixel")
    p.add_argument("--no-denoise", action="store_true", help="leave the picture as it is sampled")
    add_redistort(p)
    add_colours(p)
    add_composite(p)
    add_output(p, "RESULT/render")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Render and save."""
    changes = changes_of(args)
    from dipir.insert.again import changed_scene, render_again
    from dipir.insert.result import load_result, save
    from dipir.scene.scene_file import load_scene_file, write_scene_file

    # Reading first names what is wrong before the new folder is made.
    load_result(args.result)
    changed_scene(load_scene_file(changes.scene or args.result / "scene.yaml", whole=changes.scene is None), changes)
    with running(args, args.out or args.result / "render") as (out, progress):
        result, scene_file = render_again(args.result, changes, progress)
        say(result.provenance["render_notes"], args.quiet)

        def write(folder: Path) -> None:
            save(result, folder, wants_exr(args))
            write_scene_file(scene_file, folder / "scene.yaml")

        saved(write, out)


def changes_of(args: argparse.Namespace) -> Changes:
    """What the options ask for."""
    from dipir.insert.again import Changes, Move, material_of
    from dipir.scene.plate import PlateColours

    material: dict[str, dict] = {}
    for text in args.material:
        part, key, value = material_of(text)
        material.setdefault(part, {})[key] = value
    move = Move(args.at, args.height, args.yaw, material, args.unit, args.up)
    return Changes(light=args.light, scene=args.scene, object=args.object, move=move, asset=args.asset, size=args.size,
                   colours=colours_of(args, PlateColours()), contrast=args.contrast, spp=args.spp,
                   denoise=False if args.no_denoise else None, redistort=args.redistort)
