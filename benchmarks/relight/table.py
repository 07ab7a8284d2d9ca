"""The part ``table``: rendered scenes in eight known lights, every method beside the truth."""
from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import markdown
from benchmarks.relight import reader
from benchmarks.relight.cases import SIZE, Case, cases, clipped, scenes
from benchmarks.relight.methods import ENGINES, Method
from dipir.image.files import write_png
from dipir.image.metrics import angular_error_deg, psnr, rmse, si_rmse, ssim

FIGURES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "rmse": "RMSE", "si_rmse": "si-RMSE",
           "chroma_deg": "chroma drift (deg)", "seconds": "seconds"}
CONFUSED = ("truth", "layers", "net")
"""Methods whose readings are shown side by side."""


def measured(by_name: Mapping[str, Method], count: int, sides: int, training_scenes: int, out: Path) -> dict:
    """Figures of ``count`` scenes from ``sides`` of the eight sides; a sheet of pictures in ``out``."""
    net = reader.stored(training_scenes)
    data = scenes(count)
    all_cases = cases(data, range(0, reader.SIDES, reader.SIDES // sides))
    rows, pictures = run(all_cases, by_name, net)
    sheet(all_cases, pictures, out / "sheet.png")
    return {"scenes": len(data), "sides": sides, "open": len({c.scene for c in all_cases if c.open}),
            "cases": len(all_cases), "training_scenes": training_scenes, "summary": summary(rows),
            "confusion": {n: confusion(rows, n).tolist() for n in by_name if n in CONFUSED}, "rows": rows}


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
    """Means by method, PSNR above the input's, the share of the way from input to bound (of mean RMSE), and how often
    the asked side is read in scenes without a wall (None where there is no such scene)."""
    out = {}
    for name in dict.fromkeys(r["method"] for r in rows):
        mine = [r for r in rows if r["method"] == name]
        out[name] = {key: float(np.nanmean([r[key] for r in mine])) for key in FIGURES}
        off = [min((r["asked"] - r["read"]) % 8, (r["read"] - r["asked"]) % 8) for r in mine if r["open"]]
        out[name] |= {"side_right": float(np.mean(np.equal(off, 0))) if off else None,
                      "side_within_45": float(np.mean(np.less_equal(off, 1))) if off else None}
    start, bound = out["identity"], out["bound"]
    for figure in out.values():
        figure["covered"] = (start["rmse"] - figure["rmse"]) / (start["rmse"] - bound["rmse"])
        figure["psnr_gain"] = figure["psnr"] - start["psnr"]
    return out


def confusion(rows: Sequence[dict], name: str) -> np.ndarray:
    """(8, 8) counts, asked by read, in scenes without a wall."""
    table = np.zeros((reader.SIDES, reader.SIDES), int)
    for r in rows:
        if r["method"] == name and r["open"]:
            table[r["asked"], r["read"]] += 1
    return table


def text(data: Mapping) -> str:
    """The Markdown of :func:`measured`."""
    keys = ["psnr", "psnr_gain", "ssim", "rmse", "si_rmse", "covered", "side_right", "side_within_45", "chroma_deg",
            "seconds"]
    names = FIGURES | {"covered": "way to the bound", "side_right": "side read right", "side_within_45": "within 45°",
                       "psnr_gain": "over identity (dB)"}
    percent = {"covered", "side_right", "side_within_45"}

    def cell(key: str, value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.0f} %" if key in percent else f"{value:.3g}"

    body = [[m, *(cell(k, f[k]) for k in keys)] for m, f in data["summary"].items()]
    out = (f"{data['scenes']} scenes ({data['open']} without a wall) x {data['sides']} sides, {SIZE}x{SIZE} pixels. "
           f"Means over {data['cases']} cases. The reader of sides is trained on {data['training_scenes']} scenes of "
           "the set `surfaces`, as far as they are things without a wall.\n\n"
           + markdown([["method", *(names[k] for k in keys)], *body]))
    for name, counts in data["confusion"].items():
        rows = [["asked \\ read", *reader.NAMES]] + [[reader.NAMES[k], *map(str, row)] for k, row in enumerate(counts)]
        out += f"\nRead from `{name}` in scenes without a wall:\n\n" + markdown(rows)
    return out


def sheet(all_cases: Sequence[Case], pictures: Mapping[str, list[Tensor]], path: Path, count: int = 12) -> None:
    """Some cases one under the other: input, methods, bound, truth."""
    step = max(1, len(all_cases) // count)
    last = len(all_cases) - 1
    chosen = [min(k + (k // step) % 8, last) for k in range(0, len(all_cases), step)][:count]
    names = ["identity", *[n for n in ENGINES if n in pictures], "bound", "truth"]
    write_png(path, torch.cat([torch.cat([pictures[n][k] for n in names], -1) for k in chosen], -2))
