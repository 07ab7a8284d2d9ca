"""Rates and steps against those of torch."""
from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dipir.fit.training import annealed_rate, descend


def test_the_rate_is_that_of_torch() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 20, 0.3 * 0.1)
    for step in range(21):
        ours = annealed_rate(0.3, 0.1, math.pi * step / 20, step, 0)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        schedule.step()


def test_warm_up_is_linear() -> None:
    assert [annealed_rate(1.0, 0.0, 0.0, step, 4) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_a_step_by_hand() -> None:
    net = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(net.weight)
    optimiser = torch.optim.SGD(net.parameters(), lr=99.0)
    net.weight.grad = torch.ones(1, 2)  # Of an earlier step; it must not count.
    norm = descend(optimiser, net.parameters(), net(torch.tensor([3.0, 4.0])).sum(), 0.5, 1.0)
    assert float(norm) == pytest.approx(5.0)
    torch.testing.assert_close(net.weight.data, torch.tensor([[-0.3, -0.4]]), rtol=1e-4, atol=1e-6)
    assert optimiser.param_groups[0]["lr"] == 0.5
