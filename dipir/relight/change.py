"""The change of light that a first guess asks for, at a picture's full size."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.image import editing
from dipir.image.color import srgb_to_linear
from dipir.priors.geometry import Guess
from dipir.priors.relit.relighting import lit
from dipir.relight.layers import enlarge

_CODE = 1 / 255
_BLACK, _WHITE = (1.5 * _CODE, 8 * _CODE), (250 * _CODE, 1.0)
_DIMMED, _FAINT = 1.0, 1e-3
_ENOUGH = 1_000_000


@dataclass(frozen=True)
class Change:
    """What a guess asks for, at the networks' size."""

    image: Image  # (1, 3, h, w) display, the picture there
    gain: Tensor  # (1, 1, h, w) stops of linear light
    shift: Tensor | None = None  # (1, 3, h, w) of the logit of each colour, of engine net


def full_gain(guess: Guess | Change, image: Image, strength: float = 1.0) -> Tensor:
    """(1, 1, H, W) stops of linear light at the size of ``image`` (1, 3, H, W) display, along its edges. strength :
    part of the light that is the new one, [0, 1]; the rest is the old one."""
    gain = mixed(guess.gain, strength)
    return protected(image, enlarge(gain, guess.image, image))


def mixed(gain: Tensor, strength: float) -> Tensor:
    """Stops of the old light, dimmed to 1 - ``strength``, and ``strength`` of the new."""
    return gain if strength == 1 else torch.log2(1 - strength + strength * torch.exp2(gain))


def protected(image: Image, gain: Tensor) -> Tensor:
    """``gain`` without what the picture cannot take: nearly black pixels hold noise alone, which is not made brighter;
    of clipped ones nobody knows how bright they were, and they become at most a stop darker."""
    brightest = image.amax(1, keepdim=True)
    gain = torch.where(gain > 0, gain * _ramp(brightest, *_BLACK), gain)
    held = gain.clamp_min(-_DIMMED)
    return torch.lerp(gain, held, _ramp(brightest, *_WHITE))


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def change_in_stops(before: Image, after: Image, weight: Tensor | None = None) -> tuple[float, float]:
    """(5 %, 95 %) quantiles of how many stops brighter linear light became, where neither picture (1, 3, H, W) display
    is clipped or nearly black and ``weight`` (1, 1, H, W) is above one half; zeros where there is no such pixel. Of a
    large picture every second, third ... row and column counts, a million pixels or so."""
    every = max(1, round(math.sqrt(before.shape[2] * before.shape[3] / _ENOUGH)))
    before, after, weight = (None if x is None else x[..., ::every, ::every] for x in (before, after, weight))
    first, second = (srgb_to_linear(x).mean(1, keepdim=True) for x in (before, after))
    inside = (before.amax(1, keepdim=True) < _WHITE[0]) & (torch.minimum(first, second) > _FAINT)
    if weight is not None:
        inside = inside & (weight > 0.5)
    stops = (second[inside] / first[inside]).log2()
    if not len(stops):
        return 0.0, 0.0
    low, high = (stops.kthvalue(max(1, round(part * len(stops)))).values for part in (0.05, 0.95))
    return float(low), float(high)


def factor_of(image: Image, gain: Tensor) -> Tensor:
    """(1, 1, H, W) what display values are to be multiplied with so that the mean of the channels is that of linear
    light changed by ``gain``; one for all channels, so that their ratios stay."""
    return lit(image, gain).mean(1, keepdim=True) / image.mean(1, keepdim=True).clamp_min(editing.EPS)
