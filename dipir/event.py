"""What a run says: remarks about what it was given, reports while it goes on. Without torch, so that processes which
only pass events on start at once."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Remark(str):
    """A remark about an asset, plate or camera, for people: one line with the file and what to do.

    A plain text among remarks is a note. ``warning`` : it changes the picture: something was left out, approximated or
    cannot be seen.
    """

    warning: bool

    def __new__(cls, text: str, warning: bool = False) -> Remark:
        made = super().__new__(cls, text)
        made.warning = warning
        return made

    @staticmethod
    def about(where: str, note: str) -> Remark:
        """``note`` with what it is about in front, unless it says that itself; a warning stays one."""
        text = note if where in note else f"{where}: {note}"
        return Remark(text, is_warning(note))


def warn(text: str) -> Remark:
    """A remark about what changes the picture."""
    return Remark(text, warning=True)


def is_warning(note: str) -> bool:
    """Whether a remark is a warning; plain texts are notes."""
    return getattr(note, "warning", False)


def warnings_in(notes: Iterable[str]) -> list[str]:
    """The warnings among remarks, as plain texts, each once."""
    return [str(note) for note in dict.fromkeys(notes) if is_warning(note)]


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
    remarks: Sequence[str] = ()
    """Remarks about what was given (:class:`Remark`); said once, before work."""

    @staticmethod
    def about(remarks: Iterable[str]) -> Event:
        """What there is to say about the inputs, before anything is done with them."""
        return Event("inputs", 0, 0, remarks=tuple(dict.fromkeys(remarks)))


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
