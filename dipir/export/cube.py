"""Tone curves as 1D ``.cube`` look-up tables, for colour programs. The header states what goes in."""
from __future__ import annotations

from enum import Enum
from pathlib import Path

import torch

from dipir.disk import write_text
from dipir.image.tone import ToneCurve

SIZE = 1024


class CurveRole(Enum):
    """What the curve acts on; the value is the statement of its input space."""

    FOREGROUND = "sRGB-encoded display values of the object, not premultiplied (unpremultiply, encode, apply, decode)"
    SHADOW = "linear shadow ratio (shadowed / lit), 1 = unshadowed; multiply the linear plate by the result"


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
