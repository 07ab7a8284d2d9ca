"""Pictures with alpha, and masks: read and written beside what ``files`` does. Not differentiable."""
from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image, Mask
from dipir.disk import write_bytes
from dipir.errors import ImageError
from dipir.image.exif import upright
from dipir.image.files import read_image
from dipir.image.formats.checks import MAX_PIXELS

_PNG, _EXR = b"\x89PNG\r\n\x1a\n", b"\x76\x2f\x31\x01"
_SEEN = 1e-3
_SOLID, _HARDLY = 0.99, 1e-3


def read_alpha(path: str | Path, layer: str | None = None) -> Mask | None:
    """(1, 1, H, W) coverage in [0, 1] of a PNG or EXR that :func:`read_image` could read, turned upright as that does;
    None for a picture without alpha or one that is opaque everywhere, and for other kinds of file. layer : of an EXR
    ImageError for coverage that is no number."""
    data = np.fromfile(path, np.uint8)
    if data[:4].tobytes() == _EXR:
        return _exr_alpha(Path(path), layer)
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


def _exr_alpha(path: Path, layer: str | None) -> Mask | None:
    from dipir.image.formats.exr import read_exr_alpha

    alpha = read_exr_alpha(path, MAX_PIXELS, layer)
    if alpha is None or bool((alpha >= 1).all()):
        return None
    if not np.isfinite(alpha).all():
        raise ImageError(f"{path}: its alpha has NaN or infinite values; accepted are values from 0 to 1. Repair it in "
                         "the program that wrote the file.")
    return torch.from_numpy(alpha.clip(0, 1))[None, None]


def unpremultiplied(pixels: Image, alpha: Mask) -> Image:
    """Colours (1, 3, H, W) that were multiplied by ``alpha`` (1, 1, H, W), divided by it; where nothing is covered, the
    colours next to it."""
    return carried_out(pixels / alpha.clamp_min(_SEEN), alpha)


def carried_out(pixels: Tensor, alpha: Mask) -> Tensor:
    """(1, C, H, W) as they are where anything is covered; elsewhere the colours next to it, so that what lies under an
    alpha of 0 counts nowhere."""
    seen = alpha > _SEEN
    return torch.where(seen, pixels, spread(torch.where(seen, pixels, 0), alpha))


def solid(alpha: Mask) -> Mask:
    """Weights for :func:`spread`: where a thing covers pixels wholly, and next to nothing along its edge, which counts
    for what has nothing but edges."""
    return torch.where(alpha > _SOLID, 1.0, _HARDLY * alpha**8)


def spread(x: Tensor, weight: Mask) -> Tensor:
    """(1, C, H, W) ``x`` where ``weight`` (1, 1, H, W) is 1, what lies next to it where it is 0, a mix between; push
    and pull over a pyramid (Gortler et al., "The Lumigraph", 1996). 0 without any weight."""
    size = x.shape[2:]
    if max(size) == 1:
        return torch.where(weight > 0, x, 0)
    half = tuple((side + 1) // 2 for side in size)
    total = functional.adaptive_avg_pool2d(weight, half)
    smaller = functional.adaptive_avg_pool2d(x * weight, half) / total.clamp_min(1e-20)
    coarse = spread(smaller, (4 * total).clamp_max(1))
    return weight * x + (1 - weight) * functional.interpolate(coarse, size, mode="bilinear", align_corners=False)


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
