"""Muon (Jordan et al. 2024) for the matrices of a network, AdamW for the rest. torch's own takes two-dimensional
weights only, ours also convolutions.

On a GPU AdamW is the fused one, and Muon works on all matrices of one shape at once: one by one they would be
thousands of small kernels a step."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

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


def adamw(parameters: Iterable[Any], rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW for parameters or groups of them; fused where they are on a GPU."""
    parameters = list(parameters)
    first = parameters[0]["params"] if parameters and isinstance(parameters[0], dict) else parameters
    fused = {"fused": True} if any(p.device.type == "cuda" for p in first) else {}
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, **fused)


def restore(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """``optimiser.load_state_dict`` of a state that another device may have written: which kernels compute is a
    matter of this device."""
    if isinstance(optimiser, Muon):
        optimiser.load_state_dict(state)
        return
    own = [{k: group[k] for k in ("fused", "foreach", "capturable") if k in group} for group in optimiser.param_groups]
    saved = state["param_groups"]
    groups = [{**g, **o} for g, o in zip(saved, own, strict=True)] if len(own) == len(saved) else saved
    optimiser.load_state_dict({**state, "param_groups": groups})


def orthogonal(matrix: Tensor) -> Tensor:
    """(N, M), or (K, N, M) of K matrices -> about U V^T of the singular value decomposition: five Newton-Schulz rounds
    bring all singular values that are not tiny to between 0.7 and 1.2."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    wide = matrix.mT if tall else matrix
    x = wide / (wide.norm() if wide.ndim == 2 else wide.norm(dim=(-2, -1), keepdim=True)).clamp_min(1e-12)
    for _ in range(_ROUNDS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.mT if tall else x


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
        self._rest = adamw([{"params": rest}], lr, weight_decay)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        group, rest = self.param_groups
        weights = [w for w in group["params"] if w.grad is not None]
        means = [self.state[w].setdefault("momentum", torch.zeros_like(w)) for w in weights]
        if weights and weights[0].device.type != "cpu":
            self._together(weights, means)
        else:
            self._one_by_one(weights, means)
        self._rest.param_groups[0]["lr"] = rest["lr"]
        self._rest.step()

    def _one_by_one(self, weights: list[Tensor], means: list[Tensor]) -> None:
        group = self.param_groups[0]
        keep, rate = group["momentum"], group["lr"]
        for weight, mean in zip(weights, means, strict=True):
            mean.lerp_(weight.grad, 1 - keep)
            matrix = weight.grad.lerp(mean, keep).flatten(1)
            weight.mul_(1 - rate * group["weight_decay"]).add_(
                orthogonal(matrix).reshape(weight.shape), alpha=-_length(rate, matrix))

    def _together(self, weights: list[Tensor], means: list[Tensor]) -> None:
        """The same for all matrices of one shape at once; the rounds of a GPU are in bfloat16, as in torch's own."""
        group = self.param_groups[0]
        keep, rate = group["momentum"], group["lr"]
        gradients = [w.grad for w in weights]
        torch._foreach_lerp_(means, gradients, 1 - keep)
        torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for weight, ahead in zip(weights, torch._foreach_lerp(gradients, means, keep), strict=True):
            matrix = ahead.flatten(1)
            alike.setdefault(tuple(matrix.shape), []).append((weight, matrix))
        for members in alike.values():
            matrices = torch.stack([matrix for _, matrix in members])
            rounds = matrices.bfloat16() if matrices.device.type == "cuda" else matrices
            steps = (orthogonal(rounds).to(matrices.dtype) * -_length(rate, members[0][1])).unbind()
            torch._foreach_add_([w for w, _ in members],
                                [step.reshape(w.shape) for (w, _), step in zip(members, steps, strict=True)])

    def state_dict(self) -> dict:
        return {"matrices": super().state_dict(), "rest": self._rest.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict["matrices"])
        restore(self._rest, state_dict["rest"])


def _length(rate: float, matrix: Tensor) -> float:
    return rate * 0.2 * max(matrix.shape) ** 0.5
