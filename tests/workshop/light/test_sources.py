"""Batches of the light prior: the asked shares, the same numbers as on the CPU."""
from __future__ import annotations

import pytest
import torch

from dipir.priors.nets.light_unet import LightUNetConfig
from dipir.workshop.light.sources import Assembled, Batches, LightPriorConfig
from dipir.workshop.trainer import TrainConfig
from tests.support.light_sets import drawn_panoramas, framed_pairs

CPU = torch.device("cpu")
NET = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), plate_blocks=(0, 1, 1, 1), heads=2, embedding=8,
                      dropout=0.0)
CONFIG = LightPriorConfig(TrainConfig(steps=3, rate=1e-3, warmup=1, validate_every=3, log_every=1), NET, batch=4)


@pytest.fixture(scope="module")
def panoramas():
    return drawn_panoramas()


@pytest.fixture(scope="module")
def pairs(panoramas):
    return framed_pairs(panoramas)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))


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
