"""ICC profiles: the colours of a picture that carries one, as sRGB (relative colorimetric). Not differentiable.

A profile of a matrix and curves is computed in full precision here, so that 16 bits stay 16 bits. Profiles of tables
(CMYK, scanners) go through LittleCMS, which takes 8 bits here.
"""
from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from dipir.errors import printable
from dipir.event import Remark, warn
from dipir.image.formats.primaries import CONVERTED, PCS_WHITE, Curve, Encoding, xyz_to_bt709

_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}


class Understood(NamedTuple):
    """What a usable profile says."""

    name: str
    encoding: Encoding | None  # None = tables


def understood(profile: bytes, mode: str, notes: list[str]) -> Understood | None:
    """What the profile of a picture of this ``mode`` (RGB or CMYK) says; None, with a warning, for one that is damaged
    or of another kind of picture."""
    try:
        name, encoding = description(profile), _encoding(profile)
        space = _SPACES.get(profile[16:20])
        if space != mode and (mode, space) != ("RGB", "L"):
            raise ValueError(f"it is one for {profile[16:20].decode('latin-1').strip()}")
        if encoding is not None and not encoding.is_sound():
            raise ValueError("damaged")
        return Understood(name, encoding)
    except (ValueError, KeyError, IndexError, struct.error, ImageCms.PyCMSError, OSError) as error:
        notes.append(unusable(error))
        return None


def unusable(error: Exception) -> Remark:
    """The warning about a profile that made this error."""
    return warn(f"colour profile cannot be used ({printable(str(error).strip(), 200) or 'damaged'}), read as sRGB")


def without_profile(pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """(H, W, 4) CMYK uint8 -> (H, W, 3) uint8 by the plain formula, with a note."""
    notes.append(warn("CMYK without a usable profile: converted by the plain formula, colours are approximate"))
    return np.asarray(Pillow.fromarray(pixels, "CMYK").convert("RGB"))


def description(profile: bytes) -> str:
    """The profile's own name. Raises OSError or ImageCms.PyCMSError for what is no profile."""
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip() or "without a name"


def by_tables(profile: bytes, name: str, pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """The picture in sRGB, through LittleCMS, in 8 bits; a warning, for there is no way back to its own colours."""
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    deep = pixels.dtype != np.uint8
    codes = np.rint(pixels.astype(np.float32) * np.float32(255 / top)).clip(0, 255).astype(np.uint8) if deep else pixels
    mode = "CMYK" if pixels.shape[2] == 4 else "RGB"
    try:
        done = ImageCms.profileToProfile(
            Pillow.fromarray(codes, mode), ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"), renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        notes.append(unusable(error))
        return without_profile(pixels, notes) if mode == "CMYK" else pixels
    done = np.asarray(done)
    if mode == "RGB" and "srgb" in name.lower() and np.abs(done.astype(int) - codes).max(initial=0) <= 1:
        return pixels
    notes.append(warn(f"{CONVERTED} the profile '{name}' to sRGB" + (" in 8 bits" if deep else "")
                      + "; what lies outside of sRGB is clipped, and pictures made of it are sRGB"))
    return done.astype(np.float32) / np.float32(255)


def _encoding(profile: bytes) -> Encoding | None:
    """Of a profile of curves, with a matrix where it is RGB; None for one of tables. ValueError, struct.error or
    KeyError for a damaged one."""
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ValueError("damaged")
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError("damaged")
    tags = {}
    for k in range(count):
        mark, start, size = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        tags[mark] = profile[start:start + size]
    name = f"the profile '{description(profile)}'"
    if b"A2B0" in tags or b"A2B1" in tags or profile[16:20] == b"CMYK":
        return None
    if profile[16:20] == b"GRAY":
        return Encoding(name, (_curve(tags[b"kTRC"]),) * 3, np.eye(3))
    if profile[20:24] != b"XYZ " or b"rXYZ" not in tags:
        return None
    columns = np.stack([_xyz(tags[mark]) for mark in (b"rXYZ", b"gXYZ", b"bXYZ")], 1)
    return Encoding(name, tuple(_curve(tags[mark]) for mark in (b"rTRC", b"gTRC", b"bTRC")),
                    xyz_to_bt709(PCS_WHITE) @ columns)


def _xyz(tag: bytes) -> np.ndarray:
    if tag[:4] != b"XYZ ":
        raise ValueError("damaged")
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> Curve:
    """Of a "curv" or "para" tag (ICC.1:2022, 10.6 and 10.18)."""
    kind, number = tag[:4], struct.unpack_from(">I", tag, 8)[0]
    if kind == b"curv" and number > 1:
        table = np.frombuffer(tag, ">u2", number, 12) / 65535
        return lambda codes: np.interp(codes, np.linspace(0, 1, number), table)
    if kind == b"curv":
        exponent = struct.unpack_from(">H", tag, 12)[0] / 256 if number else 1.0
        return lambda codes: np.clip(codes, 0, None) ** exponent
    counts = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}
    function = number >> 16
    if kind != b"para" or function not in counts:
        raise ValueError("damaged")
    return _parametric(function, [v / 65536 for v in struct.unpack_from(f">{counts[function]}i", tag, 12)])


def _parametric(function: int, values: list[float]) -> Curve:
    """Y = (a X + b)^g + e from X = d on, c X + f below."""
    g, a, b, c, d, e, f = values[0], 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if function >= 1:
        a, b = values[1:3]
    if function in (1, 2):
        if a == 0:
            raise ValueError("damaged")
        d = -b / a
        e = f = values[3] if function == 2 else 0.0
    if function >= 3:
        c, d = values[3:5]
    if function == 4:
        e, f = values[5:7]
    return lambda codes: np.where(codes >= d, np.clip(a * codes + b, 0, None) ** g + e, c * codes + f)
