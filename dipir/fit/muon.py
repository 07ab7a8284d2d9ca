"""Muon (Jordan et al. 2024) for the matrices of a network, AdamW for the rest. torch's own takes two-dimensional
weights only, ours also convolutions."""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_LEAST = 16  # Rows of the smallest matrix: those of last layers are better off with AdamW.
_A, _B, _C, _ROUNDS = 3.4445, -4.775, 2.0315, 5
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """The weights of linear and convolution layers with at least 16 outputs."""
    for layer in model.modules():
        if isinstance(layer, _LAYERS) and len(layer.weight) >= _LEAST:
            yield layer.weight


def orthogonal(matrix: Tensor) -> Tensor:
    """(N, M) -> about U V^T of its singular value decomposition: five Newton-Schulz rounds bring all singular values
    that are not tiny to between 0.7 and 1.2."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / wide.norm().clamp_min(1e-12)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum made orthogonal, W <- (1 - rate decay) W - rate 0.2 sqrt(max(N, M)) O. The factor makes steps
    as large as AdamW's (Liu et al. 2025), so that both take the same rate. A convolution's weight is a matrix of its
    outputs by everything else.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float = 0.01, momentum: float = 0.95) -> None:
        weights = list(matrices(model))
        chosen = {id(w) for w in weights}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        super().__init__([{"params": weights}, {"params": rest}],
                         {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._rest = torch.optim.AdamW([{"params": rest}], lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        group, rest = self.param_groups
        keep, rate = group["momentum"], group["lr"]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            mean = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
            mean.lerp_(weight.grad, 1 - keep)
            matrix = weight.grad.lerp(mean, keep).flatten(1)
            weight.mul_(1 - rate * group["weight_decay"]).add_(
                orthogonal(matrix).reshape(weight.shape), alpha=-rate * 0.2 * max(matrix.shape) ** 0.5)
        self._rest.param_groups[0]["lr"] = rest["lr"]
        self._rest.step()

    def state_dict(self) -> dict:
        return {"matrices": super().state_dict(), "rest": self._rest.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict["matrices"])
        self._rest.load_state_dict(state_dict["rest"])
