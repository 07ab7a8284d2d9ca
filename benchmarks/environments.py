"""Procedural environments beside the real ones: dynamic range, height and sharpness of the main light, saturation.

Every map is first reduced to 16 x 32 texels, the size that the light prior estimates, so that sets of any resolution
compare. Real: the `train` panoramas. Procedural: panoramas traced here, and the stored pairs of ``dipir synth views``
where there are any (several lights and cameras of each scene).

usage: python -m benchmarks.environments [--count 60] [--views DIR] [--seed 0] [--out DIR]

Without options ``benchmarks/results/environments.json`` and ``.md`` and ``docs/images/environments.png`` are written
too. The picture needs matplotlib, which is among the development packages.
"""
from __future__ import annotations

import argparse
import io
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA, ROOT, as_command, compact, machine, markdown, typed, write
from dipir.arrays import EnvMap
from dipir.disk import write_bytes, write_text
from dipir.errors import ConfigError, MissingExtra
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.scene.light import EnvironmentMap

HEIGHT, FINE, CAP_DEG = 16, 4, 10.0
STATISTICS = {"ratio": "max / median luminance", "elevation_deg": "elevation of the peak, degrees",
              "peak_share": "share of energy within 10 degrees of the peak", "saturation": "median saturation"}
MOST_VIEWS = 2000
INDOOR = ("adams_place_bridge aerodynamics_workshop blocky_photo_studio brown_photostudio christmas_photo_studio "
          "circus_arena drachenfels_cellar peppermint_powerplant sepulchral_chapel_rotunda st_fagans_interior "
          "studio_small dancing_hall empty_warehouse leadenhall_market").split()
NIGHT = ("street_lamp", "dikhololo_night")
PICTURE, OUT = ROOT / "docs" / "images" / "environments.png", ROOT / "out" / "environments"
Maps = Iterable[tuple[EnvMap, str]]


# ---------------------------------------------------------------------------------------------------------- one map
def statistics(envmap: EnvMap) -> dict[str, float]:
    """The figures of one map (H, W, 3), radiance of any unit; blind to exposure and to rotation about the vertical.

    ratio : largest luminance over the median (by solid angle) of 16 x 32 texels
    elevation_deg : of the centre of the brightest texel, up = 90
    peak_share : luminance within 10 degrees of that centre over all of it, texels taken as constant, [0, 1]
    saturation : median (by solid angle) of (max - min) / max over the channels, black = 0, [0, 1]
    """
    small = EnvironmentMap(envmap).envmap(HEIGHT, 2 * HEIGHT).double()
    light = small @ small.new_tensor(BT709)
    weight = latlong.solid_angles(HEIGHT, 2 * HEIGHT, torch.float64).expand_as(light)
    top = small.amax(-1)
    saturation = (top - small.amin(-1)) / top.clamp_min(1e-12)
    row, column = divmod(int(light.argmax()), 2 * HEIGHT)
    fine = light.repeat_interleave(FINE, 0).repeat_interleave(FINE, 1)
    energy = fine * latlong.solid_angles(*fine.shape, torch.float64)
    towards = latlong.directions(*fine.shape, torch.float64)
    peak = latlong.directions(HEIGHT, 2 * HEIGHT, torch.float64)[row, column]
    near = towards @ peak >= math.cos(math.radians(CAP_DEG))
    return {"ratio": float(light.max() / weighted_median(light, weight).clamp_min(1e-12)),
            "elevation_deg": 90 - (row + 0.5) / HEIGHT * 180,
            "peak_share": float(energy[near].sum() / energy.sum().clamp_min(1e-12)),
            "saturation": float(weighted_median(saturation, weight))}


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The smallest value that reaches half of the total weight."""
    order = values.flatten().argsort()
    total = weights.flatten()[order].cumsum(0)
    return values.flatten()[order][int((total < 0.5 * total[-1]).sum())]


# ------------------------------------------------------------------------------------------------------- sets of maps
def kind_of(name: str) -> str:
    """"indoor", "night" or "outdoor" of a panorama of the training data, by file name."""
    return next((kind for kind, known in (("indoor", INDOOR), ("night", NIGHT)) for k in known if name.startswith(k)),
                "outdoor")


def real(split: str = "train") -> Iterator[tuple[EnvMap, str]]:
    """The panoramas of a split and their kinds. ConfigError when the training data is not there."""
    from dipir.image.files import read_envmap

    listed = DATA / "splits.json"
    if not listed.is_file():
        raise ConfigError(f"{listed}: not there; set DIPIR_DATA to the folder that holds hdri/ and splits.json.")
    for name in json.loads(listed.read_text())["hdri"][split]:
        yield read_envmap(DATA / "hdri" / name), kind_of(name)


def traced(count: int, seed: int) -> Iterator[tuple[EnvMap, str]]:
    """``count`` procedural panoramas of 32 x 64 texels, made now."""
    from dipir.workshop.worlds import panoramas

    with tempfile.TemporaryDirectory() as folder:
        settings = panoramas.PanoramaSettings(height=32, width=64, spp=32)
        maps, kinds = panoramas.load(panoramas.generate(count, folder, seed, settings=settings))
    yield from zip(maps, kinds, strict=True)


def stored_views(folder: Path) -> Iterator[tuple[EnvMap, str]]:
    """The light of the stored pairs, at most 2000 of them, evenly chosen."""
    from dipir.workshop.worlds import views

    pairs = views.load(folder)
    for k in np.unique(np.linspace(0, len(pairs["env"]) - 1, MOST_VIEWS).round().astype(int)):
        yield pairs["env"][k].float(), views.KINDS[int(pairs["kind"][k])]


def measured(maps: Maps) -> list[dict]:
    """Kind and :func:`statistics` of every map."""
    return [{"kind": kind, **statistics(envmap)} for envmap, kind in maps]


# ------------------------------------------------------------------------------------------------------------- output
def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Largest difference of the two cumulative distributions (Kolmogorov-Smirnov), [0, 1]."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)).max())


def summary(sets: Mapping[str, Sequence[Mapping]]) -> list[dict]:
    """One entry for each set and each kind in it: 10th, 50th and 90th percentile of every statistic and its distance to
    the same kind of the first set (None where that has fewer than 3)."""
    first, out = next(iter(sets.values())), []
    for name, rows in sets.items():
        for kind in ("all", *sorted({r["kind"] for r in rows})):
            mine, theirs = ([r for r in some if kind in ("all", r["kind"])] for some in (rows, first))
            figures = {}
            for key in STATISTICS:
                values = [r[key] for r in mine]
                far = distance(values, [r[key] for r in theirs]) if rows is not first and len(theirs) > 2 else None
                figures[key] = {"quantiles": np.quantile(values, (0.1, 0.5, 0.9)).tolist(), "distance": far}
            out.append({"set": name, "kind": kind, "count": len(mine), "figures": figures})
    return out


def table(result: dict) -> str:
    """Markdown."""
    rows = [["set", "kind", "maps", *STATISTICS.values()]]
    for entry in result["summary"]:
        cells = []
        for figure in entry["figures"].values():
            low, middle, high = figure["quantiles"]
            far = "" if figure["distance"] is None else f", D {figure['distance']:.2f}"
            cells.append(f"{middle:.3g} [{low:.3g}, {high:.3g}]{far}")
        rows.append([entry["set"], entry["kind"], str(entry["count"]), *cells])
    return (f"Made by `{result['command']}`; {result['machine']}. Maps of 16 x 32 texels; medians, in brackets the "
            "10th and 90th percentile; D: largest difference of the cumulative distributions to the real maps of that "
            "kind (0 = alike, 1 = apart), where there are at least 3.\n\n" + markdown(rows))


def picture(sets: Mapping[str, Sequence[Mapping]]) -> bytes:
    """PNG with the cumulative distribution of every statistic, a curve a set. MissingExtra without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as problem:
        raise MissingExtra("the plot needs matplotlib, which is not installed. "
                           "Install it with `pip install -e '.[dev]'`.") from problem
    figure, axes = pyplot.subplots(2, 2, figsize=(8.4, 5.6), layout="constrained")
    for axis, (key, title) in zip(axes.flat, STATISTICS.items(), strict=True):
        for name, rows in sets.items():
            values = np.sort([r[key] for r in rows])
            share = np.arange(len(values) + 1) / len(values)
            axis.step([values[0], *values], share, where="post", label=f"{name} ({len(values)})")
        axis.set(xlabel=title, ylabel="share of maps", ylim=(0, 1), xscale="log" if key == "ratio" else "linear")
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    pyplot.close(figure)
    return file.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """See the module's text. Returns 0; raises DipirError for bad input."""
    from dipir.workshop.worlds.views import default_dir

    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser("python -m benchmarks.environments", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="panoramas to trace, 0 = none")
    parser.add_argument("--views", type=Path, metavar="DIR", help="stored pairs; default: those in the cache, if any")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="environments.json, .md and .png")
    args = parser.parse_args(arguments)
    sets = {"real": measured(real())}
    if args.count:
        sets["panoramas"] = measured(traced(args.count, args.seed))
    if args.views is not None or any(default_dir().glob("views_*.safetensors")):
        sets["views"] = measured(stored_views(args.views or default_dir()))
    result = {"command": typed("python", "-m", "benchmarks.environments", *arguments), "machine": machine(),
              "summary": summary(sets), "maps": sets}
    image = picture(sets)
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "environments.json", compact(result))
    write_text(args.out / "environments.md", table(result))
    write_bytes(args.out / "environments.png", image)
    if arguments:
        print(table(result))
    else:
        write("environments", {**result, "maps": {"real": sets["real"]}}, table(result))
        write_bytes(PICTURE, image)
    return 0


if __name__ == "__main__":
    as_command(main)
