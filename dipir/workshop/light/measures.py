"""How far an estimated environment map is from the true one, as surfaces would see it."""
from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.image.color import BT709
from dipir.scene.light import dominant_direction

LUMINANCE = torch.tensor(BT709)


@functools.lru_cache(maxsize=8)
def luminance_weights(where: torch.device) -> Tensor:
    """``LUMINANCE`` on a device."""
    return LUMINANCE.to(where)


HIGH = 0.9
"""Height of a unit direction, 64 degrees of elevation, above which azimuth is not judged."""


@dataclass(frozen=True)
class Functionals:
    """Rows that turn a map, flattened to (512, 3), into what a surface sees, each scaled so that a map of 1 gives 1."""

    weights: Tensor  # (512,) solid angle share of each texel
    diffuse: Tensor  # (64, 512) irradiance / pi over 64 normals
    glossy8: Tensor  # glossy8, glossy64: (64, 512), (128, 512) Phong lobes cos^n over as many directions
    glossy64: Tensor


@functools.lru_cache(maxsize=8)
def functionals(height: int = 16, width: int = 32, where: torch.device | None = None) -> Functionals:
    """The fixed linear functionals of loss and evaluation on a device (default: the CPU), made once."""
    if where is not None and where.type != "cpu":
        return device.moved(functionals(height, width), where)
    direction = latlong.directions(height, width).reshape(-1, 3)
    share = latlong.solid_angles(height, width).expand(height, width).reshape(-1) / (4 * math.pi)

    def lobes(count: int, exponent: float) -> Tensor:
        k = torch.arange(count) + 0.5
        y, azimuth = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
        r = (1 - y * y).sqrt()
        rows = (torch.stack([r * azimuth.cos(), y, r * azimuth.sin()], -1) @ direction.T).clamp_min(0) ** exponent
        return rows * share / (rows * share).sum(1, keepdim=True)

    return Functionals(share, lobes(64, 1), lobes(64, 8), lobes(128, 64))


def score(predicted: EnvMap, true: EnvMap, rows: Functionals) -> dict[str, float]:
    """Errors of one map (16, 32, 3).

    diffuse : RMSE of irradiance over normals and channels, divided by the RMS of the truth;  si : the same after the
    best scale;  glossy, glossy_si : of the Phong lobes of exponent 64;  exposure : |log of the ratio of mean
    luminance|;  angle_deg, azimuth_deg : of the dominant direction, the azimuth NaN where the true one is so high that
    it says nothing
    """
    p, t = predicted.reshape(-1, 3), true.reshape(-1, 3)
    out = {}
    for name, si, matrix in (("diffuse", "si", rows.diffuse), ("glossy", "glossy_si", rows.glossy64)):
        a, b = matrix @ p, matrix @ t
        scale = (a * b).sum() / a.square().sum().clamp_min(1e-12)
        out[name] = float((a - b).norm() / b.norm())
        out[si] = float((scale * a - b).norm() / b.norm())
    level_p, level_t = (float((rows.weights @ x) @ LUMINANCE) for x in (p, t))
    out["exposure"] = abs(math.log(level_p / level_t))
    a, b = dominant_direction(predicted), dominant_direction(true)
    out["angle_deg"] = math.degrees(math.acos(float((a * b).sum().clamp(-1, 1))))
    turn = math.degrees(math.atan2(float(a[0]), float(a[2])) - math.atan2(float(b[0]), float(b[2])))
    out["azimuth_deg"] = abs((turn + 180) % 360 - 180) if float(b[1]) < HIGH else math.nan
    return out


def summary(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the errors (exposure, angles: medians), and ``score`` that training minimises: what counts is how
    near rendered objects come, so diffuse and glossy errors, capped so that one impossible plate cannot decide."""
    columns = {key: np.array([s[key] for s in scores]) for key in scores[0]}
    out = {key: float(np.nanmedian(v) if key in ("exposure", "angle_deg", "azimuth_deg") else v.mean())
           for key, v in columns.items()}
    out["diffuse_median"] = float(np.median(columns["diffuse"]))
    capped = {key: float(np.minimum(columns[key], 2.0).mean()) for key in ("diffuse", "glossy")}
    out["score"] = capped["diffuse"] + 1.5 * out["si"] + 0.25 * capped["glossy"] + 0.5 * out["glossy_si"]
    return out


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The results as a Markdown table."""
    columns = {"diffuse": "irradiance RMSE / RMS", "diffuse_median": "(median)", "si": "scale-invariant",
               "glossy": "Phong 64 RMSE / RMS", "glossy_si": "scale-invariant", "exposure": "log exposure (median)",
               "angle_deg": "direction, deg (median)", "azimuth_deg": "azimuth, deg (median, light below 64 deg)"}
    lines = ["| light | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in results.items():
        cells = (f"{values[k]:.0f}" if k.endswith("_deg") else f"{values[k]:.3f}" for k in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
