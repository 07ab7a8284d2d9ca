"""Tone curve: a monotone rational-quadratic spline (docs/method.md 1.7; Durkan et al. 2019, eq. 4-8).

The curve maps [0, 1] onto [0, 1] with fixed ends and continues as a straight line outside, so that it is a bijection of
the reals. Bin widths and heights come from a softmax with a floor, slopes from a softplus with a floor: whatever the
unconstrained parameters are, the curve is increasing.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, softmax, softplus

from dipir.errors import ConfigError

MIN_BIN = 1e-3
MIN_SLOPE = 1e-3
# softplus(0 + offset) + MIN_SLOPE = 1: parameters of zero are the identity.
_SLOPE_OFFSET = math.log(math.expm1(1 - MIN_SLOPE))
_NAMES = ("widths", "heights", "slopes")


@dataclass(frozen=True, eq=False)
class ToneCurve:
    """A monotone curve on the reals, one for all channels (C = 1) or one for each of R, G, B (C = 3). Zeros
    are the identity. Raises ConfigError for wrong shapes or parameters that are not finite."""

    widths: Tensor  # (C, K) unconstrained
    heights: Tensor  # (C, K) unconstrained
    slopes: Tensor  # (C, K + 1) unconstrained, at the knots

    def __post_init__(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.parameters().items()}
        channels, bins = shapes["widths"] if len(shapes["widths"]) == 2 else (0, 0)
        wanted = {"widths": (channels, bins), "heights": (channels, bins), "slopes": (channels, bins + 1)}
        if channels not in (1, 3) or not 1 <= bins <= 0.5 / MIN_BIN or shapes != wanted:
            raise ConfigError(f"tone curve has parameters of shape {shapes}; accepted are widths (C, K), heights (C, "
                              f"K), slopes (C, K + 1) with C 1 or 3 and K from 1 to {int(0.5 / MIN_BIN)}. "
                              "Start from ToneCurve.identity().")
        # One read for all three: every step of a fit makes a curve, and on a GPU each read is a wait.
        finite = torch.stack([torch.isfinite(tensor).all() for tensor in self.parameters().values()]).tolist()
        bad = [name for name, fine in zip(_NAMES, finite, strict=True) if not fine]
        if bad:
            raise ConfigError(f"tone curve has {' and '.join(bad)} that are not finite; accepted are finite numbers. "
                              "Lower the learning rate of the tone curve or start from ToneCurve.identity().")

    @staticmethod
    def identity(bins: int = 5, channels: int = 1, dtype: torch.dtype = torch.float32,
                 device: torch.device | str = "cpu") -> ToneCurve:
        """The curve y = x (up to rounding) with ``bins`` equal bins, on ``device``."""
        return ToneCurve(*(torch.zeros(channels, n, dtype=dtype, device=device) for n in (bins, bins, bins + 1)))

    @staticmethod
    def contrast(amount: float, bins: int = 5, channels: int = 1) -> ToneCurve:
        """A curve that leaves 0, 1/2 and 1 where they are and has the slope 1 + 0.6 ``amount`` in the middle, amount in
        [-1, 1]: through y = x - 0.6 amount sin(2 pi x) / (2 pi) at its knots, with the slopes of that. ConfigError
        outside."""
        if not -1 <= amount <= 1:
            raise ConfigError(f"contrast: {amount:g}; accepted is -1 (flat) to 1 (hard), 0 = none.")
        x = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device="cpu")
        y = x - 0.6 * amount * (2 * math.pi * x).sin() / (2 * math.pi)
        heights = ((y.diff() - MIN_BIN) / (1 - bins * MIN_BIN)).log()
        slopes = (1 - 0.6 * amount * (2 * math.pi * x).cos() - MIN_SLOPE).expm1().log() - _SLOPE_OFFSET
        return ToneCurve(*(row.float().expand(channels, -1).clone() for row in (torch.zeros_like(heights),
                                                                               heights - heights.mean(), slopes)))

    def parameters(self) -> dict[str, Tensor]:
        """Unconstrained parameters by name."""
        return {name: getattr(self, name) for name in _NAMES}

    def with_parameters(self, parameters: Mapping[str, Tensor]) -> ToneCurve:
        """The curve with some or all parameters replaced. Raises ConfigError for an unknown name."""
        unknown = sorted(set(parameters) - set(_NAMES))
        if unknown:
            raise ConfigError(f"tone curve has no parameter {unknown}; accepted are {list(_NAMES)}. Mend the name.")
        return ToneCurve(**{**self.parameters(), **parameters})

    def detach(self) -> ToneCurve:
        """A copy without gradient history."""
        return self.with_parameters({k: v.detach().clone() for k, v in self.parameters().items()})

    def to_dict(self) -> dict[str, list[list[float]]]:
        """Plain lists, for JSON; :meth:`from_dict` gives the same float32 curve back exactly."""
        return {name: tensor.detach().cpu().tolist() for name, tensor in self.parameters().items()}

    @staticmethod
    def from_dict(data: Mapping[str, object], dtype: torch.dtype = torch.float32) -> ToneCurve:
        """Inverse of :meth:`to_dict`, on the CPU. Raises ConfigError for missing, unknown, ragged or non-numeric
        entries."""
        if not isinstance(data, Mapping) or set(data) != set(_NAMES):
            given = sorted(map(str, data)) if isinstance(data, Mapping) else type(data).__name__
            raise ConfigError(f"tone curve was given as {given}; accepted is a mapping with exactly {list(_NAMES)}. "
                              "Use the output of ToneCurve.to_dict().")
        try:
            return ToneCurve(**{name: torch.tensor(data[name], dtype=dtype, device="cpu") for name in _NAMES})
        except (TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"tone curve holds lists that are no numeric table ({error}); accepted are lists of "
                              "equally long lists of numbers. Use the output of ToneCurve.to_dict().") from error

    def knots(self) -> tuple[Tensor, Tensor, Tensor]:
        """(x, y, slope) at the knots, each (C, K + 1); x and y begin with exactly 0 and end with exactly 1."""
        return _edges(self.widths), _edges(self.heights), MIN_SLOPE + softplus(self.slopes + _SLOPE_OFFSET)

    def __call__(self, x: Tensor) -> Tensor:
        """Curve at ``x`` (any shape for C = 1, (..., 3, H, W) for C = 3). Domain and range all reals; [0, 1] -> [0, 1]
        with T(0) = 0 and T(1) = 1 exactly; straight lines with the end slopes outside. Differentiable."""
        flat, restore = _by_channel(x, self.widths.shape[0])
        xs, ys, slopes = (knot.to(x.dtype) for knot in self.knots())
        x0, x1, y0, y1, d0, d1 = _bin(xs, xs, ys, slopes, flat)
        s = (y1 - y0) / (x1 - x0)
        xi = (flat.clamp(0, 1) - x0) / (x1 - x0)
        rest = xi * (1 - xi)
        part = (s * xi * xi + d0 * rest) / (s + (d0 + d1 - 2 * s) * rest)  # docs/method.md 1.7; exactly 1 at xi = 1
        inside = y0 + (y1 - y0) * part
        return restore(_continued(flat, inside, slopes))

    def inverse(self, y: Tensor) -> Tensor:
        """The ``x`` with T(x) = ``y``; shapes, domain and range as for the curve itself. Differentiable."""
        flat, restore = _by_channel(y, self.widths.shape[0])
        xs, ys, slopes = (knot.to(y.dtype) for knot in self.knots())
        x0, x1, y0, y1, d0, d1 = _bin(ys, xs, ys, slopes, flat)
        height, s = y1 - y0, (y1 - y0) / (x1 - x0)
        above = flat.clamp(0, 1) - y0
        curve = above * (d0 + d1 - 2 * s)
        a, b, c = height * (s - d0) + curve, height * d0 - curve, -s * above  # Durkan et al. 2019, eq. 6-8
        # This form of the root has no cancellation: the discriminant is positive because the curve increases.
        xi = 2 * c / (-b - (b * b - 4 * a * c).sqrt())
        return restore(_continued(flat, x0 + xi * (x1 - x0), 1 / slopes))


def _edges(raw: Tensor) -> Tensor:
    """(C, K) unconstrained -> (C, K + 1) increasing from exactly 0 to exactly 1, no step below MIN_BIN."""
    sizes = MIN_BIN + (1 - MIN_BIN * raw.shape[1]) * softmax(raw, 1)
    return pad(pad(sizes.cumsum(1)[:, :-1], (1, 0), value=0.0), (0, 1), value=1.0)


def _by_channel(x: Tensor, channels: int):
    """``x`` as (C, N), and the function that brings such a table back to the shape of ``x``."""
    if channels == 1:
        return x.reshape(1, -1), lambda flat: flat.reshape(x.shape)
    if x.ndim < 3 or x.shape[-3] != channels:
        raise ValueError(f"a tone curve of {channels} channels needs (..., {channels}, H, W), got {tuple(x.shape)}")
    moved = x.movedim(-3, 0)
    return moved.reshape(channels, -1), lambda flat: flat.reshape(moved.shape).movedim(0, -3)


def _bin(edges: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """x0, x1, y0, y1, d0, d1 of the bin of each of ``values`` (C, N), bins divided at ``edges`` (xs or ys)."""
    index = torch.searchsorted(edges.detach()[:, 1:-1].contiguous(), values.detach().contiguous(), right=True)
    return tuple(knot.gather(1, index + step) for knot in (xs, ys, slopes) for step in (0, 1))


def _continued(values: Tensor, inside: Tensor, slopes: Tensor) -> Tensor:
    """``inside`` in [0, 1], straight lines through (0, 0) and (1, 1) outside. The ends belong to the inside, so that
    the gradient at exactly 0 and 1 (common pixel values) is counted once."""
    outside = torch.where(values < 0, values * slopes[:, :1], 1 + (values - 1) * slopes[:, -1:])
    return torch.where((values >= 0) & (values <= 1), inside, outside)
