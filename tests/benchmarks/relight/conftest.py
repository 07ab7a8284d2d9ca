"""Two scenes of the relighting benchmark that need no renderer."""
from __future__ import annotations

import pytest
import torch

from benchmarks.relight import cases as relight_cases
from benchmarks.relight import reader as relight_reader
from dipir.workshop.relight.data import RelitSet, encode


@pytest.fixture(scope="module")
def scenes() -> RelitSet:
    """Two scenes without renderer: noise whose right half is bright under the third and darker under other lights."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 12, 3, 64, 64, generator=generator) * 0.5 + 0.1
    base[:, -8 + 2, :, :, 32:] += 0.4
    light = torch.stack([relight_reader.asked(k % 8) for k in range(12)]).expand(2, -1, -1)
    full = torch.full((2, 1, 64, 64), 255, dtype=torch.uint8)
    grey = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    return RelitSet(encode(base), encode(base[:, 0] * 0.5), light.contiguous(), full, full, grey,
                    torch.zeros(2, 3, 64, 64, dtype=torch.int8), torch.tensor(relight_reader.OPEN_KINDS))


@pytest.fixture(scope="module")
def all_cases(scenes):
    return relight_cases.cases(scenes)
