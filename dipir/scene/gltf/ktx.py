"""KTX2 textures (KHR_texture_basisu): ETC1S and UASTC by the Basis Universal transcoder, sizes checked first."""
from __future__ import annotations

import struct

import numpy as np

from dipir.errors import AssetError
from dipir.scene.assets.files import MAX_TEXTURE_PIXELS, within_side
from dipir.scene.gltf.document import shown

_MARK = b"\xabKTX 20\xbb\r\n\x1a\n"
_HEADER = struct.Struct("<9I4I2Q")
_LEVEL = struct.Struct("<3Q")
_START = len(_MARK) + _HEADER.size
_BLOCK_BYTES = 16  # UASTC's of 4 x 4 texels, the largest.


def is_ktx(data: bytes) -> bool:
    """Whether these are the bytes of a KTX2 file."""
    return data[:len(_MARK)] == _MARK


def ktx_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header; (0, 0) where it is cut off."""
    return _HEADER.unpack_from(data, len(_MARK))[2:4] if len(data) >= _START else (0, 0)


def decode_ktx(data: bytes, label: str, side: int | None = None) -> tuple[np.ndarray, str | None]:
    """(H, W, 4) uint8 RGBA of the largest level of a KTX2 file, rows top down, and a note when it was scaled down to
    ``side`` (None = 4096).

    Everything that the header claims is held against limits and the file before anything is unpacked (KTX 2.0
    sections 3 and 4). AssetError for damaged, too large and other kinds of images, and where the package is missing.
    """
    damaged = AssetError(f"{label} is a damaged KTX2 image; copy or export it again.")
    if len(data) < _START + _LEVEL.size:
        raise damaged
    # ---- what it claims ----
    _, _, width, height, depth, layers, faces, levels, *_ = _HEADER.unpack_from(data, len(_MARK))
    if width * height > MAX_TEXTURE_PIXELS:
        raise AssetError(f"{label} has {width} x {height} pixels; {MAX_TEXTURE_PIXELS / 1e6:.0f} megapixels are "
                         "the limit. Scale it down.")
    if depth > 1 or layers > 1 or faces != 1:
        raise AssetError(f"{label} is a KTX2 image of {max(depth, 1)} x {max(layers, 1)} layers and {faces} faces; one "
                         "flat image is accepted. Export it as PNG or JPEG.")
    levels = max(levels, 1)
    if not width or not height or levels > 32 or _START + levels * _LEVEL.size > len(data):
        raise damaged
    blocks = -(-width // 4) * -(-height // 4)
    for k in range(levels):
        start, length, unpacked = _LEVEL.unpack_from(data, _START + k * _LEVEL.size)
        if start + length > len(data) or unpacked > blocks * _BLOCK_BYTES:
            raise damaged
    # ---- what it is ----
    try:
        import opengl_basisu
    except ImportError:
        raise AssetError(f"{label} is a KTX2 image, and opengl_basisu, which reads that, is not installed. Install it "
                         "(pip install opengl_basisu), or export with PNG or JPEG textures.") from None
    try:
        pixels = opengl_basisu.open(data).transcode("rgba8").data
    except opengl_basisu.UnsupportedError as error:
        raise AssetError(f"{label}: only Basis Universal images (ETC1S, UASTC) are read from KTX2 ({shown(error)}). "
                         "Export it as PNG or JPEG.") from None
    except (ValueError, LookupError, MemoryError) as error:
        raise AssetError(f"{label} is a damaged KTX2 image ({shown(error)}); copy or export it again.") from None
    return within_side(pixels, label, side)
