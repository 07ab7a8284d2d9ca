"""What the verbs share: types and groups of options, the out folder and the progress of a run, remarks."""
from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipir import device, disk
from dipir.cli import terminal
from dipir.cli.progress import Progress, remark_line
from dipir.errors import DipirError, ImageError

if TYPE_CHECKING:
    from dipir.scene.plate import PlateColours


# ---------------------------------------------------------------------------------------------------- types of options
def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number > 0")
    return value


def natural(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 0")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 1")
    return int(text)


def axis(text: str) -> str:
    """The name of an axis: y, -z."""
    return text.lower().removeprefix("+")


def pair(kind: Callable[[str], Any], what: str, example: str = "640,480") -> Callable[[str], tuple]:
    """The type of two values of ``kind`` with a comma between them; ``what`` names them for people."""
    def parse(text: str) -> tuple:
        try:
            first, second = (kind(word) for word in text.split(","))
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"'{text}' is not {what}, for instance {example}") from None
        return first, second
    return parse


# --------------------------------------------------------------------------------------------------- groups of options
def add_output(p: argparse.ArgumentParser, out: str) -> None:
    """Where results, remarks and logs go, and what computes. ``out`` : the default folder, for people."""
    group = p.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", help=f"default: {out}")
    group.add_argument("--quiet", action="store_true", help="errors only")
    add_strict(group)
    group.add_argument("--log", choices=("text", "json"), default="text", help="json: one JSON object a line on stdout")
    group.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    group.add_argument("--threads", type=count, metavar="N", help="CPU threads (default: those of the CPU affinity)")
    device.add_option(group)


def add_strict(group: argparse._ActionsContainer) -> None:
    """Whether warnings about assets, plates and cameras are errors."""
    group.add_argument("--strict", action="store_true", help="warnings about the inputs (something left out, "
                                                             "approximated, invisible) end with exit code 2")


def add_redistort(p: argparse._ActionsContainer) -> None:
    """Whether the lens of a camera file is put back into what is rendered; None = as the scene says."""
    p.add_argument("--redistort", action=argparse.BooleanOptionalAction, default=None,
                   help="with a camera file that has a lens: put it back, so that picture and layers fit the photo as "
                        "it is")


def add_composite(p: argparse._ActionsContainer) -> None:
    """In which form the composite is written; :func:`wants_exr` reads it."""
    p.add_argument("--composite", choices=("png", "exr"),
                   help="exr: also composite.exr, linear and not clipped; png: only composite.png (default: exr where "
                        "the plate is scene-linear)")


def add_colours(p: argparse.ArgumentParser, textures: bool = False, output: bool = True) -> None:
    """Colour spaces of files, by name; :func:`colours_of` reads them. ``textures`` : whether there are some."""
    group = p.add_argument_group("colours (names, aliases and roles of the OpenColorIO config; docs/plates.md)")
    group.add_argument("--colourspace", "--colorspace", metavar="NAME",
                       help="of the photo or plate (default: as its file says)")
    group.add_argument("--layer", metavar="NAME", help="of an OpenEXR plate: layer, part, or PART.LAYER")
    if output:
        group.add_argument("--output-colourspace", "--output-colorspace", metavar="NAME",
                           help="of the pictures that are written (default: the plate's own)")
    if textures:
        group.add_argument("--texture-colourspace", "--texture-colorspace", metavar="NAME",
                           help="of the asset's textures of colour (default: sRGB)")
    group.add_argument("--ocio", metavar="FILE", help="the config: a file or ocio://NAME (default: the variable OCIO, "
                                                      "else a built-in one)")


def colours_of(args: argparse.Namespace, known: PlateColours) -> PlateColours:
    """``known`` with what the options of :func:`add_colours` say."""
    given = {key: getattr(args, key, None) for key in ("colourspace", "layer", "ocio", "output_colourspace")}
    return replace(known, **{key: value for key, value in given.items() if value is not None})


def wants_exr(args: argparse.Namespace) -> bool | None:
    """Whether composite.exr is written; None = as the plate is."""
    return None if args.composite is None else args.composite == "exr"


def add_settings(p: argparse._ActionsContainer, method: str) -> None:
    """Prior, preset, settings and seed of a method; its presets are the files of ``configs/<method>``."""
    presets = sorted(file.stem for file in disk.shipped(f"configs/{method}").glob("*.yaml"))
    p.add_argument("--prior", metavar="PATH", help="weights, a local diffusers folder or a Stable Diffusion "
                                                   "checkpoint (.safetensors); default: embedded")
    p.add_argument("--prior-config", metavar="DIR", help="diffusers folder with a checkpoint's configurations "
                                                         "(default: beside it)")
    p.add_argument("--preset", choices=presets, default="default")
    p.add_argument("--config", type=Path, action="append", default=[], metavar="FILE",
                   help="settings on top of the preset; may be repeated")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    p.add_argument("--seed", type=natural, metavar="N")


def overrides(args: argparse.Namespace, named: Mapping[str, Any]) -> list[str]:
    """``named`` settings as ``key=value``, those that are None left out; ``--set`` has the last word."""
    # JSON is YAML, whatever a path looks like.
    return [*(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None), *args.set]


# -------------------------------------------------------------------------------------------------------- files, a run
def found(path: Path, quiet: bool) -> Path:
    """``path``, or the shipped file of that name when ``scenes/...`` is not in the working folder; that is said."""
    if path.exists() or path.parts[:1] != ("scenes",) or ".." in path.parts:
        return path
    own = disk.shipped(str(path))
    if not own.is_file():
        return path
    say([f"{path} is not in this folder; the one that comes with dipir is used: {own}"], quiet)
    return own


@contextlib.contextmanager
def out_folder(path: Path) -> Iterator[Path]:
    """The folder, made and proved writable; taken away again when the run fails before anything was put into it."""
    from dipir.disk import prepare_out

    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield prepare_out(path)
    except BaseException:
        for folder in new:
            # Refused where something lies in it.
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def free_folder(parent: Path, name: str) -> Path:
    """``parent/name_1``, or the first number that is not there yet."""
    number = 1
    while (parent / f"{name}_{number}").exists():
        number += 1
    return parent / f"{name}_{number}"


@contextlib.contextmanager
def running(args: argparse.Namespace, out: Path, names_device: bool = True) -> Iterator[tuple[Path, Progress]]:
    """The out folder and the progress of a run that has the options of :func:`add_output`: says where it computes, and
    at the end where the result is."""
    with out_folder(out) as folder, disk.locked(folder), \
            Progress(folder, log=args.log, quiet=args.quiet, board=args.tensorboard, strict=args.strict) as progress:
        if names_device:
            progress.device(device.current())
        yield folder, progress
        progress.done(folder)


def saved(write: Callable[[Path], object], out: Path) -> None:
    """``write(out)``, the last step of a run. Where that fails the result is written to a folder of its own among the
    system's temporary ones or in our cache, and the error, which is raised all the same, says so."""
    try:
        write(out)
    except (DipirError, OSError, ValueError) as problem:
        refuge = _refuge(write)
        if refuge is None:
            raise
        raise ImageError(f"{problem} The finished result was written to {refuge} instead: move it from there.") \
            from problem


def _refuge(write: Callable[[Path], object]) -> Path | None:
    """Where else ``write`` could write; None = nowhere."""
    for place in (Path(tempfile.gettempdir()), disk.cache_dir()):
        with contextlib.suppress(DipirError, OSError, ValueError):
            place.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="dipir-result-", dir=place))
            try:
                write(folder)
                return folder
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return None


def say(notes: Sequence[str], quiet: bool) -> None:
    """Remarks for the user, a line each."""
    for note in () if quiet else dict.fromkeys(notes):
        terminal.say(remark_line(note))
