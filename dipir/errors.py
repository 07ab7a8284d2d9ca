"""The error family. Text of every error: what was given, what is accepted, what to do.

The command line prints the text of a :class:`DipirError` and exits with code 2; anything else is a bug.
"""
from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

MOST_TEXT = 2000
"""Characters of an error's text; files decide how long some of their parts would be."""
MOST_PROBLEMS = 20


class DipirError(Exception):
    """Base of every error that a user can mend. Its text is cut in the middle where it is too long: what was given is
    at its begin, what to do at its end."""

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= MOST_TEXT:
            return text
        begin, end = 3 * MOST_TEXT // 5, MOST_TEXT // 3
        return f"{text[:begin]} [... {len(text) - begin - end} characters ...] {text[-end:]}"


class ConfigError(DipirError):
    """A setting is unknown, of the wrong type or out of range."""


class ImageError(DipirError):
    """An image cannot be read or written."""


class SceneError(DipirError):
    """A scene is not possible: object out of view, camera under the plane, bad scene file."""


class AssetError(DipirError):
    """A mesh or one of its textures cannot be used."""


class RenderError(DipirError):
    """The renderer cannot start or its result cannot be used (missing LLVM, NaN)."""


class DeviceMemoryError(DipirError):
    """The GPU's memory does not suffice. Text says what was asked, what is free and which setting lowers it."""


class PriorError(DipirError):
    """Weights of a prior are missing, truncated or of another architecture."""


class FitError(DipirError):
    """The optimisation cannot go on: NaN gradient, checkpoint of another run."""


class MissingExtra(DipirError):
    """An optional package is needed. Text names the extra to install."""


def plain(text: object) -> str:
    """``text`` for a terminal: what one would obey instead of show, turns the direction of text or is unseen as
    ``\\x1b``; line ends, tabs and blanks of every kind stay."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs"
                   else c.encode("ascii", "backslashreplace").decode() if ord(c) > 127 else f"\\x{ord(c):02x}"
                   for c in text)


def printable(text: str, limit: int = 2000) -> str:
    """:func:`plain` text of at most ``limit`` characters."""
    shown = plain(text[:limit + 1])
    return shown if len(shown) <= limit else shown[:limit - 1] + "…"


def nearest(word: str, valid: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the nearest valid word, or the empty string."""
    word = str(word)
    # No name of ours is long, and the search is slow.
    match = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5) if len(word) <= 60 else []
    return f" Did you mean '{match[0]}'?" if match else ""


def raise_all(kind: type[DipirError], where: str, problems: list[str]) -> None:
    """Raise one ``kind`` that lists the problems found in ``where``, the first ones of many; nothing when there is
    none."""
    if problems:
        head = f"{where}: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        more = [f"and {len(problems) - MOST_PROBLEMS} more."] if len(problems) > MOST_PROBLEMS else []
        raise kind("\n  - ".join([head + ":", *problems[:MOST_PROBLEMS], *more]))
