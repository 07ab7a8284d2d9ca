"""Contact sheets of real photos and of our demo: plate | before | after.

Scenes lie in ``benchmarks/plates/*.yaml`` (schema of ``scenes/README.md``, except that ``plate`` and ``asset`` are
names below ``$DIPIR_DATA/plates`` and ``$DIPIR_DATA/meshes``). The cameras and placements were set by hand with the
ground grid drawn over the photo: ``--check`` draws that grid in the second column and fits nothing. ``before`` is a
folder that an earlier run wrote (``--before``, with the code and weights of then); without one the same objects stand
there under the plate's mean colour. ``--sheet`` runs nothing and shows what lies in ``--out``.

usage: python -m benchmarks.plates [--preset default] [--size 640] [--only NAME ...] [--out out/plates]
                                   [--set key=value] [--before DIR] [--check | --sheet]
"""
from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

from benchmarks.common import DATA, DEMO, ROOT, as_command, machine, markdown, timed, write

SCENES = ROOT / "benchmarks" / "plates"
GAP, HEAD, PAGE = 6, 28, 7  # Pixels between the pictures of a sheet and above them; scenes on a page.


# ------------------------------------------------------------------------------------------- one scene, own process
def located(name: str):
    """The SceneFile of a scene of this benchmark, its names joined to the data folder; of the demo as it is."""
    from dataclasses import replace

    from dipir.scene.scene_file import SceneFile, load_scene_file
    from dipir.settings.read import from_dict
    from dipir.settings.yaml import load_yaml

    if name == DEMO.stem:
        return load_scene_file(DEMO)
    path = SCENES / f"{name}.yaml"
    scene = from_dict(SceneFile, {"name": name, **load_yaml(path)}, str(path))
    objects = tuple(replace(o, asset=DATA / "meshes" / o.asset) for o in scene.objects)
    return replace(scene, plate=DATA / "plates" / scene.plate, objects=objects)


def run_scene(name: str, args: argparse.Namespace) -> dict:
    """Insert, save into ``OUT/NAME`` and render the ambient baseline there; the record of this scene."""
    from dipir.disk import prepare_out
    from dipir.image.color import BT709
    from dipir.image.files import write_png
    from dipir.insert.method import insert, load_config
    from dipir.insert.result import save
    from dipir.scene.light import azimuth_elevation_deg, dominant_direction
    from dipir.scene.photo_camera.estimate import see
    from dipir.scene.photo_camera.grid import draw_grid
    from dipir.scene.scene_file import build_scene, write_scene_file

    scene_file, out = located(name), prepare_out(Path(args.out) / name)
    config = load_config(args.preset, None, [f"final.size={args.size}", *args.set])
    plate, estimate = see(_plate(scene_file), scene_file.camera)
    scene = build_scene(scene_file, name, (plate, estimate))
    write_png(out / "camera.png", draw_grid(scene.plate, scene.camera, estimate.heading_deg))
    plate, baseline = ambient(scene, config)
    write_png(out / "plate.png", plate)
    write_png(out / "ambient.png", baseline)
    record = {"plate": scene_file.plate.name, "assets": [_asset_name(o.asset) for o in scene_file.objects]}
    if args.check:
        return record
    result = insert(scene, config, out=out)
    save(result, out)
    write_scene_file(scene_file, out / "scene.yaml")
    light = result.light.envmap(64, 128)
    azimuth, elevation = azimuth_elevation_deg(dominant_direction(light))
    luminance = light @ light.new_tensor(BT709)
    return {**record, "azimuth_deg": azimuth, "elevation_deg": elevation, "mean_light": light.mean((0, 1)).tolist(),
            "peak_to_mean": float(luminance.max() / luminance.mean()), **result.provenance["times"]}


def _asset_name(path: Path) -> str:
    """The folder of a mesh, or its file where a folder has many."""
    return path.parent.name if path.parent.parent.name == "meshes" else path.stem


def _plate(scene_file):
    from dipir.scene.plate import read_plate

    return read_plate(scene_file.plate)


def ambient(scene, config):
    """(plate, composite) at final size under the plate's mean linear colour from everywhere."""
    from dipir.image.composite import flatten_disp, insert_layers
    from dipir.priors.plate_light import ambient_light
    from dipir.render.path_traced import PathTracer
    from dipir.render.renderer import RenderSettings

    factor = config.final.size / max(scene.plate.size) if config.final.size else 1.0
    camera = scene.camera.resized(*(max(1, round(n * factor)) for n in scene.plate.size))
    settings = RenderSettings(config.final.spp, config.final.depth, config.seed)
    tracer = PathTracer(scene, camera, settings, gbuffer_samples=16)
    passes = tracer.passes(ambient_light(scene), seed=config.seed)
    plate = scene.plate.resized(camera.width, camera.height)
    layers = insert_layers(plate.lin, plate.disp, passes.object_rgb, passes.alpha, passes.shadow_ratio)
    return plate.disp, flatten_disp(layers)


# ------------------------------------------------------------------------------------------------------ all scenes
def run_apart(name: str, args: argparse.Namespace) -> dict:
    """:func:`run_scene` in a process of its own: Mitsuba keeps the memory of scenes. With wall time and peak memory."""
    command = [sys.executable, "-m", "benchmarks.plates", "--worker", name, "--preset", args.preset,
               "--size", str(args.size), "--out", args.out, *(["--check"] if args.check else []),
               *(word for s in args.set for word in ("--set", s))]
    log = Path(args.out) / f"{name}.log"
    with open(log, "w") as file:
        code, seconds, peak = timed(command, file)
    record = {"wall_s": round(seconds, 1), "peak_gib": round(peak, 2)}
    if code:
        lines = log.read_text().strip().splitlines() or [""]
        return {"name": name, "error": f"exit code {code}: {lines[-1]}", **record}
    return {"name": name, **record, **json.loads((Path(args.out) / name / "plates.json").read_text())}


def sheets(names: list[str], columns: dict[str, tuple[Path, str]], out: Path, width: int) -> list[Path]:
    """``OUT/sheet-1.png`` and ``.jpg`` and so on, :data:`PAGE` scenes on each: a row for each scene, each picture
    fitted into the same cell, the scene's name above it.

    columns : title -> (folder with a folder for each scene, name of the picture there); what is missing is said so
    """
    import cv2
    import numpy as np

    height, pages = width * 3 // 4, []
    for first in range(0, len(names), PAGE):
        rows = []
        for name in names[first:first + PAGE]:
            row = np.full((height + HEAD, len(columns) * (width + GAP), 3), 24, np.uint8)
            for k, (title, (folder, picture)) in enumerate(columns.items()):
                image = cv2.imread(str(folder / name / f"{picture}.png"))
                left = k * (width + GAP)
                if image is not None:
                    factor = min(width / image.shape[1], height / image.shape[0])
                    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
                    image = image[:height, :width]
                    row[HEAD:HEAD + image.shape[0], left:left + image.shape[1]] = image
                label = f"{name}: {title}" if k == 0 else title
                label += " is missing" if image is None else ""
                cv2.putText(row, label, (left + 4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1, cv2.LINE_AA)
            rows.append(row)
        pages.append(out / f"sheet-{first // PAGE + 1}")
        for kind in (".png", ".jpg"):
            cv2.imwrite(str(pages[-1].with_suffix(kind)), np.concatenate(rows))
    return [p.with_suffix(".png") for p in pages]


def table(result: dict) -> str:
    """Markdown."""
    rows = [["scene", "plate", "asset", "main light: azimuth, elevation (deg)", "peak / mean", "time (s)",
             "peak memory (GiB)"]]
    for r in result["scenes"]:
        found = ["-", "-"] if "error" in r else [f"{r['azimuth_deg']:.0f}, {r['elevation_deg']:.0f}",
                                                 f"{r['peak_to_mean']:.1f}"]
        rows.append([r["name"], r.get("plate", "-"), ", ".join(r.get("assets", [])) or r.get("error", "-"), *found,
                     f"{r.get('total_s', r['wall_s']):.0f}", f"{r['peak_gib']:.1f}"])
    return (f"Made by `{result['command']}`; {result['machine']}. Time: `insert` alone, median "
            f"{result['median_s']:.0f} s; memory: the whole process, the baseline's render included. "
            "Azimuth 0 = from the camera, +90 = from the picture's right, 180 = from behind the object."
            "\n\n" + markdown(rows))


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m benchmarks.plates", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", default="default")
    p.add_argument("--size", type=int, default=640, help="longer side of the final pictures")
    p.add_argument("--only", nargs="+", default=[], metavar="NAME")
    p.add_argument("--out", default=str(ROOT / "out" / "plates"))
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--before", type=Path, metavar="DIR", help="what an earlier run wrote, shown in the middle")
    only = p.add_mutually_exclusive_group()
    only.add_argument("--check", action="store_true", help="placement only: ground grid and ambient light, no results")
    only.add_argument("--sheet", action="store_true", help="run nothing, show what lies in --out")
    p.add_argument("--worker", default="", help=argparse.SUPPRESS)
    return p


def main(arguments: list[str] | None = None) -> None:
    """See the module's text."""
    args = parser().parse_args(arguments)
    names = [*sorted(p.stem for p in SCENES.glob("*.yaml")), DEMO.stem]
    unknown = set(args.only) - set(names)
    if unknown:
        sys.exit(f"benchmarks.plates: unknown {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if args.before is not None and not args.before.is_dir():
        sys.exit(f"benchmarks.plates: --before {args.before}: there is no such folder; give the --out of an earlier "
                 "run.")
    out = Path(args.out).resolve()
    args.out = str(out)
    out.mkdir(parents=True, exist_ok=True)
    if args.worker:
        record = run_scene(args.worker, args)
        (out / args.worker / "plates.json").write_text(json.dumps(record))
        return
    records = []
    for name in [] if args.sheet else args.only or names:
        records.append(run_apart(name, args))
        print(f"{name}: {records[-1].get('error') or records[-1]['wall_s']}", flush=True)
    shown = args.only or names
    middle = (args.before, "composite") if args.before else (out, "ambient")
    columns = {"plate": (out, "plate"), "camera": (out, "camera"), "ambient": (out, "ambient")} if args.check else {
        "plate": (out, "plate"), "before" if args.before else "ambient": middle, "after": (out, "composite")}
    print("\n".join(map(str, sheets(shown, columns, out, args.size))))
    done = [r for r in records if "error" not in r]
    if not args.check and done:
        report(records, done, args)
    if len(done) < len(records):
        sys.exit(1)


def report(records: list[dict], done: list[dict], args: argparse.Namespace) -> None:
    """The table; the committed one when no scene was left out."""
    flags = [f"--preset {args.preset}", f"--size {args.size}",
             *(["--only " + " ".join(args.only)] if args.only else []), *(f"--set {s}" for s in args.set)]
    result = {"command": f"python -m benchmarks.plates {' '.join(flags)}", "machine": machine(),
              "median_s": statistics.median(r["total_s"] for r in done), "scenes": records}
    if args.only:
        print(table(result))
    else:
        write("plates", result, table(result))


if __name__ == "__main__":
    as_command(main)
