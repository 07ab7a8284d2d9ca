"""The reader of directions."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.relight import reader as relight_reader


@pytest.mark.parametrize("side", range(8))
def test_sides(side):
    assert int(relight_reader.side_of(relight_reader.asked(side)[None])) == side
    turned = relight_reader.asked(side)
    assert math.degrees(math.asin(float(turned[1]))) == pytest.approx(relight_reader.ELEVATION_DEG)


def test_the_reader_learns(scenes, monkeypatch, tmp_path):
    """Two sides that differ to the eye are told apart after a few steps; a second call takes the kept weights."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    net = relight_reader.trained(scenes, steps=100, batch=24)
    rng = np.random.default_rng(9)
    choices = relight_reader.candidates(scenes)
    planes, sides = relight_reader._batch(rng, scenes, choices, 64)
    bright = (sides == 2) | (sides == 6)
    read = torch.tensor([relight_reader.read(net, *one[None].split([3, 3, 1], 1)[:2], torch.full((1, 3, 64, 64), 0.5))
                         for one in planes])
    # Mirrored pictures of the bright right half are lit from the left.
    assert float((read == sides)[bright].float().mean()) > 0.5
    again = relight_reader.trained(scenes, steps=100, batch=24)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
