"""Frames of a shot as files whose names count: ``shot.%04d.png``, ``shot.####.png``, a folder of them."""
from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dipir.errors import ConfigError, ImageError, nearest

_PLACE = re.compile(r"%(?:0(\d))?d|(#+)")
_NUMBERED = re.compile(r"(.*?)(\d+)(\.[A-Za-z]+)")
_KINDS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dpx", ".exr", ".hdr"})
_MOST, _DIGITS = 100_000, 9
_ACCEPTED = "accepted are names such as shot.%04d.png or shot.####.png, and a folder that holds one shot"


@dataclass(frozen=True)
class Numbered:
    """Files ``folder / before + number + after``."""

    folder: Path
    before: str
    digits: int  # least number of them, filled up with zeros
    after: str

    def path(self, number: int) -> Path:
        """The file of a frame."""
        return self.folder / self.name(number)

    def name(self, number: int) -> str:
        """Its name."""
        return f"{self.before}{number:0{self.digits}d}{self.after}"

    def renamed(self, before: str, after: str, folder: Path) -> Numbered:
        """The same numbers in other files."""
        return Numbered(folder, before, self.digits, after)

    def there(self) -> list[int]:
        """Numbers of the files that are there, in order. ImageError where the folder cannot be read."""
        fits = re.compile(re.escape(self.before) + rf"(\d{{1,{_DIGITS}}})" + re.escape(self.after))
        try:
            found = [fits.fullmatch(file.name) for file in self.folder.iterdir()]
        except OSError as problem:
            raise _unread(self.folder, problem) from problem
        return sorted({int(m[1]) for m in found if m and self.name(int(m[1])) == m[0]})

    def __str__(self) -> str:
        return str(self.folder / (self.before + (f"%0{self.digits}d" if self.digits > 1 else "%d") + self.after))


@dataclass(frozen=True)
class FoundFrames:
    """Which frames of which files."""

    files: Numbered
    numbers: tuple[int, ...]  # in order
    missing: tuple[int, ...] = ()  # between them, which are not there


def numbered(path: Path) -> Numbered | None:
    """What a path with a place for a number, or a folder of such files, means; None for a path of one picture.
    ConfigError for several places, or a folder that holds several shots or none."""
    if path.is_file():
        return None
    if path.is_dir():
        return _in_folder(path)
    places = list(_PLACE.finditer(path.name))
    if len(places) > 1 or (not places and _PLACE.search(str(path.parent))):
        raise ConfigError(f"{path}: the number of a frame has one place, in the file's name; {_ACCEPTED}.")
    if not places:
        return None
    place = places[0]
    digits = len(place[2]) if place[2] else int(place[1] or 1)
    return Numbered(path.parent, path.name[:place.start()], max(digits, 1), path.name[place.end():])


def _in_folder(folder: Path) -> Numbered:
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in _KINDS)
    except OSError as problem:
        raise _unread(folder, problem) from problem
    found = [m for m in map(_NUMBERED.fullmatch, names) if m and len(m[2]) <= _DIGITS]
    kinds = Counter((m[1], m[3]) for m in found)
    if len(kinds) != 1:
        shown = ", ".join(f"{folder / before}#{after}" for before, after in sorted(kinds)[:6]) or "none"
        raise ConfigError(f"{folder}: holds frames of {len(kinds)} shots ({shown}); {_ACCEPTED}. Name one of them.")
    (before, after), = kinds
    # Names without leading zeros have one digit at least, others all the same number.
    padded = {len(m[2]) for m in found if m[2].startswith("0")}
    return Numbered(folder, before, min(padded | {len(m[2]) for m in found}) if padded else 1, after)


def _unread(folder: Path, problem: OSError) -> ImageError:
    return ImageError(f"{folder}: cannot be read ({problem.strerror or problem}); {_ACCEPTED}.")


def parse_range(text: str) -> range:
    """``FIRST-LAST``, ``FIRST-LASTxSTEP`` or one number. ConfigError for anything else."""
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?:x(\d{1,9}))?)?", text.strip())
    first, last, step = (int(match[k] or ("", match[1], "1")[k - 1]) for k in (1, 2, 3)) if match else (1, 0, 1)
    if last < first or step < 1 or (last - first) // step >= _MOST:
        raise ConfigError(f"frames '{text[:40]}': accepted are FIRST-LAST, FIRST-LASTxSTEP or one number, for instance "
                          f"1001-1100x2, at most {_MOST} of them.")
    return range(first, last + 1, step)


def find_shot(files: Numbered, wanted: range | None = None) -> FoundFrames:
    """The frames that are there, or all of ``wanted``. ImageError, by name, where none is there or a wanted one is
    missing."""
    there = files.there()
    if not there:
        near = nearest(files.name(1), sorted(p.name for p in files.folder.iterdir())[:1000])
        raise ImageError(f"{files}: no such frames; {_ACCEPTED}.{near}")
    if wanted is not None:
        missing = sorted(set(wanted) - set(there))
        if missing:
            raise ImageError(f"{files}: frames {spans(missing)} are missing (there are {spans(there)}); accepted are "
                             "frames that are all there. Render them, or give other --frames.")
        return FoundFrames(files, tuple(wanted))
    if len(there) > _MOST:
        raise ImageError(f"{files}: {len(there)} frames; accepted are at most {_MOST}. Give a part by --frames.")
    step = math.gcd(*(number - there[0] for number in there)) or 1
    between = () if (there[-1] - there[0]) // step >= 10 * _MOST else range(there[0], there[-1] + 1, step)
    return FoundFrames(files, tuple(there), tuple(sorted(set(between) - set(there))))


def spans(numbers: list[int] | tuple[int, ...]) -> str:
    """``1, 4-6, 9``, at most eight of these."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    text = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs[:8])
    return text + (f" and {len(runs) - 8} more" if len(runs) > 8 else "")
