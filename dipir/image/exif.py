"""What the EXIF block of a photo says about its geometry: which way is up, and the field of view."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image as Pillow

# Tag numbers of EXIF 2.32.
_ORIENTATION, _EXIF_BLOCK, _FOCAL_LENGTH, _FOCAL_35MM = 0x0112, 0x8769, 0x920A, 0xA405
_PIXELS_X, _PIXELS_Y, _PLANE_RESOLUTION, _PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
_FILM_DIAGONAL_MM = math.hypot(36, 24)


def upright(pixels: np.ndarray, exif: Pillow.Exif, notes: list[str]) -> np.ndarray:
    """(H, W, 3) turned as EXIF orientation 2-8 asks, with a note; unchanged for 1 and for nonsense."""
    turned = {2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
              5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1), 7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
              8: lambda p: np.rot90(p)}.get(exif.get(_ORIENTATION, 1))
    if turned is None:
        return pixels
    notes.append("EXIF orientation applied")
    return turned(pixels)


def fov_x_deg(exif: Pillow.Exif, width: int, height: int, notes: list[str]) -> float | None:
    """Horizontal field of view, degrees, of the upright image of ``width`` x ``height`` pixels.

    From the 35 mm equivalent (by the diagonal, CIPA DCG-001), else from focal length and sensor resolution. None when
    neither is known; None with a note when the image was cropped since, for then both belong to another picture.
    """
    tags = exif.get_ifd(_EXIF_BLOCK)
    number = {tag: _positive(tags.get(tag)) for tag in (_FOCAL_LENGTH, _FOCAL_35MM, _PIXELS_X, _PIXELS_Y,
                                                        _PLANE_RESOLUTION)}
    long_side, short_side = max(width, height), min(width, height)
    sides = (number[_PIXELS_X] or long_side, number[_PIXELS_Y] or short_side)
    unit_mm = _MM_PER_UNIT.get(tags.get(_PLANE_UNIT, 2))
    if number[_FOCAL_35MM]:
        focal_px = number[_FOCAL_35MM] / _FILM_DIAGONAL_MM * math.hypot(width, height)
    elif number[_FOCAL_LENGTH] and number[_PLANE_RESOLUTION] and unit_mm:
        # The resolution counts pixels of the picture as taken; it may have been scaled since.
        focal_px = number[_FOCAL_LENGTH] * number[_PLANE_RESOLUTION] / unit_mm * long_side / max(sides)
    else:
        return None
    fov = math.degrees(2 * math.atan(0.5 * width / focal_px))
    if abs(max(sides) / min(sides) * short_side / long_side - 1) > 0.02 or not 1 < fov < 170:
        notes.append("EXIF focal length ignored: it does not fit the image, which seems cropped")
        return None
    return fov


def _positive(value: object) -> float | None:
    """EXIF number (integer, rational, maybe 0/0 or text) as a float > 0, else None."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
