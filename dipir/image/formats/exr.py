"""OpenEXR in: the picture of a file that may have several parts, layers and windows. Not differentiable.

Only the channels that are used are decoded, so that a file of many layers takes no more memory than its picture.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import OpenEXR
import OpenImageIO as oiio

from dipir.errors import ImageError
from dipir.image.formats.checks import ALPHA_IGNORED, Decoded, check_size, decoding, openable
from dipir.image.formats.primaries import BT709_CHROMATICITIES, light_to_bt709

_SHOWN = 6


class _Layer(NamedTuple):
    """Channels that make up a picture."""

    part: int
    name: str  # for the user
    channels: tuple[int, int, int]  # red, green, blue


def read_exr(path: Path, max_pixels: int) -> Decoded:
    """Linear BT.709 of the first part and layer with R, G, B (else Y), as large as the display window: pixels outside
    of the data window are 0, those outside of the display window are dropped. Raises ImageError."""
    notes: list[str] = []
    with decoding(path), openable(path, ".exr") as name:
        # ---- the headers ----
        _check_sizes(path, name, max_pixels)
        file = oiio.ImageInput.open(name)
        if file is None:
            raise _unreadable(path, oiio.geterror())
        parts = _parts(file)
        layer = _chosen(path, parts, notes)
        spec = parts[layer.part]

        # ---- its pixels ----
        first, last = min(layer.channels), max(layer.channels) + 1
        pixels = file.read_image(layer.part, 0, first, last, "float")
        if pixels is None:
            raise _unreadable(path, file.geterror())
        pixels = pixels.reshape(spec.height, spec.width, last - first)[..., [c - first for c in layer.channels]]
        file.close()
    pixels = _displayed(path, pixels, spec, notes)
    pixels = light_to_bt709(pixels, spec.getattribute("chromaticities") or BT709_CHROMATICITIES, notes)
    kind = spec.channelformats[layer.channels[0]] if spec.channelformats else spec.format
    return Decoded(pixels, "linear", 8 * kind.size(), notes)


def read_exr_alpha(path: Path, max_pixels: int) -> np.ndarray | None:
    """(H, W) float32 coverage as the file has it, of the layer that :func:`read_exr` takes and of the same size; 0
    outside of the data window. None where that layer has no A. Raises ImageError."""
    with decoding(path), openable(path, ".exr") as name:
        _check_sizes(path, name, max_pixels)
        file = oiio.ImageInput.open(name)
        if file is None:
            raise _unreadable(path, oiio.geterror())
        parts = _parts(file)
        layer = _chosen(path, parts, [])
        spec, names = parts[layer.part], list(parts[layer.part].channelnames)
        wanted = names[layer.channels[0]][:-1] + "A"
        if wanted not in names:
            return None
        pixels = file.read_image(layer.part, 0, names.index(wanted), names.index(wanted) + 1, "float")
        if pixels is None:
            raise _unreadable(path, file.geterror())
        file.close()
    return _displayed(path, pixels.reshape(spec.height, spec.width, 1), spec, [])[..., 0]


def _check_sizes(path: Path, name: str, max_pixels: int) -> None:
    """ImageError when a window of any part is too large."""
    for part in OpenEXR.File(name, header_only=True).parts:
        for window in ("dataWindow", "displayWindow"):
            low, high = (np.asarray(corner, dtype=np.int64) for corner in part.header[window])
            check_size(path, *(int(n) for n in high - low + 1), max_pixels)


def _parts(file: oiio.ImageInput) -> list[oiio.ImageSpec]:
    # Copied: the file's own is written over by the next.
    specs = [oiio.ImageSpec(file.spec())]
    while file.seek_subimage(len(specs), 0):
        specs.append(oiio.ImageSpec(file.spec()))
    return specs


def _unreadable(path: Path, why: str) -> Exception:
    if "subsampled" in why.lower():
        return ImageError(f"{path}: its channels are subsampled; accepted are channels of full size. "
                          "Save the image as plain RGB.")
    return OSError(why or "the pixel data cannot be decoded")


def _chosen(path: Path, parts: list[oiio.ImageSpec], notes: list[str]) -> _Layer:
    """The picture of the file; the notes name what else there is."""
    flat = [k for k, spec in enumerate(parts) if not spec.deep]
    if not flat:
        raise ImageError(f"{path} holds deep data; accepted are flat scanline or tiled images. Flatten it first.")
    names = [list(spec.channelnames) for spec in parts]
    layers = [layer for k in flat for layer in _layers(k, names[k], parts[k].getattribute("name"), len(parts) > 1)]
    if not layers:
        shown = sorted({c for channels in names for c in channels})
        raise ImageError(f"{path} has the channels {shown}; accepted are R, G, B of one layer, or a top-level Y. "
                         "Save the picture itself in these channels.")
    # A top-level picture is meant before any layer's.
    chosen = next((x for x in layers if "." not in names[x.part][x.channels[0]]), layers[0])
    others = [x.name for x in layers if x is not chosen]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        notes.append(f"{chosen.name} is used; left out: {', '.join(others[:_SHOWN])}{more}")
    prefix = names[chosen.part][chosen.channels[0]].rpartition(".")
    if prefix[0] + prefix[1] + "A" in names[chosen.part]:
        notes.append(ALPHA_IGNORED)
    return chosen


def _layers(part: int, names: list[str], part_name: str | None, several: bool) -> list[_Layer]:
    """Every set of R, G, B among the channels of a part; Y where there is none at the top."""
    where = f"part '{part_name or part}'" if several else ""
    found = []
    for prefix in dict.fromkeys(n[:-1] for n in names if n == "R" or n.endswith(".R")):
        if prefix + "G" in names and prefix + "B" in names:
            layer = f"layer '{prefix[:-1]}'" if prefix else "" if several else "the top-level R, G, B"
            found.append(_Layer(part, " ".join(filter(None, [where, layer])),
                                tuple(names.index(prefix + c) for c in "RGB")))
    if "R" not in names and "Y" in names:
        found.insert(0, _Layer(part, where or "the top-level Y", (names.index("Y"),) * 3))
    return found


def _displayed(path: Path, pixels: np.ndarray, spec: oiio.ImageSpec, notes: list[str]) -> np.ndarray:
    """The pixels of the display window."""
    left, top = spec.x - spec.full_x, spec.y - spec.full_y
    width, height = spec.full_width, spec.full_height
    if (left, top, spec.width, spec.height) == (0, 0, width, height):
        return np.ascontiguousarray(pixels)
    box = (max(top, 0), min(top + spec.height, height), max(left, 0), min(left + spec.width, width))
    if box[0] >= box[1] or box[2] >= box[3]:
        raise ImageError(f"{path}: its data window lies outside of its display window, nothing of it would be seen. "
                         "Save it with a display window round the picture.")
    out = np.zeros((height, width, pixels.shape[2]), np.float32)
    out[box[0]:box[1], box[2]:box[3]] = pixels[box[0] - top:box[1] - top, box[2] - left:box[3] - left]
    inside = (box[1] - box[0]) * (box[3] - box[2])
    if inside < spec.width * spec.height:
        notes.append(f"overscan dropped: the data window has {spec.width}x{spec.height} pixels, the display window "
                     f"{width}x{height}")
    if inside < width * height:
        notes.append(f"the data window fills {inside / (width * height):.1%} of the display window; the rest is black")
    return out
