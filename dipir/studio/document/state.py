"""What a person has made in the studio, as plain values; and the checks of what a page sends."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dipir.errors import ConfigError
from dipir.scene.plate import PlateColours

AMBIENT = "ambient"
"""What is held beside lamps."""


# ---- the values ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class CameraNumbers:
    """The four numbers of a camera that a person sets."""

    fov_deg: float
    """Horizontal field of view, [5, 170]."""
    pitch_deg: float
    """> 0 looks down, [-89, 89]."""
    roll_deg: float
    """> 0 turns the camera clockwise, [-90, 90]."""
    height_m: float
    """Of the lens above the ground, [0.005, 10000]."""


@dataclass(frozen=True)
class Item:
    """One object."""

    id: str
    asset: str
    """Id of its file."""
    name: str
    at: tuple[float, float]
    """Plate pixel of the contact point."""
    height_m: float | None = None
    """Metres; None = by ``scale``."""
    scale: float | None = None
    """Factor on the file's own size."""
    yaw_deg: float = 0.0
    material: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Part or "*" -> what is changed of its material."""
    unit: str | None = None
    """Of its file, as a scene file states it; None = as the file says, or guessed."""
    up: str | None = None
    """The file's axis that points up, as ``unit``."""
    texture_colourspace: str | None = None
    """Of its textures of colour; None = sRGB."""


@dataclass(frozen=True)
class LampNumbers:
    """One lamp."""

    name: str
    azimuth_deg: float
    """(-180, 180]; 0 = from the camera, 90 = from the picture's right."""
    elevation_deg: float
    """[-90, 90]."""
    size_deg: float
    """Diameter, (0, 120]."""
    share: float
    """Of the ground's light, [0, 0.98], before the ambient light is changed."""
    warmth: float = 0.0
    """[-1, 1]; 0 = the colour that its base light gives it, > 0 warmer."""
    held: bool = False
    """Whether a fit leaves it as it is."""


@dataclass(frozen=True)
class LightNumbers:
    """A light: the base that it began with, and what was changed since."""

    base: str
    """What people call the base: prior, guess N, result, hdri NAME, fit N, ambient."""
    base_id: str
    """Names the base's files."""
    guess: int = 0
    rotate_deg: float = 0.0
    """Of what is around the lamps, (-180, 180]; the lamps' azimuths have it in them."""
    ambient_stops: float = 0.0
    exposure_stops: float = 0.0
    """[-20, 20]."""
    contrast: float = 0.0
    """Of the object's tone curve, [-1, 1]."""
    lamps: tuple[LampNumbers, ...] = ()
    held: tuple[str, ...] = ()
    """Beside lamps: "ambient", when a fit leaves it as it is."""
    decided: str = ""
    """What the plate said, in words."""


@dataclass(frozen=True)
class Document:
    """All that undo goes back to."""

    plate: str | None = None
    """Id of the photo's file."""
    camera: CameraNumbers | None = None
    camera_file: str | None = None
    proxy: str | None = None
    """Ids of files."""
    objects: tuple[Item, ...] = ()
    selected: str | None = None
    light: LightNumbers | None = None
    prompt: str = ""
    result: str | None = None
    """Id of the earlier result that was opened."""
    name: str = "scene"
    colour: PlateColours = PlateColours()
    """Colour spaces of the photo's file and of final pictures, as an opened result has them."""


@dataclass(frozen=True)
class PlateFacts:
    """What was found out about a photo. Not undone."""

    size: tuple[int, int]
    """(width, height), pixels."""
    estimate: CameraNumbers
    """The camera as it was estimated, or read from a file."""
    confidence: float = 0.0
    """[0, 1]."""
    source: str = ""
    """Where its numbers are from."""
    heading_deg: float = 0.0
    """Of the buildings against the camera's, for the grid."""
    notes: tuple[str, ...] = ()
    guesses: tuple[dict[str, float], ...] = ()
    """Of the light prior: azimuth_deg, elevation_deg, chance, share."""
    lights: dict[str, LightNumbers] = field(default_factory=dict)
    """Those of the guesses, "0" = as it is decided."""


@dataclass(frozen=True)
class Known:
    """What edits need to know beside the document."""

    size: tuple[int, int] = (1, 1)
    """Of the plate, pixels."""
    estimate: CameraNumbers | None = None
    """The camera as it was estimated or read."""
    lights: Mapping[int, LightNumbers] = field(default_factory=dict)
    """Of the light prior's guesses; 0 = as it decides."""
    parts: Callable[[str], tuple[str, ...]] = lambda asset: ()
    """Names of the parts of an asset."""
    check: Callable[[Document, Item], None] = lambda document, item: None
    """Raises SceneError for an object that cannot stand where it is."""
    match: Callable[[Document, Mapping[str, Any]], tuple[float, float | None]] = lambda document, op: (0.0, None)
    """(azimuth, elevation or None) of the sun that throws a shadow."""


# ---- checks ----------------------------------------------------------------------------------------------------------

def number(op: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """``op[key]``, a finite number in [low, high]. ConfigError for anything else."""
    value = op.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"{key}: {shown(value)} given; accepted is a number from {low:g} to {high:g}.")
    return float(value)


def angle(op: Mapping[str, Any], key: str) -> float:
    """A finite angle, brought into (-180, 180]."""
    return wrapped(number(op, key, -1e6, 1e6))


def wrapped(degrees: float) -> float:
    """The same direction in (-180, 180]."""
    turned = math.remainder(degrees, 360.0)
    return 180.0 if turned == -180.0 else turned


def point(op: Mapping[str, Any], key: str) -> tuple[float, float]:
    """``op[key]``, [x, y]. ConfigError for anything else."""
    value = op.get(key)
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in value):
        raise ConfigError(f"{key}: {shown(value)} given; accepted is [x, y], pixels of the plate.")
    return float(value[0]), float(value[1])


def text(op: Mapping[str, Any], key: str, longest: int = 60) -> str:
    """``op[key]``, a string without control characters."""
    value = op.get(key)
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise ConfigError(f"{key}: {shown(value)} given; accepted is one line of at most {longest} characters.")
    return value


def flag(op: Mapping[str, Any], key: str) -> bool:
    """``op[key]``, true or false."""
    if not isinstance(op.get(key), bool):
        raise ConfigError(f"{key}: {shown(op.get(key))} given; accepted are true and false.")
    return op[key]


def shown(value: Any) -> str:
    """A value of a page in an error's text, cut short."""
    return "nothing" if value is None else repr(value)[:80]
