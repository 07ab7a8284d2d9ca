"""Layout scenes by hand: evenly lit squares on a floor of which the upper quarter is wall."""
from __future__ import annotations

from collections.abc import Sequence

import torch

from dipir.priors.captions import MATERIALS, SHAPES
from dipir.workshop.layout.data import NONE, LayoutSet
from dipir.workshop.stored import encode, join

Square = tuple[str, str, int, int, int, int]
"""Shape, material, x0, y0, x1, y1 in pixels of 64."""


def squares(*things: Square, light: float = 1.0, gloss: float = 0.0) -> LayoutSet:
    """One scene with a square for each thing; later ones hide earlier ones."""
    owner = torch.zeros(64, 64)
    owner[16:] = 5
    boxes, shape, material = torch.zeros(1, 4, 4), torch.full((1, 4), NONE), torch.full((1, 4), NONE)
    for k, (name, look, x0, y0, x1, y1) in enumerate(things):
        owner[y0:y1, x0:x1] = k + 1
        boxes[0, k] = torch.tensor([4 * x0, 4 * y0, 4 * x1 - 1, 4 * y1 - 1])
        shape[0, k], material[0, k] = SHAPES.index(name), MATERIALS.index(look)
    cover = torch.stack([owner == k for k in range(1, 6)]).byte() * 255
    full = torch.ones(1, 64, 64)
    return LayoutSet(encode(light * full), encode(gloss * full), cover[None], boxes.byte(), shape.byte(),
                     material.byte())


def several(scenes: Sequence[LayoutSet] = ()) -> LayoutSet:
    """Scenes of no, one, two, three and four things."""
    things = (("cube", "matte", 4, 20, 20, 44), ("mug", "metal", 24, 30, 40, 46), ("cube", "shiny", 44, 8, 60, 30),
              ("torus", "matte", 30, 50, 50, 62))
    return join([*(squares(*things[:k]) for k in range(5)), *scenes])
