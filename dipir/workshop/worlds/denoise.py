"""Renderings of a few paths a pixel made smooth: fireflies bounded, what falls on surfaces filtered along them.

The filter is the edge-avoiding wavelet transform (Dammertz et al. 2010) with the error-driven stops of Schied et al.
(2017): albedo is divided out before and multiplied in after, and a difference counts as an edge when it exceeds the
Monte Carlo error.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap

_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_LEVELS = 3


@dataclass(frozen=True)
class Surface:
    """First hits of a panorama, averaged over four rays a texel."""

    light: Tensor  # (H, W) bool: some ray met an emitter or the sky
    albedo: Tensor  # (H, W, 3)
    normal: Tensor  # (H, W, 3)
    position: Tensor  # (H, W, 3) metres


@dataclass(frozen=True)
class Hits:
    """First hits of N rays, or of the (H, W) pixels of a plate."""

    distance: Tensor  # (N,) metres, inf without a hit
    point: Tensor  # (N, 3) metres, 0 without a hit
    normal: Tensor  # (N, 3), 0 without a hit
    albedo: Tensor  # (N, 3), 0 without a hit
    light: Tensor  # (N,) bool, the sky or an emitter was met


def denoise_panorama(panorama: EnvMap, error: Tensor, surface: Surface) -> EnvMap:
    """(H, W, 3) without noise on surfaces; texels that see a light stay as they are. error : (H, W) Monte Carlo."""
    albedo = surface.albedo + 0.02
    spread = 3 * _smooth((error / albedo.mean(-1))[None])
    light = _wavelets((panorama / albedo).permute(2, 0, 1)[None], lambda step: spread / step + 1e-6,
                      _guides(surface.normal, surface.position, surface.light), wrap=True)[0].permute(1, 2, 0)
    return torch.where(surface.light[..., None], panorama, light * albedo)


def denoise_plate(mean: Tensor, error: Tensor, hits: Hits) -> Tensor:
    """One plate under L lights, whose edges are found once. mean : (L, 3, H, W);  error : (L, H, W);  hits : with
    (H, W, ...) tensors.  Returns (L, 3, H, W)."""
    albedo = hits.albedo.permute(2, 0, 1) + 0.02
    spread = 3 * _smooth(error / albedo.mean(0)) + 1e-6
    light = _wavelets(_without_specks(mean / albedo, 3.0), lambda step: spread / step,
                      _guides(hits.normal, hits.point, hits.light), wrap=False)
    return torch.where(hits.light, mean, _without_specks(light, 1.6) * albedo)


def _smooth(spread: Tensor) -> Tensor:
    """(L, H, W) means of neighbourhoods: one pixel's own error estimate is itself noisy."""
    return functional.avg_pool2d(spread[None], 5, 1, 2, count_include_pad=False)[0]


def _guides(normal: Tensor, point: Tensor, light: Tensor) -> Tensor:
    """(7, H, W): normal, point, and 1 where no light is seen."""
    return torch.cat([normal.permute(2, 0, 1), point.permute(2, 0, 1), (~light).float()[None]])


def _wavelets(light: Tensor, tolerance: Callable[[int], Tensor], guides: Tensor, wrap: bool) -> Tensor:
    """(L, 3, H, W) filtered over ``_LEVELS`` sizes. tolerance : distance of the taps -> (L, H, W), the difference in
    brightness that is noise;  wrap : left and right edges meet, as in a panorama."""
    (height, width), (normal, point) = light.shape[-2:], guides[:6].split(3)
    for level in range(_LEVELS):
        step = 2 ** level
        grey, noise = light.mean(1), tolerance(step)
        wide_light, wide_guides, wide_grey = (_extended(x, 2 * step, wrap) for x in (light, guides, grey))
        total, weights = torch.zeros_like(light), torch.zeros_like(grey)
        for i, down in enumerate(_KERNEL):
            for j, right in enumerate(_KERNEL):
                window = ..., slice(i * step, i * step + height), slice(j * step, j * step + width)
                other = wide_guides[window]
                offset = other[3:6] - point
                off_plane = (offset * normal).sum(0).abs() / (0.02 + 0.1 * offset.square().sum(0).sqrt())
                same = (normal * other[:3]).sum(0).clamp_min(0) ** 16
                edge = same * torch.exp(-off_plane.square()) * other[6] * (down * right)
                weight = edge * torch.exp(-((wide_grey[window] - grey) / noise).square())
                total, weights = total + weight[:, None] * wide_light[window], weights + weight
        light = torch.where((weights > 1e-6)[:, None], total / weights.clamp_min(1e-6)[:, None], light)
    return light


def _extended(x: Tensor, margin: int, wrap: bool) -> Tensor:
    """(..., H, W) with ``margin`` more on each side: the edge's own, or with ``wrap`` columns of the other side."""
    rows, columns = (torch.arange(-margin, size + margin, device=x.device) for size in x.shape[-2:])
    columns = columns % x.shape[-1] if wrap else columns.clamp(0, x.shape[-1] - 1)
    return x[..., rows.clamp(0, x.shape[-2] - 1), :][..., columns]


# ----------------------------------------------------------------------------------------------------------- fireflies
def remove_fireflies(panorama: EnvMap, error: Tensor, light: Tensor, factor: float = 1.5) -> EnvMap:
    """Give the excess of single bright texels to three neighbours on each side in the same row (same solid angle), so
    that energy is kept exactly.

    panorama (H, W, 3);  error (H, W): standard error of the mean of a texel's channels;  light (H, W) bool: texels that
    see a light, never touched;  ``factor``: how many times the median of its 3x3 neighbourhood a texel may have. Only
    texels whose relative error is above 0.2 are suspects: a texel that is truly bright has samples that agree.
    """
    value = panorama.mean(-1)
    middle = _extended(value, 1, wrap=True).unfold(0, 3, 1).unfold(1, 3, 1).flatten(2).median(-1).values
    limit = factor * middle
    suspect = ~light & (value > limit) & (error > 0.2 * value)
    excess = torch.where(suspect, 1 - limit / value.clamp_min(1e-12), 0.0)[..., None] * panorama
    return panorama - excess + sum(excess.roll(shift, 1) for shift in (-3, -2, -1, 1, 2, 3)) / 6


def _without_specks(light: Tensor, factor: float) -> Tensor:
    """(L, 3, H, W) with every pixel within ``factor`` of the median brightness of its 3 x 3 neighbourhood: what is left
    of fireflies when half the paths of a pixel are such."""
    grey = light.mean(1, keepdim=True)
    median = _extended(grey, 1, wrap=False).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values
    bounded = torch.minimum(torch.maximum(grey, median / factor), median * factor)
    return light * (bounded / grey.clamp_min(1e-12)).clamp_max(factor)


def pixel_means(samples: Tensor, factor: float = 6.0) -> tuple[Tensor, Tensor]:
    """(V, h, w, spp, 3) paths -> mean (V, 3, h, w) and its standard error (V, h, w). The brightest path of a pixel
    counts at most ``factor`` times the mean of the others: a lone firefly says nothing about the light in a photo."""
    grey, spp = samples.sum(-1) / 3, samples.shape[3]
    top, which = grey.max(3, keepdim=True)
    rest = (grey.sum(3, keepdim=True) - top) / (spp - 1)
    share = torch.ones_like(grey).scatter(3, which, (factor * rest / top.clamp_min(1e-12)).clamp_max(1))
    grey = grey * share
    mean = torch.einsum("vhwsc,vhws->vchw", samples, share) / spp
    return mean, ((grey.square().sum(3) / spp - (grey.sum(3) / spp).square()).clamp_min(0) / (spp - 1)).sqrt()
