"""Lights of a session: the numbers that a person sees <-> the light that is rendered; base lights on disk."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.errors import PriorError
from dipir.image.color import blackbody
from dipir.insert.result import load_light, write_light
from dipir.priors.light import LightPrior
from dipir.priors.light_input import features
from dipir.priors.plate_light import (
    PlateLight,
    Shade,
    ambient_light,
    decided,
    ground_normal,
    small_plate,
    towards_place,
)
from dipir.scene.light import EnvironmentMap, SphericalGaussians, azimuth_elevation_deg, fit_gaussians, towards
from dipir.scene.rig import Lamp, Rig, scaled, sigma_of, size_deg, turned
from dipir.scene.scene import Scene
from dipir.scene.source import Source, luminance_of
from dipir.studio.document.state import LampNumbers, LightNumbers, wrapped

LOBES = 32
WHITE_K = 6500.0
_FINE_ROWS = 64
_LEAST_REST, _GRAZING, _DARK = 1e-3, 0.02, 1e-12


@dataclass(frozen=True)
class Base:
    """A light that edits begin with."""

    rig: Rig

    @cached_property
    def ground(self) -> float:
        """Luminance that the level ground receives."""
        return float(luminance_of(self.rig.ground()))

    @cached_property
    def around(self) -> float:
        """The part of it that is from around the lamps."""
        return float(luminance_of(Rig(self.rig.around).ground()))

    @cached_property
    def _small(self) -> Rig:
        """What is around, in texels that are fine enough to be turned: large maps take too long in every picture."""
        around = self.rig.around
        if isinstance(around, EnvironmentMap) and len(around.data) > _FINE_ROWS:
            return Rig(EnvironmentMap(around.envmap(_FINE_ROWS, 2 * _FINE_ROWS)))
        return Rig(around)

    @cached_property
    def _rest(self) -> dict[float, EnvMap]:
        return {}

    def rest(self, rotate_deg: float) -> EnvMap:
        """(16, 32, 3) what is around the lamps, turned; the last ones are kept."""
        if rotate_deg not in self._rest:
            if len(self._rest) > 8:
                self._rest.clear()
            self._rest[rotate_deg] = turned(self._small, rotate_deg).rest(16)
        return self._rest[rotate_deg]


# ---- numbers <-> light -----------------------------------------------------------------------------------------------

def numbers_of(rig: Rig, base: str, base_id: str, guess: int = 0, told: str = "") -> LightNumbers:
    """What a person sees of a light that nothing was changed of."""
    lamps = []
    for lamp in rig.lamps:
        azimuth, elevation = azimuth_elevation_deg(lamp.source.direction.detach().cpu())
        lamps.append(LampNumbers(lamp.name, wrapped(azimuth), elevation, size_deg(lamp.source.sigma),
                                 min(max(rig.share(lamp.name), 0.0), 0.98)))
    return LightNumbers(base, base_id, guess, lamps=tuple(lamps), decided=told)


def rig_of(light: LightNumbers, base: Base) -> Rig:
    """The light. Before ambient and exposure act the level ground is as bright as under the base: each lamp gives its
    share, what is around them the rest."""
    around = turned(Rig(base.rig.around), light.rotate_deg) if light.rotate_deg else Rig(base.rig.around)
    whole = scaled(around, _dimmed(light, base))
    exposure = 2.0 ** light.exposure_stops
    return scaled(Rig(whole.around, _lamps(light, base)), exposure * 2.0 ** light.ambient_stops, exposure)


def parts_of(light: LightNumbers, base: Base) -> tuple[EnvMap, list[Source]]:
    """(what is around (16, 32, 3), lamps) of :func:`rig_of`, quickly: for every picture of a drag."""
    exposure = 2.0 ** light.exposure_stops
    rest = base.rest(light.rotate_deg) * (_dimmed(light, base) * exposure * 2.0 ** light.ambient_stops)
    return rest, [replace(lamp.source, irradiance=lamp.source.irradiance * exposure) for lamp in _lamps(light, base)]


def _dimmed(light: LightNumbers, base: Base) -> float:
    """Factor on what is around."""
    left = max(_LEAST_REST, 1 - sum(lamp.share for lamp in light.lamps))
    return max(left * base.ground / max(base.around, _DARK), _DARK)


def _lamps(light: LightNumbers, base: Base) -> tuple[Lamp, ...]:
    colours = {lamp.name: lamp.source.irradiance for lamp in base.rig.lamps}
    made = []
    for lamp in light.lamps:
        colour = colours.get(lamp.name, torch.ones(3, device="cpu"))
        colour = colour * _tint(lamp.warmth).to(colour)
        direction = towards(lamp.azimuth_deg, lamp.elevation_deg).to(colour)
        level = float(luminance_of(colour)) * max(_GRAZING, float(direction[1]))
        source = Source(direction, colour * (lamp.share * base.ground / max(level, _DARK)), sigma_of(lamp.size_deg))
        made.append(Lamp(lamp.name, source))
    return tuple(made)


def _tint(warmth: float) -> Tensor:
    """(3,) what a colour is multiplied by; ones at 0."""
    return blackbody(WHITE_K * 2.0**-warmth) / blackbody(WHITE_K).clamp_min(1e-6)


def left_in_shadow(light: LightNumbers) -> dict[str, float]:
    """Lamp -> what is left of the open ground's light in its shadow, in [0, 1]."""
    given = {lamp.name: lamp.share * max(0.0, _sine(lamp)) / max(_GRAZING, _sine(lamp)) for lamp in light.lamps}
    around = max(_LEAST_REST, 1 - sum(lamp.share for lamp in light.lamps)) * 2.0 ** light.ambient_stops
    whole = around + sum(given.values())
    return {name: 1 - own / whole for name, own in given.items()}


def _sine(lamp: LampNumbers) -> float:
    return math.sin(math.radians(lamp.elevation_deg))


# ---- what the plate says ---------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Seen:
    """The lights that a plate suggests."""

    rigs: Mapping[int, Rig]
    """0 = as it is decided, 1, 2, 3 = the guesses."""
    told: Mapping[int, str]
    """The same in words."""
    guesses: Sequence[Mapping[str, float]]
    """azimuth_deg, elevation_deg, chance, share of each guess."""
    notes: tuple[str, ...] = ()


def look(scene: Scene, prior: Callable[[], LightPrior]) -> Seen:
    """The light of a scene as `dipir insert` begins with, and each of the light prior's guesses with its own strength;
    without weights that can be used even light of the plate's mean colour, and that is said. ``prior`` loads it."""
    try:
        loaded = prior()
    except PriorError as problem:
        radiance = ambient_light(scene)[0, 0]
        note = f"the light is even, of the photo's mean colour; place a sun yourself. {problem}"
        return Seen({0: Rig(SphericalGaussians.uniform(radiance, LOBES))}, {0: "light: even, nothing was guessed"}, (),
                    (note,))
    plate, directions = small_plate(scene)
    mirrored = features(plate, directions[None]).base[0].permute(1, 2, 0)
    seen, shade, up = loaded.look(plate, directions, towards_place(scene)), Shade.of(scene), ground_normal(scene)
    lights = {n: decided(seen, mirrored, n, commit=True, shade=lambda: shade, up=up)
              for n in range(1 + len(seen.guesses))}
    return Seen(_rigs(lights), {n: light.describe() for n, light in lights.items()},
                lights[1].guesses_to_dict() if len(lights) > 1 else ())


def _rigs(lights: Mapping[int, PlateLight]) -> dict[int, Rig]:
    """Their lobes; what is around the guesses differs by a factor alone and is fitted once."""
    fitted: list[tuple[EnvMap, SphericalGaussians]] = []
    rigs = {}
    for n, light in lights.items():
        level = light.rest.mean().clamp_min(_DARK)
        shape = light.rest / level
        known = next((lobes for other, lobes in fitted if torch.allclose(shape, other, rtol=1e-4, atol=1e-5)), None)
        if known is None:
            known = fit_gaussians(shape, LOBES)
            fitted.append((shape, known))
        rigs[n] = scaled(Rig.of(known, light.source), float(level), 1.0)
    return rigs


# ---- base lights on disk ---------------------------------------------------------------------------------------------

class Bases:
    """Base lights of a session by id; each is a folder with a light.json. Used by the worker's thread alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "lights"
        self._known: dict[str, Base] = {}

    def keep(self, rig: Rig) -> str:
        """Write it; returns its id."""
        number = 1
        while (self._folder / f"b{number}").exists():
            number += 1
        id = f"b{number}"
        (self._folder / id).mkdir(mode=0o700, parents=True)
        write_light(self._folder / id, rig)
        self._known[id] = Base(rig)
        return id

    def base(self, id: str) -> Base:
        """By id. ConfigError when its files are damaged."""
        if id not in self._known:
            self._known[id] = Base(load_light(self._folder / id))
        return self._known[id]
