"""The part `live` of the speed benchmark: how long a person waits while a light or an object is dragged.

Demo scene, whole plate, 256 and 512 pixels on the longer side, one process: seconds to record, and for each of many
frames the time from a changed light to the bytes of a JPEG (transfer to a browser is not in it). Every frame of `sun`
and `window` is another direction, of `strength` another strength, of `ambient` another light around; `moved` is an
object moved, recorded and shown anew. Median and 95th percentile.
"""
from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.common import DEMO, ROOT, markdown

BARS = {("sun", 256): 33.0, ("sun", 512): 100.0, ("moved", 256): 400.0}  # Milliseconds, median.
_WHAT = {"sun": "sun dragged", "window": "window of 23 degrees dragged", "strength": "strength or colour changed",
         "ambient": "light around changed", "full": "all bounces of a new sun", "moved": "object moved"}


def frames_ms(shot: Callable[[int], object], frames: int) -> dict[str, float]:
    """Median and 95th percentile of ``shot(k)``, k = 1, 2, ..., after one that does not count."""
    import numpy as np

    each = []
    for k in range(frames + 1):
        began = time.perf_counter()
        shot(k)
        each.append(1000 * (time.perf_counter() - began))
    return {"median_ms": float(np.median(each[1:])), "p95_ms": float(np.quantile(each[1:], 0.95)), "frames": frames}


def live_part(longest: int, frames: int = 60) -> dict:
    """Seconds of recording and warming up, and a row for each key of ``_WHAT``."""
    import torch

    from dipir import device
    from dipir.insert.preview import Preview
    from dipir.scene.scene_file import build_scene, load_scene_file
    from dipir.scene.source import Source

    scene = device.moved(build_scene(load_scene_file(DEMO), str(DEMO)))
    began = time.perf_counter()
    preview = Preview.record(scene, longest)
    recorded = time.perf_counter()
    preview.warm()
    warmed = time.perf_counter()
    rest = torch.full((16, 32, 3), 0.3, device=scene.plate.lin.device)

    def lamp(k: int, sigma: float = 0.0023, strength: float = 1.0) -> Source:
        turn = 2.4 * k
        direction = rest.new_tensor([0.7 * math.sin(turn), 0.6, 0.7 * math.cos(turn)])
        return Source(direction / direction.norm(), rest.new_tensor([3.0, 2.7, 2.2]) * strength, sigma)

    def shown(light, *lamps: Source, of: Preview = preview, **more) -> bytes:
        return of.jpeg(of.picture(light, lamps, **more))

    def move(k: int) -> bytes:
        first, pose = scene.objects[0], scene.objects[0].to_world.copy()
        pose[0, 3] += 0.01 * k
        there = replace(scene, objects=(replace(first, to_world=pose), *scene.objects[1:]))
        return shown(rest, lamp(0), of=preview.moved(there))

    shots = {"sun": lambda k: shown(rest, lamp(k)), "window": lambda k: shown(rest, lamp(k, 0.1)),
             "strength": lambda k: shown(rest, lamp(0, strength=1 + 0.01 * k)),
             "ambient": lambda k: shown(rest * (1 + 0.01 * k), lamp(0)),
             "full": lambda k: shown(rest, lamp(k), full=True), "moved": move}
    rows = {name: frames_ms(shot, frames if name not in ("full", "moved") else max(1, frames // 6))
            for name, shot in shots.items()}
    return {"size": list(preview.size), "record_s": recorded - began, "warm_s": warmed - recorded, "rows": rows}


def table(results: dict) -> str:
    """Markdown of the part, if it is there."""
    if "live" not in results:
        return ""
    text = "\n## Live preview, demo scene\n\nFrom the change to the bytes of a JPEG.\n\n"
    rows = [["change", "longer side", "median (ms)", "95 % within (ms)", "bar (ms)"]]
    for part in results["live"]:
        longest = max(part["size"])
        for name, row in part["rows"].items():
            bar = BARS.get((name, longest))
            met = "-" if bar is None else f"{bar:.0f}, {'met' if row['median_ms'] <= bar else 'missed'}"
            rows.append([_WHAT[name], str(longest), f"{row['median_ms']:.1f}", f"{row['p95_ms']:.1f}", met])
    text += markdown(rows)
    recorded = "; ".join(f"{max(p['size'])} pixels {p['record_s']:.1f} s, then {p['warm_s']:.1f} s to get ready for "
                         "the first move" for p in results["live"])
    return text + f"\nRecorded once: {recorded}.\n"


def measure(parts: list[str]) -> dict:
    """{"live": a part for each size}, each in a process of its own; nothing when it is not asked for."""
    if "live" not in parts:
        return {}
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for longest in (256, 512):
            out = Path(temporary) / f"{longest}.json"
            # Twice: the first process compiles kernels, which a machine does once.
            for _ in range(2):
                subprocess.run([sys.executable, "-m", "benchmarks.speed.live", str(longest), str(out)], cwd=ROOT,
                               check=True)
            found.append(json.loads(out.read_text()))
    return {"live": found}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(live_part(int(sys.argv[1]))))
