"""Colours of other primaries and curves to those of BT.709 and sRGB. numpy, not differentiable."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dipir.event import Remark, warn
from dipir.image.color import linear_to_srgb_array, srgb_to_linear_array
from dipir.image.formats.spaces import ColourSpace, OwnPicture, as_values

BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
KNOWN_CHROMATICITIES = {
    "lin_rec709_scene": BT709_CHROMATICITIES,
    "lin_ap1_scene": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
    "lin_ap0_scene": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.0770, 0.32168, 0.33767),
    "lin_p3d65_scene": (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290),
    "lin_rec2020_scene": (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
    "lin_adobergb_scene": (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290)}
"""By the names that the Color Interop Forum gives scene-linear spaces."""
CONVERTED = "colours converted from"
"""How remarks about that begin."""
PCS_WHITE = np.array([0.9642, 1.0, 0.8249])
"""XYZ of D50, to which ICC profiles refer."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_ROWS = 64  # Rows converted together, so that they stay in the processor's cache.
_VISIBLE = 1 / 255
_LEAST_RANGE = 0.1  # Of a curve that is worth an inverse.
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
        light = np.stack([curve(codes[..., k]) for k, curve in enumerate(self.curve)], -1)
        return linear_to_srgb_array(light @ self.matrix.T.astype(light.dtype))

    def apply(self, pixels: np.ndarray, notes: list[str]) -> np.ndarray:
        """(H, W, 3) codes, integers or float in [0, 1] -> float32 sRGB in [0, 1]; the notes say what was done."""
        return shown(self.light(pixels), self.name, notes)[0]

    def light(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) codes, integers or float in [0, 1] -> float32 linear BT.709, not clipped."""
        done, light_of = np.empty(pixels.shape, np.float32), self.curve
        if pixels.dtype.kind == "u":
            # Every code is looked up: a curve is drawn once and not for each pixel.
            codes = np.linspace(0, 1, np.iinfo(pixels.dtype).max + 1)
            light_of = [curve(codes).astype(np.float32).__getitem__ for curve in self.curve]
        for row in range(0, len(pixels), _ROWS):
            part = np.stack([of(pixels[row:row + _ROWS, :, k]) for k, of in enumerate(light_of)], -1)
            done[row:row + _ROWS] = part @ self.matrix.T.astype(part.dtype)
        return done

    def codes(self, light: np.ndarray) -> np.ndarray:
        """(H, W, 3) linear BT.709 -> float32 codes in [0, 1], the nearest where there is none: the inverse of `light`.
        ValueError for curves or a matrix that have none."""
        if abs(np.linalg.det(self.matrix)) < 1e-6:
            raise ValueError("a matrix without an inverse")
        theirs, steps = light @ np.linalg.inv(self.matrix).T, np.linspace(0, 1, 2**16)
        done = np.empty(light.shape, np.float32)
        for k, curve in enumerate(self.curve):
            drawn = np.asarray(curve(steps), np.float64)
            if not np.isfinite(drawn).all() or np.diff(drawn).min() < 0 or drawn[-1] - drawn[0] < _LEAST_RANGE:
                raise ValueError("a curve without an inverse")
            done[..., k] = np.interp(theirs[..., k], drawn, steps)
        return done

    def space(self, chunks: tuple[tuple[bytes, bytes], ...]) -> ColourSpace:
        """As a space; ``chunks`` : by which a PNG says so."""
        try:
            self.codes(np.zeros((1, 1, 3)))
        except ValueError:
            return ColourSpace(self.name, "display", self.light, None, chunks)
        return ColourSpace(self.name, "display", self.light, self.codes, chunks)


def shown(light: np.ndarray, name: str, notes: list[str]) -> tuple[np.ndarray, float]:
    """((H, W, 3) float32 sRGB in [0, 1] of linear BT.709, the share of pixels that lie outside of it); the notes say
    that it was converted from the space of this name: a warning where colours were clipped."""
    done, outside = np.empty(light.shape, np.float32), 0
    for row in range(0, len(light), _ROWS):
        part = linear_to_srgb_array(light[row:row + _ROWS])
        outside += int(((part < -_VISIBLE) | (part > 1 + _VISIBLE)).any(-1).sum())
        done[row:row + _ROWS] = part.clip(0, 1)
    share = outside / max(light[..., 0].size, 1)
    notes.append(Remark(f"{CONVERTED} {name} to sRGB" + clipped(share), share > 0))
    return done, share


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
    if not np.isfinite(xy).all() or (np.abs(xy[:, 1]) < 1e-6).any() or xy[3, 1] < 0:
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


def light_to_bt709(pixels: np.ndarray, chromaticities: Sequence[float], notes: list[str]
                   ) -> tuple[np.ndarray, OwnPicture | None]:
    """((H, W, 3) linear light, float16 or float32, in float32 BT.709; the picture as it was where it was converted).
    A note says that; unchanged where it is BT.709 already, or nonsense (a warning)."""
    values = as_values(pixels)
    if np.allclose(chromaticities, BT709_CHROMATICITIES, atol=2e-3):
        return values, None
    named = ", ".join(f"{v:.4g}" for v in chromaticities)
    try:
        space = linear_space(f"the chromaticities {named}", chromaticities)
    except ValueError:
        notes.append(warn(f"chromaticities {named} are no colour space: ignored, read as BT.709"))
        return values, None
    notes.append(f"{CONVERTED} {space.name} to BT.709")
    return space.to_light(values), OwnPicture(space, pixels)


def linear_space(name: str, chromaticities: Sequence[float]) -> ColourSpace:
    """The scene-linear space of these chromaticities. ValueError as `rgb_to_xyz`."""
    matrix = to_bt709(chromaticities)
    there, back = matrix.T.astype(np.float32), np.linalg.inv(matrix).T.astype(np.float32)
    return ColourSpace(name, "linear", lambda x: (x.reshape(-1, 3) @ there).reshape(x.shape),
                       lambda x: (x.reshape(-1, 3) @ back).reshape(x.shape),
                       chromaticities=tuple(float(v) for v in chromaticities))


def says(chromaticities: Sequence[float] | None, space: ColourSpace) -> bool:
    """Whether light of these chromaticities is in that space."""
    if chromaticities is None:
        return False
    try:
        return linear_space("", chromaticities).same_as(space)
    except ValueError:
        return False


def chromaticities_of(matrix: np.ndarray) -> tuple[float, ...] | None:
    """Those of the linear space whose light becomes BT.709 by ``matrix`` (3, 3), white to white: of a space that is
    known, else with the white of BT.709; None for none."""
    for known in KNOWN_CHROMATICITIES.values():
        if np.abs(to_bt709(known) - matrix).max() < 1e-4:
            return known
    xyz = rgb_to_xyz(BT709_CHROMATICITIES) @ matrix
    with np.errstate(all="ignore"):
        found = (*(xyz[:2] / xyz.sum(0)).T.ravel(), *BT709_CHROMATICITIES[6:])
    try:
        near = np.abs(to_bt709(found) - matrix).max() < 1e-3
    except ValueError:
        return None
    return tuple(round(float(v), 6) for v in found) if near else None
