"""One light update: transport against path replay, their noise and time (``benchmarks.speed``, second part)."""
from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial

from benchmarks.common import DEMO, markdown

RATIO_BAR = 20.0
RECORDINGS = {"default": {}, "fast": {"samples": 4, "light_samples": 2},
              "coarse": {"samples": 2, "bsdf_samples": 2, "light_samples": 1}}


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

        def image(light):
            return composite(self.work, self.work.transport.passes(light), None, None)

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

        def distance(x):
            return float(x / reference.mean(0).norm())

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


# --------------------------------------------------------------------------------------------------------------- table
def verdict(value: float, bar: float, least: bool = False) -> str:
    return "met" if (value >= bar if least else value <= bar) else "missed"


def table(part: dict) -> str:
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
