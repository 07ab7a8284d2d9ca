"""Vision guidance: which layer is seen, and the shifts of docs/method.md 3.1 and 3.3, by hand."""
from __future__ import annotations

import pytest
import torch

from dipir.layout import attention_guidance as regions
from dipir.layout.regions import box_mask
from tests.support.toy_layout import ColourToy


def masks(*boxes, size=4):
    return torch.cat([box_mask(box, size, size) for box in boxes])


LEFT, RIGHT, ALL = (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 1, 1)
CORNER = (0, 0, 0.25, 0.25)


# ---------------------------------------------------------------------------------------------------------- who is seen
@pytest.mark.parametrize("make", [regions.weights_over, regions.weights_mean])
def test_weights_sum_to_one(make):
    soft = regions.soften(masks(LEFT, CORNER, (0.25, 0.25, 1, 0.75)), 1)
    assert torch.allclose(make(soft).sum(0), torch.ones(1, 4, 4)) and float(make(soft).min()) >= 0


def test_smaller_regions_lie_above_whatever_their_order():
    for boxes, small in (((LEFT, CORNER), 1), ((CORNER, LEFT), 0)):
        seen = regions.weights_over(masks(*boxes))
        assert torch.equal(seen[1 + small], box_mask(CORNER, 4, 4)[0])
        assert torch.equal(seen[2 - small], (box_mask(LEFT, 4, 4) - box_mask(CORNER, 4, 4))[0])
        assert torch.equal(seen[0], box_mask(RIGHT, 4, 4)[0])


def test_of_equal_sizes_the_later_one_lies_above():
    seen = regions.weights_over(masks(LEFT, (0.25, 0, 0.75, 1)))
    assert float(seen[1].sum()) == 4 and float(seen[2].sum()) == 8


def test_overlapping_regions_count_alike_in_the_mean():
    seen = regions.weights_mean(masks(LEFT, CORNER))
    assert seen[:, 0, 0, 0].tolist() == [0, 0.5, 0.5] and seen[:, 0, 3, 0].tolist() == [0, 1, 0]
    assert seen[:, 0, 0, 3].tolist() == [1, 0, 0]


def test_soft_edges():
    mask = masks(LEFT, size=8)
    assert torch.equal(regions.soften(mask, 0), mask)
    assert torch.allclose(regions.soften(mask, 1)[0, 0, 3], torch.tensor([1, 1, 1, 2 / 3, 1 / 3, 0, 0, 0]))


def test_grown_masks_are_one_inside_and_zero_away_from_it():
    mask = masks((0.25, 0.25, 0.75, 0.75), size=32)
    grow = regions.grow(mask, 2)
    assert bool((grow[mask == 1] == 1).all())
    near = torch.nn.functional.max_pool2d(mask, 9, 1, 4)
    assert bool((grow[near == 0] == 0).all()) and bool((grow[near == 1] > 0).all())


# --------------------------------------------------------------------------------------------------------------- shifts
def test_symmetric_shift_is_equation_5():
    mask, delta = masks(LEFT), torch.tensor([[0.3, -0.1, 0.2]])
    assert torch.allclose(regions.shift(mask, delta, 2.0), 2 * delta[..., None, None] * (2 * mask - 1))


def test_asymmetric_shift_is_the_codes():
    mask, delta, lambda1, lambda2 = masks(LEFT), torch.tensor([[0.3, -0.1, 0.2]]), 0.20, 0.05
    d = delta[..., None, None]
    code = -lambda1 * d + mask * (lambda1 + lambda2) * d
    assert torch.allclose(regions.shift(mask, delta, lambda2, lambda1), code)


def test_no_delta_no_shift():
    assert not bool(regions.shift(masks(LEFT), torch.zeros(1, 3)).any())


def test_constant_delta_is_the_code_of_the_colour():
    delta = regions.constant_delta(ColourToy(), torch.tensor([[1.0, 1.0, 1.0], [0.5, 0.0, 0.75]]))
    assert torch.allclose(delta, torch.tensor([[1.0, 1.0, 1.0], [0.0, -1.0, 0.5]]))


def test_top_cells_are_the_largest_and_only_within_the_mask():
    maps = torch.arange(16.0).reshape(1, 4, 4).repeat(2, 1, 1)
    assert regions.top_cells(maps, 3)[0, 0].flatten().nonzero().flatten().tolist() == [13, 14, 15]
    within = regions.top_cells(maps, 3, masks(LEFT, CORNER))
    assert within[0, 0].flatten().nonzero().flatten().tolist() == [9, 12, 13]
    assert within[1, 0].flatten().nonzero().flatten().tolist() == [0], "a mask of one cell has one"


def test_top_cells_of_a_flat_map_are_as_many_as_asked_for():
    assert float(regions.top_cells(torch.ones(1, 4, 4), 5).sum()) == 5


def test_dynamic_delta_is_the_mean_over_the_chosen_cells():
    z = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    chosen = torch.cat([box_mask(CORNER, 4, 4), box_mask(LEFT, 4, 4)])
    delta = regions.dynamic_delta(z, chosen)
    assert torch.allclose(delta[0], z[0, :, 0, 0]) and torch.allclose(delta[1], z[1, :, :, :2].mean((1, 2)))


def test_seen_delta_is_the_mean_of_the_clipped_picture():
    z = torch.zeros(1, 3, 4, 4)
    z[0, 0, 0, 0], z[0, 1, 0, 0] = 3.0, 0.5          # Red is clipped by decoding.
    delta = regions.seen_delta(ColourToy(), z, box_mask((0, 0, 0.5, 0.25), 4, 4))
    assert torch.allclose(delta, torch.tensor([[0.5, 0.25, 0.0]]), atol=1e-6)
