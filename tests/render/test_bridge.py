"""dipir.render.bridge: nothing changes on the way, and padded maps keep their light."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.errors import RenderError
from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import check_finite, columns, flags, padded_envmap, to_array, to_drjit, to_index, to_torch


def test_there_and_back():
    t = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0))
    back = to_torch(to_drjit(t.permute(1, 0, 2)))
    assert torch.equal(back, t.permute(1, 0, 2)) and back.dtype == torch.float32
    assert to_torch(to_drjit(t.double())).dtype == torch.float32
    assert to_torch(to_array(np.arange(6.0).reshape(2, 3))).tolist() == [0, 1, 2, 3, 4, 5]


def test_indices_columns_and_flags():
    mi = mitsuba()
    assert to_torch(to_index(torch.tensor([5, 0, 7]))).tolist() == [5, 0, 7]
    vector = mi.Vector3f(mi.Float([1, 2]), mi.Float([3, 4]), mi.Float([5, 6]))
    assert columns(vector, 3).tolist() == [[1, 3, 5], [2, 4, 6]]
    assert flags(mi.Bool([True, False])).tolist() == [1, 0]


def test_what_torch_holds_does_not_change_with_the_array():
    array = mitsuba().Float([1.0, 2.0])
    held = to_torch(array)
    array += 1
    assert held.tolist() == [1, 2] and to_torch(array).tolist() == [2, 3]


@pytest.mark.parametrize("height", [4, 16])
def test_padded_maps_keep_what_is_even_and_the_light_as_a_whole(height):
    even = padded_envmap(torch.full((height, 2 * height, 3), 0.7))
    torch.testing.assert_close(even, torch.full_like(even, 0.7))
    assert even.shape[0] >= 256 and even.shape[1] == 2 * even.shape[0] + 2
    env = torch.rand(height, 2 * height, 3, generator=torch.Generator().manual_seed(1))
    padded = padded_envmap(env)
    assert torch.equal(padded[:, 0], padded[:, -2]) and torch.equal(padded[:, -1], padded[:, 1])
    # Mitsuba's rows stand for bands around r / (H - 1), half ones at the poles.
    edges = (torch.arange(len(padded) + 1).double() - 0.5).clamp(0, len(padded) - 1) * math.pi / (len(padded) - 1)
    band = (edges[:-1].cos() - edges[1:].cos()) * 2 * math.pi / (padded.shape[1] - 2)
    whole = (padded[:, 1:-1].double() * band[:, None, None]).sum((0, 1))
    wanted = (env.double() * latlong.solid_angles(height, 2 * height, torch.float64)[..., None]).sum((0, 1))
    torch.testing.assert_close(whole, wanted, rtol=2e-3, atol=0)


def test_the_gradient_of_a_padded_map_is_how_often_each_texel_counts():
    env = torch.ones(4, 8, 3, requires_grad=True)
    padded = padded_envmap(env, 8)
    (slope,) = torch.autograd.grad(padded[:, 1:-1].sum(), env)
    assert float(slope.sum()) == pytest.approx(padded[:, 1:-1].numel(), rel=1e-5)


def test_nan_is_counted_and_named():
    fine = torch.ones(4)
    assert check_finite("x", fine) is fine
    with pytest.raises(RenderError, match="object pass: 2 of 3 values are NaN or infinite"):
        check_finite("object pass", torch.tensor([1.0, math.nan, math.inf]))
