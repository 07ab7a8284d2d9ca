"""Spaces in which files hold colours, the way to linear BT.709 and back, and a picture as its file holds it."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from dipir.image.color import linear_to_srgb_array

SAME = 2e-3
"""Values that differ by less are of one space: profiles hold their numbers in 16 bits."""
_SRGB = 2e-5
_STEPS = np.stack(np.meshgrid(*[np.linspace(0, 1, 9, dtype=np.float32)] * 3), -1).reshape(1, -1, 3)
Values = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class ColourSpace:
    """A space in which a file may hold its colours."""

    name: str
    kind: Literal["display", "linear", "log"]
    """Codes in [0, 1] of what a screen shows, scene-linear light, or codes in [0, 1] of light that goes beyond 1."""
    to_light: Values
    """(H, W, 3) float values of the file -> float32 linear BT.709, not clipped."""
    from_light: Values | None
    """The way back, not clipped; None = there is none."""
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Type and content of the chunks by which a PNG says that it is in this space; empty = it has no words for it."""
    chromaticities: tuple[float, ...] | None = None
    """Of a linear space: red, green, blue, white as x, y each."""

    def is_srgb(self) -> bool:
        """Whether its codes are those of sRGB."""
        return self.kind == "display" and bool(
            np.abs(linear_to_srgb_array(self.to_light(_STEPS)) - _STEPS).max() < _SRGB)

    def is_bt709(self) -> bool:
        """Whether its values are light in BT.709."""
        return self.kind == "linear" and bool(np.abs(self.to_light(_STEPS) - _STEPS).max() < _SRGB)

    def same_as(self, other: ColourSpace) -> bool:
        """Whether both mean the same colours, as far as files say."""
        if self.kind != other.kind:
            return False
        ours, theirs = self.to_light(_STEPS), other.to_light(_STEPS)
        return bool((np.abs(ours - theirs) < SAME * np.maximum(1, np.abs(theirs))).all())


@dataclass(frozen=True, eq=False)
class OwnPicture:
    """A picture as its file holds it, where that is neither sRGB nor linear BT.709."""

    space: ColourSpace
    codes: np.ndarray | None
    """(H, W, 3) uint8, uint16, float16 or float32, upright, as large as the picture; None = it was scaled since."""
    light: np.ndarray | None = None
    """(H, W, 3) float32 linear BT.709 of a display-referred picture, not clipped; None = as the picture itself."""
    wide: float = 0.0
    """Share of the pixels in [0, 1] that lie outside of sRGB."""


@dataclass(frozen=True)
class PlateKind:
    """How the file held its numbers, so that the picture can be given back in its own depth and space."""

    bits: int = 8
    """Per channel."""
    linear: bool = False
    """Scene-referred (EXR, HDR, float TIFF, logarithmic codes) rather than display-referred."""
    own: OwnPicture | None = field(default=None, compare=False)
    """Its values and their space; None = sRGB or linear BT.709."""
    output: ColourSpace | None = field(default=None, compare=False)
    """The space that is asked for in place of its own."""

    def space_of(self, kind: str) -> ColourSpace | None:
        """The space in which pictures of this ``kind`` are written: the one asked for, else the file's own; None = sRGB
        and linear BT.709."""
        own = None if self.own is None else self.own.space
        for space in (self.output, own):
            if space is not None and space.kind == kind and space.from_light is not None:
                return space
        return None

    def scaled(self) -> PlateKind:
        """Of the picture scaled or bent: the file's own values are no longer those of its pixels."""
        return self if self.own is None else replace(self, own=replace(self.own, codes=None))


def as_values(codes: np.ndarray) -> np.ndarray:
    """Codes of whole numbers -> float32 in [0, 1]; floats -> float32."""
    if codes.dtype.kind == "u":
        return codes.astype(np.float32) / np.float32(np.iinfo(codes.dtype).max)
    return codes.astype(np.float32, copy=False)
