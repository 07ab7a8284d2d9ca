"""LPIPS with the user's weights."""
from __future__ import annotations

import sys
import types

import pytest
import torch

from benchmarks.insert.lpips import BACKBONE, perceptual
from dipir.errors import ConfigError


class Backbone(torch.nn.Module):
    """The naming of the lpips package: torchvision's layer numbers below slices."""

    def __init__(self) -> None:
        super().__init__()
        self.slice1 = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
        self.slice2 = torch.nn.Sequential()
        self.slice2.add_module("3", torch.nn.Conv2d(2, 1, 1))


class Distance(torch.nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        assert options["pnet_rand"] and options["net"] == "alex"  # Else the package would download.
        self.net = Backbone()

    def forward(self, a, b):
        def run(x):
            return self.net.slice2(self.net.slice1(x))

        return (run(a) - run(b)).abs().mean()


def test_lpips_takes_the_users_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Distance))
    with pytest.raises(ConfigError, match=BACKBONE):
        perceptual(tmp_path)
    state = {"features.0.weight": torch.ones(2, 3, 1, 1), "features.0.bias": torch.zeros(2),
             "features.3.weight": torch.ones(1, 2, 1, 1), "features.3.bias": torch.zeros(1)}
    torch.save(state, tmp_path / BACKBONE)
    distance = perceptual(tmp_path)
    # Grey 0.2 and 0.5 are -0.6 and 0 in [-1, 1]; summed over 3 channels and 2 filters: 3.6.
    assert distance(torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.5)) == pytest.approx(3.6, rel=1e-5)
    torch.save({}, tmp_path / BACKBONE)
    with pytest.raises(ConfigError, match="cannot be used"):
        perceptual(tmp_path)


def test_lpips_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ConfigError, match="pip install lpips"):
        perceptual(tmp_path)
