"""The sizes at which layers are fitted, what kinds of layer do, and how a layer is enlarged."""
from __future__ import annotations

import pytest
import torch

from dipir.relight.layers import KINDS, enlarge, shrink, working_size


@pytest.mark.parametrize("size, longest, expected", [((96, 128), 64, (48, 64)), ((1000, 30), 64, (64, 16)),
                                                     ((512, 512), 128, (128, 128))])
def test_working_size(size, longest, expected):
    assert working_size(*size, longest) == expected


def test_every_kind_starts_near_the_picture(photo):
    for name, kind in KINDS.items():
        raw = tuple(torch.zeros(1, n, *photo.shape[2:]) for n in kind.channels)
        assert float((kind.compose(photo, kind.shape(raw)) - photo).abs().max()) < 1e-4, name


@pytest.mark.parametrize("size", [(24, 32), (96, 128), (48, 64)])
def test_an_even_layer_stays_even_at_any_size(size):
    photo = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    layer = enlarge(torch.full((1, 1, 48, 64), 0.7), shrink(photo, (48, 64)), photo)
    assert layer.shape == (1, 1, *size) and torch.allclose(layer, torch.full_like(layer, 0.7), atol=1e-5)


def test_an_enlarged_layer_keeps_its_range_and_follows_the_edges_of_the_photo():
    photo = torch.full((1, 3, 96, 128), 0.2)
    photo[..., 61:] = 0.8   # No edge of the small picture's pixels.
    small = shrink(photo, (48, 64))
    small_layer = ((small[:, :1] - 0.2) / 0.6).clamp(0, 1)
    layer = enlarge(small_layer, small, photo)
    assert float(layer.min()) >= 0 and float(layer.max()) <= 1
    assert float(layer[..., :60].max()) < 0.2 and float(layer[..., 62:].min()) > 0.8
