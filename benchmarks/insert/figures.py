"""Figures of the insertion benchmark: of one case, and over all cases with bootstrap intervals; tables."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from benchmarks.common import markdown
from dipir.arrays import EnvMap, Image, Mask
from dipir.image.composite import flatten_disp, insert_layers
from dipir.image.metrics import azimuth_error_deg, direction_error_deg, rmse, si_rmse, ssim
from dipir.image.tone import ToneCurve
from dipir.render.renderer import Passes
from dipir.scene.light import dominant_direction
from dipir.scene.plate import Plate

SOLID, SHADOWED, DRAWS = 0.999, 0.02, 1000
FIGURES = {"composite_rmse": "composite RMSE", "composite_si_rmse": "composite si-RMSE", "ssim": "SSIM",
           "lpips": "LPIPS", "fg_rmse": "foreground RMSE", "fg_si_rmse": "foreground si-RMSE",
           "fg_rmse_rel": "foreground RMSE / mean", "fg_si_rmse_rel": "foreground si-RMSE / mean",
           "shadow_rmse": "shadow-ratio RMSE", "exposure_log2": "log2 exposure error",
           "direction_deg": "direction error (deg)", "azimuth_deg": "azimuth error (deg)",
           "seconds": "seconds", "cpu_seconds": "CPU seconds"}
ANGLES = ("direction_deg", "azimuth_deg")
RATIOS = (("fg_si_rmse", "ambient"), ("fg_si_rmse", "projected"))
Rows = Sequence[Mapping[str, Mapping[str, float | None]]]  # A case: method -> figure -> value or None.


@dataclass(frozen=True)
class Shown:
    """A composite taken apart."""

    disp: Image  # (1, 3, H, W) display
    object_lin: Image  # (1, 3, H, W) linear radiance of the object, coverage taken out, tone applied
    alpha: Mask  # (1, 1, H, W)
    shadow: Tensor  # (1, 3, H, W) factor on the ground, tone applied


def shown(plate: Plate, passes: Passes, tones: tuple[ToneCurve, ToneCurve] | None = None) -> Shown:
    """The composite of passes on a plate."""
    tone_fg, tone_shadow = tones or (None, None)
    layers = insert_layers(plate.lin, plate.disp, passes.object_rgb, passes.alpha, passes.shadow_ratio,
                           tone_fg=tone_fg, tone_shadow=tone_shadow)
    shadow, coloured = layers.layers
    return Shown(flatten_disp(layers), coloured.image / passes.alpha.clamp_min(1e-6), passes.alpha, shadow.image)


def figures(got: Shown, want: Shown, light: EnvMap, true: EnvMap) -> dict[str, float | None]:
    """Every figure of :data:`FIGURES` but LPIPS and times; None where it is not defined (no pixel that the object
    covers wholly, no shadow, a light without azimuth)."""
    solid = (want.alpha > SOLID).float()
    ground = ((1 - want.shadow).amax(1, keepdim=True) > SHADOWED).float() * (1 - want.alpha)
    out = {"composite_rmse": rmse(got.disp, want.disp), "composite_si_rmse": si_rmse(got.disp, want.disp),
           "ssim": ssim(got.disp, want.disp)}
    if solid.sum() > 0:
        def mean(x):
            return float((x * solid).sum() / (3 * solid.sum()))

        level = max(mean(want.object_lin), 1e-6)
        error, scaled = rmse(got.object_lin, want.object_lin, solid), si_rmse(got.object_lin, want.object_lin, solid)
        out |= {"fg_rmse": error, "fg_si_rmse": scaled, "fg_rmse_rel": error / level, "fg_si_rmse_rel": scaled / level,
                "exposure_log2": abs(math.log2(max(mean(got.object_lin), 1e-6) / level))}
    if ground.sum() > 0:
        out["shadow_rmse"] = rmse(got.shadow, want.shadow, ground)
    directions = dominant_direction(light), dominant_direction(true)
    out |= {"direction_deg": direction_error_deg(*directions), "azimuth_deg": azimuth_error_deg(*directions)}
    return {k: _finite(out.get(k)) for k in FIGURES if k not in ("lpips", "seconds", "cpu_seconds")}


def _finite(value: float | Tensor | None) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)


# ------------------------------------------------------------------------------------------------------ over all cases
def summary(rows: Rows, environments: Sequence[str], methods: Sequence[str]) -> dict:
    """Method -> figure -> mean, median, their 95 % intervals and the number of cases where it is defined.

    environments : of each case; the bootstrap draws environments, then cases within each, because cases of one
        environment are not independent
    """
    draws = resamples(environments)
    out: dict = {}
    for m in methods:
        for f in FIGURES:
            values = column(rows, m, f)
            if np.isfinite(values).any():
                out.setdefault(m, {})[f] = {"n": int(np.isfinite(values).sum()), **_interval(values, np.nanmean, draws),
                                            **_interval(values, np.nanmedian, draws, "median")}
    return out


def ratios(rows: Rows, environments: Sequence[str], methods: Sequence[str]) -> dict:
    """Method -> "figure/baseline" -> ratio of the means over the cases that both have, with its 95 % interval."""
    draws = resamples(environments)
    out: dict = {}
    for m in methods:
        for f, base in RATIOS:
            ours, theirs = column(rows, m, f), column(rows, base, f)
            both = np.isfinite(ours) & np.isfinite(theirs)
            if both.any():
                pair = np.stack([np.where(both, ours, np.nan), np.where(both, theirs, np.nan)], 1)

                def ratio(p):
                    return np.nanmean(p[:, 0]) / np.nanmean(p[:, 1])

                def typical(p):
                    return np.exp(np.nanmean(np.log(np.maximum(p[:, 0] / p[:, 1], 1e-6))))

                out.setdefault(m, {})[f"{f}/{base}"] = {"n": int(both.sum()), **_interval(pair, ratio, draws, "ratio"),
                                                        **_interval(pair, typical, draws, "typical")}
    return out


def column(rows: Rows, method: str, figure: str) -> np.ndarray:
    """(cases,) values; NaN where the method failed or the figure is not defined."""
    values = [row.get(method, {}).get(figure) for row in rows]
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def resamples(environments: Sequence[str], count: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """Indices of cases, drawn in two stages with replacement: environments, then as many cases as each has."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(np.array(environments) == e) for e in dict.fromkeys(environments)]

    def pick(group):
        return group[rng.integers(len(group), size=len(group))]

    return [np.concatenate([pick(groups[g]) for g in rng.integers(len(groups), size=len(groups))])
            for _ in range(count)]


def _interval(values: np.ndarray, statistic, draws: Sequence[np.ndarray], name: str = "mean") -> dict[str, float]:
    """The statistic and quantiles 0.025, 0.975 of it over the draws; draws without any value are left out."""
    defined = np.isfinite(values.reshape(len(values), -1)).all(1)
    boot = [statistic(values[d]) for d in draws if defined[d].any()]
    return {name: float(statistic(values)), f"{name}_low": float(np.quantile(boot, 0.025)),
            f"{name}_high": float(np.quantile(boot, 0.975))}


# -------------------------------------------------------------------------------------------------------------- tables
def tables(result: Mapping) -> str:
    """Markdown: images, then light and time."""
    s, lit, ratio = result["summary"], result["single_light"]["summary"], result["ratios"]
    images = ["fg_si_rmse", "fg_rmse", "composite_rmse", "composite_si_rmse", "ssim", "shadow_rmse"]
    images += ["lpips"] if any("lpips" in v for v in s.values()) else []
    shares = [head for _, base in RATIOS for head in (f"/ {base}", f"case by case / {base}")]
    rows = [["method", *(FIGURES[f] for f in images[:1]), *shares, *(FIGURES[f] for f in images[1:])]]
    for m in s:
        cells = [_cell(s[m].get(f)) for f in images]
        shares = [_cell(ratio.get(m, {}).get(f"{f}/{b}"), name) for f, b in RATIOS for name in ("ratio", "typical")]
        rows.append([m, cells[0], *shares, *cells[1:]])
    light = [["method", FIGURES["exposure_log2"], "direction error (deg), all: median", "mean",
              "with a sun or one strong lamp: median", "mean", "azimuth error there (deg): median", "seconds"]]
    for m in s:
        def find(group, f, name, m=m):
            return _cell(group.get(m, {}).get(f), name)

        light.append([m, find(s, "exposure_log2", "mean"), find(s, "direction_deg", "median"),
                      find(s, "direction_deg", "mean"), find(lit, "direction_deg", "median"),
                      find(lit, "direction_deg", "mean"), find(lit, "azimuth_deg", "median"),
                      find(s, "seconds", "mean")])
    return f"{_head(result)}\n\n{markdown(rows)}\n{markdown(light)}"


def _head(result: Mapping) -> str:
    settings, one = result["settings"], result["single_light"]

    def count(n, what):
        return f"{n} {what}{'' if n == 1 else 'es' if what.endswith('sh') else 's'}"

    failed = sum(len(c["errors"]) for c in result["cases"])
    text = (f"Made by `{result['command']}`; {count(len(result['cases']), 'case')} "
            f"({count(len(result['environments']), 'environment')} x {count(len(result['meshes']), 'mesh')} x "
            f"{count(settings['views'], 'view')}), plates of {settings['size']} rows, {settings['spp']} spp; "
            f"{result['machine']}, one thread a case. Means, with bootstrap 95 % intervals in brackets; \"/ ambient\" "
            f"and \"/ projected\" are ratios of mean foreground si-RMSE, which the strongest lights decide, "
            f"\"case by case\" geometric means of each case's own ratio. A sun or one strong lamp: "
            f"{', '.join(one['environments']) or 'no environment'}.")
    text += f" **{count(failed, 'row')} failed** and are left out of the means." if failed else ""
    return text + (" **The code was changed during the run.**" if result["code_changed"] else "")


def _cell(figure: Mapping | None, name: str = "mean") -> str:
    """Value and interval; "none" for a figure that is defined nowhere (the direction of a constant map)."""
    if figure is None:
        return "none"
    return f"{figure[name]:.3g} [{figure[f'{name}_low']:.3g}, {figure[f'{name}_high']:.3g}]"
