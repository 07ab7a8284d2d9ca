"""Named, constrained parameters; per-name learning rates.

The optimiser sees unconstrained ("raw") tensors; everyone else reads constrained values. Each constraint is a frozen
dataclass with ``forward`` (raw -> value), ``inverse`` (value -> raw) and ``retract`` (raw -> an equivalent raw, applied
after every step).
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.errors import FitError, nearest


@dataclass(frozen=True)
class Free:
    """No constraint."""

    def forward(self, raw: Tensor) -> Tensor:
        """The value itself."""
        return raw

    def inverse(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def retract(self, raw: Tensor) -> Tensor:
        """Nothing to do."""
        return raw


@dataclass(frozen=True)
class Exponential(Free):
    """value > 0, ``exp(raw)``: every step is relative, right for quantities that span decades (sharpness)."""

    def forward(self, raw: Tensor) -> Tensor:
        """Value > 0."""
        return raw.exp()

    def inverse(self, value: Tensor) -> Tensor:
        """Raw of a value > 0."""
        _require(bool((value > 0).all()), "values > 0", value)
        return value.log()


@dataclass(frozen=True)
class Bounded(Free):
    """low < value < high, by a sigmoid."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Bounded({self.low}, {self.high}): low must be below high, both finite")

    def forward(self, raw: Tensor) -> Tensor:
        """Value between the bounds; saturates to a bound in float32 far out."""
        return self.low + (self.high - self.low) * torch.sigmoid(raw)

    def inverse(self, value: Tensor) -> Tensor:
        """Raw of a value strictly between the bounds."""
        _require(bool(((value > self.low) & (value < self.high)).all()), f"values in ({self.low}, {self.high})", value)
        return torch.logit((value - self.low) / (self.high - self.low))


@dataclass(frozen=True)
class UnitSphere(Free):
    """Vectors (..., 3) of length 1, by normalisation. Retracting raw to length 1 after each step keeps the learning
    rate an angle in radians; without it the tangential steps make raw longer and the rate fades."""

    def forward(self, raw: Tensor) -> Tensor:
        """Unit vectors along the last axis."""
        return raw / raw.norm(dim=-1, keepdim=True)

    def inverse(self, value: Tensor) -> Tensor:
        """Raw of vectors of any length > 0."""
        _require(bool((value.norm(dim=-1) > 0).all()), "vectors of length > 0", value)
        return self.forward(value)

    def retract(self, raw: Tensor) -> Tensor:
        """Raw at length 1; the value does not change."""
        return self.forward(raw)


class Parameters:
    """An ordered set of named parameters; ``parameters["tone"]`` is the constrained, differentiable value.

    Example::

        p = Parameters()
        p.add("amplitude", torch.ones(32, 3), rate=0.05, transform=Exponential())
        loss = p["amplitude"].sum()
    """

    def __init__(self) -> None:
        self._raw: dict[str, Tensor] = {}
        self._transforms: dict[str, Free] = {}
        self._rates: dict[str, float] = {}

    def add(self, name: str, value: Tensor, *, rate: float, transform: Free | None = None) -> None:
        """Own a copy of ``value`` (constrained, any shape, floating point). ``rate`` is Adam's rate in raw units; a
        rate of 0 keeps it fixed. Raises FitError for a value that is not finite or breaks its constraint."""
        transform = transform or Free()
        if name in self._raw:
            raise ValueError(f"parameter '{name}' is already there")
        if rate < 0 or not math.isfinite(rate):
            raise FitError(f"parameter '{name}': learning rate {rate} given; it must be finite and >= 0")
        start = value.detach().clone()
        _require(bool(torch.isfinite(start).all()), "finite values", start, name)
        try:
            self._raw[name] = transform.inverse(start).requires_grad_(rate > 0)
        except FitError as problem:
            raise FitError(f"parameter '{name}': {problem}") from None
        self._transforms[name], self._rates[name] = transform, float(rate)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._raw:
            raise KeyError(f"no parameter '{name}'.{nearest(name, self._raw)}")
        return self._transforms[name].forward(self._raw[name])

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    @property
    def raw(self) -> dict[str, Tensor]:
        """The unconstrained leaf tensors that the optimiser moves, by name."""
        return dict(self._raw)

    @property
    def rates(self) -> dict[str, float]:
        """Learning rate of each name."""
        return dict(self._rates)

    def values(self) -> dict[str, Tensor]:
        """Constrained values without gradient, by name."""
        with torch.no_grad():
            return {name: self[name].clone() for name in self}

    @torch.no_grad()
    def retract(self) -> None:
        """Bring every raw tensor to its standard form, in place (see :class:`UnitSphere`)."""
        for name, raw in self._raw.items():
            if self._rates[name] > 0 and type(self._transforms[name]).retract is not Free.retract:
                raw.copy_(self._transforms[name].retract(raw))

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the raw tensors: exactly what :meth:`load_state_dict` needs to continue bit for bit."""
        return {name: raw.detach().clone() for name, raw in self._raw.items()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over raw values. Raises FitError when names, shapes or types differ; then nothing was changed."""
        problems = [f"'{name}' is missing" for name in self._raw if name not in state]
        problems += [f"'{name}' is unknown{nearest(name, self._raw)}" for name in state if name not in self._raw]
        for name in self._raw.keys() & state.keys():
            have, got = self._raw[name], state[name]
            if have.shape != got.shape or have.dtype != got.dtype:
                problems.append(f"'{name}' is {tuple(got.shape)} {got.dtype}, needed {tuple(have.shape)} {have.dtype}")
        if problems:
            raise FitError("parameters of another run: " + "; ".join(sorted(problems)))
        for name, raw in self._raw.items():
            raw.copy_(state[name])


def _require(fine: bool, accepted: str, value: Tensor, name: str = "") -> None:
    if not fine:
        head = f"parameter '{name}': " if name else ""
        raise FitError(f"{head}needs {accepted}, got {describe(value)}")


def describe(value: Tensor) -> str:
    """One line of statistics for messages: shape, number of NaN and infinite entries, range of the others."""
    value = value.detach()
    finite = value[torch.isfinite(value)]
    text = (f"shape {tuple(value.shape)}, {int(torch.isnan(value).sum())} NaN, {int(torch.isinf(value).sum())} "
            f"infinite of {value.numel()}")
    if finite.numel():
        low, high, mean = finite.min().item(), finite.max().item(), finite.mean().item()
        text += f", finite part in [{low:.4g}, {high:.4g}], mean {mean:.4g}"
    return text
