"""Layouts that were asked for against what was made: overlap, attributes, leakage, text and quality, judged by a
detector trained on rendered truth; guided, unguided and the older ways in one run; what settings do; things put into
given pictures; what regions cost. Protocol and measures: docs/bench-layout.md.

usage: python -m benchmarks layout [--parts methods,strength,t0,composition,edit,speed] [--cases 500]
                                   [--ablation-cases 150] [--edit-cases 120] [--regions box|mask] [--tuning]
                                   [--set KEY=VALUE] [--workers 2] [--out DIR]
"""
from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import ROOT, as_command, compact, machine, typed, write
from benchmarks.layout import cases as sets
from benchmarks.layout import detector, measures
from benchmarks.layout import run as runs
from benchmarks.layout.cases import Case
from benchmarks.layout.edits import KINDS, EditCase, edit_cases, edit_methods, figures, judged
from benchmarks.layout.figures import contact_sheets, curves, plotter, times
from benchmarks.layout.measures import Cloud, Judged
from benchmarks.layout.table import table
from dipir.disk import write_bytes, write_text
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import Event
from dipir.layout.config import LayoutConfig
from dipir.layout.method import LayoutRequest, find_prior, layout
from dipir.priors.layout import LayoutPrior
from dipir.priors.weights import state_hash
from dipir.settings.yaml import to_dict

PICTURES = ROOT / "docs" / "images"
PARTS = (*runs.PARTS, "edit", "speed")
REFERENCE = 2000
"""Rendered pictures that the Frechet distance compares with."""
TUNING = 1
"""Seed of the cases by which settings are chosen."""
COMPARED = (("dynamic", "none"), ("dynamic", "multidiffusion"), ("dynamic", "paste"), ("dynamic", "constant"),
            ("constant", "none"), ("constant", "multidiffusion"), ("constant", "paste"))


# ------------------------------------------------------------------------------------------------------------- judging
class Judge:
    """The detector and the rendered truth that it compares with."""

    def __init__(self, net: detector.Detector, reference: Tensor) -> None:
        self.net = net
        self.truth = Cloud.of(detector.look(net, reference)[1])

    def look(self, images: Tensor) -> tuple[list[detector.Seen], np.ndarray]:
        """What is seen, and features."""
        return detector.look(self.net, images)

    def entry(self, all_cases: Sequence[Case], seen: Sequence[detector.Seen], features: np.ndarray, draws: int) -> dict:
        """Figures of as many cases as are given, half their 95 % intervals, the means by number of regions."""
        judged = Judged(all_cases, seen, features)
        regions = np.array([len(c.things) for c in all_cases])
        per_region = {str(n): {k: v for k, v in judged.figures(self.truth, (regions == n).astype(float)).items()
                               if k in (*measures.MEANS, "ap", "ap50")} for n in np.unique(regions)}
        samples = measures.resampled(judged, self.truth, draws)
        return {"figures": judged.figures(self.truth), "error": measures.halves(samples), "regions": per_region,
                "samples": samples, "rows": judged.rows}


def difference(one: Mapping, other: Mapping) -> dict[str, float]:
    """Of two entries over the same cases: IoU, AP50 and align score apart, the image score's change as a share of the
    other's; each with half of its 95 % interval."""
    out = {}
    for name in ("iou", "ap50", "align_score", "image_score"):
        a, b = (np.append(e["samples"][name], e["figures"][name]) for e in (one, other))
        values = a / np.maximum(b, 1e-12) - 1 if name == "image_score" else a - b
        key = "image_score_change" if name == "image_score" else name
        out |= {key: float(values[-1]), f"{key}_error": float(1.96 * values[:-1].std())}
    return out


# --------------------------------------------------------------------------------------------------------------- speed
def speed(prior: LayoutPrior, config: LayoutConfig, all_cases: Sequence[Case], repeats: int = 3) -> dict:
    """One picture at a time with 0 (plain sampling) to 4 regions, in turns: median seconds, and how many pictures the
    prior saw."""
    asked = {0: LayoutRequest(all_cases[0].caption)}
    asked |= {len(c.things): c.request() for c in reversed(all_cases)}
    seconds: dict[int, list[float]] = {n: [] for n in sorted(asked)}
    rows = {}
    for n in seconds:
        batches: list[int] = []
        handle = prior.net.register_forward_pre_hook(lambda _, given, seen=batches: seen.append(len(given[0])))
        layout(asked[n], config, prior=prior)
        handle.remove()
        rows[n] = sum(batches)
    for _ in range(repeats):
        for n in seconds:
            began = time.perf_counter()
            layout(asked[n], config, prior=prior)
            seconds[n].append(time.perf_counter() - began)
    middle = {n: statistics.median(values) for n, values in seconds.items()}
    return {"steps": config.sampler.steps, "threads": torch.get_num_threads(), "repeats": repeats,
            "regions": {str(n): {"seconds": middle[n], "ratio": middle[n] / middle[0], "rows": rows[n],
                                 "rows_ratio": rows[n] / rows[0]} for n in seconds}}


# ----------------------------------------------------------------------------------------------------------------- run
def judged_jobs(jobs: Sequence[runs.Job], all_cases: Sequence[Case], judge: Judge, draws: int) -> dict[str, dict]:
    """Method -> entry, with seconds a picture and the pictures."""
    entries = {}
    for job in jobs:
        images, seconds = runs.pictures(job, all_cases)
        seen, features = judge.look(images)
        entries[job.method.name] = {**judge.entry(all_cases[:job.cases], seen, features, draws), "seconds": seconds,
                                    "settings": list(job.method.settings)}
        if job.method.part == "methods":
            entries[job.method.name] |= {"images": images, "seen": seen}
        print(f"{job.method.name}: align score {entries[job.method.name]['figures']['align_score']:.3f}", flush=True)
    return entries


def edited(all_cases: Sequence[EditCase], a: argparse.Namespace, prior_hash: str,
           judge: Judge) -> tuple[dict, list[Path]]:
    """({method: settings, figures, errors, the same of each kind, seconds a picture}, contact sheets) of the edits."""
    columns, out = {"before": torch.cat([c.before for c in all_cases])}, {}
    jobs = [runs.job_of(m, runs.config_of(m, a.set, a.prior), a.edit_cases, a.out, prior_hash)
            for m in edit_methods()]
    runs.run(jobs, all_cases, a.workers, on_event=show)
    for job in jobs:
        name = job.method.name
        columns[name], seconds = runs.pictures(job, all_cases)
        rows = [judged(*row) for row in zip(all_cases, judge.look(columns[name])[0], columns[name], strict=True)]
        kinds = {kind: figures([r for r, c in zip(rows, all_cases, strict=True) if c.kind == kind])
                 for kind in KINDS}
        out[name] = {"settings": list(job.method.settings), **figures(rows), "kinds": kinds, "seconds": seconds}
    return out, contact_sheets(a.out, "edits", all_cases, columns, a.sheet)


def report(jobs: Sequence[runs.Job], entries: Mapping[str, Mapping], truth: Mapping) -> dict:
    """The parts of the results that say something of methods."""

    def plain(e):
        return {k: e[k] for k in ("settings", "figures", "error", "regions", "seconds") if k in e}

    def of_part(part):
        return {j.method.name: plain(entries[j.method.name]) for j in jobs if j.method.part == part}

    first = of_part("methods")
    return {"methods": first | {"truth": plain(truth)} if first else {},
            "differences": {f"{a} to {b}": difference(entries[a], entries[b]) for a, b in COMPARED
                            if a in first and b in first},
            "ablations": {p: of_part(p) for p in runs.PARTS[1:] if of_part(p)}}


def pictures(out: Path, jobs: Sequence[runs.Job], entries: Mapping[str, Mapping], all_cases: Sequence[Case],
             data: Mapping, sheet: int) -> list[Path]:
    """Contact sheets of the methods and of what the detector sees, curves; their files."""
    shown = {j.method.name: entries[j.method.name]["images"] for j in jobs if j.method.part == "methods"}
    made = contact_sheets(out, "sheet", all_cases, shown, sheet) if shown else []
    if last := next((n for n in ("dynamic", *shown) if n in shown), None):
        made += contact_sheets(out, "seen", all_cases, {last: shown[last]}, sheet, {last: entries[last]["seen"]})
    lines: dict[str, list] = {}
    points = {}
    for method in (j.method for j in jobs):
        figures = entries[method.name]["figures"]
        if method.x is not None:
            lines.setdefault(f"{method.line}, {method.part}", []).append((method.x, figures))
        elif method.part != "methods":
            points[method.name.removesuffix(runs.SAME)] = figures
    # Frechet distances over more cases are smaller: what is drawn together has the same cases.
    points = points or {n: e["figures"] for n, e in data["methods"].items()}
    if points or lines:
        write_bytes(out / "layout_curves.png", curves(points, lines))
        made.append(out / "layout_curves.png")
    return made


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed, checked. ConfigError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks layout", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--ablation-cases", type=int, default=150, help="of these, for the other parts than methods")
    parser.add_argument("--edit-cases", type=int, default=120)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--speed", action="store_true", help="the part speed only")
    parser.add_argument("--methods", help="of the part methods only these")
    parser.add_argument("--add", action="append", default=[], metavar="NAME:KEY=VALUE,...", help="one more method")
    parser.add_argument("--regions", choices=sets.KINDS, default="box")
    parser.add_argument("--tuning", action="store_true", help="cases like training scenes instead of held-out ones: to "
                        "choose settings by")
    parser.add_argument("--prior", default="embedded", help="weights of a layout prior")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="settings of every method")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--scenes", type=int, default=4000, help="rendered training scenes, for the detector")
    parser.add_argument("--held-out", type=int, default=400, help="rendered scenes of the held-out seed")
    parser.add_argument("--steps", type=int, default=detector.STEPS, help="of the detector's training")
    parser.add_argument("--bf16", action="store_true", help="train it in bfloat16, for processors that have it")
    parser.add_argument("--draws", type=int, default=measures.DRAWS, help="bootstrap samples")
    parser.add_argument("--sheet", type=int, default=24, help="cases on the contact sheets")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench-layout")
    parser.add_argument("--name", default="layout", help="of the results in benchmarks/results")
    parser.add_argument("--scratch", action="store_true", help="do not write benchmarks/results")
    a = parser.parse_args(arguments)
    a.parts = ["speed"] if a.speed else [p for p in a.parts.split(",") if p]
    unknown = [p for p in a.parts if p not in PARTS]
    if unknown or not a.parts:
        raise ConfigError(f"--parts: accepted are {', '.join(PARTS)}.{nearest(unknown[0], PARTS) if unknown else ''}")
    least = {"cases": 4, "ablation_cases": 4, "edit_cases": 2, "workers": 1, "scenes": 1, "held_out": 1, "steps": 1,
             "draws": 2}
    if wrong := [f"--{k.replace('_', '-')} {getattr(a, k)}" for k, n in least.items() if getattr(a, k) < n]:
        raise ConfigError(f"{', '.join(wrong)}: accepted are at least "
                          + ", ".join(f"{n} {k.replace('_', ' ')}" for k, n in least.items()) + ".")
    return a


def chosen(a: argparse.Namespace) -> list[runs.Method]:
    """The methods of the parts that were asked for. ConfigError for unknown ones."""
    listed = runs.methods([p for p in a.parts if p in runs.PARTS], a.add)
    if not a.methods:
        return listed
    kept, known = a.methods.split(","), [m.name for m in listed if m.part == "methods"]
    unknown = [m for m in kept if m not in known]
    if unknown:
        raise ConfigError(f"method '{unknown[0]}' is unknown; there are {', '.join(known)}."
                          f"{nearest(unknown[0], known)}")
    return [m for m in listed if m.part != "methods" or m.name in kept]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write tables, sheets and curves. Raises DipirError for what cannot be used, before anything is made."""
    a = options(arguments)
    listed, base = chosen(a), runs.config_of(None, a.set, a.prior)
    configs = {m.name: runs.config_of(m, a.set, a.prior) for m in listed}
    if not base.grammar:
        raise ConfigError(f"--prior {a.prior}: accepted is a .safetensors file of a layout prior; the detector knows "
                          "nothing but what such a prior draws.")
    plotter()
    prior, few, load = find_prior(base), min(a.ablation_cases, a.cases), os.getloadavg()[0]
    seed, scenes = (TUNING, sets.training_scenes) if a.tuning else (sets.SEED, sets.held_out)
    held_out = scenes(a.held_out, a.workers)
    all_cases = sets.cases(a.cases, held_out, a.regions, seed)
    a.out.mkdir(parents=True, exist_ok=True)
    data = {"schema": "dipir.bench.layout.1",
            "command": typed("python", "-m", "benchmarks", "layout", *(arguments or ())), "machine": machine(),
            "prior": prior.hash, "sampler": f"{base.sampler.kind}, {base.sampler.steps} steps, "
            f"scale {base.sampler.scale:g}", "settings": to_dict(base),
            "cases": {"count": a.cases, "ablation": few, "regions": a.regions, "seed": seed,
                      "digest": sets.digest(all_cases)},
            "detector": {}, "methods": {}, "differences": {}, "ablations": {}, "edits": {},
            "speed": {**speed(prior, base, all_cases), "load": load} if "speed" in a.parts else {}}
    entries: dict[str, dict] = {}
    files = []
    if listed or "edit" in a.parts:
        jobs = [runs.job_of(m, configs[m.name], a.cases if m.part == "methods" else few, a.out, prior.hash)
                for m in listed]
        training = sets.training_scenes(a.scenes, a.workers)
        net = detector.trained(training, a.steps, bf16=a.bf16, on_event=show)
        runs.run(jobs, all_cases, a.workers, on_event=show)
        judge = Judge(net, sets.truth(REFERENCE, training, a.regions, seed=0)[0])
        entries = judged_jobs(jobs, all_cases, judge, a.draws)
        images, true_cases = sets.truth(a.cases, held_out, a.regions)
        seen, features = judge.look(images)
        truth = judge.entry(true_cases, seen, features, a.draws)
        data |= {"detector": {"hash": state_hash(net.state_dict()), "steps": a.steps, "scenes": a.scenes,
                              "accuracy": detector.accuracy(net, held_out), "spread": judge.truth.spread},
                 **report(jobs, entries, truth)}
        files = contact_sheets(a.out, "truth", true_cases, {"truth": images}, a.sheet, {"truth": seen})
        if "edit" in a.parts:
            data["edits"], made = edited(edit_cases(a.edit_cases, held_out, seed), a, prior.hash, judge)
            files += made
        files += pictures(a.out, jobs, entries, all_cases, data, a.sheet)
    finish(a, data, {name: entry["rows"] for name, entry in entries.items()}, files)
    return 0


def finish(a: argparse.Namespace, data: dict, rows: dict, files: Sequence[Path]) -> None:
    """Results, rows of every case and table in ``--out``; committed ones only of a run of all parts, or by a name."""
    if data["speed"]:
        write_bytes(a.out / "layout_speed.png", times(data["speed"]["regions"]))
        files = [*files, a.out / "layout_speed.png"]
    write_text(a.out / "results.json", compact(data))
    write_text(a.out / "rows.json", compact(rows))
    write_text(a.out / "table.md", table(data))
    whole = set(a.parts) == set(PARTS) and not a.methods
    if a.scratch or a.tuning or (a.name == "layout" and not whole):
        print(table(data))
    else:
        write(a.name, data, table(data))
        for file in files:
            if file.stem in ("layout_curves", "layout_speed"):
                write_bytes(PICTURES / file.name.replace("layout", a.name), file.read_bytes())
    print("\n".join(map(str, files)))


def show(event: Event) -> None:
    """A line now and then."""
    if event.step % 100 == 0 or event.step == event.steps or not event.stage.startswith("layout_detector"):
        left = "" if event.seconds_left is None else f", {event.seconds_left / 60:.0f} min left"
        print(f"{event.stage} {event.step}/{event.steps}{left}", flush=True)


if __name__ == "__main__":
    as_command(main)
