"""What a run says while it goes on. Without torch, so that processes which only pass events on start at once."""
from __future__ import annotations

from collections.abc import Callable, Mapping
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


Notify = Callable[[Event], None] | None
"""What hears of the events, if anyone."""
