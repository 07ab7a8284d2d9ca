"""Layered Photoshop files (PSD), RGB, 8 or 16 bits: for Photoshop, Affinity, Krita, GIMP, Photopea.

Layout after Adobe, "Photoshop File Formats Specification" (2019). Big-endian; header, (no) palette, resources, layers,
merged picture. Every layer covers the whole picture and has its own transparency channel.

Blend modes act on the stored (sRGB-encoded) values, as these programs do it unless told otherwise. They clip to [0, 1]
after every layer. A gain M / D, both in (0, 1], therefore needs its "multiply" layer M below its "divide" layer D:
x M <= 1 is never clipped, and dividing clips only what is above 1 in the end. At 16 bits and D >= 0.1 the layers then
give x M / D within 0.05 / 255. At 8 bits rounded numbers are divided by 0.1, errors of up to 15 / 255: use 16.
"""
from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ImageCms
from torch import Tensor

from dipir.arrays import Image, Mask
from dipir.disk import atomic_path
from dipir.errors import ImageError, nearest

MAX_SIDE = 30_000
MAX_LAYERS = 8000
MAX_NAME = 255
MAX_BYTES = 2**31 - 1
BLEND_KEYS = {"normal": b"norm", "multiply": b"mul ", "divide": b"fdiv", "linear dodge": b"lddg", "subtract": b"fsub",
              "screen": b"scrn", "overlay": b"over", "soft light": b"sLit", "hard light": b"hLit", "darken": b"dark",
              "lighten": b"lite", "difference": b"diff", "color": b"colr", "luminosity": b"lum "}
_RAW, _RLE, _ZIP_PREDICTED = (struct.pack(">H", n) for n in (0, 1, 3))
_ALPHA, _MASK = -1, -2


@dataclass(frozen=True, eq=False)
class PsdLayer:
    """One layer."""

    name: str  # 1 to 255 printable characters
    pixels: Tensor  # (1, 3 or 1, H, W) display values, clipped to [0, 1]; one channel is written as equal R, G, B
    blend: str = "normal"  # a key of ``BLEND_KEYS``; "linear dodge" is Add, "divide" is under / layer
    opacity: float = 1.0  # [0, 1], kept in steps of 1/255
    visible: bool = True  # the eye
    alpha: Mask | None = None  # (1, 1, H, W) transparency of the pixels, not premultiplied, or None = opaque
    mask: Mask | None = None  # (1, 1, H, W) layer mask that can be painted on, 1 = shown, or None = without one


def write_psd(path: str | Path, layers: Sequence[PsdLayer], composite: Image, bits: int = 16) -> None:
    """Write ``layers``, the lowest first, and the merged picture ``composite`` (1, 3, H, W) display, clipped to [0, 1],
    which programs without layers show. Values are rounded to ``bits`` (8 or 16) a channel.

    Raises ImageError, with nothing written, for wrong shapes or settings, NaN, sides above 30,000 pixels, files above
    2 GiB (the limit of the format) and folders that cannot be written to.
    """
    _check(path, layers, composite, bits)
    height, width = composite.shape[2:]
    # The file is opened before the long work, so that a folder without write permission is known at once.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        info = _layer_info(layers, bits)
        merged = _merged(_planes(composite, bits))
        head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, bits, 3) + bytes(4) + _resources()
        section = _layer_section(info, bits)
        if len(head) + len(section) + len(merged) > MAX_BYTES:
            raise _too_large(path, width, height)
        file.writelines((head, section, merged))


def _resources() -> bytes:
    """Resolution (1005), version with the mark that the merged picture is real (1057), sRGB profile (1039).

    Without a profile Photoshop asks or takes its working space, which is sRGB for most but not all.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + profile[36:]  # Its date is the time of the call.
    dpi = struct.pack(">IHHIHH", 72 << 16, 1, 1, 72 << 16, 1, 1)
    version = struct.pack(">I?", 1, True) + 2 * _unicode("dipir") + struct.pack(">I", 1)
    blocks = [struct.pack(">4sH2xI", b"8BIM", number, len(data)) + data + bytes(len(data) % 2)
              for number, data in ((1005, dpi), (1057, version), (1039, profile))]
    return _counted(b"".join(blocks))


def _layer_section(info: bytes, bits: int) -> bytes:
    """Layer and mask information. Deeper documents keep the layers in an additional block, behind an empty list."""
    if bits == 8:
        return _counted(_counted(info) + _counted(b""))
    return _counted(_counted(b"") + _counted(b"") + b"8BIMLr16" + _counted(info))


def _layer_info(layers: Sequence[PsdLayer], bits: int) -> bytes:
    """Number of layers, their records, their channels; filled up to a multiple of 4."""
    records, channels = [], []
    for layer in layers:
        encoded = _channels(layer, bits)
        records.append(_record(layer, [(key, len(data)) for key, data in encoded]))
        channels += [data for _, data in encoded]
    return _filled(b"".join([struct.pack(">h", len(layers)), *records, *channels]))


def _channels(layer: PsdLayer, bits: int) -> list[tuple[int, bytes]]:
    """(channel id, compressed plane) of one layer."""
    colour = [_encode(plane) for plane in _planes(layer.pixels, bits)]
    opaque = torch.ones_like(layer.pixels[:, :1]) if layer.alpha is None else layer.alpha
    found = [(_ALPHA, _encode(_planes(opaque, bits)[0])), *enumerate(colour * (3 // len(colour)))]
    return found + ([] if layer.mask is None else [(_MASK, _encode(_planes(layer.mask, bits)[0]))])


def _record(layer: PsdLayer, channels: list[tuple[int, int]]) -> bytes:
    """Everything about a layer but its pixels; channels : (id, bytes)."""
    box = struct.pack(">4i", 0, 0, *layer.pixels.shape[2:])
    # Bit 1: hidden. Bit 3: bit 4 has a meaning (Photoshop 5 and later).
    flags = 0x08 | (0 if layer.visible else 0x02)
    mask = b"" if layer.mask is None else box + bytes(4)
    short = layer.name.encode("mac_roman", "replace")[:31]
    pascal = _filled(bytes([len(short)]) + short)
    extra = _counted(mask) + _counted(b"") + pascal + b"8BIMluni" + _counted(_filled(_unicode(layer.name)))
    return (box + struct.pack(">H", len(channels)) + b"".join(struct.pack(">hI", *c) for c in channels) + b"8BIM"
            + BLEND_KEYS[layer.blend] + struct.pack(">BBBx", round(layer.opacity * 255), 0, flags) + _counted(extra))


def _planes(disp: Tensor, bits: int) -> np.ndarray:
    """(1, C, H, W) -> (C, H, W) big-endian integers of the full range: 65535 = 1 (Photoshop itself keeps 15 bits)."""
    values = disp.detach().cpu()[0].clamp(0, 1).numpy()
    return np.rint(values * np.float64(2**bits - 1)).astype(">u2" if bits == 16 else np.uint8)


def _encode(plane: np.ndarray) -> bytes:
    """(H, W) -> compression and data: run lengths for 8 bits; for 16 bits, where these gain nothing, ZIP of differences
    along rows."""
    if plane.itemsize == 1:
        return _RLE + _run_lengths(plane)
    delta = plane.astype(np.uint16)
    delta[:, 1:] -= delta[:, :-1].copy()  # Modulo 65536, as the format wants it.
    return _ZIP_PREDICTED + zlib.compress(delta.astype(">u2").tobytes(), 1)


def _merged(planes: np.ndarray) -> bytes:
    """Merged picture; 16 bits raw, because many viewers read nothing else there."""
    if planes.itemsize == 2:
        return _RAW + planes.tobytes()
    return _RLE + _run_lengths(planes.reshape(-1, planes.shape[-1]))


def _run_lengths(rows: np.ndarray) -> bytes:
    """(N, W) bytes -> length of each packed row, then the rows."""
    packed = [pack_bits(row) for row in rows]
    return struct.pack(f">{len(packed)}H", *map(len, packed)) + b"".join(packed)


def pack_bits(row: np.ndarray) -> bytes:
    """PackBits (TIFF 6.0, section 9) of a row of bytes; runs of 3 and more are packed."""
    data, out, done = row.tobytes(), bytearray(), 0
    edges = np.flatnonzero(row[1:] != row[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.append(starts, len(data)))
    long = lengths >= 3
    for start, length in zip(starts[long].tolist(), lengths[long].tolist(), strict=True):
        _literals(out, data[done:start])
        done = start + length
        out += bytes((129, data[start])) * (length // 128)
        if length % 128 > 1:
            out += bytes((257 - length % 128, data[start]))
        done -= length % 128 == 1  # One left over joins the next literals.
    _literals(out, data[done:])
    return bytes(out)


def _literals(out: bytearray, data: bytes) -> None:
    for i in range(0, len(data), 128):
        piece = data[i:i + 128]
        out.append(len(piece) - 1)
        out += piece


def _counted(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _filled(data: bytes) -> bytes:
    """With zeros up to a multiple of 4."""
    return data + bytes(-len(data) % 4)


def _unicode(text: str) -> bytes:
    return struct.pack(">I", len(text.encode("utf-16-be")) // 2) + text.encode("utf-16-be")


def _too_large(path: str | Path, width: int, height: int) -> ImageError:
    return ImageError(f"cannot write {path}: {width}x{height} pixels in these layers make a file above 2 GiB; "
                      "accepted are smaller ones, the format has no room for more. Write 8 bits instead of 16, "
                      "fewer layers or a smaller picture.")


def _check(path: str | Path, layers: Sequence[PsdLayer], composite: Tensor, bits: int) -> None:
    """ImageError for the first thing that is wrong."""
    def refuse(what: str, accepted: str) -> None:
        raise ImageError(f"cannot write {path}: {what}; accepted {accepted}.")
    if bits not in (8, 16):
        refuse(f"{bits} bits were asked for", "are 8 and 16")
    if composite.ndim != 4 or tuple(composite.shape[:2]) != (1, 3):
        refuse(f"the merged picture is {tuple(composite.shape)}", "is (1, 3, H, W)")
    height, width = composite.shape[2:]
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        refuse(f"the picture has {width}x{height} pixels", f"are sides from 1 to {MAX_SIDE:,} pixels")
    if bits == 16 and height * width * 6 > MAX_BYTES:
        raise _too_large(path, width, height)
    if not 1 <= len(layers) <= MAX_LAYERS:
        refuse(f"there are {len(layers)} layers", f"are 1 to {MAX_LAYERS}")
    _check_finite(path, "the merged picture", composite)
    for layer in layers:
        _check_layer(path, layer, (height, width), refuse)


def _check_layer(path: str | Path, layer: PsdLayer, size: tuple[int, int], refuse: Callable[[str, str], None]) -> None:
    name = layer.name
    if not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        refuse(f"a layer is called {name[:300]!r}", f"are 1 to {MAX_NAME} printable characters")
    if layer.blend not in BLEND_KEYS:
        refuse(f"layer '{name}' has the blend mode '{layer.blend}'",
               f"are {', '.join(BLEND_KEYS)}.{nearest(layer.blend, BLEND_KEYS)}".rstrip("."))
    if not 0 <= layer.opacity <= 1:
        refuse(f"layer '{name}' has an opacity of {layer.opacity}", "are values from 0 to 1")
    for what, tensor, channels in (("pixels", layer.pixels, (1, 3)), ("alpha", layer.alpha, (1,)),
                                   ("mask", layer.mask, (1,))):
        if tensor is None:
            continue
        if tensor.ndim != 4 or tensor.shape[0] != 1 or tensor.shape[1] not in channels or tensor.shape[2:] != size:
            refuse(f"{what} of layer '{name}' are {tuple(tensor.shape)}",
                   f"is (1, {' or '.join(map(str, channels))}, {size[0]}, {size[1]}), the size of the merged picture")
        _check_finite(path, f"{what} of layer '{name}'", tensor)


def _check_finite(path: str | Path, what: str, tensor: Tensor) -> None:
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ImageError(f"cannot write {path}: {bad} values of {what} are NaN or infinite; accepted are finite "
                         "values. Look for the step that made them; the last file was left as it was.")
