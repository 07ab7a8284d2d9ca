"""What the three-sphere protocol does to maps before, and to renders after, they are rendered: tone and four figures.

Source: ``stylelight/`` of DiffusionLight-evaluation (the evaluation of StyleLight, slightly changed).
"""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image, Mask
from dipir.errors import ImageError
from dipir.image import metrics
from dipir.scene.light import EnvironmentMap

HEIGHT, WIDTH = 128, 256
GAMMA, TARGET = 2.4, 0.5
METRICS = {"rmse": "RMSE", "si_rmse": "si-RMSE", "angular_deg": "RGB angular error, degrees",
           "normalized_rmse": "normalised RMSE"}


def protocol_map(envmap: EnvMap) -> EnvMap:
    """Radiance (H, W, 3) of any size -> the toned map (128, 256, 3) that lights the spheres. Larger maps are averaged
    by solid angle, smaller ones interpolated between texel centres."""
    return tone_map(EnvironmentMap(envmap).envmap(HEIGHT, WIDTH))


def tone_map(envmap: EnvMap) -> EnvMap:
    """``TonemapHDR(gamma=2.4, percentile=50, max_mapping=0.5)`` without clipping: I^(1/2.4), scaled so that the median
    of all values above zero, the channels taken together, is 0.5. A map without light stays black. Raises ImageError
    for negative, NaN or infinite radiance, which the power would turn into NaN."""
    if not torch.isfinite(envmap).all() or bool((envmap < 0).any()):
        raise ImageError("a map to be toned has negative, NaN or infinite radiance; the protocol takes values >= 0. "
                         "Repair the panorama or clip it at 0.")
    powered = envmap.double() ** (1 / GAMMA)
    lit = powered[powered > 0]
    return envmap if lit.numel() == 0 else (powered * (TARGET / lit.quantile(0.5))).to(envmap.dtype)


def figures(predicted: Image, true: Image, alpha: Mask) -> dict[str, float]:
    """The four figures of one render against the true one.

    predicted, true : (1, 3, 540, 960) whole frames, premultiplied, background 0 (the percentiles of the normalised
    RMSE include it);  alpha : (1, 1, 540, 960) coverage of ``predicted``; every pixel above 0 counts fully.
    Squares are summed over the channels and divided by the number of pixels.
    """
    mask = (alpha > 0).to(predicted.dtype)
    rows, columns = (mask[0, 0].amax(axis).nonzero()[[0, -1], 0].tolist() for axis in (1, 0))
    box = ..., slice(rows[0], rows[1] + 1), slice(columns[0], columns[1] + 1)  # Nothing outside it counts.
    near = predicted[box], true[box], mask[box]
    values: dict[str, Tensor] = {
        "rmse": metrics.rmse(*near, channel_sum=True), "si_rmse": metrics.si_rmse(*near, channel_sum=True),
        "angular_deg": metrics.angular_error_deg(*near),
        "normalized_rmse": metrics.normalized_rmse(predicted, true, mask)}
    return {name: float(value) for name, value in values.items()}
