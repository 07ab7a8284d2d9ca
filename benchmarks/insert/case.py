"""The cases of one plate in a process of their own (Mitsuba keeps the memory of scenes).

usage: python -m benchmarks.insert.case FOLDER PARENT

FOLDER/job.json names the folders of the cases (``benchmarks.insert`` writes it), and CASE/job.json of each says what to
do. Every method that is done is added at once to CASE/case.json, beside its picture CASE/METHOD.png (composite above
light map and shadow from above), so that a run that was stopped goes on there.
"""
from __future__ import annotations

import functools
import json
import math
import sys
import tempfile
import traceback
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.insert.cases import scene_of
from benchmarks.insert.figures import Shown, figures, shown
from benchmarks.insert.lpips import perceptual
from benchmarks.insert.methods import Estimate, Estimator
from benchmarks.insert.shadow import CastShadow, Plan, cast, darkness, shadow_figures
from benchmarks.insert.sheet import tile
from dipir.arrays import EnvMap, split_seed
from dipir.disk import write_text
from dipir.image.files import write_png
from dipir.image.metrics import direction_error_deg
from dipir.insert.config import InsertConfig
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.light import dominant_direction
from dipir.scene.scene import Scene
from dipir.settings.read import from_dict
from dipir.suite.worker import die_with

DEPTH, GUESSES, PLAN_SPP = 4, 3, 64  # With fewer samples of a plan noise has a direction.
OBJECT, SHADOW = {"method": 4.0, "truth": 16.0}, {"method": 1.0, "truth": 4.0}
"""Samples a pixel as multiples of ``--spp``: the object is cheap and glossy, the shadow is dear and smooth. At 64 all
are squares of even numbers, which the samplers spread best. More for the truth change no figure's third digit."""


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

    @functools.cached_property
    def plan(self) -> Plan:
        """The ground from above."""
        return Plan.of(self.scene.objects)

    @property
    def _plan_spp(self) -> int:
        return max(self.spp, PLAN_SPP)

    @functools.cached_property
    def even(self) -> np.ndarray:
        """(H, W) darkness of the plan under even light."""
        light = torch.ones(16, 32, 3)
        return darkness(self.plan.ratio(self.tracer.built, light, split_seed(self.seed, "even"), self._plan_spp))

    @functools.cached_property
    def true_shadow(self) -> tuple[CastShadow, Tensor]:
        """(what the truth casts, its ratio on the plan)."""
        ratio = self.plan.ratio(self.tracer.built, self.true, split_seed(self.seed, "plan of truth"), self._plan_spp)
        return cast(ratio, self.plan, even=self.even), ratio

    @torch.no_grad()
    def judged(self, estimate: Estimate) -> tuple[dict[str, float | None], Tensor]:
        """(figures, picture) of an estimate."""
        got = self.render(estimate)
        row = figures(got, self.truth, estimate.light, self.true)
        row["lpips"] = self.lpips(got.disp, self.truth.disp) if self.lpips else None
        # ---- cast shadow ----
        tone = estimate.tones[1] if estimate.tones else None
        ratio = self.plan.ratio(self.tracer.built, estimate.light, split_seed(self.seed, "plan"), self._plan_spp)
        row |= shadow_figures(cast(ratio, self.plan, tone, self.even), self.true_shadow[0])
        # ---- guesses ----
        errors = [float(direction_error_deg(g, dominant_direction(self.true))) for g in estimate.guesses[:GUESSES]]
        row |= {"first_guess_deg": errors[0] if errors else None, "guesses_deg": min(errors, default=None)}
        row |= {"seconds": round(estimate.seconds, 3), "cpu_seconds": round(estimate.cpu_seconds, 3)}
        return row, tile(got.disp, estimate.light, ratio if tone is None else tone(ratio))


def run(folder: Path, shared: dict | None = None) -> None:
    """The methods that ``case.json`` does not hold yet. One that fails is recorded with its error; the others go on.
    shared : what estimators of the same plate need again"""
    job = json.loads((folder / "job.json").read_text())
    done = finished(folder, job)
    missing = [m for m in job["methods"] if m not in done]
    record = {"rows": done}
    try:
        scene, true = scene_of(Path(job["environment"]), Path(job["mesh"]), job["yaw_deg"], job["size"], job["name"])
        stage = Stage(scene, true, job["spp"], split_seed(job["seed"], job["name"]), job["lpips"])
        record["true_shadow"] = {**asdict(stage.true_shadow[0]), "hard": stage.true_shadow[0].hard}
        _pictures(folder, stage)
    except Exception as problem:
        traceback.print_exc()
        text = f"the case itself: {type(problem).__name__}: {problem}"
        done |= {m: {"key": job["methods"][m]["key"], "error": text} for m in missing}
        write_text(folder / "case.json", json.dumps(record, indent=1) + "\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        estimator = Estimator(stage.scene, stage.true, Path(scratch), shared)
        for m in missing:
            done[m] = _row(folder, m, job["methods"][m], stage, estimator)
            write_text(folder / "case.json", json.dumps(record, indent=1) + "\n")


def _row(folder: Path, m: str, entry: dict, stage: Stage, estimator: Estimator) -> dict:
    """The row of a method; its picture is written."""
    row: dict = {"key": entry["key"]}
    try:
        config = None if entry["settings"] is None else from_dict(InsertConfig, entry["settings"], f"settings of {m}")
        row["figures"], picture = stage.judged(estimator(m, config, entry.get("weights")))
        write_png(folder / f"{m}.png", picture)
    except Exception as problem:
        traceback.print_exc()
        # An older picture of the same name is none of this row.
        (folder / f"{m}.png").unlink(missing_ok=True)
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


def true_shadow(folder: Path) -> dict | None:
    """What the true shadow of a case is (fields of ``CastShadow`` and ``hard``); None when it is not known."""
    try:
        return json.loads((folder / "case.json").read_text())["true_shadow"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pictures(folder: Path, stage: Stage) -> None:
    write_png(folder / "plate-tile.png", tile(stage.scene.plate.disp, None))
    write_png(folder / "truth-tile.png", tile(stage.truth.disp, stage.true, stage.true_shadow[1]))


def run_together(folder: Path) -> None:
    """All cases that ``FOLDER/job.json`` names, one after the other; in case.json of each the fate of its methods."""
    shared: dict = {}
    for case in json.loads((folder / "job.json").read_text())["cases"]:
        print(f"case {case}", file=sys.stderr, flush=True)
        run(Path(case), shared)


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    run_together(Path(sys.argv[1]))
