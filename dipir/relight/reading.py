"""Pictures and lights from files: what is display, linear, straight or premultiplied becomes one thing; a light comes
into the picture's frame."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipir.arrays import Image, Mask
from dipir.errors import ConfigError, ImageError
from dipir.event import Remark, warn
from dipir.image.color import linear_to_srgb
from dipir.image.cutout import read_alpha, read_mask, unpremultiplied
from dipir.image.files import read_envmap
from dipir.image.formats.checks import ALPHA_IGNORED
from dipir.insert.result import load_light
from dipir.priors.relit.whole_light import WholeLight
from dipir.relight.method import Picture
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap
from dipir.scene.plate import CLIPPED, PlateColours, read_plate
from dipir.scene.rig import Rig
from dipir.settings.yaml import load_yaml

_CODE = 1 / 255
_FEW = 50
_NEARLY_ALL = 0.99
_GLOW = 0.01
_OPAQUE = "--premultiplied was given, but it has no alpha that is read: taken as it is"


def read_picture(image: Path, mask: Path | None = None, premultiplied: bool = False,
                 colours: PlateColours = PlateColours()) -> Picture:
    """The picture, its alpha if it is a cut-out, and the mask. Linear files (EXR, HDR) are encoded as sRGB and clipped.
    Colours of an EXR with alpha are premultiplied, as that format has it; those of a PNG are straight unless
    ``premultiplied``, which is then in encoded values. ImageError for what cannot be read or used, ConfigError for a
    colour space that cannot."""
    plate = read_plate(image, colours, shown=True)
    limits = None if mask is None else read_mask(mask, plate.size)
    linear, alpha = plate.kind.linear, read_alpha(image, colours.layer)
    if alpha is None:
        notes = [*plate.notes, warn(_OPAQUE)] if premultiplied else plate.notes
        return Picture(plate.disp, limits, None, image.stem, _about(image, notes), plate.kind)
    if not bool(alpha.any()):
        raise ImageError(f"{image}: its alpha is 0 everywhere, nothing of it would be seen; accepted is a cut-out with "
                         "something in it, or a picture without alpha. Save it again without alpha.")
    # As a plate its alpha would be ignored, and light under an alpha of 0 counted.
    notes = [note for note in plate.notes if note not in (ALPHA_IGNORED, CLIPPED)]
    pixels = plate.lin if linear else plate.disp
    if linear or premultiplied:
        notes += _about_premultiplied(pixels, alpha, linear)
        pixels = unpremultiplied(pixels, alpha)
    else:
        notes.append(_about_straight(pixels, alpha))
    if linear:
        notes += [warn(CLIPPED)] if bool((((pixels < 0) | (pixels > 1)) & (alpha > 0)).any()) else []
        pixels = linear_to_srgb(pixels.clamp(0, 1))
    return Picture(pixels.clamp(0, 1), limits, alpha, image.stem, _about(image, notes), plate.kind)


def _about(image: Path, notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(Remark.about(image.name, note) for note in notes)


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


# ---- lights ----------------------------------------------------------------------------------------------------------

def read_light(path: Path) -> WholeLight:
    """The light of a result's folder, of a ``light.json``, or of a latlong .exr or .hdr, in the frame of a picture that
    looks where the result's camera looks; without a ``result.json`` beside it, along +Z, the middle of a map. How
    bright it is does not count. ConfigError for what holds no light, ImageError for a map that cannot be read."""
    suffix = path.suffix.lower()
    folder = path if path.is_dir() else path.parent
    if path.is_dir() or suffix == ".json":
        try:
            rig = load_light(path)
        except ConfigError as problem:
            raise ConfigError(Remark.about(str(path), str(problem))) from problem
    elif suffix in (".exr", ".hdr"):
        rig = Rig(EnvironmentMap(read_envmap(path)))
    else:
        raise ConfigError(f"{path}: no light; accepted are light.json, the folder of a result of `dipir insert`, "
                          "`light` or `render`, and a latlong .exr or .hdr.")
    return WholeLight.of(rig, path.name or str(path), _yaw_deg(folder / "result.json"))


def _yaw_deg(result: Path) -> float:
    """Where the camera of a result looks; 0 where there is none."""
    camera = load_yaml(result).get("camera") if result.is_file() else None
    if camera is None:
        return 0.0
    try:
        return Camera.from_dict(camera).angles_deg[2]
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise ConfigError(f"{result}: its camera cannot be read ({problem}), so nobody knows where the light's "
                          "directions are in the picture. Make the result again, or copy light.json elsewhere: then "
                          "its camera is taken to look along +Z.") from problem
