"""Turns of a loop; rates and steps against those of torch."""
from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from torch import nn

from dipir.fit import training
from dipir.fit.training import Turns, annealed_rate, descend


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


def walked(turns: Turns, after=lambda turns: None) -> list[int]:
    made = []
    with turns:
        for step in turns:
            made.append(step)
            turns.finish()
            after(turns)
    return made


def test_turns_go_on_where_an_earlier_call_ended():
    turns = Turns(3, 6)
    assert walked(turns) == [3, 4, 5] and turns.done == 6 and not turns.late and not turns.stopped
    turns.leave()
    assert walked(Turns(6, 6)) == []


def test_a_step_is_taken_before_time_is_up_and_time_of_earlier_calls_counts(monkeypatch):
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    assert walked(Turns(0, 9, minutes=2)) == [0, 1, 2, 3]  # 40, 80, 120 and 160 seconds
    turns = Turns(0, 9, minutes=2, spent_s=100.0)
    assert walked(turns) == [0] and turns.late and turns.elapsed_s == 140.0


@pytest.mark.parametrize("number, kind, code", [(signal.SIGTERM, SystemExit, 143),
                                                (signal.SIGINT, KeyboardInterrupt, None)])
def test_a_signal_ends_it_after_the_step(number, kind, code):
    turns = Turns(0, 9)
    before = signal.getsignal(number)
    made = walked(turns, lambda turns: os.kill(os.getpid(), number) if turns.done == 2 else None)
    assert made[:2] == [0, 1] and len(made) <= 3 and turns.stopped and signal.getsignal(number) is before
    with pytest.raises(kind) as left:
        turns.leave()
    assert code is None or left.value.code == code
