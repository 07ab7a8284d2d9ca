"""Image files in and out (docs/plates.md lists the kinds). Not differentiable.

Every reader looks at the header first, so that an absurd size is refused before memory is taken, and turns whatever a
broken file does into an ImageError. Every writer works on a temporary file in the same folder that replaces the target
at the end: a full disk leaves the old file as it was.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import OpenEXR
import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.disk import atomic_path, write_bytes
from dipir.errors import ImageError
from dipir.image.formats.checks import MAX_PIXELS, AskedOf, Decoded, foreign, writable
from dipir.image.formats.display import read_display
from dipir.image.formats.png import png_bytes
from dipir.image.formats.primaries import BT709_CHROMATICITIES
from dipir.image.formats.radiance import read_radiance
from dipir.image.formats.spaces import OwnPicture

HALF_MAX = 65504.0

_KINDS = "PNG, JPEG, WebP, TIFF, DPX, EXR, HDR"
_SIGNATURES = {"PNG": (b"\x89PNG\r\n\x1a\n",), "JPEG": (b"\xff\xd8\xff",), "EXR": (b"\x76\x2f\x31\x01",),
               "HDR": (b"#?",), "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "DPX": (b"SDPX", b"XPDS")}
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".exr": "EXR", ".webp": "WEBP",
             ".hdr": "HDR", ".rgbe": "HDR", ".pic": "HDR", ".tif": "TIFF", ".tiff": "TIFF", ".dpx": "DPX"}


@dataclass(frozen=True)
class ImageInfo:
    """What a file says of its picture."""

    width: int  # pixels, after orientation
    height: int
    bits: int  # per channel in the file
    fov_x_deg: float | None = None  # horizontal field of view from EXIF or None
    notes: tuple[str, ...] = ()  # remarks for the user
    own: OwnPicture | None = field(default=None, compare=False)  # as the file holds it, where that was converted


class ReadImage(NamedTuple):
    """A picture from a file, and its colour state."""

    pixels: Image  # (1, 3, H, W) float32
    state: Literal["display", "linear"]  # "display" = sRGB in [0, 1], "linear" = BT.709 light
    info: ImageInfo


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS, asked: AskedOf = AskedOf()) -> ReadImage:
    """Read PNG, JPEG, WebP, TIFF, DPX (EXIF orientation applied), EXR or Radiance HDR; colours of the space that is
    asked for, else of a profile or of chromaticities, are converted (docs/plates.md). Alpha is ignored with a note.
    Raises ImageError for a file that is missing, empty, too large, damaged, not what its name says, or that has no
    layer of the name asked for."""
    path = Path(path)
    kind = _kind(path)
    if asked.layer is not None and kind != "EXR":
        raise ImageError(f"{path} holds {kind} data, which has no layers; accepted is --layer for OpenEXR. Leave it "
                         "out.")
    pixels, state, bits, notes, fov, own = _decoded(path, kind, max_pixels, asked)
    bad = int((~np.isfinite(pixels)).any(-1).sum())
    if bad:
        raise ImageError(f"{path}: {bad} pixels are NaN or infinite; accepted are finite values. Repair them in the "
                         "program that wrote the file (infinite highlights: write 32-bit float instead of half).")
    info = ImageInfo(pixels.shape[1], pixels.shape[0], bits, fov, tuple(notes), own)
    return ReadImage(_to_tensor(pixels), state, info)


def read_envmap(path: str | Path, max_pixels: int = MAX_PIXELS) -> EnvMap:
    """Radiance (H, W, 3) float32 of an equirectangular .hdr or .exr, W = 2 H, with no upper limit of the values;
    negative values, left behind by lossy compression, become 0. Raises ImageError."""
    pixels, state, info = read_image(path, max_pixels)
    if state != "linear":
        raise ImageError(f"{path}: an environment map must hold linear light; accepted are .hdr and .exr. "
                         "A photo with clipped highlights cannot light a scene: use an HDR panorama.")
    if info.width != 2 * info.height:
        raise ImageError(f"{path}: {info.width}x{info.height} is no equirectangular map; accepted is a width of twice "
                         "the height. Convert the map to the latlong layout.")
    return pixels[0].permute(1, 2, 0).clamp_min(0).contiguous()


def write_png(path: str | Path, disp: Tensor, bits: int = 8) -> None:
    """(1, 3, H, W) or (1, 1, H, W) display values, clipped to [0, 1] and rounded -> PNG of 8 or 16 bits. A PNG of
    ``bits`` bits that was read comes back unchanged. Raises ImageError."""
    if bits not in (8, 16):
        raise ImageError(f"cannot write {path}: {bits} bits were asked for; accepted are 8 and 16.")
    top = 2**bits - 1
    pixels = np.rint(np.clip(_from_tensor(path, disp), 0, 1).astype(np.float64) * top)
    write_bytes(path, png_bytes(pixels.astype(np.uint8 if bits == 8 else np.uint16)))


def jpeg_bytes(picture: Tensor, quality: int = 85) -> bytes:
    """uint8 (H, W, 3) sRGB as a JPEG file; quality : 1 ... 100. Raises ImageError for another shape or type."""
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ImageError(f"a picture of {picture.dtype}, {tuple(picture.shape)}; accepted is uint8 (H, W, 3).")
    pixels = np.ascontiguousarray(picture.cpu().numpy()[..., ::-1])
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, min(max(int(quality), 1), 100)])[1].tobytes()


def write_exr(path: str | Path, channels: Mapping[str, np.ndarray | Tensor],
              attributes: Mapping[str, object] | None = None) -> None:
    """Single-part scanline EXR, ZIP: {full channel name: (H, W)} as float16, float32 or uint32 (other types become
    float32), BT.709 chromaticities unless ``attributes`` say otherwise (None = none). Raises ImageError."""
    arrays = {name: np.asarray(c.detach().cpu() if isinstance(c, Tensor) else c) for name, c in channels.items()}
    shapes = {a.shape for a in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ImageError(f"cannot write {path}: channels have shapes {sorted(shapes)}; accepted is one size (H, W).")
    keep = (np.float16, np.float32, np.uint32)
    arrays = {name: np.ascontiguousarray(a if a.dtype in keep else a.astype(np.float32)) for name, a in arrays.items()}
    header = {"chromaticities": BT709_CHROMATICITIES, **(attributes or {}), "compression": OpenEXR.ZIP_COMPRESSION,
              "type": OpenEXR.scanlineimage}
    header = {name: value for name, value in header.items() if value is not None}
    with atomic_path(path) as temporary:
        try:
            with writable(temporary) as name:
                OpenEXR.File(header, arrays).write(name)
        except (RuntimeError, ValueError, TypeError) as error:
            raise OSError(str(error).replace(str(temporary), str(path)).rstrip(".")) from error


def _decoded(path: Path, kind: str, max_pixels: int, asked: AskedOf) -> Decoded:
    if kind in ("PNG", "JPEG", "WEBP"):
        return read_display(path, kind, max_pixels, asked)
    if kind == "HDR":
        return read_radiance(path, max_pixels, asked)
    # Imported here: a photo is read without OpenImageIO.
    from dipir.image.formats.exr import read_exr
    from dipir.image.formats.scans import read_scan

    if kind == "EXR":
        return read_exr(path, max_pixels, asked)
    return read_scan(path, kind, max_pixels, asked)


def _kind(path: Path) -> str:
    """Its kind by content; ImageError if it cannot be opened, is none of these, contradicts its name."""
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; accepted are image files ({_KINDS}). Give a file in it.")
        if not path.exists():
            raise ImageError(f"{path} does not exist; accepted are image files ({_KINDS}). Check the path.")
        if not path.is_file():
            raise ImageError(f"{path} is no regular file; accepted are image files on disk. Copy it to a file first.")
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {error}. Check the path and its permissions.") from error
    if not head:
        raise ImageError(f"{path} is empty (0 bytes); accepted are {_KINDS}. Copy or download it again.")
    kind = next((name for name, marks in _SIGNATURES.items() if head.startswith(marks)), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WEBP"
    named = _SUFFIXES.get(path.suffix.lower())
    other = foreign(head) if kind is None else None
    if other is not None:
        raise ImageError(f"{path} is {other}, which is not read; accepted are {_KINDS}. Save it in one of these: "
                         "camera raw and HEIF as 16-bit TIFF, others as PNG.")
    if kind is None:
        raise ImageError(f"{path} does not hold a{'n' if named == 'EXR' else ''} {named or 'known kind of'} image; "
                         f"accepted are {_KINDS}. Save it again in one of these formats.")
    if named is not None and named != kind:
        better = path.with_suffix("." + kind.lower()).name
        raise ImageError(f"{path} is named as {named} but holds {kind} data. Rename it to {better}.")
    return kind


def _to_tensor(pixels: np.ndarray) -> Image:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32))[None]


def _from_tensor(path: str | Path, image: Tensor) -> np.ndarray:
    """(1, C, H, W), C 1 or 3 -> (H, W, C), checked for NaN."""
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise ImageError(f"cannot write {path}: pixels are {tuple(image.shape)}; accepted is one image (1, 3, H, W).")
    pixels = image[0].detach().cpu().permute(1, 2, 0).numpy()
    _require_finite(path, pixels)
    return pixels


def _require_finite(path: str | Path, pixels: np.ndarray) -> None:
    bad = int((~np.isfinite(pixels)).any(-1).sum())
    if bad:
        raise ImageError(f"cannot write {path}: {bad} pixels are NaN or infinite; accepted are finite values. "
                         "Look for the step that made them; the last file was left as it was.")
