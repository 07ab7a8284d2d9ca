"""Finished pictures as files in the depth and the colour space of the plate that they were made of.

Where nothing changed a pixel, its values are those of the plate's file, bit for bit.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import Image
from dipir.disk import atomic_path, write_bytes
from dipir.errors import ImageError
from dipir.image.color import srgb_to_linear
from dipir.image.files import HALF_MAX, write_exr, write_png
from dipir.image.formats.checks import writable
from dipir.image.formats.png import png_bytes
from dipir.image.formats.primaries import BT709_CHROMATICITIES, KNOWN_CHROMATICITIES
from dipir.image.formats.spaces import ColourSpace, PlateKind, as_values

_DPX_BITS = (8, 10, 12, 16)


@dataclass(frozen=True, eq=False)
class FinishedPicture:
    """A picture made of a plate, on the CPU."""

    lin: Image
    """(1, 3, H, W) linear BT.709, not clipped."""
    disp: Image
    """(1, 3, H, W) sRGB in [0, 1]."""
    changed: Tensor
    """(1, 1, H, W) bool: where it is not the plate."""


def write_display(path: Path, picture: FinishedPicture, kind: PlateKind) -> None:
    """A PNG in the plate's display-referred space, tagged, of 8 or 16 bits; sRGB where the plate has none. Raises
    ImageError."""
    space = kind.space_of("display")
    # A preview of linear light is one for the screen, unless a space was asked for.
    deep = kind.bits > 8 and (not kind.linear or space is not None)
    if space is None:
        return write_png(path, picture.disp, 16 if deep else 8)
    codes = _codes(picture, kind, space, 2**16 - 1 if deep else 255)
    return write_bytes(path, png_bytes(codes.astype(np.uint16 if deep else np.uint8), space.chunks))


def write_linear(path: Path, picture: FinishedPicture, kind: PlateKind) -> None:
    """An OpenEXR file of scene-linear light in the plate's space, with its chromaticities; linear BT.709 where the
    plate has none. Half floats where the plate has them and they suffice, else float. Raises ImageError."""
    space = kind.space_of("linear")
    values = _values(picture, kind, space)
    # Half floats would spoil what the file held otherwise.
    of_half = kind.linear and kind.bits == 16 and (kind.own is None or kind.own.codes is None
                                                   or kind.own.codes.dtype == np.float16)
    half = of_half and float(np.abs(values).max(initial=0)) <= HALF_MAX
    values = values.astype(np.float16 if half else np.float32)
    stated = BT709_CHROMATICITIES if space is None else space.chromaticities
    name = "linear BT.709" if space is None else f"scene-linear, colour space {space.name}"
    attributes: dict[str, object] = {"comments": f"{name}, 1.0 = plate white", "chromaticities": stated}
    known = next((k for k, v in KNOWN_CHROMATICITIES.items()
                  if stated is not None and np.allclose(v, stated, atol=1e-4)), None)
    if known is not None:
        attributes["colorInteropID"] = known
    write_exr(path, {c: values[..., k] for k, c in enumerate("RGB")}, attributes)


def write_log(path: Path, picture: FinishedPicture, kind: PlateKind) -> None:
    """A DPX file of the codes of the plate's logarithmic space, in its depth (8, 10, 12 or 16 bits). Raises
    ImageError; ValueError where there is no such space."""
    import OpenImageIO as oiio

    space = kind.space_of("log")
    if space is None:
        raise ValueError("no logarithmic space")
    bits = kind.bits if kind.bits in _DPX_BITS else 16
    codes = _codes(picture, kind, space, 2**bits - 1)
    if bits in (10, 12):  # OpenImageIO takes 16 bits: the upper ones repeated below, as it reads them.
        codes = codes << (16 - bits) | codes >> (2 * bits - 16)
    spec = oiio.ImageSpec(codes.shape[1], codes.shape[0], 3, "uint8" if bits == 8 else "uint16")
    spec.attribute("oiio:BitsPerSample", bits)
    spec.attribute("dpx:Transfer", "Logarithmic")
    spec.attribute("ImageDescription", space.name[:80])
    with atomic_path(path) as temporary, writable(temporary) as name:
        out = oiio.ImageOutput.create("dpx")
        done = out is not None and out.open(name, spec) and out.write_image(
            np.ascontiguousarray(codes.astype(np.uint8 if bits == 8 else np.uint16))) and out.close()
        if not done:
            raise ImageError(f"cannot write {path}: {out.geterror() if out is not None else oiio.geterror()}.")


def _own_codes(picture: FinishedPicture, kind: PlateKind, space: ColourSpace) -> np.ndarray | None:
    """The file's own values, where they are those of this picture and of this space."""
    own = kind.own
    if own is None or own.space is not space or own.codes is None or own.codes.shape[:2] != picture.lin.shape[2:]:
        return None
    return own.codes


def _codes(picture: FinishedPicture, kind: PlateKind, space: ColourSpace, top: int) -> np.ndarray:
    """(H, W, 3) uint16 codes from 0 to ``top``."""
    own = _own_codes(picture, kind, space)
    if own is None or own.dtype.kind != "u":
        return _rounded(_values(picture, kind, space), top)
    # Codes of fewer bits come from their reader spread over all of its type.
    most = np.iinfo(own.dtype).max
    codes = own.astype(np.uint16) if top == most else np.rint(own * (np.float32(top) / most)).astype(np.uint16)
    where = picture.changed[0, 0].numpy()
    codes[where] = _rounded(space.from_light(_light(picture)[where][None]), top)[0]
    return codes


def _values(picture: FinishedPicture, kind: PlateKind, space: ColourSpace | None) -> np.ndarray:
    """(H, W, 3) float32 of the space, linear BT.709 for None."""
    if space is None:
        return _light(picture)
    own = _own_codes(picture, kind, space)
    if own is None:
        return space.from_light(_light(picture))
    values, where = np.array(as_values(own)), picture.changed[0, 0].numpy()
    values[where] = space.from_light(_light(picture)[where][None])[0]
    return values


def _light(picture: FinishedPicture) -> np.ndarray:
    return np.ascontiguousarray(picture.lin[0].detach().permute(1, 2, 0).float().numpy())


def _rounded(values: np.ndarray, top: int) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1).astype(np.float64) * top).astype(np.uint16)


def write_edited(path: Path, made: Image, before: Image | None, kind: PlateKind) -> None:
    """As `write_display`, of a picture that was made of another in sRGB, (1, 3, H, W) in [0, 1] both; ``before`` : None
    = of none."""
    made = made.detach().cpu()
    if before is None or before.shape != made.shape:
        changed = torch.ones_like(made[:, :1], dtype=torch.bool)
    else:
        changed = (made != before.detach().cpu()).any(1, keepdim=True)
    write_display(path, FinishedPicture(srgb_to_linear(made), made, changed), kind)
