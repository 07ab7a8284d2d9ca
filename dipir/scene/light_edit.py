"""Changes to a light, asked for by a person, and how they are done to a :class:`Rig`."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir.errors import ConfigError
from dipir.image.color import blackbody
from dipir.scene.light import azimuth_elevation_deg, towards
from dipir.scene.rig import SUN, Rig, scaled, sigma_of, turned, usual_name, with_lamp, without
from dipir.scene.source import SUN_SIGMA, Source

USUAL_SHARE = 0.7
"""Of the ground's light that a sun is given when nobody says how strong it is: clear sky, sun half way up."""
_LAMP = "NAME:AZ,EL,STRENGTH[,SIZE[,KELVIN]]"


@dataclass(frozen=True)
class LampEdit:
    """What to change of a lamp; None = as it is."""

    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    """[-90, 90]."""
    share: float | None = None
    """Of the ground's light, [0, 0.98]: what is left in its shadow is the rest."""
    size_deg: float | None = None
    """Diameter, (0, 120]; the sun 0.53."""
    colour: Tensor | None = None
    """(3,) linear BT.709, any brightness."""

    def __post_init__(self) -> None:
        given = [v for v in (self.azimuth_deg, self.elevation_deg) if v is not None]
        if not all(math.isfinite(v) for v in given) or (self.elevation_deg is not None
                                                        and abs(self.elevation_deg) > 90):
            raise ConfigError(f"a lamp at azimuth {self.azimuth_deg}, elevation {self.elevation_deg}; accepted are "
                              "degrees: any azimuth (0 = from the camera, 90 = from the picture's right), elevations "
                              "from -90 to 90.")


@dataclass(frozen=True)
class LightEdit:
    """Changes to a light, done in this order."""

    remove: tuple[str, ...] = ()
    """Names of lamps."""
    rotate_deg: float = 0.0
    """Added to every azimuth."""
    sun: LampEdit | None = None
    """Of the first lamp; one is made when there is none."""
    add: tuple[tuple[str, LampEdit], ...] = ()
    """Lamps by name; a name that is there already is changed."""
    ambient_stops: float = 0.0
    """Of what is around the lamps."""
    exposure_stops: float = 0.0
    """Of all of it."""

    def __post_init__(self) -> None:
        for name in ("rotate_deg", "ambient_stops", "exposure_stops"):
            if not math.isfinite(getattr(self, name)) or (name != "rotate_deg" and abs(getattr(self, name)) > 20):
                raise ConfigError(f"{name}: {getattr(self, name)}; accepted are finite numbers, stops from -20 to 20.")

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return self == LightEdit()


def edited(rig: Rig, edit: LightEdit, say: Callable[[str], None] = lambda note: None) -> Rig:
    """The light with the changes done. ``say`` hears what was assumed. ConfigError for a lamp that is not there or a
    value out of range."""
    for name in edit.remove:
        rig = without(rig, name)
    if edit.rotate_deg:
        rig = turned(rig, edit.rotate_deg)
    if edit.sun is not None:
        name = rig.sun.name if rig.sun else SUN
        rig = changed_lamp(rig, name, edit.sun, say)
    for name, lamp in edit.add:
        rig = changed_lamp(rig, name, lamp, say)
    return scaled(rig, 2.0 ** (edit.exposure_stops + edit.ambient_stops), 2.0 ** edit.exposure_stops)


def changed_lamp(rig: Rig, name: str, edit: LampEdit, say: Callable[[str], None] = lambda note: None) -> Rig:
    """Lamp ``name`` changed, or added. A lamp that moves keeps its share of the ground's light."""
    old = next((lamp for lamp in rig.lamps if lamp.name == name), None)
    source = old.source if old else Source(towards(0.0, 45.0), torch.ones(3), SUN_SIGMA)
    share = edit.share
    if share is None and old is None:
        share = USUAL_SHARE
        say(f"{name}: no strength was given; it gets {100 * share:.0f} % of the ground's light (--strength)")
    if share is None:
        share = min(rig.share(name), 0.98)
        if source.direction[1] < 0.02:
            share = share or USUAL_SHARE
    azimuth, elevation = azimuth_elevation_deg(source.direction.detach().cpu())
    azimuth = azimuth if edit.azimuth_deg is None else edit.azimuth_deg
    elevation = elevation if edit.elevation_deg is None else edit.elevation_deg
    moved = edit.azimuth_deg is not None or edit.elevation_deg is not None
    source = replace(source, direction=towards(azimuth, elevation).to(source.direction) if moved else source.direction,
                     irradiance=source.irradiance if edit.colour is None else edit.colour.to(source.irradiance),
                     sigma=source.sigma if edit.size_deg is None else sigma_of(edit.size_deg))
    return with_lamp(rig, name, source, share)


def colour_of(text: str) -> Tensor:
    """(3,) linear BT.709 of ``R,G,B`` (linear, any brightness) or a colour temperature in kelvin (``3200`` or
    ``3200K``). ConfigError for anything else."""
    words = text.strip().split(",")
    try:
        values = [float(word.rstrip("kK")) if len(words) == 1 else float(word) for word in words]
    except ValueError:
        values = []
    if len(values) == 3 and all(0 <= v < math.inf for v in values) and max(values) > 0:
        return torch.tensor(values, device="cpu")
    if len(values) == 1 and 1000 <= values[0] <= 25000:
        return blackbody(values[0])
    raise ConfigError(f"colour '{text}'; accepted are R,G,B (linear light, 0 or more, not all 0) or a colour "
                      "temperature from 1000 to 25000 kelvin, for instance 1,0.9,0.8 or 5500K.")


def lamp_of(text: str) -> tuple[str, LampEdit]:
    """``NAME:AZ,EL,STRENGTH[,SIZE[,KELVIN]]`` -> (name, what it is). ConfigError for anything else."""
    name, colon, rest = text.partition(":")
    try:
        numbers = [float(word) for word in rest.split(",")]
    except ValueError:
        numbers = []
    if not colon or not name.strip() or not 3 <= len(numbers) <= 5:
        raise ConfigError(f"lamp '{text}'; accepted is {_LAMP}, for instance window:-60,20,0.3,12,6500 (azimuth -60, "
                          "elevation 20, 30 % of the ground's light, 12 degrees wide, 6500 kelvin).")
    return name.strip()[:60], LampEdit(numbers[0], numbers[1], numbers[2], numbers[3] if len(numbers) > 3 else None,
                                       colour_of(f"{numbers[4]:g}") if len(numbers) > 4 else None)


def new_name(rig: Rig, source: Source) -> str:
    """A free name for another lamp."""
    return usual_name(source, [lamp.name for lamp in rig.lamps])
