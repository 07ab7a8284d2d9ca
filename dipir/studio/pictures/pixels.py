"""Pixels of the studio's pictures: reduced, cut to bytes."""
from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image
from dipir.scene.plate import Plate

LARGEST = 2048
"""Longer side of the plate that is kept in memory, pixels: all but final renders is made from it."""


def reduced(plate: Plate) -> Plate:
    """The photo at :data:`LARGEST` pixels at most."""
    factor = LARGEST / max(plate.size)
    return plate if factor >= 1 else plate.resized(*(max(1, round(side * factor)) for side in plate.size))


def within(disp: Image, longest: int) -> Image:
    """(1, 3, H, W) filtered to ``longest`` pixels at most."""
    factor = longest / max(disp.shape[-2:])
    if factor >= 1:
        return disp
    size = tuple(max(1, round(side * factor)) for side in disp.shape[-2:])
    return functional.interpolate(disp, size, mode="bilinear", antialias=True)


def as_bytes(disp: Image) -> Tensor:
    """(1, 3, H, W) display -> uint8 (H, W, 3)."""
    return (disp[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def shrunk(picture: Tensor, longest: int) -> Tensor:
    """uint8 (H, W, 3) filtered to ``longest`` pixels at most."""
    height, width = picture.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return picture
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return torch.from_numpy(cv2.resize(np.ascontiguousarray(picture.cpu().numpy()), size, interpolation=cv2.INTER_AREA))
