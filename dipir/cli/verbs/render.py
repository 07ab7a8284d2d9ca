"""``dipir render``: a finished result rendered again."""
from __future__ import annotations

import argparse
from pathlib import Path

from dipir.cli.options import add_output, count, pair, running, say


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    p = commands.add_parser("render", help="render a finished result again, without fitting",
                            description="Render a result of `dipir insert` again: other asset, size or quality.")
    p.add_argument("result", type=Path, metavar="RESULT", help="the --out folder of a finished `dipir insert`")
    p.add_argument("--asset", type=Path, metavar="FILE", help="another mesh in the same place")
    p.add_argument("--size", type=pair(count, "W,H in pixels"), metavar="W,H")
    p.add_argument("--spp", type=count, metavar="N", help="samples per pixel")
    p.add_argument("--no-denoise", action="store_true", help="leave the picture as it is sampled")
    add_output(p, "RESULT/render")
    p.set_defaults(verb=run)


def run(args: argparse.Namespace) -> None:
    """Render and save."""
    from dipir.insert import method
    from dipir.insert.result import load_result, save

    # Reading the result first names a wrong folder before the new one is made.
    load_result(args.result)
    with running(args, args.out or args.result / "render") as (out, progress):
        result = method.render_result(args.result, args.asset, args.size, args.spp, progress,
                                      denoise=False if args.no_denoise else None)
        say(result.provenance["render_notes"], args.quiet)
        save(result, out)
