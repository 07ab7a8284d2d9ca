"""The part ``gpu`` of the speed benchmark: ``python -m benchmarks.speed --parts gpu [--minutes 8] [--smoke]``.

Every measurement is a process of its own (``speed/job.py``), so that one that crashes, hangs or runs out of memory is
a row of the table and not the end; what does not fit in ``--minutes`` is said to be missing. Most important first.

* LDS iteration at 512 x 512 with Stable Diffusion 1.5's architecture (random weights, the real loader), preset
  ``paper``: wall time of 50 iterations after 10; then 20 with timers around the stages
* the whole of ``paper`` on the demo: 600 LDS iterations, 1,000 LoRA steps, concept images, final render
* ``dipir insert`` of the demo with the embedded prior, second of two fresh processes
* path tracer, transport, relighting preview, training
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT, machine, markdown, without_paths, write
from dipir import device
from dipir.errors import DipirError

JOBS = ("folder", "lds", "insert_default", "insert_fast", "path_traced", "transport", "training", "paper", "compiled")
COMPILING_S = 90.0  # More is not waited for torch.compile: it is an option, not the rule.


@dataclass(frozen=True)
class Figure:
    """A row."""

    text: str
    job: str  # the measurement it comes from
    key: str  # of its value there, ``a/b`` for nested ones
    unit: str
    bar: float | None = None  # to be met, None = none
    least: bool = False  # the bar is a lower one
    factor: float = 1.0  # on it
    digits: int = 1  # after the point


FIGURES = (
    Figure("LDS iteration, SD 1.5, {size} x {size}, {dtype}", "lds", "ms", "ms", 45),
    Figure("of it in the U-Net", "lds", "unet_share", "%", 60, True, 100, 0),
    Figure("the same with torch.compile", "compiled", "ms", "ms"),
    Figure("{steps[fit]} LDS iterations + {steps[personalise]} LoRA steps, demo, whole run", "paper", "seconds", "s",
           90),
    Figure("insert, embedded prior, preset default, warm kernel cache", "insert_default", "seconds", "s", 8),
    Figure("the same with an empty kernel cache", "insert_default", "cold_s", "s"),
    Figure("insert, preset fast, warm kernel cache", "insert_fast", "seconds", "s"),
    Figure("path traced samples of the objects, {size[0]} x {size[1]}, {spp} spp", "path_traced", "mega_per_s",
           "million/s"),
    Figure("light update through transport, {update_pixels} x {update_pixels} pixels, 16 x 32 texels", "transport",
           "update_ms", "ms", digits=2),
    Figure("relighting preview, {preview_pixels} x {preview_pixels}", "transport", "preview_per_s", "/s", 100, True,
           digits=0),
    Figure("training steps of the light prior, batches of {batch}", "training", "per_s", "/s"))


def main(args: argparse.Namespace) -> int:
    """Measure and write ``results/gpu/speed``; with ``args.smoke`` only print. 2 where there is no GPU, 1 when a
    measurement failed."""
    try:
        chosen = device.Device("cpu", device.LLVM, "cpu") if args.smoke else _gpu()
    except DipirError as problem:
        print(f"benchmarks.speed: --parts gpu: {problem}", file=sys.stderr)
        return 2
    words = ([f"--minutes {args.minutes:g}"] if args.minutes != 8 else []) + (["--smoke"] if args.smoke else [])
    found = {"command": " ".join(["python -m benchmarks.speed --parts gpu", *words]), "machine": machine(_name(chosen)),
             "load": os.getloadavg()[0], "jobs": measure(chosen, args.minutes * 60, args.smoke)}
    if args.smoke:
        print(table(found))
    else:
        write(args.name or "gpu/speed", found, table(found))
    return int(any("failed" in job for job in found["jobs"].values()))


def _gpu() -> device.Device:
    """The run's device, which must be a GPU. ConfigError otherwise."""
    os.environ.setdefault("DIPIR_DEVICE", "cuda")
    if os.environ["DIPIR_DEVICE"] in ("auto", "cpu"):
        os.environ["DIPIR_DEVICE"] = "cuda"
    return device.decide()


def _name(chosen: device.Device) -> str | None:
    if not chosen.gpu:
        return None
    import torch

    return (f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, renderer {chosen.variant}"
            + (f" ({chosen.why})" if chosen.why else ""))


# --------------------------------------------------------------------------------------------------------- measuring
def measure(chosen: device.Device, seconds: float, smoke: bool) -> dict[str, dict]:
    """Job -> what it found, or ``failed`` with the reason, or ``left_out``."""
    ends, found = time.monotonic() + seconds, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in JOBS:
            left = ends - time.monotonic()
            if name == "compiled":
                left = min(left, COMPILING_S)
            if smoke and name == "compiled":
                found[name] = {"left_out": "compiling takes minutes on a CPU"}
            elif left < 5:
                found[name] = {"left_out": "no time left"}
            elif name in ("lds", "paper", "compiled") and "seconds" not in found["folder"]:
                found[name] = {"failed": "the prior's folder could not be written"}
            else:
                print(f"benchmarks.speed: {name} ({left:.0f} s left)", file=sys.stderr, flush=True)
                found[name] = job(name, Path(folder), left, chosen, smoke)
    if "failed" in found["compiled"]:
        # An option, which needs a C compiler and patience: no failure of the program.
        found["compiled"] = {"left_out": found["compiled"]["failed"]}
    if "stages" in found["lds"]:
        found["lds"]["unet_share"] = found["lds"]["stages"]["U-Net"] / found["lds"]["split_ms"]
    return found


def job(name: str, folder: Path, left: float, chosen: device.Device, smoke: bool) -> dict:
    """One measurement in a child process."""
    out = folder / f"{name}.json"
    command = [sys.executable, "-m", "benchmarks.speed.job", name, str(folder / "sd15"), str(out), f"{left:.1f}",
               *(["--smoke"] if smoke else [])]
    try:
        run = subprocess.run(command, cwd=ROOT, env={**os.environ, "DIPIR_DEVICE": chosen.asked}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=left)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done within {left:.0f} s"}
    if run.returncode or not out.is_file():
        sys.stderr.write(run.stdout[-3000:])
        last = (run.stdout.strip().splitlines() or ["no output"])[-1]
        return {"failed": f"exit code {run.returncode}: {shortened(last)}"}
    return json.loads(out.read_text())


def shortened(text: str, longest: int = 160) -> str:
    """For a table: one short line without folders of the machine."""
    text = without_paths(text).replace("|", "/")
    return text if len(text) <= longest else text[:longest] + "..."


# -------------------------------------------------------------------------------------------------------- the report
def table(found: Mapping) -> str:
    """Markdown."""
    jobs = found["jobs"]
    rows = [["figure", "measured", "bar", "", "peak GPU memory (GiB)"], *(row(f, jobs[f.job]) for f in FIGURES)]
    text = (f"Made by `{found['command']}`; {found['machine']}; load average at the start {found['load']:.1f}.\n\n"
            + markdown(rows))
    if "stages" in jobs["lds"]:
        text += "\n" + _stages(jobs["lds"])
    if "step_s" in jobs["paper"]:
        text += "\n" + _paper(jobs["paper"])
    return text


def row(figure: Figure, job: Mapping) -> list[str]:
    """The cells of a figure; what is missing says why."""
    bar = "" if figure.bar is None else f"{'at least ' if figure.least else ''}{figure.bar:g} {figure.unit}"
    missing = job.get("failed") or job.get("left_out")
    if missing:
        text = figure.text.replace("{steps[fit]}", "600").replace("{steps[personalise]}", "1000")
        text = ", ".join(part for part in text.split(", ") if "{" not in part)
        return [text, f"{'failed' if 'failed' in job else 'not measured'}: {missing}", bar,
                "missed" if bar and "failed" in job else "", "-"]
    value = job
    for key in figure.key.split("/"):
        value = value[key]
    value *= figure.factor
    measured = f"{value:.{figure.digits}f} {figure.unit}" + (" (extrapolated)" if job.get("extrapolated") else "")
    met = "" if figure.bar is None else ("met" if (value >= figure.bar if figure.least else value <= figure.bar)
                                         else "missed")
    peak = "-" if job["peak_gib"] is None else f"{job['peak_gib']:.1f}"
    return [figure.text.format(**job), measured, bar, met, peak]


def _stages(lds: Mapping) -> str:
    rows = [["stage", "ms", "share"], *([name, f"{ms:.1f}", f"{ms / lds['split_ms']:.0%}"]
                                        for name, ms in lds["stages"].items()), ["all", f"{lds['split_ms']:.1f}", ""]]
    return ("Stages of an LDS iteration, measured with timers; render is the light's map, transport and composite, "
            "backward all of the gradient through encoder and renderer, host the rest.\n\n" + markdown(rows))


def _paper(paper: Mapping) -> str:
    step, short = paper["step_s"], paper["short"]
    way = (f"**Extrapolated** from a run with {short} steps of each" if paper["extrapolated"] else
           f"Measured; a run with {short} steps of each foretold {paper['foretold_s']:.0f} s")
    return (f"{way}: {1e3 * step['fit']:.0f} ms an iteration of the fit, {1e3 * step['personalise']:.0f} ms a step of "
            "the LoRA. Loading, concept images and the final render are in it.\n")
