"""Steps in two halves, and the moving average that a graph can hold. Graphs themselves: tests/gpu/test_training.py."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dipir.workshop.captured import Staged, averaged
from dipir.workshop.light.batches import ship

CPU = torch.device("cpu")


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
def test_averaged_is_a_step_of_lerp(part: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (2, 4), ()]
    averages, values = ([torch.randn(s, generator=generator) for s in shapes] for _ in range(2))
    kept = [v.clone() for v in values]
    expected = [torch.lerp(a, v, part) for a, v in zip(averages, values, strict=True)]
    places = [a.data_ptr() for a in averages]
    averaged(averages, values, torch.tensor(part))
    for a, e, v, k in zip(averages, expected, values, kept, strict=True):
        torch.testing.assert_close(a, e)
        assert torch.equal(v, k)
    assert [a.data_ptr() for a in averages] == places, "in place, as a graph needs it"


def test_a_staged_loss_is_called_like_one() -> None:
    """Renewal first, then numbers, shipped, then the loss."""
    order = []

    def numbers(step: int) -> dict[str, np.ndarray]:
        order.append("numbers")
        return {"x": np.full((2, 3), float(step)), "flag": np.array([True, False])}

    def loss(model: nn.Module, got):
        order.append("loss")
        assert got["flag"].tolist() == [1.0, 0.0]
        return (model(got["x"]).sum(), {"mean": got["x"].mean()})

    staged = Staged(numbers, loss, lambda columns: ship(columns, CPU), lambda step: order.append(f"before {step}"))
    model = nn.Linear(3, 1)
    value, scalars = staged(model, 4)
    assert order == ["before 4", "numbers", "loss"] and float(scalars["mean"]) == 4
    torch.testing.assert_close(value, model(torch.full((2, 3), 4.0)).sum())
