"""The part ``size``: seconds and memory of one picture through relight(), in a process of its own, file to files.

usage of that process: python -m benchmarks.relight.size PICTURE.png --engine net --out DIR [--set KEY=VALUE]
"""
from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.common import ROOT, as_command, markdown
from benchmarks.relight.methods import ENGINES, engine_of, weights_of
from dipir.errors import DipirError
from dipir.image.files import read_image, write_png
from dipir.relight.method import RelightRequest, relight
from dipir.relight.reading import read_picture
from dipir.relight.result import save
from dipir.scene.direction import LightDirection

LARGE = (4000, 3000)
CASES = {"layers 512x512": ("layers", (512, 512)), "net 512x512": ("net", (512, 512)), "net 4000x3000": ("net", LARGE)}
RUNS = 3
STEPS = ("load", "read", "relight", "write")
_PHOTO = ROOT / "assets" / "demo" / "plate.png"
_DIRECTION = LightDirection(-60, 30)


def measured(overrides: Sequence[str] = (), wanted: Mapping[str, tuple[str, tuple[int, int]]] = CASES,
             runs: int = RUNS) -> dict:
    """Medians of ``runs`` processes for each case: the demo's photo at that size. DipirError when a process fails."""
    rows, weights = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (engine, size) in wanted.items():
            picture = photo(size, Path(folder) / f"photo_{size[0]}.png")
            taken = [_process(picture, engine, overrides, Path(folder) / "out") for _ in range(runs)]
            rows[name] = {key: statistics.median(one[key] for one in taken) for key in (*STEPS, "seconds", "peak_gib")}
            rows[name]["threads"], weights[engine] = taken[0]["threads"], taken[0]["weights"]
            print(f"{name}: {rows[name]}", flush=True)
    return {"runs": runs, "weights": weights, "cases": rows}


def photo(size: tuple[int, int], path: Path) -> Path:
    """The demo's photo at a size (width, height), as a PNG of 8 bits."""
    if not path.is_file():
        pixels = read_image(_PHOTO).pixels
        write_png(path, functional.interpolate(pixels, size[::-1], mode="bicubic", antialias=True).clamp(0, 1))
    return path


def _process(picture: Path, engine: str, overrides: Sequence[str], out: Path) -> dict:
    command = [sys.executable, "-m", "benchmarks.relight.size", str(picture), "--engine", engine, "--out", str(out)]
    done = subprocess.run([*command, *(word for one in overrides for word in ("--set", one))], cwd=ROOT, text=True,
                          capture_output=True)
    if done.returncode:
        raise DipirError(f"the part size: {engine} on {picture.name} ended with exit code {done.returncode}:\n"
                         f"{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def text(data: Mapping) -> str:
    """The Markdown of :func:`measured`."""
    head = ["engine, pixels", *(f"{step} (s)" for step in STEPS), "read to written (s)", "memory (GiB)"]
    body = [[name, *(f"{one[key]:.2f}" for key in (*STEPS, "seconds", "peak_gib"))]
            for name, one in data["cases"].items()]
    threads = {one["threads"] for one in data["cases"].values()}
    return (f"One photo, from file to files, {' or '.join(map(str, sorted(threads)))} threads, medians of "
            f"{data['runs']} processes. `load`: networks. Memory: the peak above what the process had when its "
            "libraries were loaded.\n\n" + markdown([head, *body]))


# ------------------------------------------------------------------------------------------------------ in the process
def resident_gib(field: str) -> float:
    """What this process holds ("VmRSS") or has held at most ("VmHWM"). ``ru_maxrss`` of a process begins at the memory
    of the process that started it, which a benchmark has in plenty."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M)[1]) / 2**20


def timed(picture: Path, name: str, overrides: Sequence[str], out: Path) -> dict:
    """Seconds of each of ``STEPS``, of all after the first, and the peak of memory above the start."""
    held, marks = resident_gib("VmRSS"), [time.perf_counter()]

    def mark(value):
        marks.append(time.perf_counter())
        return value

    config, engine = mark(engine_of(name, overrides))
    read = mark(read_picture(picture))
    result = mark(relight(read, RelightRequest(_DIRECTION), config, engine=engine, out=out))
    mark(save(result, out))
    steps = {step: after - before for step, before, after in zip(STEPS, marks[:-1], marks[1:], strict=True)}
    return {**steps, "seconds": marks[-1] - marks[1], "peak_gib": resident_gib("VmHWM") - held,
            "threads": torch.get_num_threads(), "weights": weights_of(engine)}


def main(arguments: Sequence[str]) -> int:
    """Relight one picture and print what it took as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relight.size", description=__doc__.split("\n\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--engine", choices=tuple(ENGINES), default="net")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args(arguments)
    a.out.mkdir(parents=True, exist_ok=True)
    print(json.dumps(timed(a.picture, a.engine, a.set, a.out)))
    return 0


if __name__ == "__main__":
    as_command(main)
