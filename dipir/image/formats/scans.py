"""TIFF and DPX in, through OpenImageIO. Not differentiable."""
from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.event import warn
from dipir.image.exif import fov_x_deg, upright
from dipir.image.formats.checks import AskedOf, Decoded, check_size, decoding, note_alpha, note_aspect, openable
from dipir.image.formats.display import Stated, coloured, in_space
from dipir.image.formats.spaces import as_values

_SUFFIXES = {"TIFF": ".tif", "DPX": ".dpx"}
_ORIENTATION, _EXIF_BLOCK = 0x0112, 0x8769
_SUBFILE, _PHOTOMETRIC, _DNG = 254, 262, 50706
_MOSAICS = (32803, 34892)  # One colour a pixel, and what is made of it before it is developed.
_RAW = (".dng", ".cr2", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".mef", ".dcr")
_LINEAR = ("linear", "lin_")


def read_scan(path: Path, kind: str, max_pixels: int, asked: AskedOf = AskedOf()) -> Decoded:
    """TIFF of 8, 16 (display) or 16 and 32 bits float (linear), DPX of video codes (display), linear, or of film in the
    space that is asked for; the first page. Colours of that space or of a profile are converted, alpha is left out.
    Raises ImageError."""
    notes: list[str] = []
    with decoding(path), openable(path, _SUFFIXES[kind]) as name:
        # ---- the header ----
        _refuse_raw(path, kind)
        how = oiio.ImageSpec()
        # Colours as they are in the file: not multiplied by alpha, CMYK not made RGB.
        how.attribute("oiio:UnassociatedAlpha", 1)
        how.attribute("oiio:RawColor", 1)
        file = oiio.ImageInput.open(name, how)
        if file is None:
            raise OSError(oiio.geterror())
        spec = file.spec()
        check_size(path, spec.width, spec.height, max_pixels)
        form = _form(path, spec, kind, asked.space is not None)
        note_aspect(spec.getattribute("PixelAspectRatio"), notes)
        mode = str(spec.getattribute("tiff:ColorSpace") or "")
        wanted = 4 if mode == "CMYK" else 3 if spec.nchannels >= 3 else 1
        if spec.alpha_channel >= wanted or spec.nchannels > wanted:
            note_alpha(_alpha(file, spec, form), notes)
        if file.seek_subimage(1, 0):
            notes.append("the first page is used; there are more")

        # ---- its pixels ----
        # OpenImageIO's colours of a palette are up to a step too dark, and Y Cb Cr it takes for colours as they are.
        if mode in ("palette", "YCbCr"):
            with Pillow.open(name) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        else:
            pixels = file.read_image(0, 0, 0, wanted, form)
        if pixels is None:
            raise OSError(file.geterror() or "the pixel data cannot be decoded")
        pixels = np.asarray(pixels).reshape(spec.height, spec.width, wanted)
        file.close()

        # ---- its colours ----
        exif = _exif(name, spec, kind)
        pixels = upright(np.repeat(pixels, 3, 2) if wanted == 1 else pixels, exif, notes)
        fov = fov_x_deg(exif, pixels.shape[1], pixels.shape[0], notes)
        bits = int(spec.getattribute("oiio:BitsPerSample") or 8 * spec.format.size())
        profile = spec.getattribute("ICCProfile")
        if wanted == 4 and form != "uint8":
            pixels = np.rint(pixels / np.float32(257)).astype(np.uint8)
        pixels = np.ascontiguousarray(pixels)
        if form in ("uint8", "uint16"):
            stated = Stated(None if profile is None else np.asarray(profile, np.uint8).tobytes())
            done = coloured(path, pixels, stated, asked.space, notes)
        elif asked.space is not None:
            done = in_space(pixels, asked.space, profile is not None, notes)
        else:
            if profile is not None:
                notes.append(warn("colour profile of a float picture ignored, read as linear BT.709 (--colourspace "
                                  "names another space)"))
            return Decoded(as_values(pixels), "linear", bits, notes, fov)
        return Decoded(done.pixels, done.state, bits, notes, fov, done.own)


def _refuse_raw(path: Path, kind: str) -> None:
    """ImageError for camera raw files, which are TIFFs whose first picture is a preview or has one colour a pixel."""
    with open(path, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        # ---- the first directory's short and long numbers ----
        tags = {}
        if kind == "TIFF" and struct.unpack_from(order + "H", head, 2)[0] == 42:
            file.seek(struct.unpack_from(order + "I", head, 4)[0])
            rows = file.read(2 + 12 * 1000)
            count = min(struct.unpack_from(order + "H", rows)[0], (len(rows) - 2) // 12) if len(rows) > 2 else 0
            for k in range(count):
                tag, form = struct.unpack_from(order + "HH", rows, 2 + 12 * k)
                tags[tag] = struct.unpack_from(order + ("H" if form == 3 else "I"), rows, 10 + 12 * k)[0]
    if (_DNG in tags or tags.get(_PHOTOMETRIC) in _MOSAICS or tags.get(_SUBFILE, 0) == 1 or head[8:10] == b"CR"
            or path.suffix.lower() in _RAW):
        raise ImageError(f"{path} is a camera raw file or the preview of one; accepted are developed pictures. Develop "
                         "it first (darktable, RawTherapee, ...) and save it as TIFF of 16 bits or EXR.")


def _alpha(file: oiio.ImageInput, spec: oiio.ImageSpec, form: str) -> np.ndarray | None:
    """The codes or the coverage of the alpha channel."""
    if not 0 <= spec.alpha_channel < spec.nchannels:
        return None
    alpha = file.read_image(0, 0, spec.alpha_channel, spec.alpha_channel + 1, form)
    return None if alpha is None else np.asarray(alpha)


def _form(path: Path, spec: oiio.ImageSpec, kind: str, known: bool) -> str:
    """The type to read: "uint8" and "uint16" for codes, "half" and "float" for light. ImageError for what is neither,
    and for codes of film whose space is not ``known``."""
    stored, space = str(spec.format), str(spec.getattribute("oiio:ColorSpace") or "").lower()
    if kind == "DPX":
        transfer = str(spec.getattribute("dpx:Transfer") or "")
        if not known and ("log" in space or "log" in transfer.lower() or transfer == "Printing density"):
            raise ImageError(f"{path} holds film densities or other logarithmic codes (DPX, {transfer or space}); "
                             "accepted are DPX of video codes, linear ones, and those whose space is named: "
                             "--colourspace 'ARRI LogC4', ADX10, ... Name it, or convert the file to scene-linear EXR.")
        if known:
            return "uint8" if stored == "uint8" else "uint16" if stored == "uint16" else "float"
        linear = space.startswith(_LINEAR) or transfer == "Linear"
        return "float" if linear else "uint8" if stored == "uint8" else "uint16"
    if "LAB" in str(spec.getattribute("tiff:ColorSpace") or ""):
        raise ImageError(f"{path} holds CIE Lab; accepted are TIFF of RGB, grey or CMYK. Save it in one of these.")
    if stored in ("uint8", "uint16"):
        return stored
    if stored in ("half", "float", "double"):
        return "half" if stored == "half" else "float"
    raise ImageError(f"{path} holds {stored} numbers; accepted are TIFF of 8 or 16 bits, or of float light. "
                     "Save it in one of these.")


def _exif(name: str, spec: oiio.ImageSpec, kind: str) -> Pillow.Exif:
    """Orientation, and of a TIFF what its camera wrote."""
    if kind == "TIFF":
        with contextlib.suppress(OSError, ValueError, SyntaxError), Pillow.open(name) as picture:
            exif = picture.getexif()
            exif.get_ifd(_EXIF_BLOCK)  # Fetched while the file is open.
            return exif
    exif = Pillow.Exif()
    exif[_ORIENTATION] = int(spec.getattribute("Orientation") or 1)
    return exif
