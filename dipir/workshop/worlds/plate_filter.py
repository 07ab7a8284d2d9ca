"""Plates from a few paths a pixel: fireflies bounded, what falls on surfaces filtered along them."""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.workshop.worlds.described import Hits


def denoise(mean: Tensor, error: Tensor, hits: Hits, levels: int = 3) -> Tensor:
    """The filter of :func:`tracer.denoise` for one plate under L lights, whose edges are found once.

    mean : (L, 3, H, W);  error : (L, H, W);  hits : with (H, W, ...) tensors.  Returns (L, 3, H, W).
    """
    normal, point = hits.normal.permute(2, 0, 1), hits.point.permute(2, 0, 1)
    albedo = hits.albedo.permute(2, 0, 1) + 0.02
    light, spread = _without_specks(mean / albedo, 3.0), error / albedo.mean(0)
    spread = 3 * torch.nn.functional.avg_pool2d(spread[None], 5, 1, 2, count_include_pad=False)[0] + 1e-6
    kernel, (height, width) = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16), mean.shape[-2:]
    guides = torch.cat([normal, point, (~hits.light).float()[None]])
    for level in range(levels):
        step = 2 ** level
        grey = light.mean(1)
        wide_light, wide_guides, wide_grey = _pad(light, step), _pad(guides[None], step)[0], _pad(grey[None], step)[0]
        total, weights = torch.zeros_like(light), torch.zeros_like(spread)
        for i, down in enumerate(kernel):
            for j, right in enumerate(kernel):
                window = ..., slice(i * step, i * step + height), slice(j * step, j * step + width)
                other = wide_guides[window]
                offset = other[3:6] - point
                off_plane = (offset * normal).sum(0).abs() / (0.02 + 0.1 * offset.square().sum(0).sqrt())
                same = (normal * other[:3]).sum(0).clamp_min(0) ** 16
                edge = same * torch.exp(-off_plane.square()) * other[6] * (down * right)
                change = (wide_grey[window] - grey) / spread * step
                weight = edge * torch.exp(-change.square())
                total, weights = total + weight[:, None] * wide_light[window], weights + weight
        light = torch.where((weights > 1e-6)[:, None], total / weights.clamp_min(1e-6)[:, None], light)
    return torch.where(hits.light, mean, _without_specks(light, 1.6) * albedo)


def _without_specks(light: Tensor, factor: float) -> Tensor:
    """(L, 3, H, W) with every pixel within ``factor`` of the median brightness of its 3 x 3 neighbourhood: what is left
    of fireflies when half the paths of a pixel are such."""
    grey = light.mean(1, keepdim=True)
    around = torch.nn.functional.pad(grey, (1,) * 4, mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
    median = around.flatten(4).median(4).values
    bounded = torch.minimum(torch.maximum(grey, median / factor), median * factor)
    return light * (bounded / grey.clamp_min(1e-12)).clamp_max(factor)


def _pad(x: Tensor, step: int) -> Tensor:
    return torch.nn.functional.pad(x, (2 * step,) * 4, mode="replicate")


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
