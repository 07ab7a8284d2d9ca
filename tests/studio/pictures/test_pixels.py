"""Reduced pictures."""
from __future__ import annotations

import pytest
import torch

from dipir.studio.pictures import pixels
from dipir.studio.pictures.pixels import as_bytes, reduced, shrunk, within
from tests.support.scenes import grey_plate


def test_a_plate_is_reduced_only_when_it_is_large(monkeypatch):
    plate = grey_plate(64, 48)
    assert reduced(plate) is plate
    monkeypatch.setattr(pixels, "LARGEST", 16)
    small = reduced(plate)
    assert small.size == (16, 12) and float(small.lin.mean()) == pytest.approx(float(plate.lin.mean()), rel=1e-5)


def test_pictures_keep_their_mean_and_never_grow():
    picture = torch.rand(1, 3, 40, 60)
    assert within(picture, 30).shape == (1, 3, 20, 30) and within(picture, 100) is picture
    assert float(within(picture, 30).mean()) == pytest.approx(float(picture.mean()), abs=0.01)
    small = shrunk(as_bytes(picture), 30)
    assert small.shape == (20, 30, 3) and shrunk(small, 100) is small
    assert float(small.float().mean() / 255) == pytest.approx(float(picture.mean()), abs=0.01)


def test_bytes_are_rounded_and_clipped():
    picture = torch.tensor([-1.0, 0.5, 2.0]).reshape(1, 3, 1, 1)
    assert as_bytes(picture).tolist() == [[[0, 128, 255]]]
