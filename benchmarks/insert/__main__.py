"""Objects under known light: plates cut from HDR panoramas, the truth lit by the panorama, figures for every method.

For every environment, view and mesh: a plate (60 degrees wide, ground plane known), exposed and clipped like a photo;
the truth is the same object lit and shadowed by the whole panorama. A method sees plate, camera and plane. Protocol,
output files and their fields: docs/bench-insert.md.

usage: dipir bench insert [--environments DIR] [--meshes DIR] [--views 2] [--size 256] [--methods a,b,c] [--out DIR]

A run that was stopped goes on when the same command is given again. With the default cases (no options but --methods,
--workers, --out and --quiet) the committed table, ``benchmarks/results/insert.json`` and ``.md``, is written too.
"""
from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import as_command, machine, typed, write

FIXED = ("environments", "meshes", "split", "views", "size", "seed", "spp", "set", "lpips")
"""Options that the committed table does not have."""
COMMITTED = ("--methods", "all")
GIB_A_WORKER = 2.5


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(prog="dipir bench insert", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    cases = p.add_argument_group("cases")
    cases.add_argument("--environments", type=Path, metavar="DIR", help="folder of .hdr and .exr panoramas (or one "
                       "file); default: the part of $DIPIR_DATA/splits.json that --split names")
    cases.add_argument("--meshes", type=Path, metavar="DIR", help="folder of meshes (.glb, .gltf, .obj, .ply, .stl), "
                       "also in sub-folders; default: as for --environments")
    cases.add_argument("--split", default="val", help="part of splits.json (default: val)")
    cases.add_argument("--views", type=_count, default=2, help="plates of each environment (default: 2)")
    cases.add_argument("--size", type=_size, default=256, metavar="ROWS",
                       help="height of the plates; they are 4/3 as wide (default: 256)")
    cases.add_argument("--seed", type=int, default=0, help="of yaws, renders and methods (default: 0)")
    judged = p.add_argument_group("methods")
    judged.add_argument("--methods", default="baselines,default", metavar="a,b,c",
                        help="names, or the groups baselines, ablation, all (default: baselines,default)")
    judged.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of all of our methods; may be repeated")
    judged.add_argument("--spp", type=_count, default=64, metavar="N", help="samples a pixel: the object has 4 N, "
                        "the shadow N, those of the truth 32 N and 4 N (default: 64)")
    judged.add_argument("--lpips", type=Path, metavar="DIR", help="folder with AlexNet weights: LPIPS as well")
    run = p.add_argument_group("run")
    run.add_argument("--workers", type=_count, help="cases at a time, one thread each (default: cores and memory "
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
    from benchmarks.insert.methods import chosen
    from benchmarks.insert.run import RunSettings, code_digest, job_of, run_all
    from dipir.cli.progress import Progress
    from dipir.disk import prepare_out

    methods = chosen(args.methods)
    files = made.panorama_files(args.environments, args.split), made.mesh_files(args.meshes, args.split)
    settings = RunSettings(args.size, args.spp, args.seed, tuple(args.set), args.lpips)
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
    result = gather(cases, rows, methods, jobs, {
        "command": typed("python", "-m", "benchmarks", "insert", *arguments), "machine": machine(),
        "settings": {"views": args.views, "size": args.size, "spp": args.spp, "seed": args.seed, "set": args.set,
                     "split": args.split, "lpips": args.lpips is not None},
        "code": code, "code_changed": code_digest() != code})
    committed = all(getattr(args, k) == p.get_default(k) for k in FIXED)
    save(result, out, committed, args.quiet)
    failed = [f"{c['name']}, {m}: {text}" for c in result["cases"] for m, text in c["errors"].items()]
    if failed:
        print("\n".join(["failed (logs lie in cases/NAME/log.txt; the same command tries them again):", *failed[:20]]),
              file=sys.stderr)
    return 1 if failed else 0


def check_methods(methods: Sequence[str], settings) -> None:
    """Load settings, weights and renderer once, so that what is wrong with them is known at once."""
    from benchmarks.insert.lpips import perceptual
    from benchmarks.insert.methods import settings_of
    from dipir.insert.method import ready
    from dipir.render.backend import require_llvm

    require_llvm()
    if settings.lpips:
        perceptual(settings.lpips)
    configs = [c for c in (settings_of(m, settings.seed, settings.overrides) for m in methods) if c is not None]
    for config in {(c.prior, c.guidance.kind, c.light.start): c for c in configs}.values():
        ready(config)


def plan(cases, methods: Sequence[str]) -> str:
    """A line for each case, and what would be computed."""
    lines = [f"{c.name}: yaw {c.yaw_deg:.1f} deg, {c.environment.light_share:.0%} of the light within 10 deg of its "
             f"direction{' (a sun or one strong lamp)' if c.environment.single_light else ''}" for c in cases]
    return "\n".join([*lines, f"{len(cases)} cases x {len(methods)} methods ({', '.join(methods)})"])


def gather(cases, rows: dict, methods: Sequence[str], jobs: dict, about: dict) -> dict:
    """results.json (docs/bench-insert.md): figures of every case, summaries, ratios."""
    from benchmarks.insert.figures import ANGLES, FIGURES, ratios, summary

    listed = [{"name": c.name, "environment": c.environment.name, "mesh": c.mesh.name, "view": c.view,
               "yaw_deg": round(c.yaw_deg, 4),
               "figures": {m: r["figures"] for m, r in rows[c.name].items() if "figures" in r},
               "errors": {m: r["error"] for m, r in rows[c.name].items() if "error" in r}} for c in cases]
    environments = {c.environment.name: c.environment for c in cases}
    meshes = {c.mesh.name: c.mesh for c in cases}
    single = [n for n, e in environments.items() if e.single_light]
    part = [c for c in listed if c["environment"] in single]

    def over(some):
        return ([c["figures"] for c in some], [c["environment"] for c in some], methods)

    angles = {m: {f: v for f, v in s.items() if f in ANGLES} for m, s in summary(*over(part)).items()} if part else {}
    first = next(iter(jobs.values()))["methods"]
    return {"schema": "dipir.bench.insert.1", **about, "figures": FIGURES,
            "environments": [{"name": n, "file": e.path.name, "sha256": e.digest, "single_light": e.single_light,
                              "light_share": round(e.light_share, 4)} for n, e in environments.items()],
            "meshes": [{"name": n, "file": m.path.name, "hash": m.digest} for n, m in meshes.items()],
            "methods": {m: {"settings": first[m]["settings"]} for m in methods},
            "summary": summary(*over(listed)), "ratios": ratios(*over(listed)),
            "single_light": {"environments": single, "cases": len(part), "summary": angles}, "cases": listed}


def save(result: dict, out: Path, committed: bool, quiet: bool) -> None:
    """results.json, table.md, methods.yaml and the contact sheet in ``out``; the committed pair as well if wanted."""
    from benchmarks.common import compact
    from benchmarks.insert.figures import tables
    from benchmarks.insert.sheet import contact_sheets
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
    """For the contact sheet: foreground si-RMSE and direction error."""
    row = case["figures"].get(method)
    if row is None:
        return "failed"
    parts = [("si", row.get("fg_si_rmse"), ".2f"), ("dir", row.get("direction_deg"), ".0f")]
    return " ".join(f"{n} {v:{f}}" for n, v, f in parts if v is not None)


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
