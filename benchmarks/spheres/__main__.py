"""Three spheres under the estimated and the true light: the protocol of StyleLight and DiffusionLight.

Both maps are reduced to 128 x 256, toned each by itself (I^(1/2.4), median 0.5, no clipping) and light a unit sphere of
three materials, seen by an 85 mm lens from (0, -16, 2), 960 x 540; four figures over the sphere's pixels. Where this
departs from the original scripts (Blender), and what the output holds: docs/bench-spheres.md.

Plates: for every environment and view a photo of 720 x 480 pixels, 60 degrees wide, camera level, yaw drawn from the
seed, exposed so that its median luminance is shown as 0.5. A method sees the plate and the camera. Instead of methods,
``--predicted`` and ``--true`` compare two folders of panoramas by file name.

usage: python -m benchmarks.spheres [--environments DIR] [--split val,val_more] [--views 4] [--methods a,b] [--seed 0]
                                    [--predicted DIR --true DIR] [--out DIR]

Without options the committed results, ``benchmarks/results/spheres.json`` and ``.md``, are written too.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, ROOT, as_command, compact, machine, markdown, typed, write
from benchmarks.spheres.cases import METHODS, PLATE_ROWS, SPLIT, Case, folder_cases, panorama_files, view_cases
from benchmarks.spheres.metrics import METRICS, figures
from benchmarks.spheres.render import MATERIALS, Sphere, camera, render
from dipir.arrays import Image
from dipir.disk import write_bytes, write_text
from dipir.errors import ConfigError, nearest

OUT, SCHEMA = ROOT / "out" / "spheres", "dipir.bench.spheres.2"
BALL = PLATE_ROWS  # Side of a sphere in the contact sheet, pixels.
SHEET_ROWS = 48
BASE = "projected"  # What the others are compared with.
GROUP = 150  # Maps rendered together: the response of a material is made once for all of them.
# Poly Haven, 181 environments: Tab. 1 of LuxDiT, with the scripts of DiffusionLight; diffuse, matte, mirror.
PUBLISHED = {"StyleLight": {"si_rmse": (.138, .336, .620), "angular_deg": (3.034, 4.272, 6.602),
                            "normalized_rmse": (.198, .344, .474)},
             "NLFE": {"si_rmse": (.159, .326, .571), "angular_deg": (3.305, 4.240, 5.180),
                      "normalized_rmse": (.224, .365, .458)},
             "DiffusionLight": {"si_rmse": (.113, .270, .519), "angular_deg": (2.199, 3.121, 4.104),
                                "normalized_rmse": (.191, .282, .391)},
             "LuxDiT": {"si_rmse": (.077, .196, .442), "angular_deg": (1.235, 1.977, 2.783),
                        "normalized_rmse": (.111, .199, .323)}}


def judge(cases: Sequence[Case], methods: Sequence[str], sphere: Sphere) -> None:
    """Fills ``rows`` and ``balls`` of ``cases`` and empties their ``maps``, which are no longer needed."""
    names = ["truth", *(m for m in methods if m != "truth")]
    for material in MATERIALS:
        images = render([case.maps[name] for case in cases for name in names], material, sphere)
        for case in cases:
            shown = {name: next(images) for name in names}
            for method in methods:
                case.rows.setdefault(method, {})[material] = figures(shown[method], shown["truth"], sphere.alpha)
            case.balls.update({(m, material): _ball(image, sphere) for m, image in shown.items()})
    for case in cases:
        case.maps.clear()


def _ball(image: Image, sphere: Sphere) -> Tensor:
    """(BALL, BALL, 3) bytes of the sphere's bounding square. Maps are toned, so values are shown as they are."""
    rows, columns = (sphere.alpha[0, 0].amax(d).nonzero()[[0, -1], 0].tolist() for d in (1, 0))
    square = image[..., rows[0]:rows[1] + 1, columns[0]:columns[1] + 1].clamp(0, 1)
    small = torch.nn.functional.interpolate(square, (BALL, BALL), mode="bilinear", antialias=True)
    return (small[0].permute(1, 2, 0) * 255).round().byte()


def summary(cases: Sequence[dict], methods: Sequence[str]) -> dict:
    """Method -> material -> metric -> mean over the cases with a bootstrap 95 % interval. Environments are drawn, with
    all their views: views of one environment are not independent."""
    weights = _weights(cases)

    def figure(values: np.ndarray) -> dict[str, float]:
        low, high = np.quantile(weights @ values, (0.025, 0.975))
        return {"value": float(values.mean()), "low": float(low), "high": float(high)}
    return {m: {k: {f: figure(np.array([c["rows"][m][k][f] for c in cases])) for f in METRICS} for k in MATERIALS}
            for m in methods}


def over_projected(cases: Sequence[dict], methods: Sequence[str]) -> dict:
    """Method -> material -> metric -> ratio of the means of method and :data:`BASE`, with its interval (cases are drawn
    together); {} without that method."""
    if BASE not in methods:
        return {}
    weights = _weights(cases)

    def ratio(m: str, material: str, metric: str) -> dict[str, float]:
        ours, theirs = (np.array([c["rows"][n][material][metric] for c in cases]) for n in (m, BASE))
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = (weights @ ours) / (weights @ theirs)
        low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (np.nan, np.nan)
        mean = float(theirs.mean())
        return {"value": float(ours.mean()) / mean if mean else float("nan"), "low": float(low), "high": float(high)}

    others = [m for m in methods if m not in (BASE, "truth")]
    return {m: {k: {f: ratio(m, k, f) for f in METRICS} for k in MATERIALS} for m in others}


def _weights(cases: Sequence[dict]) -> np.ndarray:
    """(draws, cases) weights of the bootstrap over environments, each row with the sum 1."""
    names = sorted({c["environment"] for c in cases})
    owner = np.array([names.index(c["environment"]) for c in cases])
    draws = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    return draws[:, owner] / draws[:, owner].sum(1, keepdims=True)


def table(result: dict) -> str:
    """Markdown: a table for each metric, published figures below ours."""
    parts = [f"Made by `{result['command']}`; {result['what']}; {result['machine']}. Means; in brackets bootstrap 95 % "
             "intervals over environments. Published rows: Poly Haven, 181 environments, rendered with Blender "
             "(LuxDiT, Tab. 1): theirs, on other scenes, given as context only.\n"]
    for metric, title in METRICS.items():
        rows = [[title, *MATERIALS]]
        for method, by_material in result["summary"].items():
            cells = (by_material[m][metric] for m in MATERIALS)
            rows.append([method, *(f"{c['value']:.3f} [{c['low']:.3f}, {c['high']:.3f}]" for c in cells)])
        rows += [[f"*{name}, published*", *(f"*{v:.3f}*" for v in published[metric])]
                 for name, published in PUBLISHED.items() if metric in published]
        parts.append(markdown(rows))
    for metric, title in METRICS.items():
        rows = [[f"{title}, over `{BASE}`", *MATERIALS]]
        for method, by_material in result["over_projected"].items():
            cells = (by_material[m][metric] for m in MATERIALS)
            rows.append([method, *(f"{c['value']:.2f} [{c['low']:.2f}, {c['high']:.2f}]" for c in cells)])
        parts += [markdown(rows)] if len(rows) > 1 else []
    return "\n".join(parts)


def sheet(cases: Sequence[Case], methods: Sequence[str], path: Path) -> None:
    """PNG: a row for each case, its plate (black where there is none), diffuse, matte and mirror for each method."""
    import cv2

    columns = [*(m for m in methods if m != "truth"), "truth"]
    rows = [torch.cat([c.plate, *(c.balls[m, k] for m in columns for k in MATERIALS)], 1) for c in cases]
    head = np.zeros((18, rows[0].shape[1], 3), np.uint8)
    for k, name in enumerate(columns):
        where = (BALL * 3 // 2 + 3 * BALL * k + 4, 13)
        cv2.putText(head, name, where, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
    image = np.concatenate([head, torch.cat(rows).numpy()[..., ::-1]])
    write_bytes(path, cv2.imencode(".png", image)[1].tobytes())


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dipir bench spheres", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--environments", type=Path, metavar="DIR", help="panoramas; default: $DIPIR_DATA/hdri")
    p.add_argument("--split", help=f"parts of splits.json, or all; default: {SPLIT} of the default folder, all of "
                   "another one")
    p.add_argument("--views", type=int, default=4, help="plates per environment")
    p.add_argument("--methods", default=",".join(METHODS), help="default: %(default)s")
    p.add_argument("--seed", type=int, default=0, help="of the yaws")
    p.add_argument("--predicted", type=Path, metavar="DIR", help="panoramas to score, with --true")
    p.add_argument("--true", type=Path, metavar="DIR", help="the true ones, under the same names")
    p.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="results.json, table.md, sheet.png")
    return p


def chosen(args: argparse.Namespace) -> tuple[Iterator[Case], list[str], str]:
    """(cases, methods, one line that says what they are). ConfigError for options that do not fit together."""
    if (args.predicted is None) != (args.true is None):
        raise ConfigError("--predicted and --true belong together: two folders of panoramas with the same file names.")
    if args.predicted is not None:
        return folder_cases(args.predicted, args.true), ["predicted"], f"{args.predicted} against {args.true}"
    methods = args.methods.split(",")
    unknown = [m for m in methods if m not in METHODS]
    if unknown:
        raise ConfigError(f"--methods: '{unknown[0]}' is none of {', '.join(METHODS)}.{nearest(unknown[0], METHODS)}")
    if args.views < 1:
        raise ConfigError(f"--views {args.views}: at least 1 is needed.")
    split = args.split or (SPLIT if args.environments is None else "all")
    files = panorama_files(args.environments or DATA / "hdri", split)
    what = f"{len(files)} environments{'' if split == 'all' else f' (`{split}`)'} x {args.views} views"
    return view_cases(files, args.views, methods, args.seed), methods, what


def main(arguments: list[str] | None = None) -> int:
    """See the module's text. Returns 0; raises DipirError for bad input."""
    from dipir.priors.light import LightPrior

    arguments = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(arguments)
    cases, methods, what = chosen(args)
    sphere, done, group = Sphere.seen_by(camera()), [], []
    for case in cases:
        group.append(case)
        if len(group) * (len(methods) + 1) >= GROUP:
            judge(group, methods, sphere)
            done, group = done + group, []
            print(f"spheres: {len(done)} cases", file=sys.stderr)
    if group:
        judge(group, methods, sphere)
    done += group
    records = [{"environment": c.environment, "view": c.view, "yaw_deg": c.yaw_deg, "rows": c.rows} for c in done]
    command = typed("python", "-m", "benchmarks.spheres", *arguments)
    result = {"schema": SCHEMA, "command": command, "machine": machine(), "what": what, "seed": args.seed,
              "light_prior": LightPrior.load().hash if "light-prior" in methods else None,
              "summary": summary(records, methods), "over_projected": over_projected(records, methods),
              "published": PUBLISHED, "cases": records}
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "results.json", compact(result))
    write_text(args.out / "table.md", table(result))
    sheet(done[:SHEET_ROWS], methods, args.out / "sheet.png")
    if arguments:
        print(table(result))
    else:
        write("spheres", result, table(result))
    return 0


if __name__ == "__main__":
    as_command(main)
