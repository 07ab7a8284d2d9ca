"""Reading what an asset's files refer to, without trusting them: only the asset's own folder, within size limits.

Our own reading comes before trimesh: trimesh is then handed bytes in memory only, so it can reach no other file.
"""
from __future__ import annotations

import base64
import binascii
import io
import os
import re
import unicodedata
import warnings
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import PIL.Image

from dipir import disk
from dipir.errors import AssetError, printable
from dipir.event import warn
from dipir.image.color import srgb_to_linear_array

EXTENSIONS = (".glb", ".gltf", ".obj", ".ply", ".stl")
MAX_FILE_BYTES = 1 << 30
MAX_TEXTURE_PIXELS = 100_000_000
MAX_TEXTURE_SIDE = 4096
# Decoders that are plain code on plain bytes; others (EPS and the like) start outside programs.
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA", "TIFF")
SRGB_TO_LINEAR = srgb_to_linear_array(np.arange(256) / 255.0).astype(np.float32)


def read_asset_file(path: Path) -> bytes:
    """Bytes of the asset file itself. AssetError when it is missing, empty, too large, or of an unknown extension."""
    if path.suffix.lower() not in EXTENSIONS:
        raise AssetError(f"{path}: extension '{path.suffix}' is not supported; accepted are {', '.join(EXTENSIONS)}. "
                         "Export the asset as .glb, which keeps materials and textures together.")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise AssetError(f"{path} {what}; give the path of a mesh file ({', '.join(EXTENSIONS)}).")
    return _read(path, str(path))


def read_reference(asset: Path, uri: str, what: str) -> bytes:
    """Bytes of a file that ``asset`` refers to (``what`` = 'texture', 'buffer', ...), or of a ``data:`` URI.

    AssetError as :func:`resolve_reference`, and when the file is empty or larger than 1 GiB.
    """
    target = resolve_reference(asset, uri, what)
    return _data_uri(asset, uri, what) if target is None else _read(target, f"{asset}: {what} '{uri[:200]}'")


def resolve_reference(asset: Path, uri: str, what: str) -> Path | None:
    """The file that a reference means, or None for a ``data:`` URI.

    AssetError when the reference is absolute, has a scheme, leads outside the asset's folder (also by a symbolic
    link), or when the file is missing.
    """
    if not isinstance(uri, str) or not uri.strip():
        raise AssetError(f"{asset}: a {what} has an empty file name; export the asset again.")
    if uri.startswith("data:"):
        return None
    return _beside(asset, unquote(uri).replace("\\", "/").strip(), what)


def find_beside(asset: Path, name: str, what: str, anywhere: bool = True) -> tuple[Path, str | None]:
    """The file that a name means, for formats whose names follow no rule: as it is, without a remark, with percent
    signs decoded, with other slashes or letter case; at last (``anywhere``) by its name alone beside the asset, which
    is said. AssetError as :func:`resolve_reference`."""
    spellings = dict.fromkeys([name, re.split(r"\s#", name, maxsplit=1)[0], unquote(name), name.strip('"')])
    names = [spelling.replace("\\", "/").strip() for spelling in spellings]
    problems: list[AssetError] = []
    # ---- as it is written ----
    for spelling in names:
        try:
            return _beside(asset, spelling, what), None
        except AssetError as error:
            problems.append(error)
    # ---- in other letters, then anywhere beside the asset ----
    for spelling in names:
        found = _in_other_letters(asset, spelling)
        if found is not None:
            return _beside(asset, found, what), None
    for spelling in names if anywhere else ():
        found = _in_other_letters(asset, re.split("[/:]", spelling)[-1])
        if found is not None:
            return _beside(asset, found, what), warn(
                f"{what} '{printable(name, 200)}' is not where its name says; '{found}' beside {asset.name} was taken. "
                "Write that name into the file.")
    raise next((problem for problem in problems if "is missing" not in str(problem)), problems[0])


def _beside(asset: Path, name: str, what: str) -> Path:
    if not name:
        raise AssetError(f"{asset}: a {what} has an empty file name; export the asset again.")
    remedy = f"Put the {what} beside the asset and refer to it by a relative path."
    return disk.beside(asset, name, what, remedy, error=AssetError, missing=AssetError)


def _in_other_letters(asset: Path, name: str) -> str | None:
    """The relative path of a file in the asset's folder whose name differs in case or Unicode form only."""
    folder, parts = asset.parent, [part for part in name.split("/") if part not in ("", ".")]
    found: list[str] = []
    if not parts or ".." in parts or name.startswith("/"):
        return None
    for part in parts:
        try:
            there = sorted(os.listdir(folder.joinpath(*found)))
        except (OSError, ValueError):
            return None
        like = [entry for entry in there if entry == part] or [e for e in there if _letters(e) == _letters(part)]
        if not like:
            return None
        found.append(like[0])
    return "/".join(found) if folder.joinpath(*found).is_file() else None


def _letters(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def read_found(asset: Path, found: Path, name: str, what: str) -> bytes:
    """Bytes of what :func:`find_beside` found. AssetError when the file is empty or larger than 1 GiB."""
    return _read(found, f"{asset}: {what} '{printable(name, 200)}'")


def _data_uri(asset: Path, uri: str, what: str) -> bytes:
    head, comma, body = uri.partition(",")
    try:
        if not comma:
            raise ValueError("no comma")
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (ValueError, binascii.Error) as error:
        raise AssetError(f"{asset}: embedded {what} cannot be decoded ({error}); export the asset again.") from None


def _read(path: Path, label: str) -> bytes:
    try:
        size = path.stat().st_size
        if size == 0:
            raise AssetError(f"{label} is empty (0 bytes); copy or export it again.")
        if size > MAX_FILE_BYTES:
            raise AssetError(f"{label} has {size / 2**30:.1f} GiB; {MAX_FILE_BYTES / 2**30:.0f} GiB is the limit. "
                             "Decimate the mesh or shrink the textures.")
        return path.read_bytes()
    except OSError as error:
        raise AssetError(f"{label} cannot be read: {error.strerror or error}.") from None


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header of an image file; (0, 0) where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            return PIL.Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS).size
    # Pillow's readers raise all kinds of errors; :func:`decode_image` is the one to tell of them.
    except Exception:
        return 0, 0


def decode_image(data: bytes, label: str, side: int | None = None) -> tuple[np.ndarray, str | None]:
    """(H, W, 4) uint8 RGBA of an image file, rows top down, and a note when it was scaled down to ``side``
    (None = 4096).

    The size is taken from the header before any pixel is decoded. Grey images fill all three channels. AssetError for
    corrupt, truncated, unsupported or too large images.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS)
        width, height = image.size
        if width * height > MAX_TEXTURE_PIXELS:
            raise AssetError(f"{label} has {width} x {height} pixels; {MAX_TEXTURE_PIXELS / 1e6:.0f} megapixels are "
                             "the limit. Scale it down.")
        if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
            kind = "float" if image.mode == "F" else "32-bit"
            raise AssetError(f"{label} holds {kind} numbers; accepted are textures of 8 or 16 bits. Save it as PNG.")
        if image.mode.startswith("I"):
            image = PIL.Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
        return within_side(np.asarray(image.convert("RGBA")), label, side)
    except PIL.UnidentifiedImageError:
        raise AssetError(f"{label} is not an image of an accepted format ({', '.join(_IMAGE_FORMATS)}); "
                         "it may be corrupt. Convert it to PNG or JPEG.") from None
    except PIL.Image.DecompressionBombError:
        raise AssetError(f"{label} has more than {MAX_TEXTURE_PIXELS / 1e6:.0f} megapixels. Scale it down.") from None
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError) as error:
        raise AssetError(f"{label} is corrupt or truncated ({error}); copy or export it again.") from None


def within_side(rgba: np.ndarray, label: str, side: int | None = None) -> tuple[np.ndarray, str | None]:
    """The (H, W, 4) uint8 image, box-filtered where its longer side exceeds ``side`` (None = 4096), and a note then."""
    (height, width), side = rgba.shape[:2], side or MAX_TEXTURE_SIDE
    if max(width, height) <= side:
        return rgba, None
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Channels one by one: Pillow would weight the colours by alpha, and under transparent texels may lie data.
    bands = PIL.Image.fromarray(rgba).split()
    small = PIL.Image.merge("RGBA", [band.resize(size, PIL.Image.Resampling.BOX) for band in bands])
    return np.asarray(small), f"{label} was scaled from {width} x {height} to {size[0]} x {size[1]} pixels."
