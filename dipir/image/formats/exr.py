"""OpenEXR in: the picture of a file that may have several parts, layers and windows. Not differentiable.

Only the channels that are used are decoded, so that a file of many layers takes no more memory than its picture.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import OpenEXR
import OpenImageIO as oiio

from dipir.errors import ImageError, printable
from dipir.event import warn
from dipir.image.formats.checks import AskedOf, Decoded, check_size, decoding, note_alpha, note_aspect, openable
from dipir.image.formats.display import in_space
from dipir.image.formats.primaries import BT709_CHROMATICITIES, light_to_bt709, says

_SHOWN, _LISTED = 6, 10


class _Layer(NamedTuple):
    """Channels that make up a picture."""

    part: int
    name: str  # for the user
    channels: tuple[int, int, int]  # red, green, blue
    called: tuple[str, ...] = ()  # what it may be asked for by, the best name first


def read_exr(path: Path, max_pixels: int, asked: AskedOf = AskedOf()) -> Decoded:
    """Linear BT.709 of the layer asked for, else of the first part and layer with R, G, B (else Y), as large as the
    display window: pixels outside of the data window are 0, those outside of the display window are dropped. Colours of
    the space asked for, else of the file's chromaticities, are converted. Raises ImageError."""
    notes: list[str] = []
    with decoding(path), openable(path, ".exr") as name:
        # ---- the headers ----
        file, layer, spec = _opened(path, name, max_pixels, asked.layer, notes)
        kind = spec.channelformats[layer.channels[0]] if spec.channelformats else spec.format
        if str(kind) not in ("half", "float"):
            raise ImageError(f"{path} holds whole numbers ({kind}) in {layer.name}; accepted is light as half or "
                             "float. Such channels are ids; save the picture itself.")
        note_aspect(spec.getattribute("PixelAspectRatio"), notes)

        # ---- its pixels ----
        first, last = min(layer.channels), max(layer.channels) + 1
        pixels = file.read_image(layer.part, 0, first, last, "half" if str(kind) == "half" else "float")
        if pixels is None:
            raise _unreadable(path, file.geterror())
        pixels = pixels.reshape(spec.height, spec.width, last - first)[..., [c - first for c in layer.channels]]
        alpha = _alpha_of(layer, spec)
        if alpha is not None:
            note_alpha(file.read_image(layer.part, 0, alpha, alpha + 1, "float"), notes)
        file.close()

    # ---- its colours ----
    pixels = _displayed(path, pixels, spec, notes)
    chromaticities = _chromaticities(spec, notes)
    if asked.space is not None and not says(chromaticities, asked.space):
        pixels, state, own = in_space(pixels, asked.space, chromaticities is not None, notes)
        return Decoded(pixels, state, 8 * kind.size(), notes, own=own)
    pixels, own = light_to_bt709(pixels, chromaticities or BT709_CHROMATICITIES, notes)
    return Decoded(pixels, "linear", 8 * kind.size(), notes, own=own)


def _opened(path: Path, name: str, max_pixels: int, asked: str | None,
            notes: list[str]) -> tuple[oiio.ImageInput, _Layer, oiio.ImageSpec]:
    """(file, the layer asked for, its part's header), once the sizes are found to be allowed. name : see openable"""
    _check_sizes(path, name, max_pixels)
    file = oiio.ImageInput.open(name)
    if file is None:
        raise _unreadable(path, oiio.geterror())
    parts = _parts(file)
    layer = _chosen(path, parts, asked, notes)
    return file, layer, parts[layer.part]


def _chromaticities(spec: oiio.ImageSpec, notes: list[str]) -> tuple[float, ...] | None:
    """x and y of red, green, blue and white; None where a file says nothing, or something else."""
    stated = spec.getattribute("chromaticities")
    if stated is None:
        return None
    try:
        values = tuple(float(v) for v in stated)
    except (TypeError, ValueError):
        values = ()
    if len(values) != 8:
        notes.append(warn("chromaticities are not eight numbers: ignored, read as BT.709"))
        return None
    return values


def read_exr_alpha(path: Path, max_pixels: int, asked: str | None = None) -> np.ndarray | None:
    """(H, W) float32 coverage as the file has it, of the layer that :func:`read_exr` takes and of the same size; 0
    outside of the data window. None where that layer has no A. Raises ImageError."""
    with decoding(path), openable(path, ".exr") as name:
        file, layer, spec = _opened(path, name, max_pixels, asked, [])
        alpha = _alpha_of(layer, spec)
        if alpha is None:
            return None
        pixels = file.read_image(layer.part, 0, alpha, alpha + 1, "float")
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


def _chosen(path: Path, parts: list[oiio.ImageSpec], asked: str | None, notes: list[str]) -> _Layer:
    """The picture of the file, by the name that is ``asked`` for; else the notes name what else there is."""
    flat = [k for k, spec in enumerate(parts) if not spec.deep]
    if not flat:
        raise ImageError(f"{path} holds deep data; accepted are flat scanline or tiled images. Flatten it first.")
    names = [list(spec.channelnames) for spec in parts]
    layers = [layer for k in flat for layer in _layers(k, names[k], parts[k].getattribute("name"), len(parts) > 1)]
    if not layers:
        shown = sorted({c for channels in names for c in channels})
        raise ImageError(f"{path} has the channels {shown}; accepted are R, G, B of one layer, or a top-level Y. "
                         "Save the picture itself in these channels.")
    if asked is not None:
        return _called(path, layers, asked)
    # A top-level picture is meant before any layer's.
    chosen = next((x for x in layers if "." not in names[x.part][x.channels[0]]), layers[0])
    others = [x.name for x in layers if x is not chosen]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        notes.append(f"{chosen.name} is used; left out: {', '.join(others[:_SHOWN])}{more}")
    return chosen


def _called(path: Path, layers: list[_Layer], asked: str) -> _Layer:
    """The layer of that name, whatever its case."""
    for same in (lambda a, b: a == b, lambda a, b: a.lower() == b.lower()):
        found = [layer for layer in layers if any(same(asked, name) for name in layer.called)]
        if len(found) == 1:
            return found[0]
        top = [layer for layer in found if same(asked, layer.called[0])]
        if len(top) == 1:
            return top[0]
    known = [layer.called[0] for layer in found or layers]
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    what = "names several" if found else "is not in it"
    raise ImageError(f"{path}: the layer '{printable(asked, 80)}' {what}; accepted are "
                     f"{printable(', '.join(known[:_LISTED]), 800)}{more}. Give one of them with --layer.")


def _alpha_of(layer: _Layer, spec: oiio.ImageSpec) -> int | None:
    """Number of the channel with the layer's alpha."""
    names = list(spec.channelnames)
    before = names[layer.channels[0]].rpartition(".")
    alpha = before[0] + before[1] + "A"
    return names.index(alpha) if alpha in names else None


def _layers(part: int, names: list[str], part_name: str | None, several: bool) -> list[_Layer]:
    """Every set of R, G, B among the channels of a part; Y where there is none at the top."""
    where = f"part '{part_name or part}'" if several else ""
    found = []
    for prefix in dict.fromkeys(n[:-1] for n in names if n == "R" or n.endswith(".R")):
        if prefix + "G" in names and prefix + "B" in names:
            layer = f"layer '{prefix[:-1]}'" if prefix else "" if several else "the top-level R, G, B"
            found.append(_Layer(part, " ".join(filter(None, [where, layer])),
                                tuple(names.index(prefix + c) for c in "RGB"),
                                _calls(part, prefix[:-1] or "RGB", part_name, several)))
    if "R" not in names and "Y" in names:
        found.insert(0, _Layer(part, where or "the top-level Y", (names.index("Y"),) * 3,
                               _calls(part, "Y", part_name, several)))
    return found


def _calls(part: int, layer: str, part_name: str | None, several: bool) -> tuple[str, ...]:
    """Names of a layer, the whole one first."""
    if not several:
        return (layer,)
    whole = part_name or str(part)
    return (whole, f"{whole}.{layer}") if layer in ("RGB", "Y") else (f"{whole}.{layer}", layer, whole)


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
    out = np.zeros((height, width, pixels.shape[2]), pixels.dtype)
    out[box[0]:box[1], box[2]:box[3]] = pixels[box[0] - top:box[1] - top, box[2] - left:box[3] - left]
    inside = (box[1] - box[0]) * (box[3] - box[2])
    if inside < spec.width * spec.height:
        notes.append(warn(f"overscan dropped: the data window has {spec.width}x{spec.height} pixels, the display "
                          f"window {width}x{height}"))
    if inside < width * height:
        notes.append(f"the data window fills {inside / (width * height):.1%} of the display window; the rest is black")
    return out
