"""Stages made by hand, without a renderer."""
from __future__ import annotations

import torch

from dipir.image import latlong
from dipir.workshop.insertion.stages import SIZE, Stage


def card_stage(albedo: tuple[float, float, float] = (0.8, 0.4, 0.2), side: int = 20, pitch_deg: float = 10.0,
               window: tuple[int, int, int] = (40, 20, 64)) -> Stage:
    """A card of ``side`` x ``side`` pixels in the middle, as diffuse as the ground, that hides the texels of the first
    quarter of azimuths from the ten rows of pixels below it."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    low = (SIZE - side) // 2
    inside = (rows >= low) & (rows < low + side) & (columns >= low) & (columns < low + side)
    shade = (rows >= low + side) & (rows < low + side + 10) & (columns >= low) & (columns < low + side)
    pixels, shadow = inside.flatten().nonzero()[:, 0], shade.flatten().nonzero()[:, 0]
    weights = latlong.plane_weights(16, 32).reshape(-1)
    maps = torch.tensor(albedo)[:, None] * weights
    hidden = torch.zeros(8, 32)
    hidden[:, :8] = 255
    planes = torch.zeros(12, SIZE, SIZE)
    planes[0] = inside.float()
    planes[1] = 1.0
    planes[2:5] = torch.tensor([0.6, 0.8, 0.0])[:, None, None] * inside
    planes[5:8] = torch.tensor(albedo)[:, None, None] * inside
    planes[8] = inside.float()
    return Stage(maps.expand(len(pixels), 3, 512).half(), pixels.short(), torch.zeros(len(pixels), 3).half(),
                 hidden.reshape(1, 256).expand(len(shadow), -1).byte(), shadow.short(), planes.half(),
                 torch.tensor([128, 96, 55.0, pitch_deg, 0.0, 1.5, *window], dtype=torch.float64))
