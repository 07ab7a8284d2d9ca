"""The camera of a photo: given, read from a file, or estimated from EXIF and straight lines, with a confidence."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dipir.errors import SceneError, nearest
from dipir.event import warn
from dipir.scene.assets.asset import UP_AXES
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.files import read_camera, with_numbers
from dipir.scene.photo_camera.lens import out_of_reach, straightened
from dipir.scene.photo_camera.vanishing import Fit, Lines, Prior, find_segments, fit_frame
from dipir.scene.plate import Plate

DEFAULT_HEIGHT_M = 1.6    # Eye height. No line in a photo tells it: it sets the scale of the scene.
DEFAULT_FOV_DEG = 60.0
DEFAULT_PITCH_DEG = 12.0  # A photo taken for an insertion shows ground: tilted down a little.
FEWEST_LINES = 12
LEAST_EXPLAINED = 0.4     # Share of the lines that lead to the vanishing points; below they say nothing.


@dataclass(frozen=True)
class CameraOptions:
    """What is known of the camera; what is None is taken from ``file``, else from EXIF, else estimated."""

    fov_deg: float | None = None  # horizontal field of view
    pitch_deg: float | None = None  # > 0 looks down
    roll_deg: float | None = None  # > 0 turns the camera clockwise
    height_m: float | None = None  # lens above the ground, metres (1.6 when nothing says otherwise)
    file: Path | None = None  # camera YAML, JSON or fSpy project
    up: str | None = None  # axis of an fSpy file that points up, None = z
    redistort: bool = False  # pictures and layers with the file's lens put back

    def __post_init__(self) -> None:
        ranges = {"fov_deg": (5, 170), "pitch_deg": (-89, 89), "roll_deg": (-90, 90), "height_m": (0.005, 10000)}
        bad = [f"{name} must lie in {low} to {high}, got {getattr(self, name):g}."
               for name, (low, high) in ranges.items()
               if getattr(self, name) is not None and not low <= getattr(self, name) <= high]
        if self.up is not None and self.up not in UP_AXES:
            bad.append(f"up '{self.up}' is unknown; accepted are {', '.join(UP_AXES)}.{nearest(self.up, UP_AXES)}")
        bad += [f"{name} says something of a camera file, and none is given: give file." for name in ("up", "redistort")
                if getattr(self, name) and self.file is None]
        if bad:
            raise ValueError(" ".join(bad))


@dataclass(frozen=True)
class CameraEstimate:
    """A camera and how far to trust it."""

    camera: Camera
    confidence: float  # [0, 1], 1 = given by the user
    source: str  # where each number is from, for people
    horizon: tuple[float, float]  # image height of the horizon at the left and the right edge, pixels (may lie outside)
    heading_deg: float = 0.0  # heading of the buildings' axes against the camera's, (-45, 45], for the grid
    notes: tuple[str, ...] = ()  # remarks


def resolve_camera(plate: Plate, options: CameraOptions = CameraOptions()) -> CameraEstimate:
    """The camera of ``plate`` under ``options``: every number given there is kept, the rest comes from the camera file
    or the estimate. Raises ``SceneError`` or ``ConfigError`` for a bad camera file, and for one with a lens: for those
    there is :func:`see`."""
    seen, estimate = see(plate, options)
    if seen is not plate:
        raise SceneError(f"{options.file}: has a lens ({seen.original.lens.model}), and the photo is not made straight "
                         "here. Use `dipir insert`, or straighten the photo first and leave lens and distortion out.")
    return estimate


def see(plate: Plate, options: CameraOptions = CameraOptions()) -> tuple[Plate, CameraEstimate]:
    """The plate as its camera sees it, and that camera: :func:`resolve_camera`, and where the camera file has a lens
    the plate made straight."""
    if options.file is None:
        return plate, estimate_camera(plate, options)
    given = read_camera(options.file, plate.size, options.up)
    if given.lens is not None and options.fov_deg is not None:
        raise SceneError(f"{options.file}: its lens says what the photo shows, so a field of view cannot be given as "
                         "well. Leave one of them out.")
    if given.lens is None and options.redistort:
        raise SceneError(f"{options.file}: has no lens, so that redistort has nothing to put back; give lens and "
                         "distortion there, or leave redistort (--redistort) out.")
    height = options.height_m if given.scaled or options.height_m is not None else DEFAULT_HEIGHT_M
    camera = with_numbers(given.camera, fov_deg=options.fov_deg, pitch_deg=options.pitch_deg,
                          roll_deg=options.roll_deg, height_m=height)
    said = [n for n in ("fov_deg", "pitch_deg", "roll_deg", "height_m") if getattr(options, n) is not None]
    source = f"file {options.file}" + (f", but {', '.join(said)} as given" if said else "")
    notes = given.notes if given.scaled or options.height_m is not None else (*given.notes, _height_note(height))
    if given.lens is not None:
        plate = straightened(plate, given.lens, camera)
        far = out_of_reach(given.lens, camera) if options.redistort else 0.0
        if far > 1e-4:
            plate = replace(plate, notes=(*plate.notes, warn(f"{max(far, 1e-3):.1%} of the photo is too far outside "
                                                             "the straight picture: nothing is drawn there")))
    return plate, _estimate(camera, 1.0, source, notes)


def estimate_camera(plate: Plate, options: CameraOptions = CameraOptions(), seed: int = 0) -> CameraEstimate:
    """The camera of ``plate`` from its lines; numbers given in ``options`` and the EXIF field of view are held fixed.

    With too few lines, or lines that explain nothing, it falls back to the given numbers, EXIF and plain guesses
    (60 degrees wide, 12 degrees down, level) at a confidence of 0.1.
    """
    if plate.size[0] < 16 or plate.size[1] < 16:
        raise SceneError(f"{plate.path or 'plate'}: {plate.size[0]} x {plate.size[1]} pixels are too few to insert "
                         "anything; 16 x 16 is the least.")
    fov, origin = _known_fov(plate, options)
    known = (fov, options.pitch_deg, options.roll_deg)
    if None not in known:
        return _build(plate, options, known, 1.0 if origin == "given" else 0.9, f"fov {origin}, pitch and roll given")
    lines = find_segments(_gray(plate), (plate.size[0] / 2, plate.size[1] / 2))
    if len(lines.length) < FEWEST_LINES:
        return _fallback(plate, options, f"only {len(lines.length)} straight lines were found")
    fit = fit_frame(lines, _prior(known), plate.size[0] / 2, seed)
    if fit.shares.sum() < LEAST_EXPLAINED:
        return _fallback(plate, options, "the straight lines share no clear vanishing points")
    return _from_fit(plate, options, fit, lines, max(0.15, _confidence(fit, fov is None)))


def grid_heading_deg(plate: Plate, estimate: CameraEstimate, seed: int = 0) -> float:
    """Heading of the buildings' axes against the camera's, (-45, 45], also where every number of the camera was given
    and nothing else had to be estimated; 0 where the plate's lines say nothing."""
    if estimate.heading_deg:
        return estimate.heading_deg
    camera = estimate.camera
    lines = find_segments(_gray(plate), (camera.cx, camera.cy))
    pitch, roll, _ = camera.angles_deg
    if len(lines.length) < FEWEST_LINES or abs(pitch) > 75 or abs(roll) > 45:
        return 0.0
    fit = fit_frame(lines, _prior((camera.fov_x_deg, pitch, roll)), plate.size[0] / 2, seed)
    return fit.heading_deg if fit.shares.sum() >= LEAST_EXPLAINED else 0.0


def _known_fov(plate: Plate, options: CameraOptions) -> tuple[float | None, str]:
    if options.fov_deg is not None:
        return options.fov_deg, "given"
    # Some phones write nonsense; a lens outside this range is not believed.
    if plate.fov_x_deg is not None and 5 <= plate.fov_x_deg <= 150:
        return plate.fov_x_deg, "from EXIF"
    return None, "estimated"


def _prior(known: tuple[float | None, float | None, float | None]) -> Prior:
    free, (fov, pitch, roll) = Prior(), known
    return Prior(free.fov if fov is None else (fov, 0.0), free.pitch if pitch is None else (pitch, 0.0),
                 free.roll if roll is None else (roll, 0.0))


def _confidence(fit: Fit, fov_unknown: bool) -> float:
    """[0, 1]: high when the posterior of pitch (and of the field of view, when that was unknown) is narrow, and when
    many of the lines are explained, in more than one direction."""
    sharp = math.exp(-(fit.spread[1] / 4.0) ** 2 - (fit.spread[2] / 4.0) ** 2)
    if fov_unknown:
        sharp *= math.exp(-(fit.spread[0] / 0.28) ** 2)
    explained = min(1.0, fit.shares.sum() / 0.6)
    families = min(1.0, np.sort(fit.shares)[1] / 0.15)
    many = 1 - math.exp(-fit.count / 40)
    return float(min(0.95, sharp * explained * (0.4 + 0.6 * families) * many))


def _from_fit(plate: Plate, options: CameraOptions, fit: Fit, lines: Lines, confidence: float) -> CameraEstimate:
    fov, origin = _known_fov(plate, options)
    if fov is None:
        fov = math.degrees(2 * math.atan(plate.size[0] / 2 / fit.focal_px))
        origin = f"estimated +- {100 * fit.spread[0]:.0f} %"
    pitch = "given" if options.pitch_deg is not None else f"estimated +- {fit.spread[1]:.1f}"
    roll = "given" if options.roll_deg is not None else f"estimated +- {fit.spread[2]:.1f}"
    shares = fit.shares.sum()
    source = f"fov {origin}, pitch {pitch}, roll {roll} from {len(lines.length)} lines ({shares:.0%} explained)"
    built = _build(plate, options, (fov, fit.pitch_deg, fit.roll_deg), confidence, source)
    doubt = () if confidence >= 0.5 else (
        f"The camera estimate is uncertain (confidence {confidence:.2f}): look at the grid picture and give --pitch "
        "and --fov where it is wrong.",)
    return replace(built, heading_deg=fit.heading_deg, notes=(*doubt, *built.notes))


def _fallback(plate: Plate, options: CameraOptions, reason: str) -> CameraEstimate:
    fov, origin = _known_fov(plate, options)
    pitch = DEFAULT_PITCH_DEG if options.pitch_deg is None else options.pitch_deg
    guess = (DEFAULT_FOV_DEG if fov is None else fov, pitch, options.roll_deg or 0.0)
    note = (f"The camera could not be estimated: {reason}. Pitch {guess[1]:g} and field of view {guess[0]:g} degrees "
            "were used; look at the grid picture and give --pitch and --fov.")
    source = (f"fov {origin if fov is not None else 'guessed'}, "
              f"pitch {'guessed' if options.pitch_deg is None else 'given'}")
    built = _build(plate, options, guess, 0.1, source)
    return replace(built, notes=(note, *built.notes))


def _build(plate: Plate, options: CameraOptions, numbers: tuple[float, float, float], confidence: float,
           source: str) -> CameraEstimate:
    fov, pitch, roll = numbers
    height = DEFAULT_HEIGHT_M if options.height_m is None else options.height_m
    camera = Camera.looking(*plate.size, fov, height, pitch, roll)
    return _estimate(camera, confidence, source, () if options.height_m is not None else (_height_note(height),))


def _height_note(height: float) -> str:
    return (f"The camera is taken to be {height:g} m above the ground, which sets the scale of the scene; give "
            "--camera-height for a table or a view from above.")


def _estimate(camera: Camera, confidence: float, source: str, notes: tuple[str, ...] = ()) -> CameraEstimate:
    return CameraEstimate(camera, confidence, source, (camera.horizon_y(0.0), camera.horizon_y(float(camera.width))),
                          notes=notes)


def _gray(plate: Plate) -> np.ndarray:
    rgb = (plate.disp[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
