"""Relighting: rendered objects in known light, a matt sphere from opposite sides, the surfaces that are guessed, and
what large pictures take. Protocol and measures: docs/bench-relight.md.

usage: python -m benchmarks relight [--parts table,sphere] [--methods layers,net] [--scenes 24] [--set KEY=VALUE]
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import DATA, RESULTS, ROOT, as_command, machine, typed, write
from benchmarks.relight import bars, size, sphere, surfaces, table
from benchmarks.relight.cases import Case
from benchmarks.relight.methods import DEFAULT, ENGINES, GUIDED, Method, checked, engine_of, methods, weights_of
from dipir.errors import ConfigError, nearest
from dipir.image.files import read_image, write_png
from dipir.relight.layers import shrink, working_size
from dipir.scene.direction import LightDirection

SCHEMA = "dipir.bench.relight.2"
LOOKS = {"left": (-80, 20), "right": (80, 20), "above": (0, 75), "behind": (180, 35)}
TRAINING_SCENES = 3840
GUIDED_SIDES = 2
PARTS: dict[str, Callable[[Mapping], str]] = {"table": table.text, "guidance": table.text, "sphere": sphere.text,
                                              "surfaces": surfaces.text, "size": size.text}
"""The parts and how each is written."""


def looks(folder: Path, by_name: Mapping[str, Method], count: int, out: Path) -> None:
    """Photographs, for looks only: each from four directions by every engine, a row of pictures and a file each."""
    files = sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.png"))
    if not files:
        raise ConfigError(f"{folder}: no photographs (*.jpg, *.png) in it; give their folder with --plates.")
    for file in [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)]:
        pixels = read_image(file).pixels
        photo = shrink(pixels, working_size(*pixels.shape[2:], 384, 16)).clamp(0, 1)
        rows = []
        for name in (n for n in ENGINES if n in by_name):
            lit = [by_name[name](Case(file.stem, 0, 0, True, photo, photo, LightDirection(*LOOKS[side]), photo, photo))
                   for side in LOOKS]
            rows.append(torch.cat([photo, *lit], -1))
        write_png(out / f"photo_{file.stem}.png", torch.cat(rows, -2))
        print(out / f"photo_{file.stem}.png", flush=True)


def earlier(path: Path) -> dict[str, dict]:
    """The parts of a result that is there already, none of another form."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    return found["parts"] if found["schema"] == SCHEMA else {}


def text(parts: Mapping[str, Mapping]) -> str:
    """The committed Markdown: the bars, then each part."""
    written = [bars.text(parts)]
    for name, form in PARTS.items():
        if name in parts:
            part = parts[name]
            weights = "; ".join(f"{method} {hashes}" for method, hashes in part["weights"].items())
            written.append(f"**Part `{name}`.** Made by `{part['command']}`; {part['machine']}; weights: {weights}.\n\n"
                           + form(part))
    return "\n".join(written)


def measured(a: argparse.Namespace, name: str) -> dict:
    """What one part finds."""
    if name == "surfaces":
        return surfaces.measured(a.surface_photos)
    if name == "size":
        return size.measured(a.set)
    named, sides, out = (GUIDED, min(a.sides, GUIDED_SIDES), a.out / name) if name == "guidance" else (
        a.methods, a.sides, a.out)
    out.mkdir(parents=True, exist_ok=True)
    by_name = methods(named, a.set)
    found = (sphere.measured(by_name, out) if name == "sphere" else
             table.measured(by_name, a.scenes, sides, a.training_scenes, out))
    return found | {"weights": {one: weights_of(engine_of(one, a.set)[1]) for one in named}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts, write the tables and the sheets. Parts that are not run stay as they were in the results."""
    a = _options(arguments)
    a.out.mkdir(parents=True, exist_ok=True)
    if a.photos:
        looks(a.plates, methods(a.methods, a.set), a.photos, a.out)
        return 0
    parts = {} if a.scratch else earlier(RESULTS / "relight.json")
    about = {"command": typed("python", "-m", "benchmarks", "relight", *(arguments or ())), "machine": machine()}
    for name in a.parts:
        parts[name] = about | measured(a, name)
        if a.scratch:
            print(PARTS[name](parts[name]), flush=True)
        else:
            write("relight", {"schema": SCHEMA, "parts": parts}, text(parts), quiet=True)
    print(text(parts))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """ConfigError for what cannot be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks relight", description=__doc__.split("\n\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="some of the default, with commas")
    parser.add_argument("--methods", default=",".join(DEFAULT),
                        help=f"of table and sphere, some of {', '.join(ENGINES)}")
    parser.add_argument("--scenes", type=int, default=24, help="of the table")
    parser.add_argument("--sides", type=int, default=8, help="of the eight, evenly spread")
    parser.add_argument("--training-scenes", type=int, default=TRAINING_SCENES,
                        help="of the set `surfaces`, for the reader of directions")
    parser.add_argument("--surface-photos", type=int, default=surfaces.PHOTOS, help="of the part surfaces")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the engines")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench-relight")
    parser.add_argument("--photos", type=int, default=0, help="instead, light so many photographs to be looked at")
    parser.add_argument("--plates", type=Path, default=DATA / "plates", help="their folder")
    parser.add_argument("--scratch", action="store_true", help="do not write benchmarks/results")
    a = parser.parse_args(arguments)
    a.methods, a.parts = checked(a.methods.split(",")), [part for part in a.parts.split(",") if part]
    unknown = [part for part in a.parts if part not in PARTS]
    if unknown or not a.parts:
        given = unknown[0] if unknown else ""
        raise ConfigError(f"part '{given}' is unknown; there are {', '.join(PARTS)}.{nearest(given, PARTS)}")
    least = {"--scenes": a.scenes, "--training-scenes": a.training_scenes, "--surface-photos": a.surface_photos}
    if min(least.values()) < 1 or a.sides not in (1, 2, 4, 8):
        given = ", ".join(f"{option} {number}" for option, number in least.items())
        raise ConfigError(f"{given} and --sides {a.sides} given; accepted are numbers of at least 1, and 1, 2, 4 or 8 "
                          "sides.")
    return a


if __name__ == "__main__":
    as_command(main)
