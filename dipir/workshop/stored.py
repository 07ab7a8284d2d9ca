"""How sets are kept: light in bytes, and dataclasses of tensors with a row for each item."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

BRIGHTEST = 8.0
"""Largest light that is kept; a white surface that faces the full light has about 1."""
_GAMMA = 2.4
_DECODED = (torch.arange(256) / 255) ** _GAMMA * BRIGHTEST
T = TypeVar("T")


def encode(linear: Tensor) -> Tensor:
    """Light [0, 8] -> uint8, finer for the dark."""
    return ((linear / BRIGHTEST).clamp(0, 1) ** (1 / _GAMMA) * 255).round().byte()


def decode(stored: Tensor) -> Tensor:
    """Inverse of :func:`encode` up to rounding: float32."""
    return _decoded(stored.device)[stored.long()]


@functools.lru_cache(maxsize=8)
def _decoded(where: torch.device) -> Tensor:
    return _DECODED.to(where)


def join(parts: Sequence[T]) -> T:
    """Several dataclasses of tensors as one, their rows after each other."""
    return type(parts[0])(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True)))


def part(data: T, rows: slice | Tensor) -> T:
    """Some rows of all tensors of a dataclass."""
    return type(data)(*(value[rows] for value in vars(data).values()))


def tall(x: Tensor) -> Tensor:
    """(B,) or (B, C) -> (B, 1 or C, 1, 1)."""
    return x.reshape(len(x), -1, 1, 1)
