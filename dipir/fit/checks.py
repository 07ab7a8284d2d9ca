"""Checks of a step that wait for each other, so that a step on a GPU asks the device one time only.

Every look at a number on a GPU stops the program until the device has done all that was asked before. Inside
:func:`together` the checks of values on a device wait, and :meth:`Checks.read` gets their answers together with the
numbers that are wanted anyway. On the CPU, where a look is free, and outside such a block a check is made at once.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from dipir.errors import DipirError

Problem = Callable[[], DipirError]


class Checks:
    """What waits inside one :func:`together`."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Tensor, Problem]] = []

    def add(self, fine: Tensor, problem: Problem) -> None:
        """To be made by the next :meth:`read`."""
        self._waiting.append((fine, problem))

    def read(self, *numbers: Tensor) -> list[float]:
        """Makes all checks that wait, in the order of their coming, and raises the first one's problem that fails;
        returns ``numbers`` (of one element each). One look at the device, none when all are on the CPU."""
        waiting, self._waiting = self._waiting, []
        values = _read([*(fine for fine, _ in waiting), *numbers])
        for value, (_, problem) in zip(values, waiting, strict=False):
            if not value:
                raise problem()
        return values[len(waiting):]


_current: ContextVar[Checks | None] = ContextVar("checks", default=None)


def require(fine: Tensor, problem: Problem) -> None:
    """Raise ``problem()`` unless ``fine`` (one bool): at once, or on a device inside :func:`together` at its next read.

    ``problem`` may look at numbers for its text; keep large tensors out of it, since they live until it is dropped.
    """
    checks = _current.get()
    if checks is None or fine.device.type == "cpu":
        if not bool(fine):
            raise problem()
    else:
        checks.add(fine.detach(), problem)


@contextmanager
def together() -> Iterator[Checks]:
    """Checks inside wait for ``read`` or the end of the block; inside another such block, for that one's. Also
    decorates a function. When the block raises a DipirError, a check that came before is looked at first: it may be the
    cause."""
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    checks = Checks()
    token = _current.set(checks)
    try:
        yield checks
    except DipirError:
        checks.read()
        raise
    finally:
        _current.reset(token)
    checks.read()


def _read(tensors: list[Tensor]) -> list[float]:
    distant = [t for t in tensors if t.device.type != "cpu"]
    # Double holds every float32, half float and truth value exactly.
    there = iter(torch.stack([t.detach().reshape(()).double() for t in distant]).cpu().tolist() if distant else ())
    return [float(t.detach()) if t.device.type == "cpu" else next(there) for t in tensors]
