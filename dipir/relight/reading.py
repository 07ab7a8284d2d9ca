"""Pictures to relight from files: what is display, linear, straight or premultiplied becomes one thing."""
from __future__ import annotations

from pathlib import Path

import torch

from dipir.arrays import Image, Mask
from dipir.errors import ImageError
from dipir.event import Remark, warn
from dipir.image.color import linear_to_srgb
from dipir.image.cutout import read_alpha, read_mask, unpremultiplied
from dipir.image.files import read_image
from dipir.image.formats.checks import ALPHA_IGNORED
from dipir.relight.method import Picture

_CODE = 1 / 255
_FEW = 50
_NEARLY_ALL = 0.99
_GLOW = 0.01


def read_picture(image: Path, mask: Path | None = None, premultiplied: bool = False) -> Picture:
    """The picture, its alpha if it is a cut-out, and the mask. Linear files (EXR, HDR) are encoded as sRGB and clipped.
    Colours of an EXR with alpha are premultiplied, as that format has it; those of a PNG are straight unless
    ``premultiplied``, which is then in encoded values. ImageError for what cannot be read or used."""
    pixels, state, info = read_image(image)
    limits = None if mask is None else read_mask(mask, (info.width, info.height))
    linear, alpha = state == "linear", read_alpha(image)
    # As a plate its alpha would be ignored; as a cut-out it is read by itself.
    notes = [note for note in info.notes if alpha is None or note != ALPHA_IGNORED]
    if alpha is not None and not bool(alpha.any()):
        raise ImageError(f"{image}: its alpha is 0 everywhere, nothing of it would be seen; accepted is a cut-out with "
                         "something in it, or a picture without alpha. Save it again without alpha.")
    if alpha is not None and (linear or premultiplied):
        notes += _about_premultiplied(pixels, alpha, linear)
        pixels = unpremultiplied(pixels, alpha)
    elif alpha is not None:
        notes.append(_about_straight(pixels, alpha))
    elif premultiplied:
        notes.append(warn("--premultiplied was given, but it has no alpha that is read: taken as it is"))
    if linear:
        seen = torch.ones_like(pixels[:, :1]) if alpha is None else alpha
        share = float(((pixels.amax(1, keepdim=True) > 1) & (seen > 0)).float().mean())
        notes += [warn(f"{share:.1%} of it is brighter than 1 and clipped there")] if share > 0 else []
        pixels = linear_to_srgb(pixels.clamp(0, 1))
    return Picture(pixels.clamp(0, 1), limits, alpha, image.stem, tuple(Remark.about(image.name, n) for n in notes))


def _about_premultiplied(pixels: Image, alpha: Mask, linear: bool) -> list[str]:
    """What there is to say of colours that are divided by alpha."""
    form = "premultiplied as EXR files are" if linear else "premultiplied"
    notes = [f"a cut-out, {form}: its colours are divided by alpha"]
    brightest = pixels.amax(1, keepdim=True)
    glow = int(((alpha == 0) & (brightest > _GLOW)).sum())
    if glow:
        notes.append(warn(f"{glow} pixels have colour where alpha is 0 (glow, or it is not premultiplied): left out"))
    over = (alpha > 0) & (alpha < 1) & (brightest > alpha + 1.5 * _CODE)
    if not linear and bool(over.any()):
        notes.append(warn(f"{int(over.sum())} pixels along its edge are brighter than its alpha allows and clipped; if "
                          "its colours are straight, leave --premultiplied out"))
    return notes


def _about_straight(pixels: Image, alpha: Mask) -> str:
    edge = (alpha > 0.02) & (alpha < 0.98)
    brightest = pixels.amax(1, keepdim=True)
    within = (brightest <= alpha + 1.5 * _CODE)[edge].float()
    black = bool((brightest[alpha == 0] == 0).all())
    if len(within) > _FEW and black and float(within.mean()) > _NEARLY_ALL:
        return ("a cut-out, taken as straight (not premultiplied), but no pixel along its edge is brighter than its "
                "alpha: if a dark edge is left, give --premultiplied")
    return "a cut-out with straight alpha: its colours are taken as they are"
