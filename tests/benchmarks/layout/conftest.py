"""Scenes and a prior of the layout benchmark that need no renderer."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.priors.captions import MATERIALS, SHAPES
from dipir.priors.layout import LayoutPrior
from dipir.workshop.layout.data import MOST, NONE, LayoutSet, encode


@pytest.fixture(scope="module")
def scenes() -> LayoutSet:
    """Twelve scenes without a renderer: one to four squares in flat light, each in a quarter of the picture."""
    rng, count = np.random.default_rng(0), 12
    cover = torch.zeros(count, MOST + 1, 64, 64, dtype=torch.uint8)
    boxes = torch.zeros(count, MOST, 4, dtype=torch.uint8)
    shape, material = torch.full((count, MOST), NONE).byte(), torch.full((count, MOST), NONE).byte()
    for s in range(count):
        for k in range(s % MOST + 1):
            x, y = (int(v) for v in rng.integers(2, 10, 2) + [32 * (k % 2), 32 * (k // 2)])
            cover[s, k, y:y + 18, x:x + 14] = 255
            boxes[s, k] = torch.tensor([4 * x, 4 * y, 4 * (x + 14) - 1, 4 * (y + 18) - 1])
            shape[s, k], material[s, k] = int(rng.integers(len(SHAPES))), int(rng.integers(len(MATERIALS)))
    cover[:, MOST] = 255 - cover[:, :MOST].sum(1)
    light = encode(torch.full((count, 64, 64), 0.8))
    return LayoutSet(light, torch.zeros_like(light), cover, boxes, shape, material)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("prior") / "layout.safetensors"
    LayoutPrior.untrained().save(path)
    return str(path)
