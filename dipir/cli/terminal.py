"""Text on its way to a terminal: every line of ours goes through here, since much of it comes out of files."""
from __future__ import annotations

import os
import sys
from typing import TextIO

from dipir.errors import plain


def say(text: object, stream: TextIO | None = None) -> None:
    """A line on ``stream`` (stderr), whatever its encoding. When stderr takes nothing any more, the work goes on."""
    write(plain(text) + "\n", stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """As :func:`say` for text that is ours alone, as it is."""
    stream = sys.stderr if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        if stream is not sys.stderr:
            raise
        sys.stderr = _nowhere()


def open_streams() -> None:
    """Stands in for a stdout or stderr that was closed before we began, where Python has None."""
    sys.stdout, sys.stderr = sys.stdout or _nowhere(), sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")
