"""Vision guidance: where each layer shows, and the shifts that make its object form there (LRDiff, Qi et al., arXiv
2311.18435; docs/method.md 3.1 for the paper, 3.3 for what its authors' code does).

Masks are (K, 1, h, w) in the cells of the prior's space, 1 = the region. A shift xi is one of the paper's variance
preserving z = x / sqrt(sigma^2 + 1); :func:`spread` is what it is multiplied with in our variance exploding x.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from dipir.diffusion.attention import recording
from dipir.diffusion.denoiser import AbstractDenoiser, Condition

_FLAT = 64  # Side of the flat picture whose code is a colour's, in pixels.


def spread(sigma: float | Tensor) -> float | Tensor:
    """sqrt(sigma^2 + 1), what x is larger than z."""
    return (sigma**2 + 1) ** 0.5


# ------------------------------------------------------------------------------------------------- which layer shows
def drawing_order(masks: Tensor) -> list[int]:
    """Numbers of the masks from the lowest to the topmost: larger ones first, of equal ones the earlier first."""
    masks = masks.cpu()  # One crossing instead of one a mask.
    return sorted(range(len(masks)), key=lambda k: -float(masks[k].sum()))


def weights_over(masks: Tensor) -> Tensor:
    """(K, 1, h, w) in [0, 1] -> (K + 1, 1, h, w): how much of the background (first) and of each region is seen when
    they lie over each other in :func:`drawing_order`. They sum to 1 everywhere."""
    seen = torch.zeros(len(masks) + 1, *masks.shape[1:], dtype=masks.dtype, device=masks.device)
    left = torch.ones_like(seen[0])
    for k in reversed(drawing_order(masks)):
        seen[k + 1] = left * masks[k]
        left = left - seen[k + 1]
    seen[0] = left
    return seen


def weights_mean(masks: Tensor) -> Tensor:
    """As :func:`weights_over`, but where regions overlap each counts alike (Bar-Tal et al. 2023, MultiDiffusion, Eq. 5
    with masks as weights); the background counts where no region is."""
    background = 1 - masks.amax(0, keepdim=True)
    every = torch.cat([background, masks])
    return every / every.sum(0, keepdim=True)


def soften(masks: Tensor, cells: int) -> Tensor:
    """Edges that fall over 2 ``cells`` + 1 cells instead of at once; 0 leaves the masks as they are."""
    if cells == 0:
        return masks
    # Rows, then columns: the windows of a large photo would be too slow in one.
    rows = avg_pool2d(masks, (1, 2 * cells + 1), 1, (0, cells), count_include_pad=False)
    return avg_pool2d(rows, (2 * cells + 1, 1), 1, (cells, 0), count_include_pad=False)


def grow(masks: Tensor, cells: int) -> Tensor:
    """1 in the mask, falling outside of it, exactly 0 further than 2 ``cells`` away."""
    rows = max_pool2d(masks, (1, 2 * cells + 1), 1, (0, cells))
    return soften(max_pool2d(rows, (2 * cells + 1, 1), 1, (cells, 0)), cells)


# -------------------------------------------------------------------------------------------------------------- shifts
def shift(masks: Tensor, deltas: Tensor, inside: float = 1.0, outside: float | None = None) -> Tensor:
    """xi = delta (2 M - 1) (the paper's Eq. 5), or with two weights inside delta M - outside delta (1 - M), as the code
    has it (lambda2 = inside, lambda1 = outside).

    masks : (K, 1, h, w) in {0, 1};  deltas : (K, C);  outside : None = as inside
    returns (K, C, h, w) in variance preserving units
    """
    outside = inside if outside is None else outside
    return deltas[:, :, None, None] * (inside * masks - outside * (1 - masks))


def constant_delta(prior: AbstractDenoiser, colours: Tensor) -> Tensor:
    """(K, 3) display colours in [0, 1] -> (K, C): the mean of the code of a flat picture in that colour."""
    flat = colours[:, :, None, None].expand(-1, -1, _FLAT, _FLAT)
    return prior.encode(flat).mean((2, 3))


def word_maps(prior: AbstractDenoiser, x: Tensor, sigma: Tensor, condition: Condition,
              positions: Sequence[Sequence[int]]) -> Tensor:
    """Cross-attention of one call, (K, h, w): row k averaged over the tokens ``positions[k]``.

    x : (K, C, h, w);  sigma : (K,). Raises PriorError for a prior without cross-attention.
    """
    with recording(prior) as maps:
        prior(x, sigma, condition)
    mean = maps.mean(*x.shape[2:])
    return torch.stack([row[list(which)].mean(0) for row, which in zip(mean, positions, strict=True)])


def top_cells(maps: Tensor, count: int, masks: Tensor | None = None) -> Tensor:
    """The set S of Eq. 6: (K, 1, h, w), 1 in the ``count`` cells of each map (K, h, w) with the largest values, looked
    for in ``masks`` (K, 1, h, w) only when these are given; fewer where the mask has fewer."""
    values = maps if masks is None else maps.masked_fill(masks[:, 0] <= 0.5, -torch.inf)
    best = values.flatten(1).topk(min(count, values[0].numel()))
    chosen = torch.zeros_like(maps.flatten(1)).scatter(1, best.indices, torch.isfinite(best.values).to(maps))
    return chosen.unflatten(1, maps.shape[1:])[:, None]


def dynamic_delta(z: Tensor, chosen: Tensor) -> Tensor:
    """Eq. 6 without its lambda: the mean of the noisy state over S.

    z : (K, C, h, w) variance preserving;  chosen : (K, 1, h, w) in {0, 1}, at least one cell each -> (K, C)
    """
    return (z * chosen).sum((2, 3)) / chosen.sum((2, 3))


def seen_delta(prior: AbstractDenoiser, z: Tensor, chosen: Tensor) -> Tensor:
    """The authors' code instead of Eq. 6: the mean colour over S of the *decoded* noisy state, encoded again."""
    pictures = prior.decode(z)
    where = interpolate(chosen, pictures.shape[2:], mode="nearest")
    return constant_delta(prior, dynamic_delta(pictures, where))
