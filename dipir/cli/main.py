"""The command line: ``dipir insert|render|init|relight|layout|illuminet|synth|prior|bench|doctor``.

This module imports nothing heavy, so that ``dipir --help`` is quick; each verb imports what it needs.

Exit codes: 0 done; 1 ``doctor`` found something wrong; 2 an error that the user can mend (text on stderr, no
traceback); 130 interrupted; 143 asked to stop (SIGTERM, after saving a checkpoint); 141 the reader of our output went
away.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import dipir
from dipir import device
from dipir.cli.verbs import layout, relight, synth, verbs
from dipir.cli.verbs import rti as illuminet
from dipir.errors import DipirError, nearest

FITTED = ("light", "tone", "material", "emission")
PRESETS = ("fast", "default", "paper")
_INSERT_EXAMPLES = """\
examples:
  dipir insert scenes/demo.yaml
  dipir insert photo.jpg chair.glb --at 640,700 --height 0.9 --prompt "a chair in a yard" --out out/chair
  dipir insert scenes/demo.yaml --preset fast --set fit.steps=50 --log json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (argparse itself leaves by SystemExit 0 or 2)."""
    args = build_parser().parse_args(argv)
    if getattr(args, "threads", None):
        # Both must be set before torch and Dr.Jit are loaded.
        os.environ["DIPIR_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(args.threads)
    try:
        device.use_option(args)
        return args.verb(args) or 0
    except DipirError as problem:
        return _fail(args, str(problem))
    except KeyboardInterrupt:
        resume = " The same command with --resume continues." if args.command in ("insert", "relight") else ""
        print(f"dipir: interrupted.{resume}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `dipir ... | head`: nobody reads any more. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        return _fail(args, "not enough memory. Use a smaller picture (--set), --preset fast, or close other programs.")
    except OSError as problem:
        where = f"{problem.filename}: " if problem.filename else ""
        return _fail(args, f"{where}{problem.strerror or problem}. Check the path, its permissions and the free disk "
                           "space.")
    except Exception as problem:
        text = device.memory_text(problem)
        if text is None:
            raise
        return _fail(args, f"{text} Use a smaller picture (--set), or --device cpu.")


def _fail(args: argparse.Namespace, text: str) -> int:
    if getattr(args, "log", "") == "json":
        print(json.dumps({"event": "error", "message": text}))
    print(f"dipir: error: {text}", file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """Names the nearest valid option when one is misspelt."""

    def error(self, message: str) -> None:
        if message.startswith("unrecognized arguments:"):
            options = {o: None for action in self._walk() for o in action.option_strings}
            words = (w for w in message.split(":", 1)[1].split() if w.startswith("--"))
            message += "".join(nearest(word.split("=")[0], options) for word in words)
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            message += "." + nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        super().error(message)

    def _walk(self) -> list[argparse.Action]:
        found = list(self._actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [a for parser in action.choices.values() for a in parser._actions]
        return found


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = _Parser(prog="dipir", description="Put virtual objects into photos, in the photo's own light.")
    parser.add_argument("--version", action="version", version=f"dipir {dipir.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _insert(commands)
    _render(commands)
    _init(commands)
    relight.add_parser(commands, _common, _pair, _natural)
    layout.add_parser(commands, _common, _count, _natural)
    illuminet.add_parser(commands)
    synth.add_parser(commands)
    _prior(commands)
    _bench(commands)
    doctor = commands.add_parser("doctor", help="say what is installed, what is wrong and what to do about it")
    doctor.add_argument("--json", action="store_true", help="machine-readable")
    device.add_option(doctor)
    doctor.set_defaults(verb=verbs.doctor)
    return parser


def _insert(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("insert", help="put assets into a plate", epilog=_INSERT_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Find the light of a photo and put an asset into it.")
    p.add_argument("inputs", nargs="+", type=Path, metavar="SCENE.yaml | PLATE ASSET",
                   help="a scene file, or a photo and a mesh (GLB, glTF, OBJ, PLY, STL)")
    scene = p.add_argument_group("scene (with SCENE.yaml: replaces what the file says)")
    scene.add_argument("--prompt", help="what the finished picture shows")
    scene.add_argument("--at", type=_pair(float, "X,Y in pixels"), metavar="X,Y",
                       help="plate pixel of the contact point")
    scene.add_argument("--height", type=_positive, metavar="M", help="height of the object in metres")
    scene.add_argument("--scale", type=_positive, help="factor on the asset's own size instead of --height")
    scene.add_argument("--yaw", type=float, metavar="DEG", help="turn about the vertical")
    scene.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view")
    scene.add_argument("--pitch", type=float, metavar="DEG", help="camera tilt, > 0 looks down")
    scene.add_argument("--roll", type=float, metavar="DEG", help="camera roll, > 0 clockwise")
    scene.add_argument("--camera-height", type=_positive, metavar="M", help="height of the lens above the ground")
    scene.add_argument("--camera", type=Path, metavar="FILE", help="camera file (YAML or JSON)")
    fit = p.add_argument_group("fit")
    fit.add_argument("--prior", type=Path, metavar="PATH",
                     help="weights or a local diffusers folder (default: embedded)")
    fit.add_argument("--preset", choices=PRESETS, default="default")
    fit.add_argument("--config", type=Path, action="append", default=[], metavar="FILE",
                     help="settings on top of the preset; may be repeated")
    fit.add_argument("--optimize", type=_fitted, metavar="LIST", help=f"what is fitted: {','.join(FITTED)}")
    fit.add_argument("--seed", type=_natural)
    fit.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    fit.add_argument("--no-denoise", action="store_true", help="leave the final picture as it is sampled")
    fit.add_argument("--resume", action="store_true",
                     help="continue a run that was stopped (same settings, same --out)")
    _common(p, "out/<scene name>")
    p.set_defaults(verb=verbs.insert)


def _render(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("render", help="render a finished result again, without fitting",
                            description="Render a result of `dipir insert` again: other asset, size or quality.")
    p.add_argument("result", type=Path, metavar="RESULT", help="the --out folder of a finished `dipir insert`")
    p.add_argument("--asset", type=Path, metavar="FILE", help="another mesh in the same place")
    p.add_argument("--size", type=_pair(_count, "W,H in pixels"), metavar="W,H")
    p.add_argument("--spp", type=_count, metavar="N", help="samples per pixel")
    p.add_argument("--no-denoise", action="store_true", help="leave the picture as it is sampled")
    _common(p, "RESULT/render")
    p.set_defaults(verb=verbs.render)


def _init(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("init", help="write a scene file for a photo and an asset")
    p.add_argument("photo", type=Path, metavar="PHOTO")
    p.add_argument("asset", type=Path, metavar="ASSET")
    p.add_argument("--out", type=Path, default=Path("scene.yaml"), metavar="FILE", help="default: scene.yaml")
    p.set_defaults(verb=verbs.init)


def _prior(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("prior", help="train the embedded priors",
                            description="dipir prior train KIND, or --kind KIND. Options after it are those of its "
                                        f"trainer (--help lists them). Kinds: {', '.join(verbs.PRIORS)}.")
    p.add_argument("action", choices=("train",))
    p.add_argument("options", nargs=argparse.REMAINDER, metavar="KIND ...", help="e.g. relight --minutes 40")
    p.set_defaults(verb=verbs.prior)


def _bench(commands: argparse._SubParsersAction) -> None:
    p = commands.add_parser("bench", help="run suites of jobs, and the benchmark tables",
                            description="run SUITE.yaml, status DIR, table DIR, compare A B: suites of jobs "
                                        "(docs/benchmarks.md). Any other NAME: a benchmark table of the source "
                                        "checkout, all of them without a name. `dipir bench run --help` and `dipir "
                                        "bench NAME --help` list their options.")
    p.add_argument("options", nargs=argparse.REMAINDER, metavar="NAME ...",
                   help="e.g. run lobes.yaml --workers 2, or insert --environments DIR --meshes DIR")
    p.set_defaults(verb=verbs.bench)


def _common(p: argparse.ArgumentParser, out: str) -> None:
    group = p.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", help=f"default: {out}")
    group.add_argument("--quiet", action="store_true", help="errors only")
    group.add_argument("--log", choices=("text", "json"), default="text", help="json: one JSON object a line on stdout")
    group.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    group.add_argument("--threads", type=_count, metavar="N", help="CPU threads (default: those of the CPU affinity)")
    device.add_option(group)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number > 0")
    return value


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 1")
    return int(text)


def _pair(kind, what: str):
    def parse(text: str) -> tuple:
        try:
            first, second = (kind(word) for word in text.split(","))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}, for instance 640,480") from None
        return first, second
    return parse


def _fitted(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        if word not in FITTED:
            raise argparse.ArgumentTypeError(f"'{word}' cannot be fitted; accepted: {', '.join(FITTED)}."
                                             f"{nearest(word, FITTED)}")
    if not words:
        raise argparse.ArgumentTypeError(f"nothing given; accepted: {', '.join(FITTED)}")
    return words
