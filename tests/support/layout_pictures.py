"""Captioned pictures without a renderer: flat squares (cubes) and discs (spheres) in front of a plain floor."""
from __future__ import annotations

import numpy as np
import torch

from dipir.priors.captions import COLOURS, Thing, caption
from dipir.workshop.layout.data import LayoutPictures

SIZE, MOST = 64, 4
SAID = ("red", "green", "blue", "white")


def flat_pictures(rng: np.random.Generator, count: int, things: int = 2) -> LayoutPictures:
    """One to ``things`` of them, each in its own half, in one of four colours."""
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    image, masks = np.full((count, SIZE, SIZE, 3), 0.5, np.float32), np.zeros((count, MOST, SIZE, SIZE), np.float32)
    named, boxes = [], []
    for row in range(count):
        named.append([])
        boxes.append([])
        for k in range(rng.integers(1, things + 1)):
            radius = rng.uniform(8, 14)
            cx, cy = rng.uniform(16, 18) + 30 * k, rng.uniform(20, 44)
            thing = Thing(str(rng.choice(["cube", "sphere"])), str(rng.choice(SAID)))
            reach = np.maximum(abs(x - cx), abs(y - cy)) if thing.shape == "cube" else np.hypot(x - cx, y - cy)
            masks[row, k] = reach < radius
            image[row][masks[row, k] > 0] = COLOURS[thing.colour]
            named[-1].append(thing)
            boxes[-1].append([cx - radius, cy - radius, cx + radius, cy + radius])
    return LayoutPictures(torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(), [caption(t, "grey") for t in named],
                          named, ["grey"] * count, [torch.tensor(b) / SIZE for b in boxes], torch.from_numpy(masks))
