"""What loops that train a network have in common: the rate of a step and the step itself."""
from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def annealed_rate(rate: float, last: float, phase_rad: float, step: int, warm_up: int) -> float:
    """Half a cosine from ``rate`` at phase 0 to ``rate * last`` at pi, after ``warm_up`` steps of linear increase."""
    cosine = last + (1 - last) * 0.5 * (1 + math.cos(phase_rad))
    return rate * cosine * min(1.0, (step + 1) / max(1, warm_up))


def descend(optimiser: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], loss: Tensor, rate: float,
            clip: float) -> Tensor:
    """One step down the gradient of ``loss``, its norm cut to ``clip``; the norm before."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    return norm
