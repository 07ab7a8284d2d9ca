"""The change of light of a shot without flicker: each frame's guess, mixed with that of the frame before.

What was done before is carried along the optical flow (Kroeger et al., "Fast optical flow using dense inverse search",
ECCV 2016, as OpenCV has it) and kept where both pictures agree; where something new is seen the new guess is taken. All
of it at the networks' size.
"""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image, Mask
from dipir.image.guided import box_mean
from dipir.relight.change import Change

KEEP = 0.9
"""Part of a frame's change that is the former's where nothing is new."""
_AGREE, _DIFFER = 0.03, 0.10
_CUT = 0.5
_RADIUS = 2
_BETTER, _LEAST, _SIGMAS = 0.7, 0.004, 4
_BACK = 1.0
_LARGER = 2


@dataclass(frozen=True)
class Memory:
    """What is kept from one frame for the next: as much as half floats hold, so that a file of it is the same."""

    image: Image  # (1, 3, h, w) display
    planes: Tensor  # (1, 1 or 4, h, w) gain and shift, without their level
    level: Tensor  # (1, 1 or 4, 1, 1) their means


class Steady:
    """``steady(change)`` for frame after frame. ``memory`` : of the frame before, None at first.
    ``kept`` : part of the last frame that was carried on;  ``cut`` : whether it begins a new shot."""

    def __init__(self, memory: Memory | None = None, keep: float = KEEP) -> None:
        self.memory, self.kept, self.cut, self._keep = memory, 0.0, False, keep

    def __call__(self, change: Change) -> Change:
        planes = change.gain if change.shift is None else torch.cat([change.gain, change.shift], 1)
        level = planes.mean((2, 3), keepdim=True)
        planes, before = planes - level, self.memory
        self.kept, self.cut = 0.0, False
        if before is not None:
            carried, agree = carry(before.image.to(planes.device), before.planes.to(planes.device), change.image)
            self.kept = float(agree.mean())
            self.cut = self.kept < _CUT
            if not self.cut:
                planes = torch.lerp(planes, carried, self._keep * agree)
                level = torch.lerp(level, before.level.to(level.device), self._keep)
        self.memory = Memory(*(x.half().float() for x in (change.image, planes, level)))
        made = self.memory.planes + self.memory.level
        return Change(change.image, made[:, :1], None if change.shift is None else made[:, 1:])


def carry(before: Image, planes: Tensor, now: Image) -> tuple[Tensor, Mask]:
    """(``planes`` (1, C, h, w) of the frame ``before`` moved to where things are ``now``, (1, 1, h, w) how far both
    pictures agree there, [0, 1])."""
    flow, sure = _flow(now, before)
    moved = _sampled(torch.cat([before, planes], 1), flow)
    still_off, moved_off = _difference(now, before), _difference(now, moved[:, :3])
    # Noise has a flow too: things move where they do not stand still but for noise, and moving explains more.
    noise = min(_noise(now - before), _noise(now - moved[:, :3]))
    moves = (still_off > _LEAST + _SIGMAS * noise) & (moved_off < _BETTER * still_off) & sure
    off = torch.where(moves, moved_off, still_off)
    agree = ((_DIFFER - off) / (_DIFFER - _AGREE)).clamp(0, 1)
    return torch.where(moves, moved[:, 3:], planes), agree


def _difference(a: Image, b: Image) -> Mask:
    """(1, 1, h, w) of the means of small windows, the largest of the channels, so that noise does not count."""
    return box_mean(a - b, _RADIUS).abs().amax(1, keepdim=True)


def _noise(difference: Tensor) -> float:
    """Standard deviation of the means of small windows of it, as far as it is noise: what most windows vary by."""
    rough = (difference - box_mean(difference, _RADIUS)).abs().flatten().median()
    return float(rough) / 0.6745 / (2 * _RADIUS + 1)


def _flow(now: Image, before: Image) -> tuple[Tensor, Mask]:
    """(1, 2, h, w) pixels (x, y) from what is seen now to where it was, and where the way back leads back."""
    size = now.shape[2:]
    large = tuple(_LARGER * side for side in size)
    first, second = (_grey(functional.interpolate(x, large, mode="bilinear", align_corners=False))
                     for x in (now, before))
    there, back = (torch.from_numpy(cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None))
                   .permute(2, 0, 1)[None].to(now.device) for a, b in ((first, second), (second, first)))
    there, back = (functional.adaptive_avg_pool2d(x, tuple(size)) / _LARGER for x in (there, back))
    off = (there + _sampled(back, there)).norm(dim=1, keepdim=True)
    inside = (_sampled(torch.ones_like(off), there, "zeros") > 0.5)
    return there, (off < _BACK) & inside


def _grey(image: Image) -> np.ndarray:
    return np.ascontiguousarray(image[0].mean(0).clamp(0, 1).mul(255).round().byte().cpu().numpy())


def _sampled(x: Tensor, flow: Tensor, outside: str = "border") -> Tensor:
    """``x`` (1, C, h, w) at each pixel's place plus ``flow``."""
    height, width = x.shape[2:]
    row, column = torch.meshgrid(torch.arange(height, device=x.device), torch.arange(width, device=x.device),
                                 indexing="ij")
    grid = torch.stack([(2 * (column + flow[0, 0]) + 1) / width - 1, (2 * (row + flow[0, 1]) + 1) / height - 1], -1)
    return functional.grid_sample(x, grid[None].to(x.dtype), padding_mode=outside, align_corners=False)
