"""PNG, JPEG and WebP: display-referred pictures, with what they say of their colours. Not differentiable."""
from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

from dipir.errors import ImageError, printable
from dipir.image.exif import fov_x_deg, upright
from dipir.image.formats import png, profiles
from dipir.image.formats.checks import AskedOf, Decoded, check_size, decoding, note_alpha, note_aspect
from dipir.image.formats.primaries import CONVERTED, Encoding, shown
from dipir.image.formats.spaces import ColourSpace, OwnPicture, as_values

_PLUGINS = {"PNG": ["PNG"], "JPEG": ["JPEG", "MPO"], "WEBP": ["WEBP"]}


class Stated(NamedTuple):
    """What a file says of its colours."""

    profile: bytes | None = None
    encoding: Encoding | None = None  # counts more than the profile
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # of a PNG, that say so


class Coloured(NamedTuple):
    """Pixels whose colours are known."""

    pixels: np.ndarray  # (H, W, 3) float32, BT.709 primaries
    state: Literal["display", "linear"]
    own: OwnPicture | None = None


def read_display(path: Path, kind: str, max_pixels: int, asked: AskedOf = AskedOf()) -> Decoded:
    """PNG (any depth, palette, grey), JPEG or WebP in sRGB, turned upright. Colours of the space that is asked for, of
    a profile, of cICP or of gAMA are converted; alpha is left out. Raises ImageError."""
    notes: list[str] = []
    with decoding(path), Pillow.open(path, formats=_PLUGINS[kind]) as picture:
        check_size(path, *picture.size, max_pixels)
        found = png.chunks(path) if kind == "PNG" else {}
        profile = picture.info.get("icc_profile")
        # Where a person says what it is, nothing that the file says is refused.
        encoding = png.encoding(path, found, bool(profile), notes) if asked.space is None else None
        picture.load()
        exif = picture.getexif()
        across, down = picture.info.get("jfif_density", (1, 1))
        note_aspect(png.aspect(found) if kind == "PNG" else down / across if across else None, notes)
        if kind != "JPEG" and getattr(picture, "n_frames", 1) > 1:
            notes.append(f"the first of {picture.n_frames} frames is used")
        if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
            note_alpha(np.asarray(picture.convert("RGBA"))[..., 3] if picture.mode != "La" else None, notes)
        # Pillow cuts 16-bit colour down to 8 bits without a word, hence OpenCV.
        deep = found.get("IHDR", bytes(9))[8] == 16
        pixels = _decode(path) if deep else np.asarray(picture if picture.mode == "CMYK" else picture.convert("RGB"))
        pixels = upright(pixels, exif, notes)
        fov = fov_x_deg(exif, pixels.shape[1], pixels.shape[0], notes)
        done = coloured(path, pixels, Stated(profile, encoding, png.stated(found)), asked.space, notes)
        return Decoded(done.pixels, done.state, 16 if deep else 8, notes, fov, done.own)


def coloured(path: Path, codes: np.ndarray, stated: Stated, space: ColourSpace | None, notes: list[str]) -> Coloured:
    """Codes (H, W, 3), or of CMYK (H, W, 4), in the ``space`` that a person named, else as the file says. Raises
    ImageError for CMYK in a space, which is one of RGB."""
    if space is not None:
        if codes.shape[2] == 4:
            raise ImageError(f"{path} holds CMYK; the colour space '{printable(space.name, 80)}' is one of RGB. Leave "
                             "--colourspace out, or save the picture as RGB.")
        found = profiles.understood(stated.profile, "RGB", []) if stated.profile else None
        if found is None or found.encoding is None or not found.encoding.space(()).same_as(space):
            return in_space(codes, space, stated.profile is not None or bool(stated.chunks), notes)
        # The file says the same, and more: its own profile.
    encoding, chunks = stated.encoding, stated.chunks
    if encoding is None and stated.profile:
        found = profiles.understood(stated.profile, "CMYK" if codes.shape[2] == 4 else "RGB", notes)
        if found is not None and found.encoding is None:
            return Coloured(as_values(profiles.by_tables(stated.profile, found.name, codes, notes)), "display")
        encoding, chunks = found and found.encoding, (png.profile_chunk(stated.profile),)
        if encoding is not None and stated.profile[16:20] == b"GRAY":
            # What is written has three channels, for which that profile is none.
            chunks = png.chunks_like(encoding.space(()))
    if encoding is not None and not encoding.is_srgb():
        return _converted(codes, encoding.space(chunks), encoding.light(codes), notes)
    if codes.shape[2] == 4:
        codes = profiles.without_profile(codes, notes)
    return Coloured(as_values(codes), "display")


def in_space(codes: np.ndarray, space: ColourSpace, other: bool, notes: list[str]) -> Coloured:
    """Values (H, W, 3) of a file in the ``space`` that a person named; other : whether the file itself names one."""
    if other:
        notes.append(f"what the file says of its colours is not used: --colourspace says {space.name}")
    if space.is_bt709() or space.is_srgb() and codes.dtype.kind == "u":
        return Coloured(as_values(codes), "linear" if space.kind == "linear" else "display")
    if space.kind == "display" and codes.dtype.kind == "u":
        return _converted(codes, space, space.to_light(as_values(codes)), notes)
    notes.append(f"{CONVERTED} {space.name} to linear BT.709")
    return Coloured(space.to_light(as_values(codes)), "linear", OwnPicture(space, codes))


def _converted(codes: np.ndarray, space: ColourSpace, light: np.ndarray, notes: list[str]) -> Coloured:
    pixels, wide = shown(light, space.name, notes)
    return Coloured(pixels, "display", OwnPicture(space, codes, light, wide) if space.from_light else None)


def _decode(path: Path) -> np.ndarray:
    """Whole PNG by OpenCV -> (H, W, 3) RGB in the file's type; grey is repeated, alpha dropped."""
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("the pixel data cannot be decoded")
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels[..., 2::-1] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, 2)
