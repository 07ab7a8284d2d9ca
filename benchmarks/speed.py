"""Time and memory: the whole run, one light update through transport against path replay, the start of the program.

1. `dipir insert scenes/demo.yaml`, final picture 512 wide, presets default and fast: wall time, peak memory.
2. One light update (forward, composite, backward to a 16x32 map) at 64x64 pixels. The image's gradient is held fixed,
   as score distillation hands it down, so what differs between two runs is the renderer's noise alone: the variance of
   the map's gradient over seeds, summed over texels, divided by the squared length of the mean gradient. Transport is
   noisy in its recording only; path replay is noisy in every step.
3. `import dipir` and `dipir --help`, fresh processes, interpreter included.
4. The parts `full`, `plain`, `noise` and `preview`, only when named: full-size pictures (benchmarks/speed_full.py).
5. The part `gpu`, only when named: what a GPU does in a second (benchmarks/speed_gpu.py); exit code 2 without one.

usage: python -m benchmarks.speed [--parts run,update,start] [--seeds 12] [--spp 4,16,64,256] [--set key=value]
                                  [--name speed]
       python -m benchmarks.speed --parts full,plain,noise,preview --name speed_full
       python -m benchmarks.speed --parts gpu [--minutes 8] [--smoke] [--name gpu/speed]
"""
from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import speed_full
from benchmarks.common import RESULTS, machine, markdown, write

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "scenes" / "demo.yaml"
PARTS = ("run", "update", "start")
MORE = (*speed_full.PARTS, "gpu")  # Only when named.
RUN_BARS = {"default": (120.0, 4.0), "fast": (30.0, 4.0)}  # Seconds, GiB.
START_BARS = {"import dipir": 0.3, "dipir --help": 0.5}
RATIO_BAR = 20.0
RECORDINGS = {"default": {}, "fast": {"samples": 4, "light_samples": 2},
              "coarse": {"samples": 2, "bsdf_samples": 2, "light_samples": 1}}


# ------------------------------------------------------------------------------------------------- whole program
def timed_process(command: list[str]) -> tuple[float, float]:
    """(seconds, peak GiB) of a process that must succeed."""
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            sys.exit(f"benchmarks.speed: {' '.join(command)} ended with {process.returncode}:\n"
                     f"{log.read().decode()[-2000:]}")
    return seconds, usage.ru_maxrss / 2**20


def whole_runs(overrides: list[str]) -> dict:
    """Preset -> seconds and peak GiB."""
    results = {}
    for preset in RUN_BARS:
        with tempfile.TemporaryDirectory() as out:
            settings = [word for s in ("final.size=512", *overrides) for word in ("--set", s)]
            seconds, peak = timed_process([sys.executable, "-m", "dipir", "insert", str(DEMO), "--preset", preset,
                                           "--out", out, "--quiet", *settings])
        bar_s, bar_gib = RUN_BARS[preset]
        results[preset] = {"seconds": seconds, "peak_gib": peak, "bar_s": bar_s, "bar_gib": bar_gib}
    return results


def starts(repeats: int = 7) -> dict:
    """Median seconds of fresh processes."""
    commands = {"import dipir": ["-c", "import dipir"], "dipir --help": ["-m", "dipir", "--help"]}
    return {name: {"seconds": statistics.median(timed_process([sys.executable, *words])[0] for _ in range(repeats)),
                   "bar_s": START_BARS[name]} for name, words in commands.items()}


# ---------------------------------------------------------------------------------------------- one light update
class Update:
    """The demo scene at the prior's resolution, its starting light, and the fixed gradient of its composite."""

    def __init__(self) -> None:
        from dipir.image.files import read_envmap
        from dipir.insert.config import load_config
        from dipir.insert.problem import composite, prepare
        from dipir.priors.insertion import SIZE
        from dipir.scene.scene_file import build_scene, load_scene_file

        self.file = load_scene_file(DEMO)
        self.scene = build_scene(self.file, str(DEMO))
        self.config = load_config("default", None, ["light.start=mirrored"])
        self.work = prepare(self.scene, self.config, SIZE, None)
        self.camera = self.work.window.camera(self.scene.camera, SIZE)
        image = lambda light: composite(self.work, self.work.transport.passes(light), None, None)
        # From the starting light's composite towards that of the true light: a direction that a fit would be given.
        self.gradient = (image(self.work.start) - image(read_envmap(self.file.light))).detach()

    def step(self, passes: Callable):
        """(seconds, gradient (16, 32, 3)) of one update through ``passes(light)``."""
        from dipir.insert.problem import composite

        light = self.work.start.clone().requires_grad_()
        began = time.perf_counter()
        composite(self.work, passes(light), None, None).backward(self.gradient)
        return time.perf_counter() - began, light.grad.double()


def transport_curve(update: Update, seeds: int) -> tuple[list[dict], object]:
    """Points over the recording's quality, and the mean gradient of the default one."""
    from dataclasses import replace

    import torch

    from dipir.render.transport import Transport

    points, reference = [], None
    for name, change in RECORDINGS.items():
        settings = replace(update.config.transport, **change)
        Transport.record(update.scene, update.camera, settings)  # Kernels are compiled here.
        recording, times, gradients = [], [], []
        for seed in range(1, seeds + 1):
            began = time.perf_counter()
            maps = Transport.record(update.scene, update.camera, replace(settings, seed=seed))
            recording.append(time.perf_counter() - began)
            update.step(maps.passes)
            steps = [update.step(maps.passes) for _ in range(5)]
            times.append(statistics.median(s[0] for s in steps))
            gradients.append(steps[0][1])
        stack = torch.stack(gradients)
        reference = stack if reference is None else reference
        points.append({"method": "transport", "setting": name, "step_s": statistics.median(times),
                       "record_s": statistics.median(recording), "variance": relative_variance(stack, reference)})
    return points, reference


def path_curve(update: Update, spps: list[int], seeds: int, reference) -> list[dict]:
    """Points over the samples a pixel; "apart" is the relative distance of the two methods' mean gradients, and what
    their noise alone would give."""
    import torch

    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings

    settings = RenderSettings(max(spps), update.config.transport.depth)
    tracer = PathTracer(update.scene, update.camera, settings, gbuffer_samples=16)
    points = []
    for spp in spps:
        runs = [update.step(partial(tracer.passes, seed=seed, spp=spp)) for seed in range(seeds + 1)]
        runs = runs[1:]  # Kernels were compiled in the first.
        stack = torch.stack([g for _, g in runs])
        distance = lambda x: float(x / reference.mean(0).norm())
        apart = distance((stack.mean(0) - reference.mean(0)).norm())
        chance = distance((stack.var(0) / len(stack) + reference.var(0) / len(reference)).sum().sqrt())
        points.append({"method": "path replay", "setting": f"{spp} spp", "spp": spp,
                       "step_s": statistics.median(t for t, _ in runs),
                       "variance": relative_variance(stack, reference), "apart": apart, "apart_by_chance": chance})
    return points


def relative_variance(gradients, reference) -> float:
    """Sum over texels of the variance over seeds / squared length of the mean gradient of ``reference`` (whose own
    noise is taken off)."""
    energy = reference.mean(0).square().sum() - reference.var(0).sum() / len(reference)
    return float(gradients.var(0).sum() / energy)


def equal_variance(transport: dict, paths: list[dict]) -> dict:
    """Path replay at transport's variance: variance = c / spp with c the geometric mean over the points, time =
    a + b spp by least squares. ``ratio_samples`` leaves out a, the fixed cost of building the graph."""
    import numpy as np

    spps, seconds = (np.array([p[k] for p in paths], float) for k in ("spp", "step_s"))
    noise = np.array([p["variance"] for p in paths])
    several = len(paths) > 1
    slope, fixed = np.polyfit(spps, seconds, 1) if several else (seconds[0] / spps[0], 0.0)
    # Less than one sample a pixel cannot be had.
    spp = max(1.0, float(np.exp(np.log(noise * spps).mean()) / transport["variance"]))
    cost = max(float(fixed + slope * spp), 1e-9)
    saved = cost - transport["step_s"]
    return {"setting": transport["setting"], "spp": spp, "extrapolated": bool(spp > spps.max()), "path_s": cost,
            "fixed_s": float(fixed), "transport_s": transport["step_s"], "ratio": cost / transport["step_s"],
            "ratio_samples": float(slope * spp / transport["step_s"]),
            "pays_off_after": transport["record_s"] / saved if saved > 0 else None,
            "law": float(np.polyfit(np.log(spps), np.log(noise), 1)[0]) if several else None, "bar": RATIO_BAR}


def update_part(spps: list[int], seeds: int) -> dict:
    update = Update()
    transport, reference = transport_curve(update, max(2, seeds // 2))
    paths = path_curve(update, spps, seeds, reference)
    return {"points": transport + paths, "equal": [equal_variance(t, paths) for t in transport], "seeds": seeds,
            "pixels": update.camera.width, "texels": list(update.work.start.shape[:2])}


# -------------------------------------------------------------------------------------------------------- report
def verdict(value: float, bar: float, least: bool = False) -> str:
    return "met" if (value >= bar if least else value <= bar) else "missed"


def table(result: dict) -> str:
    """Markdown."""
    text = f"Made by `{result['command']}`; {result['machine']}; load average at the start {result['load']:.1f}.\n"
    if "run" in result:
        rows = [["preset", "time (s)", "bar", "", "peak memory (GiB)", "bar", ""]]
        rows += [[k, f"{v['seconds']:.1f}", f"{v['bar_s']:.0f}", verdict(v["seconds"], v["bar_s"]),
                  f"{v['peak_gib']:.2f}", f"{v['bar_gib']:.0f}", verdict(v["peak_gib"], v["bar_gib"])]
                 for k, v in result["run"].items()]
        text += f"\n## Whole run, demo scene, 512 wide{_with(result['set'])}\n\n" + markdown(rows)
    text += speed_full.table(result)
    if "update" in result:
        text += _update_table(result["update"])
    if "start" in result:
        rows = [["command", "time (s), median of 7", "bar", ""]]
        rows += [[k, f"{v['seconds']:.2f}", f"{v['bar_s']}", verdict(v["seconds"], v["bar_s"])]
                 for k, v in result["start"].items()]
        text += "\n## Start, fresh process\n\n" + markdown(rows)
    return text


def _with(overrides: list[str]) -> str:
    return f", with {', '.join(overrides)}" if overrides else ""


def _update_table(part: dict) -> str:
    curves = [["method", "setting", "update (ms)", "recording, once (s)", "relative gradient variance",
               "mean gradient apart (by chance)"]]
    for p in part["points"]:
        apart = f"{p['apart']:.1%} ({p['apart_by_chance']:.1%})" if "apart" in p else "-"
        curves.append([p["method"], p["setting"], f"{1e3 * p['step_s']:.2f}",
                       f"{p['record_s']:.2f}" if "record_s" in p else "-", f"{p['variance']:.2e}", apart])
    equal = [["recording", "path replay needs (spp)", "path replay (ms)", "transport (ms)", "ratio", "bar", "",
              "ratio without the fixed cost", "recording pays off after (updates)"]]
    for e in part["equal"]:
        pays = "never" if e["pays_off_after"] is None else f"{math.ceil(e['pays_off_after'])}"
        equal.append([e["setting"], f"{e['spp']:.0f}" + (" (extrapolated)" if e["extrapolated"] else ""),
                      f"{1e3 * e['path_s']:.0f}", f"{1e3 * e['transport_s']:.2f}", f"{e['ratio']:.0f}",
                      f"{e['bar']:.0f}", verdict(e["ratio"], e["bar"], True), f"{e['ratio_samples']:.0f}", pays])
    law, fixed = part["equal"][0]["law"], part["equal"][0]["fixed_s"]
    measured = "assumed from one point" if law is None else f"measured exponent {law:.2f}"
    size = f"{part['pixels']}x{part['pixels']} pixels to a {part['texels'][0]}x{part['texels'][1]} map"
    about = ("relative to the squared mean gradient. Transport's error is drawn once, in the recording, and is "
             "the same in every update; path replay draws a new one each time.")
    return (f"\n## One light update, {size}\n\nVariance over {part['seeds']} seeds (recordings: half as many), "
            f"{about}\n\n"
            + markdown(curves) + f"\nAt equal gradient variance (variance = c / spp, {measured}; time linear in spp, "
            f"of which {1e3 * fixed:.0f} ms go into building the graph whatever the spp):\n\n" + markdown(equal))


def main(arguments: list[str] | None = None) -> int | None:
    """See the module's text; an exit code other than 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--spp", default="4,16,64,256")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting of the whole runs")
    parser.add_argument("--name", help="of the files of results (default: speed; gpu/speed for the part gpu)")
    parser.add_argument("--merge", action="store_true", help="keep the other parts of the earlier result of that name")
    parser.add_argument("--minutes", type=float, default=8.0, help="of the part gpu: wall time")
    parser.add_argument("--smoke", action="store_true", help="of the part gpu: tiny, on the CPU; nothing is written")
    args = parser.parse_args(arguments)
    parts = args.parts.split(",")
    if set(parts) - {*PARTS, *MORE}:
        sys.exit(f"benchmarks.speed: --parts {args.parts}: accepted are {', '.join((*PARTS, *MORE))}")
    if "gpu" in parts:
        from benchmarks import speed_gpu

        return speed_gpu.main(args)  # Other figures come from other machines: they keep their own file.
    words = [*([f"--parts {args.parts}"] if set(parts) != set(PARTS) else []),
             *([f"--seeds {args.seeds}", f"--spp {args.spp}"] if "update" in parts else []),
             *(f"--set {s}" for s in args.set), *([f"--name {args.name}"] if args.name else []),
             *(["--merge"] if args.merge else [])]
    result = {"command": f"python -m benchmarks.speed {' '.join(words)}", "machine": machine(),
              "load": os.getloadavg()[0], "set": args.set}
    result |= speed_full.measure(parts, timed_process)
    if "start" in parts:
        result["start"] = starts()
    if "run" in parts:
        result["run"] = whole_runs(args.set)
    if "update" in parts:
        result["update"] = update_part([int(s) for s in args.spp.split(",")], args.seeds)
    earlier = RESULTS / f"{args.name or 'speed'}.json"
    if args.merge and earlier.is_file():
        kept = json.loads(earlier.read_text())
        result = {**kept, **result, "command": f"{kept['command']}`, then `{result['command']}"}
    write(args.name or "speed", result, table(result))
    return None


if __name__ == "__main__":
    sys.exit(main())
