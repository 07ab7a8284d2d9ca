"""Image files: PNG, JPEG, EXR and Radiance HDR in and out. Not differentiable.

Every reader looks at the header first, so that an absurd size is refused before memory is taken, and turns whatever a
broken file does into an ImageError. Every writer works on a temporary file in the same folder that replaces the target
at the end: a full disk leaves the old file as it was.
"""
from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import OpenEXR
import torch
from PIL import Image as Pillow
from PIL import ImageCms
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.disk import atomic_path, write_bytes
from dipir.errors import ImageError
from dipir.image.exif import fov_x_deg, upright

MAX_PIXELS = 100_000_000
HALF_MAX = 65504.0
BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)

_SIGNATURES = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff", "EXR": b"\x76\x2f\x31\x01", "HDR": b"#?"}
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".exr": "EXR",
             ".hdr": "HDR", ".rgbe": "HDR", ".pic": "HDR"}


@dataclass(frozen=True)
class ImageInfo:
    """What a file says of its picture."""

    width: int  # pixels, after orientation
    height: int
    bits: int  # per channel in the file
    fov_x_deg: float | None = None  # horizontal field of view from EXIF or None
    notes: tuple[str, ...] = ()  # remarks for the user


class ReadImage(NamedTuple):
    """A picture from a file, and its colour state."""

    pixels: Image  # (1, 3, H, W) float32
    state: Literal["display", "linear"]  # "display" = sRGB in [0, 1], "linear" = BT.709 light
    info: ImageInfo


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Read PNG (any depth, palette, grey), JPEG (EXIF orientation applied), EXR or Radiance HDR. Alpha is ignored with
    a note. Raises ImageError for a file that is missing, empty, too large, damaged or not what its name says."""
    path = Path(path)
    kind = _kind(path)
    if kind in ("PNG", "JPEG"):
        pixels, info = _read_display(path, kind, max_pixels)
        return ReadImage(_to_tensor(pixels), "display", info)
    pixels, bits, notes = (_read_exr_rgb if kind == "EXR" else _read_hdr)(path, max_pixels)
    bad = int((~np.isfinite(pixels)).any(-1).sum())
    if bad:
        raise ImageError(f"{path}: {bad} pixels are NaN or infinite; accepted are finite values. Repair them in the "
                         "program that wrote the file (infinite highlights: write 32-bit float instead of half).")
    info = ImageInfo(pixels.shape[1], pixels.shape[0], bits, None, tuple(notes))
    return ReadImage(_to_tensor(pixels), "linear", info)


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
    write_bytes(path, _png_bytes(pixels.astype(np.uint8 if bits == 8 else np.uint16)))


def jpeg_bytes(picture: Tensor, quality: int = 85) -> bytes:
    """uint8 (H, W, 3) sRGB as a JPEG file; quality : 1 ... 100. Raises ImageError for another shape or type."""
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ImageError(f"a picture of {picture.dtype}, {tuple(picture.shape)}; accepted is uint8 (H, W, 3).")
    pixels = np.ascontiguousarray(picture.cpu().numpy()[..., ::-1])
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, min(max(int(quality), 1), 100)])[1].tobytes()


def write_exr(path: str | Path, channels: Mapping[str, np.ndarray | Tensor],
              attributes: Mapping[str, object] | None = None) -> None:
    """Single-part scanline EXR, ZIP: {full channel name: (H, W)} as float16, float32 or uint32 (other types become
    float32), BT.709 chromaticities unless ``attributes`` say otherwise. Raises ImageError."""
    arrays = {name: np.asarray(c.detach().cpu() if isinstance(c, Tensor) else c) for name, c in channels.items()}
    shapes = {a.shape for a in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ImageError(f"cannot write {path}: channels have shapes {sorted(shapes)}; accepted is one size (H, W).")
    keep = (np.float16, np.float32, np.uint32)
    arrays = {name: np.ascontiguousarray(a if a.dtype in keep else a.astype(np.float32)) for name, a in arrays.items()}
    header = {"chromaticities": BT709_CHROMATICITIES, **(attributes or {}), "compression": OpenEXR.ZIP_COMPRESSION,
              "type": OpenEXR.scanlineimage}
    with atomic_path(path) as temporary:
        try:
            OpenEXR.File(header, arrays).write(str(temporary))
        except (RuntimeError, ValueError, TypeError) as error:
            raise OSError(str(error).replace(str(temporary), str(path)).rstrip(".")) from error


def _kind(path: Path) -> str:
    """PNG, JPEG, EXR or HDR by content; ImageError if it cannot be opened, is none of these, contradicts its name."""
    try:
        if path.is_dir():
            raise ImageError(f"{path} is a folder; accepted are image files (PNG, JPEG, EXR, HDR). Give a file in it.")
        if not path.exists():
            raise ImageError(f"{path} does not exist; accepted are image files (PNG, JPEG, EXR, HDR). Check the path.")
        if not path.is_file():
            raise ImageError(f"{path} is no regular file; accepted are image files on disk. Copy it to a file first.")
        with open(path, "rb") as file:
            head = file.read(16)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {error}. Check the path and its permissions.") from error
    if not head:
        raise ImageError(f"{path} is empty (0 bytes); accepted are PNG, JPEG, EXR, HDR. Copy or download it again.")
    kind = next((name for name, mark in _SIGNATURES.items() if head.startswith(mark)), None)
    named = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"{path} does not hold a{'n' if named == 'EXR' else ''} {named or 'known kind of'} image; "
                         "accepted are PNG, JPEG, EXR, HDR. Save it again in one of these formats.")
    if named is not None and named != kind:
        better = path.with_suffix("." + kind.lower()).name
        raise ImageError(f"{path} is named as {named} but holds {kind} data. Rename it to {better}.")
    return kind


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{path} has a size of {width}x{height} pixels: the file is damaged. Save or copy it again.")
    if width * height > max_pixels:
        raise ImageError(f"{path} has {width}x{height} = {width * height / 1e6:.0f} megapixels; accepted are at most "
                         f"{max_pixels / 1e6:g} megapixels. Scale the image down first.")


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder throws at a damaged file (each has its own kinds of exception) becomes an ImageError. OpenCV's
    own messages on stderr are switched off meanwhile: they would repeat it with a temporary path."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except Pillow.DecompressionBombError as error:
        raise ImageError(f"{path} is too large ({error}). Scale the image down first.") from error
    except Exception as error:
        raise ImageError(f"{path} is damaged or cut short ({error}); accepted are whole PNG, JPEG, EXR, HDR files. "
                         "Copy or download it again, or save it again from another program.") from error
    finally:
        cv2.utils.logging.setLogLevel(level)


def _read_display(path: Path, kind: str, max_pixels: int) -> tuple[np.ndarray, ImageInfo]:
    """PNG or JPEG -> (H, W, 3) float32 in [0, 1], turned upright."""
    notes = []
    with _decoding(path), Pillow.open(path, formats=["PNG"] if kind == "PNG" else ["JPEG", "MPO"]) as picture:
        _check_size(path, *picture.size, max_pixels)
        picture.load()
        exif = picture.getexif()
        if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
            notes.append("alpha ignored")
        profile = _profile_name(picture.info.get("icc_profile"))
        if "srgb" not in profile.lower() and profile != "c2":  # c2: the compact sRGB profile of web services.
            notes.append(f"colour profile '{profile}' ignored, read as sRGB")
        # Pillow cuts 16-bit colour down to 8 bits without a word, hence OpenCV.
        deep = kind == "PNG" and _png_bits(path) == 16
        pixels = _decode(path) if deep else np.asarray(picture.convert("RGB"))
        pixels = upright(pixels, exif, notes)
        fov = fov_x_deg(exif, pixels.shape[1], pixels.shape[0], notes)
        scaled = pixels.astype(np.float32) / np.float32(65535 if deep else 255)
    return scaled, ImageInfo(pixels.shape[1], pixels.shape[0], 16 if deep else 8, fov, tuple(notes))


def _profile_name(profile: bytes | None) -> str:
    """Description of an ICC profile; sRGB without one."""
    if not profile:
        return "sRGB"
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError):
        return "damaged"


def _png_bits(path: Path) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # IHDR is always first: 8 signature, 8 chunk head, 8 size, 1 depth.


def _decode(path: Path) -> np.ndarray:
    """Whole file by OpenCV -> (H, W, 3) RGB in the file's type; grey is repeated, alpha dropped."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("the pixel data cannot be decoded")
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels[..., 2::-1] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)


def _read_hdr(path: Path, max_pixels: int) -> tuple[np.ndarray, int, list[str]]:
    with _decoding(path):
        with open(path, "rb") as file:
            head = file.read(65536)
        size = re.search(rb"\n-Y +(\d+) +\+X +(\d+)\r?\n", head)
        if size is None:
            raise OSError("no resolution line '-Y height +X width' in its header")
        _check_size(path, int(size[2]), int(size[1]), max_pixels)
        notes = ["EXPOSURE in the header ignored"] if b"\nEXPOSURE=" in head[:size.start()] else []
        return _decode(path), 32, notes


def _read_exr(path: Path, max_pixels: int) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Channels of the first part by full name, and its header."""
    with _decoding(path):
        header = OpenEXR.File(str(path), header_only=True).header()
        low, high = (np.asarray(corner, dtype=np.int64) for corner in header["dataWindow"])
        width, height = (int(n) for n in high - low + 1)
        _check_size(path, width, height, max_pixels)
        if header.get("type") not in (None, OpenEXR.scanlineimage, OpenEXR.tiledimage):
            raise ImageError(f"{path} holds deep data; accepted are flat scanline or tiled images. Flatten it first.")
        channels = {name: c.pixels for name, c in OpenEXR.File(str(path), separate_channels=True).channels().items()}
        odd = [name for name, pixels in channels.items() if pixels.shape != (height, width)]
        if odd or not channels:
            raise ImageError(f"{path}: channels {odd} are missing or subsampled; accepted are channels of full size. "
                             "Save the image as plain RGB.")
        return channels, header


def _read_exr_rgb(path: Path, max_pixels: int) -> tuple[np.ndarray, int, list[str]]:
    channels, header = _read_exr(path, max_pixels)
    names = "RGB" if set("RGB") <= set(channels) else "YYY" if "Y" in channels else None
    if names is None:
        raise ImageError(f"{path} has the channels {sorted(channels)}; accepted are top-level R, G, B or Y. "
                         "Save the picture itself in these channels.")
    notes = ["alpha ignored"] if "A" in channels else []
    if not np.allclose(header.get("chromaticities", BT709_CHROMATICITIES), BT709_CHROMATICITIES, atol=2e-3):
        notes.append("chromaticities other than BT.709 ignored, read as BT.709")
    if not np.array_equal(header["dataWindow"], header.get("displayWindow", header["dataWindow"])):
        notes.append("display window ignored, the whole data window is used")
    pixels = np.stack([channels[name] for name in names], -1)
    return pixels.astype(np.float32), 8 * channels[names[0]].dtype.itemsize, notes


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


def _png_bytes(pixels: np.ndarray) -> bytes:
    """(H, W, C) RGB or grey, uint8 or uint16."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise ImageError(f"an image of {pixels.shape} {pixels.dtype} cannot become a PNG. Write another format.")
    return data.tobytes()
