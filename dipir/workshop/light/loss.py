"""What the light prior's training minimises."""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dipir.image import latlong
from dipir.priors.light import compose
from dipir.priors.light_input import FLOOR
from dipir.priors.nets.light_unet import LightEstimate
from dipir.workshop.light.batches import Truth
from dipir.workshop.light.measures import Functionals, luminance_weights
from dipir.workshop.light.places import hardness

KERNEL = 78.0
"""Sharpness of the lobe in which a source's direction is told to the texels, 6.5 degrees: the middle of what a network
says lies between them."""
_DARK = 0.03
"""Added to the part of the light that is left in a shadow, before its logarithm."""


def light_loss(estimate: LightEstimate, truth: Truth, rows: Functionals) -> dict[str, Tensor]:
    """The terms of the loss of an estimate, each a mean over the batch.

    The map is composed with the *true* distribution of the dominant light, as far as there is one: its energy and what
    is around it are learned as if its direction were known, and its direction by itself. Composed with the estimated
    one, a sun that may be here or there costs least where it is left out, and objects would throw no shadows.

    log : solid-angle weighted L1 of log radiance;  exposure : of the log of the mean radiance
    diffuse, glossy8, glossy64 : of the functionals after each map is divided by its mean luminance, so that exposure
    is judged once and a sun cannot outweigh a batch;  absolute : of irradiance without that, over the true mean;
    it asks for the cautious side where exposure is unsure, and flattens out at six times the truth, because a plate of
    a dark corner cannot tell how bright the rest is
    peak : cross-entropy of the distribution of the dominant light's direction, for plates that have one;  quarter : the
    same over fields of 45 degrees, in which being nearly right counts
    toned : RMSE of map and functionals after gamma 2.4, which is what large surfaces, not lamps, decide
    energy : of the log of the dominant light's part of the mean radiance
    hard : cross-entropy of the decision whether direct light of one source reaches the place;  share : log2 of what its
    shadow leaves of the ground's light;  width : of the log of its width; the last two where there is one
    """
    # ---- the estimate with the true direction of the dominant light ----
    true, share_true = truth.total(), truth.share()
    certain = hardness(share_true)
    target, weight, energy = dominant_distribution(true)
    p, t = compose(estimate, target, weight).flatten(1, 2), true.flatten(1, 2)
    share = rows.weights[:, None]
    mean_p, mean_t = (p * share).sum(1), (t * share).sum(1)
    level_p, level_t = ((m @ luminance_weights(m.device)).clamp_min(1e-4)[:, None, None] for m in (mean_p, mean_t))
    # ---- map and what surfaces see of it ----
    out = {"log": (((p + FLOOR).log() - (t + FLOOR).log()).abs() * share).sum(1).mean(),
           "exposure": ((mean_p + FLOOR).log() - (mean_t + FLOOR).log()).abs().mean()}
    for name, matrix in (("diffuse", rows.diffuse), ("glossy8", rows.glossy8), ("glossy64", rows.glossy64)):
        a, b = matrix @ (p / level_p), matrix @ (t / level_t)
        out[name] = ((a - b).abs() / (1 + 0.25 * (a + b))).mean()
    error = (rows.diffuse @ (p - t)).abs() / (level_t + 0.05)
    out["absolute"] = (error / (1 + error / 6)).mean()
    a, b = toned(p, share), toned(t, share)
    out["toned"] = sum(_rmse(matrix, a, b) for matrix in (rows.diffuse, rows.glossy8, None))
    # ---- the dominant light's energy and direction ----
    least = 0.03 * level_t[:, :, 0]
    out["energy"] = ((estimate.energy.clamp(-9, 9).exp() + least).log() - (energy + least).log()).abs().mean()
    chance = torch.log_softmax(estimate.direction.flatten(1), 1).reshape(target.shape)
    target = torch.lerp(target, kernel(truth.direction, *target.shape[1:]), certain[:, None, None])
    weight = torch.maximum(weight, certain)
    out["peak"] = (weight * -(target * chance).sum((1, 2))).mean()
    fields = target.unflatten(2, (8, 4)).unflatten(1, (4, 4)).sum((2, 4))
    likely = chance.unflatten(2, (8, 4)).unflatten(1, (4, 4)).logsumexp((2, 4))
    out["quarter"] = (weight * -(fields * likely).sum((1, 2))).mean()
    # ---- the source ----
    out["hard"] = functional.binary_cross_entropy_with_logits(estimate.hard, certain)
    left_p, left_t = torch.sigmoid(-estimate.share) + _DARK, 1 - share_true + _DARK
    out["share"] = (certain * (left_p / left_t).log2().abs()).mean()
    out["width"] = (certain * (estimate.width - truth.sigma.log()).abs()).mean()
    return out


def kernel(direction: Tensor, height: int, width: int) -> Tensor:
    """(B, 3) -> (B, H, W) distributions: a lobe of sharpness ``KERNEL``."""
    rays = latlong.directions(height, width, device=direction.device)
    solid = latlong.solid_angles(height, width, device=direction.device)
    lobe = (KERNEL * (torch.einsum("hwc,bc->bhw", rays, direction) - 1)).exp() * solid
    return lobe / lobe.sum((1, 2), keepdim=True)


def toned(radiance: Tensor, share: Tensor) -> Tensor:
    """(B, N, 3) radiance as the three-sphere protocol looks at it: gamma 2.4, then scaled to a mean of 1 (there: by the
    median) with ``share`` (N, 1) of the sphere to each value."""
    compressed = (radiance + 1e-4) ** (1 / 2.4)
    return compressed / (compressed * share).sum((1, 2), keepdim=True) * 3


def _rmse(matrix: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Mean over the batch of the root of the mean squared difference, seen through ``matrix``."""
    difference = a - b if matrix is None else matrix @ (a - b)
    return (difference.square().mean((1, 2)) + 1e-8).sqrt().mean()


def dominant_distribution(env: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the light that stands out comes from: (B, 16, 32, 3) -> (distribution (B, 16, 32), weight (B,) in [0, 1],
    its part of the mean radiance (B, 3)).

    What exceeds four times the mean luminance, as energy, a fifth of it spread over the neighbours; the weight is twice
    its share of all energy, at most 1, so that an even sky has no say in the direction.
    """
    height, width = env.shape[1:3]
    share = (latlong.solid_angles(height, width, device=env.device) / (4 * math.pi)).expand(height, width)
    luminance = env @ luminance_weights(env.device)
    mean = (luminance * share).sum((1, 2))
    above = (1 - 4 * mean[:, None, None] / luminance.clamp_min(1e-12)).clamp_min(0)
    excess = above * luminance * share
    total = excess.sum((1, 2))
    chance = excess / total.clamp_min(1e-12)[:, None, None]
    wide = functional.pad(torch.cat([chance[..., -1:], chance, chance[..., :1]], -1)[:, None], (0, 0, 1, 1),
                                   mode="replicate")
    chance = 0.8 * chance + 0.2 * functional.avg_pool2d(wide, 3, 1)[:, 0]
    chance = chance / chance.sum((1, 2), keepdim=True).clamp_min(1e-12)
    return chance, (2 * total / mean.clamp_min(1e-12)).clamp_max(1), (env * (above * share)[..., None]).sum((1, 2))
