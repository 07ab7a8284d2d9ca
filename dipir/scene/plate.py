"""The plate: a photo with both of its colour states known."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional

from dipir.arrays import Image
from dipir.errors import ImageError
from dipir.image.color import linear_to_srgb, srgb_to_linear


@dataclass(frozen=True)
class Plate:
    """A photo, read once."""

    disp: Image  # (1, 3, H, W) float32, display-referred sRGB in [0, 1]
    lin: Image  # (1, 3, H, W) float32, linear light; may exceed 1 when the file was scene-linear (EXR, HDR)
    path: Path | None = None  # file it came from, or None
    fov_x_deg: float | None = None  # horizontal field of view from EXIF, degrees, or None
    notes: tuple[str, ...] = ()  # remarks for the user (alpha ignored, orientation applied, ...)

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
    """The plate in a PNG, JPEG, EXR or HDR file, both colour states known.

    Display files (PNG, JPEG) are decoded to linear light; linear files (EXR, HDR) keep their values above 1 in ``lin``
    and are clipped to [0, 1] and encoded for ``disp``. Raises :class:`ImageError` that names the file.
    """
    # Imported here: the readers bring OpenEXR and Pillow along, and most users of a Plate do not read one.
    from dipir.image.files import read_image

    pixels, state, info = read_image(path)
    lin = srgb_to_linear(pixels) if state == "display" else pixels
    disp = pixels if state == "display" else linear_to_srgb(pixels.clamp(0, 1))
    return Plate(disp, lin, Path(path), info.fov_x_deg, tuple(info.notes))


def plate_from_tensor(disp: Image, path: Path | None = None, fov_x_deg: float | None = None) -> Plate:
    """A plate of display-referred pixels (1, 3, H, W) in [0, 1]. Raises :class:`ImageError` for any other."""
    if disp.ndim != 4 or disp.shape[:2] != (1, 3) or 0 in disp.shape:
        raise ImageError(f"a plate has the shape (1, 3, height, width), got {tuple(disp.shape)}.")
    if not torch.isfinite(disp).all() or disp.min() < 0 or disp.max() > 1:
        raise ImageError(f"a display-referred plate lies in [0, 1], got {float(disp.min()):g} to "
                         f"{float(disp.max()):g}; linear light must be encoded first.")
    disp = disp.float()
    return Plate(disp, srgb_to_linear(disp), path, fov_x_deg)
