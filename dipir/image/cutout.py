"""Pictures with alpha, and masks: read and written beside what ``files`` does. Not differentiable."""
from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image as Pillow

from dipir.arrays import Image, Mask
from dipir.disk import write_bytes
from dipir.errors import ImageError
from dipir.image.exif import upright
from dipir.image.files import read_image

_PNG = b"\x89PNG\r\n\x1a\n"


def read_alpha(path: str | Path) -> Mask | None:
    """(1, 1, H, W) coverage in [0, 1] of a PNG that :func:`read_image` could read, turned upright as that does; None
    for a picture without alpha or one that is opaque everywhere, and for other kinds of file."""
    data = np.fromfile(path, np.uint8)
    if data[:8].tobytes() != _PNG:
        return None
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    with Pillow.open(path) as picture:
        if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 4:
            alpha = pixels[..., 3].astype(np.float32) / np.iinfo(pixels.dtype).max
        elif "transparency" in picture.info or picture.mode in ("LA", "PA"):
            alpha = np.asarray(picture.convert("RGBA"))[..., 3].astype(np.float32) / 255
        else:
            return None
        alpha = upright(alpha, picture.getexif(), [])
    return None if bool((alpha == 1).all()) else torch.from_numpy(np.ascontiguousarray(alpha))[None, None]


def read_mask(path: str | Path, size: tuple[int, int], what: str = "the picture") -> Mask:
    """(1, 1, H, W) in [0, 1], the mean of the channels of an image file: white = change, black = keep. ImageError
    when it cannot be read, is not ``size`` (width, height) or is black everywhere."""
    pixels, _, info = read_image(path)
    if (info.width, info.height) != size:
        raise ImageError(f"{path}: the mask has {info.width}x{info.height} pixels, {what} {size[0]}x{size[1]}; "
                         "accepted is a mask of the same size. Scale it to that size.")
    mask = pixels.mean(1, keepdim=True).clamp(0, 1)
    if float(mask.max()) == 0:
        raise ImageError(f"{path}: the mask is black everywhere, nothing would change; accepted is a mask that is "
                         "white where light may change. Invert it, or leave it out.")
    return mask


def write_cutout(path: str | Path, disp: Image, alpha: Mask) -> None:
    """(1, 3, H, W) display values, not premultiplied, and (1, 1, H, W) coverage -> 8-bit RGBA PNG. ImageError when it
    cannot be written."""
    pixels = torch.cat([disp, alpha], 1)[0].detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Pillow.fromarray(pixels, "RGBA").save(stream, "PNG")
    write_bytes(path, stream.getvalue())
