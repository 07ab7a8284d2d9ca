"""Where an asset may stand in a photo, and how large: the first placement of ``dipir init``."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dipir.errors import SceneError
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.proxy import contact_point, place

WANTED_SHARE = 0.3                # A first placement shows the object at about this share of the picture's height.
SHARES = (0.02, 0.75)             # A guessed size is shown within these; a size that the file states, wherever it fits.
PLAUSIBLE_M = (0.02, 2.5)         # Sizes of files that state no unit; outside they are mostly in other units.
PLAUSIBLE_GLTF_M = (0.01, 10.0)   # Sizes of glTF, which is in metres by its specification.
USUAL_M = (0.05, 2.5)             # A glTF of implausible size is taken for one in cm or mm where that makes it usual.
TYPICAL_M = 1.0                   # Size where only far ground is seen, and a fitted size would make a giant.
FLAT = 0.02                       # What is lower than this share of its width is sized by a scale, not by its height.
IN_METRES = (".glb", ".gltf")


@dataclass(frozen=True)
class PlacementOptions:
    """What is known of the placement; what is None is suggested."""

    at: tuple[float, float] | None = None  # plate pixel of the contact point
    height_m: float | None = None  # of the object, metres, > 0
    scale: float | None = None  # or a factor on the asset's own size, > 0
    yaw_deg: float = 0.0  # about the vertical; 0: its front (+Z) looks at the camera


@dataclass(frozen=True)
class Placement:
    """Where an object stands and how large it is; one of ``height_m`` and ``scale``."""

    at: tuple[float, float]  # plate pixel of the contact point
    height_m: float | None
    scale: float | None
    yaw_deg: float
    note: str  # where the size is from, for people


@dataclass(frozen=True)
class _Choice:
    """A size in a row of the picture."""

    at: tuple[float, float]
    factor: float  # on the asset's own size
    origin: str  # "given", "file", "unit" or "fitted"
    share: float  # of the picture's height that the object takes

    def rank(self, row: int) -> tuple[int, int, int]:
        """Best first: known sizes, then the row that shows it best (in steps, so that the rounding of a fitted size
        does not decide), then the row three quarters down."""
        misfit = round(3 * abs(math.log(self.share / WANTED_SHARE)))
        return ("given", "file", "unit", "fitted").index(self.origin), misfit, abs(row - 1)


def suggest_placement(asset: Asset, camera: Camera, options: PlacementOptions = PlacementOptions()) -> Placement:
    """A placement on visible ground near the middle, or at the given pixel: at the given size, else at the file's own
    when that is plausible and can be seen, else at one that shows the object well.

    Raises :class:`SceneError` when the picture shows no ground or the asset fits nowhere.
    """
    places = _rows(camera) if options.at is None else [options.at]
    size = _size(asset)
    ranked: list[tuple[tuple[int, int, int], _Choice]] = []
    for row, at in enumerate(places):
        fitted = WANTED_SHARE * camera.height / pixels_per_metre(camera, at) / size
        for origin, factor in _factors(asset, size, fitted, options):
            choice = _Choice(at, factor, origin, factor / fitted * WANTED_SHARE)
            stated = options.at is not None or origin == "given" or origin == "file" and _in_metres(asset)
            if (stated or SHARES[0] <= choice.share <= SHARES[1]) and _fits(asset, camera, at, factor):
                ranked.append((choice.rank(row), choice))
    if not ranked:
        raise _nowhere(asset, camera, options)
    chosen = min(ranked, key=lambda pair: pair[0])[1]
    by_scale = _is_flat(asset) or options.scale is not None
    height = None if by_scale else float(f"{chosen.factor * _height(asset):.4g}")
    return Placement(chosen.at, height, float(f"{chosen.factor:.4g}") if by_scale else None, options.yaw_deg,
                     _remark(asset, chosen))


def pixels_per_metre(camera: Camera, at_px: tuple[float, float]) -> float:
    """Image size, pixels, of one metre at the ground point under ``at_px``, across the view axis."""
    _, depth = camera.project(contact_point(camera, at_px))
    return camera.focal_px / float(depth)


def _rows(camera: Camera) -> list[tuple[int, int]]:
    """Pixels on the ground in the middle column, the nearest first."""
    x = camera.width // 2
    horizon = camera.horizon_y(x)
    top = max(0.0, horizon) if math.isfinite(horizon) else 0.0
    if top > 0.97 * camera.height or camera.position[1] <= 0:
        raise SceneError(f"the picture shows no ground: the horizon is taken to lie at y = {horizon:.0f} of "
                         f"{camera.height} pixels. Correct the camera with --pitch (> 0 looks down) or --fov.")
    return [(x, int(top + (camera.height - top) * share)) for share in (0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25)]


# ---- sizes -----------------------------------------------------------------------------------------------------------

def _height(asset: Asset) -> float:
    return float(asset.bounds[1, 1] - asset.bounds[0, 1])


def _size(asset: Asset) -> float:
    """What is seen of the asset, metres: its height, or half its width where that is more (a rug has no height)."""
    width, height, depth = np.ptp(asset.bounds, axis=0)
    return float(max(height, 0.5 * max(width, depth)))


def _is_flat(asset: Asset) -> bool:
    return _height(asset) < FLAT * 2 * _size(asset)


def _in_metres(asset: Asset) -> bool:
    return asset.path is not None and asset.path.suffix.lower() in IN_METRES


def _factors(asset: Asset, size: float, fitted: float, options: PlacementOptions) -> list[tuple[str, float]]:
    """(origin, factor on the asset's own size) of every size that may be tried where ``fitted`` shows it well."""
    if options.scale is not None:
        return [("given", options.scale)]
    if options.height_m is not None:
        if _height(asset) <= 1e-6 * size:
            raise SceneError(f"the asset is flat, so no height of {options.height_m:g} m can be given to it; give "
                             "--scale, a factor on its own size.")
        return [("given", options.height_m / _height(asset))]
    low, high = PLAUSIBLE_GLTF_M if _in_metres(asset) else PLAUSIBLE_M
    found = [("file", 1.0)] if low <= size <= high else []
    if _in_metres(asset) and not found:
        found += [("unit", unit) for unit in (0.01, 0.001) if USUAL_M[0] <= unit * size <= USUAL_M[1]][:1]
    # Two digits, of the height where it has one, are enough for a guess.
    guess = fitted * size if fitted * size <= PLAUSIBLE_M[1] else TYPICAL_M
    unit = 1.0 if _is_flat(asset) else _height(asset)
    return [*found, ("fitted", float(f"{guess / size * unit:.2g}") / unit)]


def _fits(asset: Asset, camera: Camera, at_px: tuple[float, float], factor: float) -> bool:
    try:
        place(asset, camera, at_px, scale=factor)
    except SceneError:
        return False
    return True


def _nowhere(asset: Asset, camera: Camera, options: PlacementOptions) -> SceneError:
    """Why nothing was found: what the placement itself says where it was given."""
    if options.at is not None:
        try:
            place(asset, camera, options.at, height_m=options.height_m, scale=options.scale)
        except SceneError as problem:
            return problem
    given = " of that size" if options.height_m or options.scale else ""
    return SceneError(f"no place was found where an object{given} is well seen; give --at X,Y on the ground and "
                      "--height M, or correct the camera with --pitch, --fov and --camera-height.")


# ---- what is said ----------------------------------------------------------------------------------------------------

def _remark(asset: Asset, chosen: _Choice) -> str:
    """Where the size is from, and what to do when it looks wrong."""
    flat = _is_flat(asset)
    own, now = ((2 if flat else 1) * f * (_size(asset) if flat else _height(asset)) for f in (1.0, chosen.factor))
    what = "width" if flat else "height"
    if chosen.origin == "given":
        return f"The object's {what} is {now:.3g} m, as given." + _looks(chosen)
    if chosen.origin == "file":
        why = "glTF is in metres" if _in_metres(asset) else f"{_kind(asset)} states no unit: see above"
        return f"The object keeps the {what} of its file, {now:.3g} m ({why}).{_looks(chosen)}"
    low, high = PLAUSIBLE_GLTF_M if _in_metres(asset) else PLAUSIBLE_M
    why = "cannot be seen here" if low <= _size(asset) <= high else "is not plausible"
    text = f"The object's {what}, {now:.3g} m, is a guess: the file's own, {own:.3g} m, {why}"
    if chosen.origin == "unit":
        text += f"; glTF is in metres, this file seems to be in {'centi' if chosen.factor == 0.01 else 'milli'}metres"
    change = "" if flat else "--height M changes it, "
    return f"{text}. {change}--scale 1 keeps the file's."


def _looks(chosen: _Choice) -> str:
    if chosen.share < 0.1:
        return " It looks small: is the camera nearer to the ground (--camera-height)?"
    if chosen.share > SHARES[1]:
        return " It is too large for the picture: is the camera higher (--camera-height), or the object smaller?"
    return ""


def _kind(asset: Asset) -> str:
    return asset.path.suffix[1:].upper() if asset.path is not None else "the file"
