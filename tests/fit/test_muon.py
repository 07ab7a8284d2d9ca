"""Muon: its orthogonal steps, against torch's own for plain matrices, and that it can be stopped."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dipir.fit.muon import Muon, matrices, orthogonal


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 2, 1))


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_steps_are_nearly_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    found = torch.linalg.svdvals(orthogonal(matrix))
    clear = values > 0.1 * values[0]
    assert bool(((found > 0.6) & (found < 1.3))[clear].all())
    cosine = (orthogonal(matrix) * (u @ v)).sum() / orthogonal(matrix).norm() / (u @ v).norm()
    assert cosine > 0.95
    assert torch.allclose(orthogonal(1e-4 * matrix), orthogonal(matrix))
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_as_torch_does_for_matrices():
    """torch's rounds are in bfloat16."""
    torch.manual_seed(0)
    ours, theirs = nn.Linear(20, 32, bias=False), nn.Linear(20, 32, bias=False)
    theirs.load_state_dict(ours.state_dict())
    start = ours.weight.detach().clone()
    pair = [(ours, Muon(ours, 1e-2, 0.1)), (theirs, torch.optim.Muon(theirs.parameters(), 1e-2, 0.1,
                                                                     adjust_lr_fn="match_rms_adamw"))]
    for step in range(4):
        x = torch.randn(64, 20, generator=torch.Generator().manual_seed(step))
        for net, optimiser in pair:
            optimiser.zero_grad()
            (net(x) - x @ torch.ones(20, 32)).square().sum().backward()
            optimiser.step()
    moved = (ours.weight - start).norm()
    assert (ours.weight - theirs.weight).norm() < 0.03 * moved and moved > 0.1


def test_the_rest_is_adamw():
    """Norms, biases and last layers go as with AdamW alone."""
    net = small()
    chosen = {id(w) for w in matrices(net)}
    assert [name for name, p in net.named_parameters() if id(p) in chosen] == ["0.weight"]
    other = copy.deepcopy(net)
    pair = [(net, Muon(net, 1e-2)), (other, torch.optim.AdamW(other.parameters(), 1e-2, weight_decay=0.01))]
    for n, optimiser in pair:
        n(torch.ones(1, 3, 4, 4)).square().sum().backward()
        optimiser.step()
    for (name, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) == (name != "0.weight"), name


def test_a_stopped_run_goes_on_alike():
    def steps(net, optimiser, numbers):
        for k in numbers:
            optimiser.zero_grad()
            x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(k))
            net(x).square().mean().backward()
            optimiser.step()

    whole, half = small(), small()
    steps(whole, Muon(whole, 1e-2), range(6))
    first = Muon(half, 1e-2)
    steps(half, first, range(3))
    saved = copy.deepcopy((half.state_dict(), first.state_dict()))
    again = small()
    again.load_state_dict(saved[0])
    second = Muon(again, 1e-2)
    second.load_state_dict(saved[1])
    steps(again, second, range(3, 6))
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
