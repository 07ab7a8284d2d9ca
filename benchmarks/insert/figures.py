"""Figures of one case of the insertion benchmark; those of the cast shadow: ``shadow``."""
from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from dipir.arrays import EnvMap, Image, Mask
from dipir.image.composite import flatten_disp, insert_layers
from dipir.image.metrics import azimuth_error_deg, direction_error_deg, rmse, si_rmse, ssim
from dipir.image.tone import ToneCurve
from dipir.render.renderer import Passes
from dipir.scene.light import dominant_direction
from dipir.scene.plate import Plate

SOLID, SHADOWED = 0.999, 0.02
FIGURES = {"composite_rmse": "composite RMSE", "composite_si_rmse": "composite si-RMSE", "ssim": "SSIM",
           "lpips": "LPIPS", "fg_rmse": "foreground RMSE", "fg_si_rmse": "foreground si-RMSE",
           "fg_rmse_rel": "foreground RMSE / mean", "fg_si_rmse_rel": "foreground si-RMSE / mean",
           "shadow_rmse": "shadow-ratio RMSE", "exposure_log2": "log2 exposure error",
           "direction_deg": "direction error (deg)", "azimuth_deg": "azimuth error (deg)",
           "cast_deg": "cast shadow's direction error (deg)", "darkest_log2": "log2 error of its darkest ratio",
           "penumbra_log2": "log2 error of its penumbra", "hardness": "hardness of the shadow",
           "first_guess_deg": "direction error of the first guess (deg)",
           "guesses_deg": "direction error of the best of three guesses (deg)",
           "seconds": "seconds", "cpu_seconds": "CPU seconds"}
IMAGES = tuple(FIGURES)[:12]
"""What :func:`figures` gives, and LPIPS."""


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
    """Every figure of :data:`IMAGES` but LPIPS; None where it is not defined (no pixel that the object covers wholly,
    no shadow, a light without azimuth)."""
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
    return {k: _finite(out.get(k)) for k in IMAGES if k != "lpips"}


def _finite(value: float | Tensor | None) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)
