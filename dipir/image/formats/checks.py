"""What every reader of image files shares: the limit of sizes, errors of decoders, names that libraries can open."""
from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.event import Remark, warn
from dipir.image.formats.primaries import clipped
from dipir.image.formats.spaces import ColourSpace, OwnPicture

ALPHA_IGNORED = "alpha ignored"
"""The remark of readers that leave it out."""
MAX_PIXELS = 100_000_000


_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_BRANDS = {b"avif": "an AVIF picture", b"avis": "an AVIF picture", b"crx ": "a camera raw file (CR3)",
           **dict.fromkeys(_HEIF, "a HEIF (HEIC) picture")}
_FOREIGN = {b"\xff\x0a": "a JPEG XL picture", b"\0\0\0\x0cJXL ": "a JPEG XL picture", b"GIF8": "a GIF picture",
            b"\0\0\0\x0cjP  ": "a JPEG 2000 picture", b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
            b"8BPS": "a Photoshop file", b"8BPB": "a Photoshop file", b"\xabKTX": "a KTX texture",
            b"DDS ": "a DDS texture", b"BM": "a BMP picture", b"PF\n": "a PFM picture", b"Pf\n": "a PFM picture",
            b"P5": "a PGM picture", b"P6": "a PPM picture", b"FUJIFILMCCD-RAW": "a camera raw file (RAF)",
            b"IIRO": "a camera raw file (ORF)", b"IIRS": "a camera raw file (ORF)", b"MMOR": "a camera raw file (ORF)",
            b"IIU\0": "a camera raw file (RW2)", b"FOVb": "a camera raw file (X3F)",
            b"\x80\x2a\x5f\xd7": "a Cineon film scan", b"%PDF": "a PDF document", b"<svg": "an SVG drawing",
            b"<?xml": "an XML text, maybe an SVG drawing", b"gimp xcf": "a GIMP file", b"\0\0\1\0": "an icon",
            b"PK\3\4": "a zip archive", b"\x1f\x8b": "a gzip archive", b"glTF": "a mesh (GLB)"}


class AskedOf(NamedTuple):
    """What a person says of a file, where it counts more than the file itself. None = as the file says."""

    space: ColourSpace | None = None  # in which its colours are
    layer: str | None = None  # of an OpenEXR file: layer, part, or PART.LAYER


class Decoded(NamedTuple):
    """The pixels of a file, BT.709 primaries."""

    pixels: np.ndarray  # (H, W, 3) float32
    state: Literal["display", "linear"]  # "display" = sRGB in [0, 1], "linear" = light, any value
    bits: int  # per channel in the file
    notes: list[str]  # remarks for the user
    fov_x_deg: float | None = None  # horizontal field of view from EXIF or None
    own: OwnPicture | None = None  # as the file holds it, where that was converted and can be given back


def kept_wide(notes: Iterable[str], share: float) -> list[str]:
    """The remarks of a reader where what it clipped to sRGB is kept beside: no warning then."""
    kept = f"; {max(share, 0.001):.1%} of the pixels lie outside of sRGB: priors see them clipped, pictures keep them"
    return [note.replace(clipped(share), kept) if share and note.endswith(clipped(share)) else note for note in notes]


def note_alpha(alpha: np.ndarray | None, notes: list[str]) -> None:
    """Say that ``alpha``, codes or coverage, is left out; a warning where it is not opaque everywhere. None = there is
    some, and nobody looked."""
    if alpha is not None:
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
    notes.append(Remark(ALPHA_IGNORED, alpha is None or bool((alpha < opaque).any())))


def check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """ImageError unless width x height lies between 1 and ``max_pixels``."""
    if width < 1 or height < 1:
        raise ImageError(f"{path} has a size of {width}x{height} pixels: the file is damaged. Save or copy it again.")
    if width * height > max_pixels:
        raise ImageError(f"{path} has {width}x{height} = {width * height / 1e6:.0f} megapixels; accepted are at most "
                         f"{max_pixels / 1e6:g} megapixels. Scale the image down first.")


def foreign(head: bytes) -> str | None:
    """What a file that begins with these 16 bytes is, of the pictures that are not read; None = not known."""
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video or picture of the MP4 family")
    if head[:4] == b"RIFF":
        return "a video or sound (RIFF)"
    return next((name for mark, name in _FOREIGN.items() if head.startswith(mark)), None)


def note_aspect(ratio: object, notes: list[str]) -> None:
    """A warning where pixels are not square; ``ratio`` : their width by their height, as a file says it."""
    if isinstance(ratio, (int, float)) and 0.1 < ratio < 10 and abs(ratio - 1) > 0.02:
        notes.append(warn(f"its pixels are {ratio:.3g} times as wide as high and were taken as square; scale the "
                          "picture to square pixels first"))


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Whatever a decoder throws at a damaged file (each has its own kinds of exception) becomes an ImageError. OpenCV's
    own messages on stderr are switched off meanwhile: they would repeat it."""
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
        why = " ".join(str(error).split()).rstrip(".")
        raise ImageError(f"{path} is damaged or cut short ({why}); accepted are whole image "
                         "files. Copy or download it again, or save it again from another program.") from error
    finally:
        cv2.utils.logging.setLogLevel(level)


@contextlib.contextmanager
def writable(path: Path) -> Iterator[str]:
    """A name that libraries can write ``path`` by: its own; where that is no Unicode, one in a private folder, from
    which the file is moved when the block ends well."""
    if _is_unicode(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="dipir-") as folder:
        other = Path(folder, "image")
        yield str(other)
        shutil.copyfile(other, path)


def _is_unicode(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def openable(path: Path, suffix: str) -> Iterator[str]:
    """A name of the file that libraries can take and that ends in ``suffix`` (".tif"), by which they choose their
    reader: its own, or that of a link in a private folder."""
    # OpenImageIO takes what follows a question mark for options.
    if _is_unicode(path) and path.suffix.lower() == suffix and "?" not in str(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="dipir-") as folder:
        link = Path(folder, "image" + suffix)
        try:
            os.symlink(path.absolute(), link)
        except OSError:
            shutil.copyfile(path, link)
        yield str(link)
