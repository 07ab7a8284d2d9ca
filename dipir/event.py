"""What a run says while it goes on. Without torch, so that processes which only pass events on start at once."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Event:
    """One report during long work; the progress bar, the JSON log and the studio all read these."""

    stage: str  # name of the station ("personalise", "fit", "render", ...)
    step: int  # done
    steps: int  # planned
    seconds_left: float | None = None  # estimate
    scalars: Mapping[str, float] = field(default_factory=dict)  # logged numbers
    images: Mapping[str, Tensor] = field(default_factory=dict)
    """Preview images, (1, 3, H, W) display-referred [0, 1], on the CPU."""
    note: str = ""
    """What was decided, for people; said once, on a line of its own."""


_asked: ContextVar[Callable[[], None] | None] = ContextVar("asked between pieces", default=None)


@contextlib.contextmanager
def stoppable(ask: Callable[[], None]) -> Iterator[None]:
    """``ask`` is called between the pieces of renders and recordings in the block; what it raises ends them."""
    token = _asked.set(ask)
    try:
        yield
    finally:
        _asked.reset(token)


def between_pieces() -> None:
    """Long work has done one piece of several: the place to be stopped."""
    ask = _asked.get()
    if ask is not None:
        ask()


Notify = Callable[[Event], None] | None
"""What hears of the events, if anyone."""
