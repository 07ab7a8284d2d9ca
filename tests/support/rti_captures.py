"""A small capture by hand and the settings of a fit that ends at once."""
from __future__ import annotations

import torch

from dipir.rti.config import IllumiNetTrainConfig
from dipir.workshop.captures.dome import dome_directions

TINY = IllumiNetTrainConfig(steps=6, crop=16, batch=2, channels=(4, 4, 4, 4), embedding=4, validate_every=2,
                            warm_up=1, first_cycle=2)


def lights(count: int = 12) -> torch.Tensor:
    return dome_directions(count, (20.0, 55.0))


def photos(directions: torch.Tensor, height: int = 24, width: int = 20) -> torch.Tensor:
    """A bumpy matte surface with an attached shadow and a highlight: (n, 3, h, w), 8-bit values."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    slope = torch.stack([0.5 * (5 * x).cos(), 0.5 * (4 * y).sin(), torch.ones_like(x)])
    normal = slope / slope.norm(dim=0)
    cosine = torch.einsum("nc,chw->nhw", directions, normal).clamp_min(0)
    albedo = torch.stack([0.6 + 0.2 * x, 0.5 - 0.2 * y, 0.4 + 0 * x])
    image = albedo * cosine[:, None] + 0.3 * cosine[:, None] ** 30
    return (image.clamp(0, 1) * 255).round() / 255
