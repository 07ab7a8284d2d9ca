"""What the chunks of a PNG say of its colours, and PNGs of ours, which say that they are sRGB.

The order in which they count is that of the PNG specification, third edition: cICP, iCCP, sRGB, gAMA with cHRM.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dipir.errors import ImageError
from dipir.event import warn
from dipir.image.formats.primaries import BT709_CHROMATICITIES, Encoding, chromaticities_of, gamma, srgb, to_bt709
from dipir.image.formats.spaces import ColourSpace

SRGB_CHUNKS = ((b"sRGB", b"\x01"),)
"""Of a PNG in sRGB; 1: relative colorimetric."""
_START = b"\x89PNG\r\n\x1a\n"
_D65 = (0.3127, 0.3290)
# Code points of ITU-T H.273.
_PRIMARIES = {1: ("BT.709", BT709_CHROMATICITIES), 5: ("BT.601 625", (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65)),
              6: ("BT.601 525", (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65)),
              9: ("BT.2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65)),
              11: ("DCI-P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351)),
              12: ("Display P3", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65))}
_VIDEO = ("video", gamma(2.4))  # BT.1886: what a display makes of BT.709, BT.601 and BT.2020 codes.
_TRANSFERS = {1: _VIDEO, 6: _VIDEO, 14: _VIDEO, 15: _VIDEO, 4: ("gamma 2.2", gamma(2.2)), 5: ("gamma 2.8", gamma(2.8)),
              8: ("linear", gamma(1.0)), 13: ("sRGB", srgb)}
_HDR = {16: "PQ", 18: "HLG"}
_USUAL_GAMMA = 45455


def chunks(path: Path) -> dict[str, bytes]:
    """Type -> content of the small chunks before the pixels, the first of each."""
    found: dict[str, bytes] = {}
    with open(path, "rb") as file:
        file.seek(len(_START))
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind in (b"IDAT", b"IEND"):
                break
            content = file.read(size) if size <= 64 else b""
            file.seek(size - len(content) + 4, 1)
            found.setdefault(kind.decode("latin-1"), content)
    return found


def encoding(path: Path, found: Mapping[str, bytes], has_profile: bool, notes: list[str]) -> Encoding | None:
    """What the chunks ask for, None for sRGB and where a profile decides. Raises ImageError for HDR video codes."""
    coded = _coded(path, found["cICP"], notes) if len(found.get("cICP", b"")) == 4 else None
    if coded is not None:
        return coded
    if has_profile or "sRGB" in found:
        return None
    if len(found.get("gAMA", b"")) != 4:
        stated = _chromaticities(found) if len(found.get("cHRM", b"")) == 32 else BT709_CHROMATICITIES
        if not np.allclose(stated, BT709_CHROMATICITIES, atol=2e-3):
            notes.append("cHRM without gAMA ignored, read as sRGB")
        return None
    (exponent,) = struct.unpack(">I", found["gAMA"])
    if not 10_000 <= exponent <= 250_000:
        notes.append(warn(f"gAMA {exponent / 1e5:g} ignored: no plausible exponent, read as sRGB"))
        return None
    primaries = _chromaticities(found) if len(found.get("cHRM", b"")) == 32 else BT709_CHROMATICITIES
    ours = np.allclose(primaries, BT709_CHROMATICITIES, atol=2e-3)
    matrix = np.eye(3)
    try:
        matrix = matrix if ours else to_bt709(primaries)
    except ValueError as error:
        notes.append(warn(f"cHRM ignored ({error})"))
        ours = True
    if ours and abs(exponent - _USUAL_GAMMA) < 100:
        return None
    return Encoding(f"gAMA {exponent / 1e5:g}" + ("" if ours else " with cHRM"), (gamma(1e5 / exponent),) * 3, matrix)


def _chromaticities(found: Mapping[str, bytes]) -> tuple[float, ...]:
    """x and y of red, green, blue and white."""
    numbers = [number / 1e5 for number in struct.unpack(">8I", found["cHRM"])]
    return (*numbers[2:], *numbers[:2])


def aspect(found: Mapping[str, bytes]) -> float | None:
    """Width by height of a pixel (pHYs), None where it is not said."""
    if len(found.get("pHYs", b"")) != 9:
        return None
    across, down = struct.unpack(">II", found["pHYs"][:8])
    return down / across if across else None


def _coded(path: Path, code: bytes, notes: list[str]) -> Encoding | None:
    primaries, transfer, matrix, whole = code
    if transfer in _HDR:
        raise ImageError(f"{path} holds {_HDR[transfer]} video codes (cICP); accepted are sRGB, gamma, linear and "
                         "BT.709 ones. Convert it to scene-linear EXR, or to sRGB.")
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS or matrix != 0 or whole != 1:
        notes.append(warn(f"cICP {primaries}/{transfer}/{matrix}/{whole} is not known here: ignored, read as sRGB"))
        return None
    (space, chromaticities), (curve_name, curve) = _PRIMARIES[primaries], _TRANSFERS[transfer]
    to_ours = np.eye(3) if primaries == 1 else to_bt709(chromaticities)
    return Encoding(f"cICP {space}, {curve_name}", (curve,) * 3, to_ours)


def stated(found: Mapping[str, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The chunks of a file that say what its colours are, a profile left out."""
    return tuple((kind.encode(), found[kind]) for kind in ("cICP", "gAMA", "cHRM") if found.get(kind))


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    """Type and content of the chunk that holds an ICC profile."""
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def chunks_like(space: ColourSpace) -> tuple[tuple[bytes, bytes], ...]:
    """The chunks that say of a PNG that it is in a display-referred space: sRGB, cICP, or gAMA with cHRM; empty where
    none does."""
    if space.kind != "display":
        return ()
    if space.is_srgb():
        return SRGB_CHUNKS
    for primaries, (name, chromaticities) in _PRIMARIES.items():
        matrix = to_bt709(chromaticities)
        for transfer, (_, curve) in {1: _VIDEO, 4: _TRANSFERS[4], 8: _TRANSFERS[8], 13: _TRANSFERS[13]}.items():
            if Encoding(name, (curve,) * 3, matrix).space(()).same_as(space):
                return ((b"cICP", bytes((primaries, transfer, 0, 1))),)
    corners = space.to_light(np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]], np.float32))[0]
    found = chromaticities_of(corners[:3].T.astype(np.float64))
    exponent = float(np.log2(1 / max(corners[3].mean(), 1e-6)))
    if found is None or not 1 <= exponent <= 5 or not Encoding("", (gamma(exponent),) * 3, corners[:3].T).space(
            ()).same_as(space):
        return ()
    numbers = [round(v * 1e5) for v in (*found[6:], *found[:6])]
    return ((b"gAMA", struct.pack(">I", round(1e5 / exponent))), (b"cHRM", struct.pack(">8i", *numbers)))


def png_bytes(pixels: np.ndarray, chunks: Sequence[tuple[bytes, bytes]] = SRGB_CHUNKS) -> bytes:
    """(H, W, C) RGB or grey, uint8 or uint16, as a PNG that says by ``chunks`` what its colours are (sRGB). Raises
    ImageError."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not done:
        raise ImageError(f"an image of {pixels.shape} {pixels.dtype} cannot become a PNG. Write another format.")
    data, header = data.tobytes(), len(_START) + 12 + 13
    tags = b"".join(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
                    for kind, content in chunks)
    return data[:header] + tags + data[header:]
