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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import DEMO, ROOT, markdown, timed_process
from benchmarks.speed import final
from benchmarks.speed.final import BEFORE_SPP

FULL_BARS = {("1280x960", "default"): 30.0, ("1280x960", "fast"): 15.0, ("24 MP", "default"): None}
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


def full_part() -> list[dict]:
    """Rows of `full`."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scenes = {"1280x960": DEMO, "24 MP": enlarged_demo(folder)}
        for (size, preset), bar in FULL_BARS.items():
            stages = folder / "stages.json"
            seconds, peak = timed_process([sys.executable, "-m", "benchmarks.speed.full", "run", str(scenes[size]),
                                           preset, str(folder / f"{size}{preset}"), str(stages)])
            rows.append({"size": size, "preset": preset, "seconds": seconds, "peak_gib": peak, "bar_s": bar,
                         "stages": json.loads(stages.read_text())})
    return rows


# ------------------------------------------------------------------------------------------------------------ tables
def table(results: dict) -> str:
    """Markdown of the parts that are there."""

    def met(good):
        return "met" if good else "missed"

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


def measure(parts: list[str]) -> dict:
    """Part name -> figures."""
    results: dict = {}
    if "full" in parts:
        results["full"] = full_part()
    with tempfile.TemporaryDirectory() as temporary:
        out, json_file = Path(temporary) / "demo", Path(temporary) / "part.json"
        if {"plain", "noise"} & set(parts):
            timed_process([sys.executable, "-m", "dipir", "insert", str(DEMO), "--out", str(out), "--quiet",
                           "--set", "final.size=256"])
        for part in ("plain", "noise", "preview"):
            if part in parts:
                subprocess.run([sys.executable, "-m", "benchmarks.speed.full", part, str(out), str(json_file)],
                               cwd=ROOT, check=True)
                results[part] = json.loads(json_file.read_text())
    return results


def main(arguments: list[str]) -> None:
    """One part, in a process of its own; figures as JSON in the last argument's file."""
    kind, *rest = arguments
    if kind == "run":
        found: object = staged_run(Path(rest[0]), rest[1], Path(rest[2]))
    else:
        found = {"plain": final.plain_part, "noise": final.noise_part,
                 "preview": lambda _: final.preview_part()}[kind](Path(rest[0]))
    Path(rest[-1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
