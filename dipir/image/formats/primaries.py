"""Colours of other primaries and curves to those of BT.709 and sRGB. numpy, not differentiable."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array

BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
PCS_WHITE = np.array([0.9642, 1.0, 0.8249])
"""XYZ of D50, to which ICC profiles refer."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_ROWS = 64  # Rows converted together, so that they stay in the processor's cache.
_VISIBLE = 1 / 255
_ABSURD = 10.0  # sRGB that no colours in use come near.
_GRID = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 3), -1).reshape(1, -1, 3)
Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Encoding:
    """How a display-referred file encodes light."""

    name: str
    curve: tuple[Curve, Curve, Curve]
    """Of red, green, blue: code in [0, 1] -> light in [0, 1]."""
    matrix: np.ndarray
    """(3, 3) light in the file's primaries -> BT.709, white kept."""

    def is_srgb(self) -> bool:
        """Whether it differs from sRGB by less than a step of 8 bits, so that no pixel need change."""
        return bool(np.abs(self.to_srgb(_GRID) - _GRID).max() < 1.5 * _VISIBLE)

    def is_sound(self) -> bool:
        """Whether it makes colours of codes at all (NaN is none)."""
        with np.errstate(all="ignore"):
            return bool(np.abs(self.to_srgb(_GRID)).max() < _ABSURD)

    def to_srgb(self, codes: np.ndarray) -> np.ndarray:
        """(H, W, 3) codes in [0, 1] -> sRGB, not clipped: what lies outside is outside of [0, 1]."""
        return self._encoded([curve(codes[..., k]) for k, curve in enumerate(self.curve)])

    def apply(self, pixels: np.ndarray, notes: list[str]) -> np.ndarray:
        """(H, W, 3) codes, integers or float in [0, 1] -> float32 sRGB in [0, 1]; the notes say what was done."""
        done, outside, light_of = np.empty(pixels.shape, np.float32), 0, self.curve
        if pixels.dtype.kind == "u":
            # Every code is looked up: a curve is drawn once and not for each pixel.
            codes = np.linspace(0, 1, np.iinfo(pixels.dtype).max + 1)
            light_of = [curve(codes).astype(np.float32).__getitem__ for curve in self.curve]
        for row in range(0, len(pixels), _ROWS):
            part = self._encoded([of(pixels[row:row + _ROWS, :, k]) for k, of in enumerate(light_of)])
            outside += int(((part < -_VISIBLE) | (part > 1 + _VISIBLE)).any(-1).sum())
            done[row:row + _ROWS] = part.clip(0, 1)
        notes.append(f"colours converted from {self.name} to sRGB" + clipped(outside / max(pixels[..., 0].size, 1)))
        return done

    def _encoded(self, light: list[np.ndarray]) -> np.ndarray:
        light = np.stack(light, -1)
        return linear_to_srgb_array(light @ self.matrix.T.astype(light.dtype))


def clipped(share: float) -> str:
    """The end of a remark about a share of pixels in [0, 1] that lay outside of sRGB; empty for none."""
    if share == 0:
        return ""
    return f"; {max(share, 0.001):.1%} of the pixels lie outside of sRGB and were clipped"


def gamma(exponent: float) -> Curve:
    """light = code ** exponent"""
    return lambda codes: np.clip(codes, 0, None) ** exponent


def srgb(codes: np.ndarray) -> np.ndarray:
    """The curve of sRGB."""
    return srgb_to_linear_array(codes)


def rgb_to_xyz(chromaticities: Sequence[float]) -> np.ndarray:
    """(3, 3) of red, green, blue, white as x, y each; white has Y = 1. ValueError for what is no colour space."""
    xy = np.asarray(chromaticities, np.float64).reshape(4, 2)
    if not np.isfinite(xy).all() or (xy[:, 1] <= 0).any():
        raise ValueError(f"no colour space: chromaticities {[round(float(v), 4) for v in xy.ravel()]}")
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(1)) / xy[:, 1]])
    if abs(np.linalg.det(xyz[:, :3])) < 1e-6:
        raise ValueError(f"no colour space: chromaticities {[round(float(v), 4) for v in xy.ravel()]}")
    return xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3])


def adaptation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) XYZ -> XYZ: Bradford adaptation from the white ``source`` to ``target``, XYZ each."""
    return np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ target) / (_BRADFORD @ source)) @ _BRADFORD


def xyz_to_bt709(white: np.ndarray) -> np.ndarray:
    """(3, 3) XYZ relative to ``white`` -> linear BT.709, where white is 1, 1, 1."""
    ours = rgb_to_xyz(BT709_CHROMATICITIES)
    return np.linalg.inv(ours) @ adaptation(white, ours.sum(1))


def to_bt709(chromaticities: Sequence[float]) -> np.ndarray:
    """(3, 3) linear light of these chromaticities -> BT.709, white to white (Bradford). ValueError as `rgb_to_xyz`."""
    theirs = rgb_to_xyz(chromaticities)
    return xyz_to_bt709(theirs.sum(1)) @ theirs


def light_to_bt709(pixels: np.ndarray, chromaticities: Sequence[float], notes: list[str]) -> np.ndarray:
    """(H, W, 3) linear light to BT.709, with a note; unchanged where it is BT.709 already, or nonsense (said)."""
    if np.allclose(chromaticities, BT709_CHROMATICITIES, atol=2e-3):
        return pixels
    shown = ", ".join(f"{v:.4g}" for v in chromaticities)
    try:
        matrix = to_bt709(chromaticities)
    except ValueError:
        notes.append(f"chromaticities {shown} are no colour space: ignored, read as BT.709")
        return pixels
    done = (pixels.reshape(-1, 3) @ matrix.T.astype(np.float32)).reshape(pixels.shape)
    notes.append(f"colours converted from the chromaticities {shown} to BT.709")
    return done
