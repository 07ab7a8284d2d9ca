"""The plate: a photo with both of its colour states known."""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from dipir.arrays import Image
from dipir.errors import ImageError
from dipir.event import warn
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.formats.spaces import ColourSpace, PlateKind

if TYPE_CHECKING:
    from dipir.scene.photo_camera.lens import Lens

_SEAM = 2.5
_PANORAMA = ("2:1, and its sides join: it looks like a panorama (latlong), which is no view of a camera. As a light "
             "probe give it to --light, and an ordinary photo of the place as the plate")
CLIPPED = "light above 1 and colours outside of sRGB are clipped: only what a screen shows is used"
"""The remark of :func:`read_plate` where that is so."""


@dataclass(frozen=True)
class PlateColours:
    """What a person says of the colours of a plate's file and of pictures made of it. None = as the file says."""

    colourspace: str | None = None
    """The file's: a name, alias or role of the OpenColorIO config."""
    layer: str | None = None
    """Of an OpenEXR file: layer, part, or PART.LAYER."""
    ocio: str | None = None
    """The config: a file, or ocio:// and the name of a built-in one; None = the variable OCIO, else a built-in one."""
    output_colourspace: str | None = None
    """Of what is written; None = the file's own."""


@dataclass(frozen=True)
class Original:
    """The photo as its lens drew it, of which a plate is the straight picture."""

    disp: Image  # as those of a plate
    lin: Image
    lens: Lens
    kind: PlateKind = PlateKind()  # of its file, whose own values are those of this picture


@dataclass(frozen=True)
class Plate:
    """A photo, read once."""

    disp: Image  # (1, 3, H, W) float32, display-referred sRGB in [0, 1]
    lin: Image  # (1, 3, H, W) float32, linear light; beyond [0, 1] for scene-linear files (EXR, HDR) and wide colours
    path: Path | None = None  # file it came from, or None
    fov_x_deg: float | None = None  # horizontal field of view from EXIF, degrees, or None
    notes: tuple[str, ...] = ()  # remarks for the user (alpha ignored, orientation applied, ...)
    kind: PlateKind = PlateKind()
    original: Original | None = None  # None: no lens was taken out

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.disp.shape[-1], self.disp.shape[-2]

    def resized(self, width: int, height: int) -> Plate:
        """Both states filtered to another size in pixels, each in its own encoding."""
        if self.size == (width, height):
            return self
        disp, lin = (functional.interpolate(x, (height, width), mode="bilinear", antialias=True)
                     for x in (self.disp, self.lin))
        return replace(self, disp=disp, lin=lin, kind=self.kind.scaled())


def read_plate(path: str | Path, colours: PlateColours = PlateColours(), shown: bool = False) -> Plate:
    """The plate in an image file (docs/plates.md), both colour states known.

    Display files (PNG, JPEG, ...) are decoded to linear light, where colours outside of sRGB are kept; linear files
    (EXR, HDR, ...) keep their values above 1 in ``lin``. Both are clipped to [0, 1] and encoded for ``disp``.
    shown : whether only ``disp`` will be used, as a picture, not as a view of a camera; what was clipped is lost then
    Raises :class:`ImageError` that names the file, ConfigError for a colour space or a config that cannot be used.
    """
    # Imported here: the readers bring OpenEXR and Pillow along, and most users of a Plate do not read one.
    from dipir.image.files import read_image
    from dipir.image.formats.checks import AskedOf, kept_wide

    space, output = _spaces(colours)
    pixels, state, info = read_image(path, asked=AskedOf(space, colours.layer))
    own, notes = info.own, list(info.notes)
    lin = srgb_to_linear(pixels) if state == "display" else pixels
    disp = pixels if state == "display" else linear_to_srgb(pixels.clamp(0, 1))
    if own is not None and own.light is not None:
        lin = torch.from_numpy(own.light.transpose(2, 0, 1).copy())[None]
        lost = shown or output is not None and output.kind == "display"
        notes = notes if lost else kept_wide(notes, own.wide)
        own = replace(own, light=None)
    if own is not None and own.space.from_light is None:
        notes.append(warn(f"the colour space {own.space.name} has no way back: pictures are written as sRGB or linear "
                          "BT.709 instead (--output-colourspace names another one)"))
    if shown and state == "linear" and bool(((pixels < 0) | (pixels > 1)).any()):
        notes.append(warn(CLIPPED))
    if not shown and info.fov_x_deg is None and _is_panorama(disp):
        notes.append(warn(_PANORAMA))
    # Its own values are given back where its own space is asked for.
    if output is not None and own is not None and own.space.same_as(output):
        output = own.space
    kind = PlateKind(info.bits, state == "linear", own, output)
    return Plate(disp, lin, Path(path), info.fov_x_deg, tuple(notes), kind)


def _spaces(colours: PlateColours) -> tuple[ColourSpace | None, ColourSpace | None]:
    """The spaces that are named for the file and for what is written."""
    if colours.colourspace is None and colours.output_colourspace is None:
        return None, None
    # Imported here: a plate whose file says what it is needs no OpenColorIO.
    from dipir.image.formats.ocio import find_space

    names = ((colours.colourspace, False), (colours.output_colourspace, True))
    space, output = (None if name is None else find_space(name, colours.ocio, output=back) for name, back in names)
    return space, output


def _is_panorama(disp: Image) -> bool:
    """Whether a picture twice as wide as high goes on from its right side to its left, as a latlong map does."""
    height, width = disp.shape[-2:]
    if width != 2 * height or width < 16:
        return False
    steps = (disp - disp.roll(1, 3)).abs().mean((0, 1, 2))  # Between a column and the one before it.
    usual = float(steps[1:].median())
    # Of a photo, the two sides differ by far more than neighbours do.
    return usual > 0 and float(steps[0]) < _SEAM * usual


def plate_from_tensor(disp: Image, path: Path | None = None, fov_x_deg: float | None = None) -> Plate:
    """A plate of display-referred pixels (1, 3, H, W) in [0, 1]. Raises :class:`ImageError` for any other."""
    if disp.ndim != 4 or disp.shape[:2] != (1, 3) or 0 in disp.shape:
        raise ImageError(f"a plate has the shape (1, 3, height, width), got {tuple(disp.shape)}.")
    if not torch.isfinite(disp).all() or disp.min() < 0 or disp.max() > 1:
        raise ImageError(f"a display-referred plate lies in [0, 1], got {float(disp.min()):g} to "
                         f"{float(disp.max()):g}; linear light must be encoded first.")
    disp = disp.float()
    return Plate(disp, srgb_to_linear(disp), path, fov_x_deg)
