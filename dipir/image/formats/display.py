"""PNG, JPEG and WebP: display-referred pictures, with what they say of their colours. Not differentiable."""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from dipir.image.exif import fov_x_deg, upright
from dipir.image.formats import png, profiles
from dipir.image.formats.checks import ALPHA_IGNORED, Decoded, check_size, decoding, note_aspect

_PLUGINS = {"PNG": ["PNG"], "JPEG": ["JPEG", "MPO"], "WEBP": ["WEBP"]}


def read_display(path: Path, kind: str, max_pixels: int) -> Decoded:
    """PNG (any depth, palette, grey), JPEG or WebP in sRGB, turned upright. Colours of a profile, of cICP or of gAMA
    are converted; alpha is left out. Raises ImageError."""
    notes: list[str] = []
    with decoding(path), Pillow.open(path, formats=_PLUGINS[kind]) as picture:
        check_size(path, *picture.size, max_pixels)
        found = png.chunks(path) if kind == "PNG" else {}
        profile = picture.info.get("icc_profile")
        encoding = png.encoding(path, found, bool(profile), notes)
        picture.load()
        exif = picture.getexif()
        across, down = picture.info.get("jfif_density", (1, 1))
        note_aspect(png.aspect(found) if kind == "PNG" else down / across if across else None, notes)
        if kind != "JPEG" and getattr(picture, "n_frames", 1) > 1:
            notes.append(f"the first of {picture.n_frames} frames is used")
        if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
            notes.append(ALPHA_IGNORED)
        # Pillow cuts 16-bit colour down to 8 bits without a word, hence OpenCV.
        deep = found.get("IHDR", bytes(9))[8] == 16
        pixels = _decode(path) if deep else np.asarray(picture if picture.mode == "CMYK" else picture.convert("RGB"))
        pixels = in_srgb(pixels, profile, encoding, notes)
        pixels = upright(pixels, exif, notes)
        fov = fov_x_deg(exif, pixels.shape[1], pixels.shape[0], notes)
        return Decoded(pixels, "display", 16 if deep else 8, notes, fov)


def in_srgb(pixels: np.ndarray, profile: bytes | None, encoding: png.Encoding | None,
            notes: list[str]) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1] of codes (H, W, 3), or of CMYK; the encoding counts more than a profile."""
    if encoding is not None:
        pixels = pixels if encoding.is_srgb() else encoding.apply(pixels, notes)
    elif profile:
        pixels = profiles.to_srgb(profile, pixels, notes)
    elif pixels.shape[2] == 4:
        pixels = profiles.without_profile(pixels, notes)
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def _decode(path: Path) -> np.ndarray:
    """Whole PNG by OpenCV -> (H, W, 3) RGB in the file's type; grey is repeated, alpha dropped."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("the pixel data cannot be decoded")
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels[..., 2::-1] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)
