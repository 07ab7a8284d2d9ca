"""Tone curves as 1D ``.cube`` look-up tables, for colour programs. The header states what goes in."""
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import torch

from dipir.disk import write_text
from dipir.errors import ImageError
from dipir.image.tone import ToneCurve

SIZE = 1024
_MAX_BYTES = 64_000_000


class CurveRole(Enum):
    """What the curve acts on; the value is the statement of its input space."""

    FOREGROUND = "sRGB-encoded display values of the object, not premultiplied (unpremultiply, encode, apply, decode)"
    SHADOW = "linear shadow ratio (shadowed / lit), 1 = unshadowed; multiply the linear plate by the result"


@dataclass(frozen=True)
class Cube:
    """A 1D table: ``table`` (N, 3) at N even steps from ``low`` to ``high``, each (3,); ``title`` of the file."""

    title: str
    low: np.ndarray
    high: np.ndarray
    table: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Linear interpolation at ``x`` (..., 3); constant outside the domain."""
        return np.stack([np.interp(x[..., c], np.linspace(self.low[c], self.high[c], len(self.table)), self.table[:, c])
                         for c in range(3)], -1)


def write_cube(path: str | Path, curve: ToneCurve, role: CurveRole) -> None:
    """Write ``curve`` on [0, 1] as a 1D table of 1024 entries. Raises ImageError when the file cannot be written."""
    steps = torch.linspace(0, 1, SIZE, dtype=torch.float64).view(1, 1, 1, SIZE).expand(1, 3, 1, SIZE)
    with torch.no_grad():
        table = curve(steps)[0, :, 0].T.cpu()
    head = [f'TITLE "dipir tone curve, {role.name.lower()}"', f"# Input: {role.value}.",
            "# Output: the same space. Outside [0, 1] the curve goes on straight, which a table cannot hold.",
            f"LUT_1D_SIZE {SIZE}", "DOMAIN_MIN 0 0 0", "DOMAIN_MAX 1 1 1"]
    rows = [" ".join(f"{value:.9f}" for value in row) for row in table.tolist()]
    write_text(path, "\n".join(head + rows) + "\n")


def read_cube(path: str | Path) -> Cube:
    """Read a 1D ``.cube``. Raises ImageError for a missing or malformed file and for 3D tables."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        return _parsed(path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read as a 1D .cube table: {error}. Accepted are text files with "
                         "LUT_1D_SIZE and as many lines of three numbers. Export the curve again.") from error


def _parsed(lines: list[str]) -> Cube:
    title, size, low, high, rows = "", None, np.zeros(3), np.ones(3), []
    for line in (text.strip() for text in lines):
        key, _, rest = line.partition(" ")
        if not line or key.startswith("#"):
            continue
        if key == "TITLE":
            title = rest.strip().strip('"')
        elif key == "LUT_1D_SIZE":
            size = int(rest)
        elif key == "DOMAIN_MIN":
            low = np.array(rest.split(), dtype=float)
        elif key == "DOMAIN_MAX":
            high = np.array(rest.split(), dtype=float)
        elif key[0].isalpha():
            raise ValueError(f"keyword {key} is not known here")
        else:
            rows.append([float(word) for word in line.split()])
    if size is None or len(rows) != size or size < 2 or any(len(row) != 3 for row in rows):
        raise ValueError(f"{len(rows)} rows of numbers where LUT_1D_SIZE says {size}")
    table = np.array(rows)
    if not np.isfinite(table).all() or low.shape != (3,) or high.shape != (3,) or not (low < high).all():
        raise ValueError("numbers are not finite or the domain is empty")
    return Cube(title, low, high, table)
