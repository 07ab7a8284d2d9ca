"""Relighting on rendered objects that nothing was trained on: how near the truth, how much of the way, and from which
side the result looks lit. Protocol and measures: docs/bench-relight.md.

usage: python -m benchmarks relight [--scenes 24] [--sides 8] [--methods a,b] [--set KEY=VALUE] [--out DIR]
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, ROOT, as_command, machine, markdown, typed, write
from benchmarks.relight import reader
from benchmarks.relight.cases import SIZE, Case, cases, clipped, ramp, scenes
from dipir.errors import ConfigError, nearest
from dipir.image.editing import luminosity_bound
from dipir.image.files import read_image, write_png
from dipir.image.metrics import angular_error_deg, psnr, rmse, si_rmse, ssim
from dipir.relight.config import load_config
from dipir.relight.layers import shrink, working_size
from dipir.relight.method import Picture, RelightRequest, find_engine, relight
from dipir.scene.direction import LightDirection
from dipir.workshop.data import TRAIN, training_meshes
from dipir.workshop.relight import data as relit
from dipir.workshop.relight.data import RelitSet, RelitSettings

Method = Callable[[Case], Tensor]
BASELINES = ("identity", "exposure", "ramp")
ENGINES = ("layers", "net")
RAMP = 0.1
LOOKS = {"left": (-80, 20), "right": (80, 20), "above": (0, 75), "behind": (180, 35)}
TRAINING_SCENES = 1200
FIGURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "rmse": "RMSE", "si_rmse": "si-RMSE",
           "chroma_deg": "chroma drift (deg)", "seconds": "seconds"}


def training_scenes(count: int) -> RelitSet:
    """What the reader of directions learns from; what the cache lacks is made."""
    settings = RelitSettings(size=reader.SIZE, spp=16, sky_spp=32)
    folder = relit.default_dir().with_name(f"train_v{relit.VERSION}_{reader.SIZE}")
    made = relit.load(relit.generate(count, folder, 0, settings=settings, meshes=training_meshes(*TRAIN)))
    return made.part(slice(0, count))


def methods(names: Sequence[str], overrides: Sequence[str]) -> dict[str, Method]:
    """Each takes a case and gives a picture (1, 3, H, W). ``exposure`` is told the target's mean: the best that one
    factor for the whole picture can do. ``bound`` is told the whole target."""
    def engine(name: str) -> Method:
        config = load_config("default", (), [f"engine={name}", *overrides])
        network = find_engine(config, RelightRequest(LightDirection(0, 0)))
        return lambda case: relight(Picture(case.image, name=case.name), RelightRequest(case.direction), config,
                                    engine=network).image

    made: dict[str, Method] = {
        "identity": lambda case: case.image,
        "exposure": lambda case: (case.image * case.target.mean() / case.image.mean()).clamp(0, 1),
        "ramp": lambda case: ramp(case.image, case.direction, RAMP),
        "bound": lambda case: luminosity_bound(case.image, case.target), "truth": lambda case: case.target}
    unknown = [n for n in names if n not in ENGINES]
    if unknown:
        raise ConfigError(f"method '{unknown[0]}' is unknown; there are {', '.join(ENGINES)}."
                          f"{nearest(unknown[0], ENGINES)}")
    return made | {name: engine(name) for name in names}


def figures(case: Case, made: Tensor) -> dict[str, float]:
    """Distances to the target, and the angle between the colours of result and input (display values) where neither is
    clipped nor nearly black."""

    def one(x):
        return float(x[0])

    inside = clipped(case.image) * clipped(made)
    return {"psnr": one(psnr(made, case.target).clamp(max=99)), "ssim": one(ssim(made, case.target)),
            "rmse": one(rmse(made, case.target)), "si_rmse": one(si_rmse(made, case.target)),
            "chroma_deg": one(angular_error_deg(made, case.image, inside)) if float(inside.sum()) else float("nan")}


def run(all_cases: Sequence[Case], by_name: Mapping[str, Method], net: reader.Reader) -> tuple[list[dict], dict]:
    """(a row per case and method, pictures by method)."""
    rows, pictures = [], {name: [] for name in by_name}
    for number, case in enumerate(all_cases):
        for name, method in by_name.items():
            began = time.perf_counter()
            made = method(case)
            seconds = time.perf_counter() - began
            read = reader.read(net, made, case.normal, case.albedo)
            rows.append({"case": case.name, "method": name, "open": case.open, "asked": case.side, "read": read,
                         **figures(case, made), "seconds": seconds})
            pictures[name].append(made)
        print(f"{number + 1} of {len(all_cases)}", flush=True)
    return rows, pictures


def summary(rows: Sequence[dict]) -> dict[str, dict[str, float]]:
    """Means by method, the share of the way from input to bound (of mean RMSE), and how often the asked side is read in
    scenes without a wall."""
    out = {}
    for name in dict.fromkeys(r["method"] for r in rows):
        mine = [r for r in rows if r["method"] == name]
        out[name] = {key: float(np.nanmean([r[key] for r in mine])) for key in FIGURES}
        seen = [r["asked"] == r["read"] for r in mine if r["open"]]
        near = [min((r["asked"] - r["read"]) % 8, (r["read"] - r["asked"]) % 8) <= 1 for r in mine if r["open"]]
        out[name] |= {"side_right": float(np.mean(seen)), "side_within_45": float(np.mean(near))}
    start, bound = out["identity"]["rmse"], out["bound"]["rmse"]
    for figure in out.values():
        figure["covered"] = (start - figure["rmse"]) / (start - bound)
    return out


def confusion(rows: Sequence[dict], name: str) -> np.ndarray:
    """(8, 8) counts, asked by read, in scenes without a wall."""
    table = np.zeros((reader.SIDES, reader.SIDES), int)
    for r in rows:
        if r["method"] == name and r["open"]:
            table[r["asked"], r["read"]] += 1
    return table


def table(data: dict) -> str:
    """The committed Markdown."""
    keys = ["psnr", "ssim", "rmse", "si_rmse", "covered", "side_right", "side_within_45", "chroma_deg", "seconds"]
    names = FIGURES | {"covered": "way to the bound", "side_right": "side read right", "side_within_45": "within 45°"}
    percent = {"covered", "side_right", "side_within_45"}
    body = [[m, *(f"{100 * f[k]:.0f} %" if k in percent else f"{f[k]:.3g}" for k in keys)]
            for m, f in data["summary"].items()]
    text = (f"Made by `{data['command']}`; {data['scenes']} scenes ({data['open']} without a wall) x {data['sides']} "
            f"sides, {SIZE}x{SIZE} pixels; {data['machine']}. Means over {data['cases']} cases.\n\n"
            + markdown([["method", *(names[k] for k in keys)], *body]))
    for name, counts in data["confusion"].items():
        rows = [["asked \\ read", *reader.NAMES]] + [[reader.NAMES[k], *map(str, row)] for k, row in enumerate(counts)]
        text += f"\nRead from `{name}` in scenes without a wall:\n\n" + markdown(rows)
    return text


def sheet(all_cases: Sequence[Case], pictures: Mapping[str, list[Tensor]], path: Path, count: int = 12) -> None:
    """Some cases one under the other: input, methods, bound, truth."""
    step = max(1, len(all_cases) // count)
    chosen = [k + (k // step) % 8 for k in range(0, len(all_cases) - 7, step)][:count]
    names = ["identity", *[n for n in ENGINES if n in pictures], "bound", "truth"]
    write_png(path, torch.cat([torch.cat([pictures[n][k] for n in names], -1) for k in chosen], -2))


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write the tables and the sheet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks relight", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--sides", type=int, default=8, help="of the eight, evenly spread")
    parser.add_argument("--methods", default=",".join(ENGINES))
    parser.add_argument("--training-scenes", type=int, default=TRAINING_SCENES, help="for the reader of directions")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of the engines")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench-relight")
    parser.add_argument("--photos", type=int, default=0, help="instead, light so many photographs to be looked at")
    parser.add_argument("--plates", type=Path, default=DATA / "plates", help="their folder")
    parser.add_argument("--scratch", action="store_true", help="do not write benchmarks/results")
    a = parser.parse_args(arguments)
    if a.scenes < 1 or a.sides not in (1, 2, 4, 8):
        raise ConfigError(f"{a.scenes} scenes and {a.sides} sides; accepted are at least 1 and 1, 2, 4 or 8.")
    by_name = methods([m for m in a.methods.split(",") if m], a.set)
    a.out.mkdir(parents=True, exist_ok=True)
    if a.photos:
        looks(a.plates, by_name, a.photos, a.out)
        return 0
    data = scenes(a.scenes)
    all_cases = cases(data, range(0, 8, 8 // a.sides))
    net = reader.trained(training_scenes(a.training_scenes))
    rows, pictures = run(all_cases, by_name, net)
    result = {"schema": "dipir.bench.relight.1",
              "command": typed("python", "-m", "benchmarks", "relight", *(arguments or ())), "machine": machine(),
              "scenes": len(data), "sides": a.sides,
              "open": len({c.scene for c in all_cases if c.open}), "cases": len(all_cases), "summary": summary(rows),
              "confusion": {n: confusion(rows, n).tolist() for n in (*by_name,) if n in (*ENGINES, "truth")},
              "rows": rows}
    sheet(all_cases, pictures, a.out / "sheet.png")
    if a.scratch:
        print(table(result))
    else:
        write("relight", result, table(result))
    return 0


if __name__ == "__main__":
    as_command(main)
