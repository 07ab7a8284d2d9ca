"""Objects under known light: plates cut from HDR panoramas, the truth lit by the panorama, figures for every method.

For every environment, view and mesh: a plate (60 degrees wide, ground plane known), exposed and clipped like a photo;
the truth is the same object lit and shadowed by the whole panorama. A method sees plate, camera and plane. Protocol,
output files and their fields: docs/bench-insert.md.

usage: dipir bench insert [--environments DIR] [--meshes DIR] [--views 1] [--size 256] [--methods a,b,c]
                          [--weights NAME=FILE] [--out DIR]

A run that was stopped goes on when the same command is given again. With the default cases (no options but --methods,
--weights, --workers, --out and --quiet) the committed table, ``benchmarks/results/insert.json`` and ``.md``, is written
too. What fails is recorded with its reason, listed in the table and at the end, and makes the exit code 1.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import as_command, machine, typed, write

FIXED = ("environments", "meshes", "split", "mesh_split", "views", "size", "seed", "spp", "set", "lpips")
"""Options that the committed table does not have."""
COMMITTED = ("--methods", "all")
GIB_A_WORKER = 3.5
SCHEMA = "dipir.bench.insert.2"
NEAR = ("direction_deg", "first_guess_deg", "guesses_deg")
ANGLES = ("direction_deg", "azimuth_deg", "first_guess_deg", "guesses_deg")
CAST = ("cast_deg", "darkest_log2", "penumbra_log2")
"""Figures of the cases with one dominating light, and of those with a hard shadow."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(prog="dipir bench insert", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = p.add_argument_group("cases")
    cases.add_argument("--environments", type=Path, metavar="DIR", help="folder of .hdr and .exr panoramas (or one "
                       "file); default: the parts of $DIPIR_DATA/splits.json that --split names")
    cases.add_argument("--meshes", type=Path, metavar="DIR", help="folder of meshes (.glb, .gltf, .obj, .ply, .stl), "
                       "also in sub-folders; default: the parts that --mesh-split names")
    cases.add_argument("--split", default="val,val_more", help="parts of splits.json for environments (default: "
                       "val,val_more)")
    cases.add_argument("--mesh-split", default="val", help="the same for meshes (default: val)")
    cases.add_argument("--views", type=_count, default=1, help="plates of each environment (default: 1)")
    cases.add_argument("--size", type=_size, default=256, metavar="ROWS",
                       help="height of the plates; they are 4/3 as wide (default: 256)")
    cases.add_argument("--seed", type=int, default=0, help="of yaws, renders and methods (default: 0)")
    judged = p.add_argument_group("methods")
    judged.add_argument("--methods", default="baselines,default,light-prior", metavar="a,b,c",
                        help="names, or the groups baselines, ablation (ours), published (DiPIR's), all (default: "
                        "baselines,default,light-prior)")
    judged.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="a method NAME more: the "
                        "default with the light prior of another file; may be repeated")
    judged.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of all of our methods; may be repeated")
    judged.add_argument("--spp", type=_count, default=64, metavar="N", help="samples a pixel: the object has 4 N, "
                        "the shadow N, those of the truth 16 N and 4 N (default: 64)")
    judged.add_argument("--lpips", type=Path, metavar="DIR", help="folder with AlexNet weights: LPIPS as well")
    run = p.add_argument_group("run")
    run.add_argument("--workers", type=_count, help="plates at a time, one thread each (default: cores and memory "
                     "decide)")
    run.add_argument("--out", type=Path, default=Path("out/bench-insert"), metavar="DIR",
                     help="default: out/bench-insert")
    run.add_argument("--plan", action="store_true", help="list the cases and methods, compute nothing")
    run.add_argument("--quiet", action="store_true", help="errors only")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's text. Returns 1 when a method failed on a case. Raises DipirError for what cannot be used,
    before any work."""
    p = parser()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    args = p.parse_args(arguments)
    # Imported after parsing, so that --help is quick.
    from benchmarks.insert import cases as made
    from benchmarks.insert.case import true_shadow
    from benchmarks.insert.methods import chosen, given_weights
    from benchmarks.insert.run import RunSettings, code_digest, job_of, run_all
    from benchmarks.insert.table import failures
    from dipir.cli.progress import Progress
    from dipir.disk import prepare_out

    weights = given_weights(args.weights)
    methods = chosen(args.methods)
    methods = [*(m for m in methods if m != "truth"), *weights, *(["truth"] if "truth" in methods else [])]
    files = made.panorama_files(args.environments, args.split), made.mesh_files(args.meshes, args.mesh_split)
    settings = RunSettings(args.size, args.spp, args.seed, tuple(args.set), args.lpips, weights)
    check_methods(methods, settings)
    environments, meshes = made.checked_environments(files[0]), made.checked_meshes(files[1])
    cases = made.cases(environments, meshes, args.views, args.seed)
    if args.plan:
        print(plan(cases, methods))
        return 0
    code = code_digest()
    jobs = {c.name: job_of(c, methods, settings, code) for c in cases}
    out = prepare_out(args.out)
    try:
        with Progress(quiet=args.quiet) as progress:
            rows = run_all(jobs, out, args.workers or _workers(), progress)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with what lies in {out}", file=sys.stderr)
        raise
    shadows = {c.name: true_shadow(out / "cases" / c.name) for c in cases}
    result = gather(cases, rows, shadows, methods, jobs, {
        "command": typed("python", "-m", "benchmarks", "insert", *arguments), "machine": machine(),
        "settings": {"views": args.views, "size": args.size, "spp": args.spp, "seed": args.seed, "set": args.set,
                     "split": args.split, "mesh_split": args.mesh_split, "lpips": args.lpips is not None,
                     "weights": {n: f.name for n, f in weights.items()}},
        "code": code, "code_changed": code_digest() != code})
    committed = all(getattr(args, k) == p.get_default(k) for k in FIXED)
    save(result, out, committed, args.quiet)
    failed = failures(result["cases"])
    if failed:
        print("\n".join([f"{len(failed)} rows failed (logs lie in plates/NAME/log.txt; the same command tries them "
                         "again):", *failed[:20]]), file=sys.stderr)
    return 1 if failed else 0


def check_methods(methods: Sequence[str], settings) -> None:
    """Load settings, weights and renderer once, so that what is wrong with them is known at once."""
    from benchmarks.insert.lpips import perceptual
    from benchmarks.insert.methods import settings_of
    from dipir.insert.method import ready
    from dipir.priors.light import LightPrior
    from dipir.render.backend import require_llvm

    require_llvm()
    if settings.lpips:
        perceptual(settings.lpips)
    for file in settings.weights.values():
        LightPrior.load(file)
    configs = [c for c in (settings_of(m, settings.seed, settings.overrides, settings.weights) for m in methods)
               if c is not None]
    for config in {(c.prior, c.guidance.kind, c.light.start): c for c in configs}.values():
        ready(config)


def plan(cases, methods: Sequence[str]) -> str:
    """A line for each case, and what would be computed."""
    lines = [f"{c.name}: yaw {c.yaw_deg:.1f} deg, {c.environment.light_share:.0%} of the light within 10 deg of its "
             f"direction{' (a sun or one strong lamp)' if c.environment.single_light else ''}" for c in cases]
    return "\n".join([*lines, f"{len(cases)} cases x {len(methods)} methods ({', '.join(methods)})"])


def gather(cases, rows: dict, shadows: dict, methods: Sequence[str], jobs: dict, about: dict) -> dict:
    """results.json (docs/bench-insert.md): figures of every case, over all, where one light dominates, and where the
    true shadow is hard. shadows : case name -> what the truth casts, or None"""
    from benchmarks.insert import overall
    from benchmarks.insert.figures import FIGURES

    listed = [{"name": c.name, "environment": c.environment.name, "mesh": c.mesh.name, "view": c.view,
               "yaw_deg": round(c.yaw_deg, 4), "true_shadow": shadows[c.name],
               "figures": {m: r["figures"] for m, r in rows[c.name].items() if "figures" in r},
               "errors": {m: r["error"] for m, r in rows[c.name].items() if "error" in r}} for c in cases]
    environments = {c.environment.name: c.environment for c in cases}
    meshes = {c.mesh.name: c.mesh for c in cases}
    single = [n for n, e in environments.items() if e.single_light]

    def over(some):
        return [c["figures"] for c in some], [c["environment"] for c in some], methods

    def part(some, figures, near):
        summary = overall.summary(*over(some), figures) if some else {}
        return {"summary": summary, "within": overall.within(*over(some), near) if some else {}}

    lit = [c for c in listed if c["environment"] in single]
    hard = [c for c in listed if (c["true_shadow"] or {}).get("hard")]
    kinds = [None if c["true_shadow"] is None else c["true_shadow"]["hard"] for c in listed]
    first = next(iter(jobs.values()))["methods"]
    return {"schema": SCHEMA, **about, "figures": FIGURES,
            "environments": [{"name": n, "file": e.path.name, "sha256": e.digest, "single_light": e.single_light,
                              "light_share": round(e.light_share, 4)} for n, e in environments.items()],
            "meshes": [{"name": n, "file": m.path.name, "hash": m.digest} for n, m in meshes.items()],
            "methods": {m: {"settings": first[m]["settings"]} for m in methods},
            "summary": overall.summary(*over(listed)), "ratios": overall.ratios(*over(listed)),
            "ways": overall.ways(*over(listed)),
            "decisions": overall.decisions([c["figures"] for c in listed], kinds,
                                           [c["environment"] for c in listed], methods),
            "single_light": {"environments": single, "cases": len(lit), **part(lit, ANGLES, NEAR)},
            "hard_shadow": {"cases": [c["name"] for c in hard], **part(hard, CAST, ("cast_deg",))}, "cases": listed}


def save(result: dict, out: Path, committed: bool, quiet: bool) -> None:
    """results.json, table.md, methods.yaml and the contact sheet in ``out``; the committed pair as well if wanted."""
    from benchmarks.common import compact
    from benchmarks.insert.sheet import contact_sheets
    from benchmarks.insert.table import tables
    from dipir.disk import write_text
    from dipir.settings.yaml import dump_yaml

    text = tables(result)
    write_text(out / "results.json", compact(result))
    write_text(out / "table.md", text)
    dump_yaml({m: v["settings"] for m, v in result["methods"].items() if v["settings"]}, out / "methods.yaml")
    sheets = contact_sheets(out, [
        {"name": f"{c['name']}  yaw {c['yaw_deg']:.0f}", "folder": out / "cases" / c["name"],
         "notes": {m: _note(c, m) for m in result["methods"]}} for c in result["cases"]], list(result["methods"]))
    if committed:
        write("insert", {k: v for k, v in result.items() if k != "methods"}, text, quiet=True)
    if not quiet:
        print(f"{text}\n{out / 'results.json'}\n" + "\n".join(map(str, sheets)))


def _note(case: dict, method: str) -> str:
    """For the contact sheet: foreground si-RMSE, errors of the light's and the shadow's direction, of its darkness."""
    row = case["figures"].get(method)
    if row is None:
        return "FAILED"
    parts = [("si", "fg_si_rmse", ".2f"), ("dir", "direction_deg", ".0f"), ("cast", "cast_deg", ".0f"),
             ("dark", "darkest_log2", ".1f")]
    return " ".join(f"{n} {row[k]:{f}}" for n, k, f in parts if row.get(k) is not None)


def _workers() -> int:
    """One for each core, as far as the memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(memory / GIB_A_WORKER)))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 1")
    return int(text)


def _size(text: str) -> int:
    if not text.isdecimal() or not 48 <= int(text) <= 2048:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of rows from 48 to 2048")
    return int(text)


if __name__ == "__main__":
    as_command(main)
