"""The small colour prior that ships in ``assets/priors``: told a grey drawing and a palette, it draws coloured ones.

    palette = parse_palette("a red apple and a blue cup")
    prior, condition = PicturePrior.load(COLOUR), colour_condition(drawing_disp, palette)
    x0 = prior(x, sigma, condition)                # x : (B, 3, H, W) noisy, [-1, 1] space, any B
    plain = prior(x, sigma, colour_condition(drawing_disp))     # no palette: the negative of classifier-free guidance
"""
from __future__ import annotations

import torch
from torch import Tensor

from dipir.diffusion.denoiser import Condition
from dipir.image.palette import SLOTS, VECTOR, Palette
from dipir.priors.nets.conditional_unet import ConditionalUNetConfig
from dipir.priors.picture import PriorKind

SIZE = 64
"""Height and width that it was trained at."""
COLOUR = PriorKind("colour", "dipir.colour_unet.1", ConditionalUNetConfig(
    planes=3 + 3 * SLOTS, vector=VECTOR, channels=(32, 48, 80), blocks=1, embedding=128, sigma_data=0.4))
"""Planes: :func:`tinted_planes`; vector: ``Palette.vector``."""


def tinted_planes(drawing: Tensor, vector: Tensor) -> Tensor:
    """What the network reads: the drawing (B, 3, H, W) in [-1, 1], and multiplied by each colour of the palette
    (B, 12), zeros for those that are not there: (B, 12, H, W). So the network need not learn what a colour looks like,
    only where each belongs and how light falls on it."""
    told = vector.unflatten(1, (SLOTS, 4))[..., None, None]
    tinted = (drawing[:, None] + 1) * (told[:, :, :3] + 1) / 2 - 1
    return torch.cat([drawing, (tinted * told[:, :, 3:]).flatten(1, 2)], 1)


def colour_condition(drawing_disp: Tensor, palette: Palette | None = None) -> Condition:
    """What the colour prior is told. drawing_disp : (1, 3, H, W) or (1, 1, H, W) display [0, 1], of which the mean
    of the channels counts;  palette : colours by decreasing area, None = any colours."""
    grey = drawing_disp.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    vector = grey.new_zeros(1, VECTOR) if palette is None else palette.vector.to(grey)
    return Condition(planes=tinted_planes(grey * 2 - 1, vector), vector=vector)
