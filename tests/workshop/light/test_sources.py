"""Batches of the light prior: the asked shares, the same numbers as on the CPU."""
from __future__ import annotations

import torch

from dipir.workshop.light.sources import Assembled, Batches
from tests.support.light_sets import CONFIG

CPU = torch.device("cpu")


def test_batches_hold_the_asked_shares(panoramas, pairs):
    batches = Assembled.of(CONFIG, panoramas, pairs, CPU)
    assert [count for count, _ in batches.sources] == [2, 2]
    inputs, env = batches[5]
    assert inputs.plate.shape == (4, 7, 96, 128) and inputs.sphere.shape == (4, 12, 32, 64) and len(env) == 4
    again, other = batches[5], batches[6]
    assert torch.equal(again[1], env) and not torch.equal(other[1], env)
    assert [count for count, _ in Assembled.of(CONFIG, panoramas, None, CPU).sources] == [4]


def test_read_like_the_batches_of_the_cpu(panoramas, pairs):
    """The same planes in shape, type and range as those that the other way makes."""
    ours, theirs = Assembled.of(CONFIG, panoramas, pairs, CPU)[0], Batches(CONFIG, pairs, pairs)[0]
    for key in ("sphere", "plate", "base"):
        a, b = getattr(ours[0], key), getattr(theirs[0], key)
        assert a.shape == b.shape and a.dtype == b.dtype and abs(float(a.mean() - b.mean())) < 0.5, key
    assert ours[1].shape == theirs[1].shape
