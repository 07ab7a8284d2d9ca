"""Full-size pictures: where the time of an insertion goes, the final render beside plain ``mi.render``, its noise.

full     `dipir insert scenes/demo.yaml` at 1280 x 960 (presets default and fast) and with its plate enlarged to 24
         megapixels (default): wall time of a fresh process, split at the events; peak memory.
plain    the final render's passes (G-buffers, object, shadow) at 64 samples a pixel and undenoised, against one plain
         ``mi.render`` (path tracer of the same depth) of objects, ground and environment at 64 samples over the whole
         frame: wall times in one process, kernels compiled before, medians. Both are the same picture but for the
         plate, which only ours can show.
noise    the default final picture against the truth of 4,096 samples: RMSE of the composite, display values, over the
         pixels of objects and every fourth of the shadow (darker by .2 % or more). Beside it 64 samples without
         denoising, what the default was, and the worst of it, the pixels of outlines.
preview  relighting through a recorded transport at 512 x 512, composite included: pictures a second.

Every part is a child process of its own. The light of `plain` and `noise` is the one that the default finds.
"""
from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.common import markdown

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "scenes" / "demo.yaml"
FULL_BARS = {("1280x960", "default"): 30.0, ("1280x960", "fast"): 15.0, ("24 MP", "default"): None}
PLAIN_BAR, NOISE_BAR, PREVIEW_BAR = 1.5, 0.5, 30.0
TRUTH_SPP, BEFORE_SPP = 4096, 64
_STAGES = ("start", "prepare", "prior", "fit", "render", "write")


# --------------------------------------------------------------------------------------------------------- whole runs
def enlarged_demo(folder: Path, megapixels: float = 24.0) -> Path:
    """The demo scene with its plate and pixel coordinates enlarged."""
    import yaml
    from PIL import Image

    scene = yaml.safe_load(DEMO.read_text())
    plate = Image.open(DEMO.parent / scene["plate"]).convert("RGB")
    factor = (megapixels * 1e6 / (plate.width * plate.height)) ** 0.5
    size = (round(plate.width * factor), round(plate.height * factor))
    plate.resize(size, Image.LANCZOS).save(folder / "plate.png")
    objects = [{**o, "asset": str((DEMO.parent / o["asset"]).resolve()), "at": [round(v * factor) for v in o["at"]]}
               for o in scene["objects"]]
    path = folder / "large.yaml"
    path.write_text(yaml.safe_dump({"plate": "plate.png", "prompt": scene["prompt"], "camera": scene["camera"],
                                    "objects": objects}))
    return path


def staged_run(scene: Path, preset: str, out: Path, settings: list[str] | None = None) -> dict[str, float]:
    """Seconds of each stage of one insertion, as the command makes it; called in a process that has just begun."""
    began = time.perf_counter()
    from dipir.cli import main as cli
    from dipir.fit.loop import Event
    from dipir.insert import method, result

    marks: list[tuple[str, float]] = [("start", began)]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))

    def on_event(event: Event) -> None:
        stage = {"posterior": "prior", "personalise": "prior"}.get(event.stage, event.stage)
        if stage in _STAGES and stage != marks[-1][0]:
            mark(stage)

    insert, save = method.insert, result.save

    def watched(*args, on_event: Callable = lambda event: None, **kwargs):
        return insert(*args, on_event=lambda event: (show(event), on_event(event)), **kwargs)

    show = on_event
    words = [word for s in settings or [] for word in ("--set", s)]
    try:
        method.insert, result.save = watched, lambda *args: (mark("write"), save(*args))
        if cli.main(["insert", str(scene), "--preset", preset, "--out", str(out), "--quiet", *words]):
            sys.exit(1)
    finally:
        method.insert, result.save = insert, save
    mark("end")
    seconds = dict.fromkeys(_STAGES, 0.0)
    for (name, first), (_, after) in zip(marks, marks[1:], strict=False):
        seconds[name] += after - first
    return seconds


def full_part(timed_process: Callable) -> list[dict]:
    """Rows of `full`; ``timed_process(command) -> (seconds, peak GiB)``."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scenes = {"1280x960": DEMO, "24 MP": enlarged_demo(folder)}
        for (size, preset), bar in FULL_BARS.items():
            stages = folder / "stages.json"
            seconds, peak = timed_process([sys.executable, "-m", "benchmarks.speed_full", "run", str(scenes[size]),
                                           preset, str(folder / f"{size}{preset}"), str(stages)])
            rows.append({"size": size, "preset": preset, "seconds": seconds, "peak_gib": peak, "bar_s": bar,
                         "stages": json.loads(stages.read_text())})
    return rows


# -------------------------------------------------------------------------------------------------- the final render
class Demo:
    """The demo at full size under the light that the default finds."""

    def __init__(self, result: Path) -> None:
        from dipir import device
        from dipir.insert.config import load_config
        from dipir.insert.result import load_result
        from dipir.scene.scene_file import build_scene, load_scene_file

        saved = load_result(result)
        self.config = load_config("default").final
        self.scene = device.moved(build_scene(load_scene_file(DEMO), str(DEMO)))
        self.light, self.tone, self.tone_shadow = device.moved((saved.light, saved.tone_fg, saved.tone_shadow))
        self.map = self.light.envmap(self.config.env_height, 2 * self.config.env_height)

    def tracer(self, spp: int, even: bool = True):
        from dipir.render.path_traced import PathTracer
        from dipir.render.renderer import RenderSettings

        return PathTracer(self.scene, settings=RenderSettings(spp, self.config.depth, 0, even), gbuffer_samples=16)

    def composite(self, passes):
        """(1, 3, H, W) display."""
        from dipir.insert.final import finish

        return finish(self.scene, passes, self.scene.camera, self.tone, self.tone_shadow)[1]


def median_seconds(work: Callable[[int], object], repeats: int = 5) -> float:
    """Median wall time; the first call, which compiles, is not counted."""
    import drjit as dr

    times = []
    for k in range(repeats + 1):
        began = time.perf_counter()
        work(k)
        dr.sync_thread()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def plain_part(result: Path) -> dict:
    """Seconds of our passes and of plain ``mi.render`` at equal samples a pixel."""
    import torch

    from dipir.render.gbuffer import record_gbuffers

    demo = Demo(result)
    tracer = demo.tracer(BEFORE_SPP)
    ours = {}
    with torch.no_grad():
        ours["G-buffers"] = median_seconds(lambda k: record_gbuffers(tracer.built, tracer.camera, 16, k))
        ours["object"] = median_seconds(lambda k: tracer.object_pass(demo.map, seed=k, spp=BEFORE_SPP))
        ours["shadow"] = median_seconds(lambda k: tracer.shadow_pass(demo.map, seed=k, spp=BEFORE_SPP))
        plain = plain_seconds(demo)
        final = median_seconds(lambda k: default_passes(demo))
    return {"ours": ours, "plain_s": plain, "ratio": sum(ours.values()) / plain, "bar": PLAIN_BAR, "spp": BEFORE_SPP,
            "final_s": final, "final_ratio": final / plain}


def plain_seconds(demo: Demo) -> float:
    """One ``mi.render`` of the whole frame: objects on a grey ground under the map."""
    import drjit as dr
    import numpy as np

    from dipir.render.backend import mitsuba
    from dipir.render.bridge import padded_envmap, to_drjit
    from dipir.render.mitsuba_scene import make_mesh, sensor_dict

    mi = mitsuba()
    content = {"type": "scene", "environment": {"type": "envmap", "bitmap": mi.Bitmap(np.ones((8, 16, 3), np.float32))},
               "ground": {"type": "rectangle", "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], -90).scale(1e3)}}
    for i, placed in enumerate(demo.scene.objects):
        content |= {f"o{i}_{j}": make_mesh(part, f"o{i}_{j}") for j, part in enumerate(placed.parts)}
    scene = mi.load_dict(content)
    params = mi.traverse(scene)
    params["environment.data"] = to_drjit(padded_envmap(demo.map))
    params.update()
    sensor = mi.load_dict(sensor_dict(demo.scene.camera, BEFORE_SPP))
    path = mi.load_dict({"type": "path", "max_depth": demo.config.depth + 1})
    return median_seconds(lambda k: dr.eval(mi.render(scene, integrator=path, sensor=sensor, spp=BEFORE_SPP, seed=k)))


def default_passes(demo: Demo):
    """Final passes as the default makes them, scene loading and denoiser included."""
    from dipir.insert.config import load_config
    from dipir.insert.final import final_passes

    return final_passes(demo.scene, demo.light, load_config("default"), lambda event: None)[0]


def noise_part(result: Path) -> dict:
    """Errors of the default and of 64 plain samples against the truth."""
    import torch

    demo = Demo(result)
    tracer = demo.tracer(BEFORE_SPP)
    with torch.no_grad():
        true, judged = truth(demo, tracer)
        wanted = demo.composite(true)
        thing = true.alpha > 0
        shade = ((1 - true.shadow_ratio).amax(1, keepdim=True) > 0.002) & ~thing & judged
        parts = {"all": thing | shade, "object": thing, "outline": thing & (true.alpha < 0.999), "shadow": shade}

        def errors(passes) -> dict[str, float]:
            gap = (demo.composite(passes) - wanted).square().mean(1, keepdim=True)
            weight = torch.where(shade, 4.0, 1.0)  # Each of the shadow stands for four.
            return {name: float(((gap * weight)[where].sum() / weight[where].sum()).sqrt())
                    for name, where in parts.items()}

        before = errors(tracer.passes(demo.map, seed=1, spp=BEFORE_SPP))
        now = errors(default_passes(demo))
    return {"before": before, "now": now, "ratio": now["all"] / before["all"], "bar": NOISE_BAR, "spp": TRUTH_SPP,
            "final_spp": demo.config.spp}


def truth(demo: Demo, tracer):
    """(passes of TRUTH_SPP samples, each of another seed than what is judged; (1, 1, H, W) bool where their shadow is
    known: at the objects, and at every fourth pixel that can have one)."""
    import torch

    from dipir.render.proxy_pass import Sites, Traced, trace
    from dipir.render.proxy_sites import possible

    runs = TRUTH_SPP // BEFORE_SPP
    shots = [tracer.object_pass(demo.map, seed=1000 + k, spp=BEFORE_SPP) for k in range(runs)]
    colour, alpha = (sum(s[k] for s in shots) / runs for k in (0, 1))
    pixels = possible(tracer.built, tracer.camera, demo.map, 1).flatten().nonzero()[:, 0]
    pixels = pixels[(alpha.flatten()[pixels] > 0) | (torch.arange(len(pixels), device=pixels.device) % 4 == 0)]
    lit = blocked = 0.0
    for k in range(runs):
        one = trace(tracer.built, tracer.camera, Sites(pixels), demo.map, seed=1000 + k, spp=BEFORE_SPP)
        lit, blocked = lit + one.lit, blocked + one.blocked
    width, height = demo.scene.camera.width, demo.scene.camera.height
    ratio = torch.ones(height * width, 3, device=colour.device).index_put((pixels,), Traced(lit, blocked).ratio)
    ground = (tracer.gbuffers.ground > 0).float()
    known = torch.zeros_like(ground, dtype=torch.bool).flatten().index_fill(0, pixels, True).reshape(ground.shape)
    from dipir.render.renderer import Passes

    return Passes(colour, ground.expand(-1, 3, -1, -1), ratio.T.reshape(1, 3, height, width) * ground,
                  replace(tracer.gbuffers, alpha=alpha)), known


# ----------------------------------------------------------------------------------------------------------- preview
def preview_part(size: int = 512) -> dict:
    """Pictures a second: light in, composite out."""
    import torch

    from dipir import device
    from dipir.image.composite import flatten_disp, insert_layers
    from dipir.insert.config import load_config
    from dipir.render.transport import Transport
    from dipir.scene.framing import working_window
    from dipir.scene.scene_file import build_scene, load_scene_file

    scene = device.moved(build_scene(load_scene_file(DEMO), str(DEMO)))
    window = working_window(scene.objects, scene.camera)
    began = time.perf_counter()
    whole = Transport.record(scene, window.camera(scene.camera, size), load_config("fast").transport)
    small = whole.compact()
    seconds = time.perf_counter() - began
    lin, disp = window.cut(scene.plate.lin, size), window.cut(scene.plate.disp, size)
    lights = torch.rand(8, 16, 32, 3, generator=torch.Generator().manual_seed(0)).to(lin.device)

    def shot(k: int):
        passes = small.passes(lights[k % 8])
        return flatten_disp(insert_layers(lin, disp, passes.object_rgb, passes.alpha, passes.shadow_ratio))

    with torch.no_grad():
        each = median_seconds(shot, 60)
    return {"size": size, "a_second": 1 / each, "bar": PREVIEW_BAR, "record_s": seconds,
            "mib": small.nbytes / 2**20, "mib_dense": whole.nbytes / 2**20}


# ------------------------------------------------------------------------------------------------------------ tables
def table(results: dict) -> str:
    """Markdown of the parts that are there."""
    met = lambda good: "met" if good else "missed"
    text = ""
    if "full" in results:
        rows = [["picture, preset", "time (s)", "bar (s)", "peak memory (GiB)", "start / prepare / prior / fit / "
                                                                                "render / write (s)"]]
        for r in results["full"]:
            bar = "-" if r["bar_s"] is None else f"{r['bar_s']:.0f}, {met(r['seconds'] <= r['bar_s'])}"
            rows.append([f"{r['size']}, {r['preset']}", f"{r['seconds']:.1f}", bar, f"{r['peak_gib']:.2f}",
                         " / ".join(f"{r['stages'][s]:.1f}" for s in _STAGES)])
        text += "\n## Whole run, demo scene at full size\n\n" + markdown(rows)
    if "plain" in results:
        p = results["plain"]
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in p["ours"].items())
        rows = [["final render", "time (s)", "over plain", "bar"],
                [f"plain `mi.render`, {p['spp']} samples a pixel", f"{p['plain_s']:.2f}", "1", ""],
                [f"ours, {p['spp']} samples a pixel ({parts})", f"{sum(p['ours'].values()):.2f}", f"{p['ratio']:.2f}",
                 f"{p['bar']}, {met(p['ratio'] <= p['bar'])}"],
                ["ours as the default renders: fewer samples, scene loaded, denoised", f"{p['final_s']:.2f}",
                 f"{p['final_ratio']:.2f}", ""]]
        text += "\n## Final render, demo scene at 1280 x 960\n\n" + markdown(rows)
    if "noise" in results:
        n = results["noise"]
        rows = [["RMSE against the truth", *n["before"]],
                [f"{BEFORE_SPP} samples, not denoised", *(f"{v:.5f}" for v in n["before"].values())],
                [f"default ({n['final_spp']} samples, denoised)", *(f"{v:.5f}" for v in n["now"].values())]]
        text += (f"\n## Noise of the final picture\n\nTruth: {n['spp']:,} samples. Display values. Ratio over all "
                 f"{n['ratio']:.2f}; bar {n['bar']}, {met(n['ratio'] <= n['bar'])}.\n\n" + markdown(rows))
    if "preview" in results:
        v = results["preview"]
        rows = [["relighting preview", "pictures a second", "bar", "recorded in (s)", "maps (MiB), as dense ones"],
                [f"{v['size']}x{v['size']}", f"{v['a_second']:.0f}",
                 f"{v['bar']:.0f}, {met(v['a_second'] >= v['bar'])}", f"{v['record_s']:.1f}",
                 f"{v['mib']:.0f}, {v['mib_dense']:.0f}"]]
        text += "\n## Relighting through transport\n\n" + markdown(rows)
    return text


PARTS = ("full", "plain", "noise", "preview")


def measure(parts: list[str], timed_process: Callable) -> dict:
    """Part name -> figures."""
    results: dict = {}
    if "full" in parts:
        results["full"] = full_part(timed_process)
    with tempfile.TemporaryDirectory() as temporary:
        out, json_file = Path(temporary) / "demo", Path(temporary) / "part.json"
        if {"plain", "noise"} & set(parts):
            timed_process([sys.executable, "-m", "dipir", "insert", str(DEMO), "--out", str(out), "--quiet",
                           "--set", "final.size=256"])
        for part in ("plain", "noise", "preview"):
            if part in parts:
                subprocess.run([sys.executable, "-m", "benchmarks.speed_full", part, str(out), str(json_file)],
                               cwd=ROOT, check=True)
                results[part] = json.loads(json_file.read_text())
    return results


def main(arguments: list[str]) -> None:
    """One part, in a process of its own; figures as JSON in the last argument's file."""
    kind, *rest = arguments
    if kind == "run":
        found: object = staged_run(Path(rest[0]), rest[1], Path(rest[2]))
    else:
        found = {"plain": plain_part, "noise": noise_part, "preview": lambda _: preview_part()}[kind](Path(rest[0]))
    Path(rest[-1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
