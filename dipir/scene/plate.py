"""The plate: a photo with both of its colour states known."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from dipir.arrays import Image
from dipir.errors import ImageError
from dipir.image.color import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from dipir.scene.photo_camera.lens import Lens

_SEAM = 2.5
_PANORAMA = ("2:1, and its sides join: it looks like a panorama (latlong), which is no view of a camera. As a light "
             "probe give it to --light, and an ordinary photo of the place as the plate")


@dataclass(frozen=True)
class PlateKind:
    """How the file held its numbers, so that the picture can be given back in its own depth."""

    bits: int = 8
    """Per channel."""
    linear: bool = False
    """Scene-linear (EXR, HDR, float TIFF) rather than display-referred."""


@dataclass(frozen=True)
class Original:
    """The photo as its lens drew it, of which a plate is the straight picture."""

    disp: Image  # as those of a plate
    lin: Image
    lens: Lens


@dataclass(frozen=True)
class Plate:
    """A photo, read once."""

    disp: Image  # (1, 3, H, W) float32, display-referred sRGB in [0, 1]
    lin: Image  # (1, 3, H, W) float32, linear light; may exceed 1 when the file was scene-linear (EXR, HDR)
    path: Path | None = None  # file it came from, or None
    fov_x_deg: float | None = None  # horizontal field of view from EXIF, degrees, or None
    notes: tuple[str, ...] = ()  # remarks for the user (alpha ignored, orientation applied, ...)
    kind: PlateKind = PlateKind()
    original: Original | None = None  # None: no lens was taken out

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.disp.shape[-1], self.disp.shape[-2]

    def resized(self, width: int, height: int) -> Plate:
        """Both states filtered to another size in pixels, each in its own encoding."""
        if self.size == (width, height):
            return self
        disp, lin = (functional.interpolate(x, (height, width), mode="bilinear", antialias=True)
                     for x in (self.disp, self.lin))
        return replace(self, disp=disp, lin=lin)


def read_plate(path: str | Path) -> Plate:
    """The plate in an image file (docs/plates.md), both colour states known.

    Display files (PNG, JPEG, ...) are decoded to linear light; linear files (EXR, HDR, ...) keep their values above 1
    in ``lin`` and are clipped to [0, 1] and encoded for ``disp``. Raises :class:`ImageError` that names the file.
    """
    # Imported here: the readers bring OpenEXR and Pillow along, and most users of a Plate do not read one.
    from dipir.image.files import read_image

    pixels, state, info = read_image(path)
    lin = srgb_to_linear(pixels) if state == "display" else pixels
    disp = pixels if state == "display" else linear_to_srgb(pixels.clamp(0, 1))
    notes = [*info.notes, *([_PANORAMA] if info.fov_x_deg is None and _is_panorama(disp) else [])]
    return Plate(disp, lin, Path(path), info.fov_x_deg, tuple(notes), PlateKind(info.bits, state == "linear"))


def _is_panorama(disp: Image) -> bool:
    """Whether a picture twice as wide as high goes on from its right side to its left, as a latlong map does."""
    height, width = disp.shape[-2:]
    if width != 2 * height or width < 16:
        return False
    steps = (disp - disp.roll(1, 3)).abs().mean((0, 1, 2))  # Between a column and the one before it.
    usual = float(steps[1:].median())
    # Of a photo, the two sides differ by far more than neighbours do.
    return usual > 0 and float(steps[0]) < _SEAM * usual


def plate_from_tensor(disp: Image, path: Path | None = None, fov_x_deg: float | None = None) -> Plate:
    """A plate of display-referred pixels (1, 3, H, W) in [0, 1]. Raises :class:`ImageError` for any other."""
    if disp.ndim != 4 or disp.shape[:2] != (1, 3) or 0 in disp.shape:
        raise ImageError(f"a plate has the shape (1, 3, height, width), got {tuple(disp.shape)}.")
    if not torch.isfinite(disp).all() or disp.min() < 0 or disp.max() > 1:
        raise ImageError(f"a display-referred plate lies in [0, 1], got {float(disp.min()):g} to "
                         f"{float(disp.max()):g}; linear light must be encoded first.")
    disp = disp.float()
    return Plate(disp, srgb_to_linear(disp), path, fov_x_deg)
