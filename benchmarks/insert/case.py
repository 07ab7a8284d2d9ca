"""One case of the insertion benchmark in a process of its own (Mitsuba keeps the memory of scenes).

usage: python -m benchmarks.insert.case FOLDER PARENT

FOLDER/job.json says what to do (``benchmarks.insert`` writes it). Every method that is done is added at once to
FOLDER/case.json, beside its picture FOLDER/METHOD.png (composite above light map), so that a run that was
stopped goes on there.
"""
from __future__ import annotations

import json
import math
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.insert.cases import scene_of
from benchmarks.insert.figures import Shown, figures, shown
from benchmarks.insert.lpips import perceptual
from benchmarks.insert.methods import Estimate, Estimator
from benchmarks.insert.sheet import tile
from dipir.arrays import EnvMap, split_seed
from dipir.disk import write_text
from dipir.image.files import write_png
from dipir.insert.config import InsertConfig
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.scene import Scene
from dipir.settings.read import from_dict
from dipir.suite.worker import die_with

DEPTH = 4
OBJECT, SHADOW = {"method": 4.0, "truth": 32.0}, {"method": 1.0, "truth": 4.0}
"""Samples a pixel as multiples of ``--spp``: the object is cheap and glossy, the shadow is dear and smooth. At 64 all
are squares of even numbers, which the samplers spread best."""


class Stage:
    """Scene, renderer and truth of a case. true : the light, plate white = 1;  lpips : folder of weights, or None"""

    def __init__(self, scene: Scene, true: EnvMap, spp: int, seed: int, lpips: str | None = None) -> None:
        self.scene, self.true, self.spp, self.seed = scene, true, spp, seed
        self.tracer = PathTracer(self.scene, settings=RenderSettings(self.spp, DEPTH), gbuffer_samples=4)
        self.truth = self.render(Estimate(self.true), "truth")
        self.lpips = perceptual(Path(lpips)) if lpips else None

    @torch.no_grad()
    def render(self, estimate: Estimate, kind: str = "method") -> Shown:
        """The composite under an estimate; all methods share random numbers, the truth has others."""
        seed = split_seed(self.seed, kind)
        rgb, alpha = self.tracer.object_pass(estimate.light, seed=seed, spp=math.ceil(OBJECT[kind] * self.spp))
        lit, shadowed = self.tracer.proxy_passes(estimate.light, seed=seed, spp=math.ceil(SHADOW[kind] * self.spp))
        passes = Passes(rgb, lit, shadowed, replace(self.tracer.gbuffers, alpha=alpha))
        return shown(self.scene.plate, passes, estimate.tones)

    def judged(self, estimate: Estimate) -> tuple[dict[str, float | None], Tensor]:
        """(figures, picture) of an estimate."""
        got = self.render(estimate)
        row = figures(got, self.truth, estimate.light, self.true)
        row["lpips"] = self.lpips(got.disp, self.truth.disp) if self.lpips else None
        row |= {"seconds": round(estimate.seconds, 3), "cpu_seconds": round(estimate.cpu_seconds, 3)}
        return row, tile(got.disp, estimate.light)


def run(folder: Path) -> None:
    """The methods that ``case.json`` does not hold yet. One that fails is recorded with its error; the others go on."""
    job = json.loads((folder / "job.json").read_text())
    done = finished(folder, job)
    missing = [m for m in job["methods"] if m not in done]
    scene, true = scene_of(Path(job["environment"]), Path(job["mesh"]), job["yaw_deg"], job["size"], job["name"])
    stage = Stage(scene, true, job["spp"], split_seed(job["seed"], job["name"]), job["lpips"])
    _pictures(folder, stage.scene, stage.truth, stage.true)
    with tempfile.TemporaryDirectory() as scratch:
        estimator = Estimator(stage.scene, stage.true, Path(scratch))
        for m in missing:
            done[m] = _row(folder, m, job["methods"][m], stage, estimator)
            write_text(folder / "case.json", json.dumps({"rows": done}, indent=1) + "\n")


def _row(folder: Path, m: str, entry: dict, stage: Stage, estimator: Estimator) -> dict:
    """The row of a method; its picture is written."""
    row: dict = {"key": entry["key"]}
    try:
        config = None if entry["settings"] is None else from_dict(InsertConfig, entry["settings"], f"settings of {m}")
        row["figures"], picture = stage.judged(estimator(m, config))
        write_png(folder / f"{m}.png", picture)
    except Exception as problem:
        traceback.print_exc()
        row = {"key": entry["key"], "error": f"{type(problem).__name__}: {problem}"}
    return row


def finished(folder: Path, job: dict) -> dict[str, dict]:
    """Method -> row of those that were done without error and with the very settings of ``job``. Files that are
    missing, damaged or of other settings hold nothing."""
    try:
        rows = json.loads((folder / "case.json").read_text())["rows"]
        return {m: row for m, row in rows.items() if m in job["methods"] and row["key"] == job["methods"][m]["key"]
                and "figures" in row and (folder / f"{m}.png").is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _pictures(folder: Path, scene: Scene, truth: Shown, true: EnvMap) -> None:
    write_png(folder / "plate-tile.png", tile(scene.plate.disp, None))
    write_png(folder / "truth-tile.png", tile(truth.disp, true))


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    run(Path(sys.argv[1]))
