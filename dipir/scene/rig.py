"""A light as a person edits it: lamps with names (the sun is one) and what is around them."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from dipir import disk
from dipir.arrays import EnvMap
from dipir.errors import ConfigError, nearest
from dipir.image import latlong
from dipir.image.files import read_envmap
from dipir.scene.light import AbstractLight, EnvironmentMap, SphericalGaussians, azimuth_elevation_deg
from dipir.scene.source import SUN_SIGMA, Source, ground_irradiance, luminance_of

MAP_NAME = "light_around.exr"
"""File beside light.json with what is around the lamps, where that is a map."""
SUN, LAMP = "sun", "lamp"
_SHARP = 0.03
"""Lobes of files without names that are sharper than this are taken for lamps."""
_WIDEST_DEG = 120.0


@dataclass(frozen=True)
class Lamp:
    """One sun, lamp or window."""

    name: str
    source: Source

    def describe(self, share: float) -> str:
        """In a few words; ``share`` of the ground's light."""
        azimuth, elevation = azimuth_elevation_deg(self.source.direction.detach().cpu())
        return (f"{self.name}: azimuth {azimuth:.0f}, elevation {elevation:.0f}, {size_deg(self.source.sigma):.2g} "
                f"degrees wide, {100 * share:.0f} % of the ground's light")


@final
@dataclass(frozen=True)
class Rig(AbstractLight):
    """Lamps, and the light around them. Radiance relative to plate white."""

    around: SphericalGaussians | EnvironmentMap
    lamps: tuple[Lamp, ...] = ()

    @staticmethod
    def of(around: SphericalGaussians | EnvironmentMap, source: Source | None) -> Rig:
        """With one lamp, or none; it is called sun where it is no wider than one."""
        return Rig(around) if source is None else Rig(around, (Lamp(usual_name(source, ()), source),))

    # ---- as a light ----
    def envmap(self, height: int, width: int) -> EnvMap:
        level = self.around.envmap(height, width)
        return level if not self.lamps else level + self._lobes().envmap(height, width)

    def rest(self, height: int = 16) -> EnvMap:
        """(height, 2 height, 3) all but the lamps."""
        return self.around.envmap(height, 2 * height)

    def split(self, sigma: float) -> tuple[AbstractLight | None, SphericalGaussians | None]:
        """(all that is at least as wide as ``sigma``, lobes sharper than that), None where there is none."""
        if isinstance(self.around, SphericalGaussians):
            return self.joined().split(sigma)
        wide, sharp = self._lobes().split(sigma) if self.lamps else (None, None)
        return (self.around if wide is None else _Sum(self.around, wide)), sharp

    def widened(self, sigma: float) -> Rig:
        """No lobe sharper than ``sigma``, each with the energy that it had."""
        around = self.around.widened(sigma) if isinstance(self.around, SphericalGaussians) else self.around
        return Rig(around, tuple(replace(lamp, source=replace(lamp.source, sigma=max(sigma, lamp.source.sigma)))
                                 for lamp in self.lamps))

    def joined(self) -> SphericalGaussians:
        """One mixture of all lobes, those of the lamps last. ConfigError where what is around is a map."""
        if not isinstance(self.around, SphericalGaussians):
            raise ConfigError("this light holds a map (--hdri), which is no mixture of spherical Gaussians; accepted "
                              "are lights of lobes alone. Use its light.exr.")
        return self.around if not self.lamps else self.around.joined(self._lobes())

    def _lobes(self) -> SphericalGaussians:
        lobes = [lamp.source.lobe() for lamp in self.lamps]
        return lobes[0] if len(lobes) == 1 else SphericalGaussians(
            *(torch.cat(parts) for parts in zip(*(lobe.parameters().values() for lobe in lobes), strict=True)))

    # ---- what is in it ----
    @property
    def sun(self) -> Lamp | None:
        """The first lamp: what throws the shadow."""
        return self.lamps[0] if self.lamps else None

    def lamp(self, name: str) -> Lamp:
        """By name. ConfigError for one that is not there."""
        for lamp in self.lamps:
            if lamp.name == name:
                return lamp
        names = [lamp.name for lamp in self.lamps]
        raise ConfigError(f"no lamp '{name}' in this light; its lamps are: {', '.join(names) or 'none'}."
                          f"{nearest(name, names)}")

    def ground(self) -> Tensor:
        """(3,) irradiance of the level ground, all lamps together."""
        own = [lamp.source.irradiance * lamp.source.direction[1].clamp_min(0) for lamp in self.lamps]
        return sum(own, ground_irradiance(self.rest(64)))

    def share(self, name: str) -> float:
        """The part of the level ground's luminance that is from one lamp, in [0, 1]."""
        source = self.lamp(name).source
        own = float(luminance_of(source.irradiance)) * max(0.0, float(source.direction[1]))
        return own / max(float(luminance_of(self.ground())), 1e-12)

    def describe(self) -> str:
        """In one line for people."""
        kind = "a map" if isinstance(self.around, EnvironmentMap) else "soft light"
        return "; ".join([*(lamp.describe(self.share(lamp.name)) for lamp in self.lamps), f"around: {kind}"])

    # ---- files ----
    def to_dict(self) -> dict:
        """JSON-able: lobes, those of lamps with a ``name``; ``map`` : the file of what is around, or null."""
        plain = isinstance(self.around, SphericalGaussians)
        if plain or self.lamps:
            data = (self.joined() if plain else self._lobes()).to_dict()
        else:
            data = SphericalGaussians.uniform(self.ground().new_zeros(3), 1).to_dict() | {"lobes": []}
        if not plain:
            data |= {"map": MAP_NAME, "dominant": _dominant(self)}
        for lamp, lobe in zip(reversed(self.lamps), reversed(data["lobes"]), strict=False):
            lobe["name"] = lamp.name
        return data

    @staticmethod
    def from_dict(data: Mapping, folder: Path | None = None) -> Rig:
        """Inverse of :meth:`to_dict`, on the CPU; ``folder`` : where a map lies. Lobes of older files, which have no
        names, are lamps where they are sharp. ConfigError for a file of another kind, ImageError for its map."""
        lobes = data.get("lobes")
        around = None
        if data.get("map") is not None:
            if folder is None or data["map"] != MAP_NAME:
                raise ConfigError(f"light.json: map {data['map']!r}; accepted is {MAP_NAME}, beside the file.")
            around = EnvironmentMap(read_envmap(disk.beside(
                folder / "light.json", MAP_NAME, "map", "Copy it there too.", error=ConfigError, missing=ConfigError)))
            if not lobes:
                return Rig(around)
        mixture = SphericalGaussians.from_dict(data)
        sources = [Source(m, e, float(s)) for m, e, s in zip(mixture.mu, mixture.energy, mixture.sigma, strict=True)]
        names = [lobe.get("name") for lobe in lobes]
        if around is None and not any(names):
            names = _named(sources)
        chosen = [k for k, name in enumerate(names) if name or around is not None]
        lamps = tuple(Lamp(str(names[k] or LAMP)[:60], sources[k]) for k in chosen)
        kept = [k for k in range(len(sources)) if k not in chosen]
        if around is None:
            if not kept:
                raise ConfigError("light.json: every lobe has a name, and nothing is around; accepted is at least one "
                                  "lobe without a name, or a map.")
            around = SphericalGaussians(*(t[kept] for t in mixture.parameters().values()))
        return Rig(around, lamps)


@final
@dataclass(frozen=True)
class _Sum(AbstractLight):
    """Two lights at once."""

    one: AbstractLight
    other: AbstractLight

    def envmap(self, height: int, width: int) -> EnvMap:
        return self.one.envmap(height, width) + self.other.envmap(height, width)


def _dominant(rig: Rig) -> dict:
    from dipir.scene.light import dominant_direction

    direction = rig.sun.source.direction if rig.lamps else dominant_direction(rig.envmap(64, 128))
    azimuth, elevation = azimuth_elevation_deg(direction.cpu())
    return {"direction": [float(v) for v in direction], "azimuth_deg": azimuth, "elevation_deg": elevation}


def _named(sources: list[Source]) -> list[str | None]:
    names: list[str | None] = []
    for source in sources:
        names.append(usual_name(source, [n for n in names if n]) if source.sigma < _SHARP else None)
    # Something must be around them.
    return [None] * len(names) if all(names) else names


def usual_name(source: Source, taken: tuple[str, ...] | list[str]) -> str:
    """What a lamp is called: sun or lamp by its width, with a number where the name is taken."""
    base = name = SUN if source.sigma < 2 * SUN_SIGMA else LAMP
    number = 2
    while name in taken:
        name, number = f"{base} {number}", number + 1
    return name


def size_deg(sigma: float) -> float:
    """Diameter in degrees of the disc with the second moment of a lobe of width ``sigma``: the sun 0.53."""
    return math.degrees(4 * sigma)


def sigma_of(diameter_deg: float) -> float:
    """Inverse of :func:`size_deg`; never less than the sun. ConfigError outside (0, 120]."""
    if not 0 < diameter_deg <= _WIDEST_DEG:
        raise ConfigError(f"a size of {diameter_deg:g} degrees; accepted is more than 0 up to {_WIDEST_DEG:g} (the "
                          "sun: 0.53).")
    return max(SUN_SIGMA, math.radians(diameter_deg) / 4)


def turned(rig: Rig, degrees: float) -> Rig:
    """All of it turned about the vertical: azimuths grow by ``degrees``."""
    lamps = tuple(replace(lamp, source=replace(lamp.source, direction=_turned(lamp.source.direction, degrees)))
                  for lamp in rig.lamps)
    if isinstance(rig.around, EnvironmentMap):
        return Rig(EnvironmentMap(latlong.rotate_yaw(rig.around.data, degrees)), lamps)
    return Rig(replace(rig.around, axis=_turned(rig.around.axis, degrees)), lamps)


def _turned(vectors: Tensor, degrees: float) -> Tensor:
    """(..., 3) turned about +Y, +Z towards +X."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y, z = vectors.unbind(-1)
    return torch.stack([c * x + s * z, y, c * z - s * x], -1)


def scaled(rig: Rig, around: float = 1.0, lamps: float = 1.0) -> Rig:
    """Both parts times a factor."""
    kept = tuple(replace(lamp, source=replace(lamp.source, irradiance=lamp.source.irradiance * lamps))
                 for lamp in rig.lamps)
    if isinstance(rig.around, EnvironmentMap):
        return Rig(EnvironmentMap(rig.around.data * around), kept)
    return Rig(replace(rig.around, log_amplitude=rig.around.log_amplitude + math.log(around)), kept)


def with_lamp(rig: Rig, name: str, source: Source, share: float) -> Rig:
    """Lamp ``name`` made ``source``, or added, so strong that it gives ``share`` in [0, 0.98] of the ground's light;
    the ground stays as bright as it was (luminance), the other lights keep their proportions. A lamp at or below the
    horizon gives the ground nothing: it is as strong as one 1.1 degrees above it would be."""
    if not 0 <= share <= 0.98:
        raise ConfigError(f"a strength of {share:g}; accepted is the lamp's share of the ground's light, from 0 to "
                          "0.98: what is left in its shadow is the rest.")
    others = tuple(lamp for lamp in rig.lamps if lamp.name != name)
    whole = float(luminance_of(rig.ground()))
    kept = float(luminance_of(Rig(rig.around, others).ground()))
    factor = (1 - share) * whole / max(kept, 1e-12)
    level = float(luminance_of(source.irradiance)) * max(0.02, float(source.direction[1]))
    lamp = Lamp(name, replace(source, irradiance=source.irradiance * (share * whole / max(level, 1e-12))))
    place = next((k for k, old in enumerate(rig.lamps) if old.name == name), len(rig.lamps))
    dimmed = scaled(Rig(rig.around, others), factor, factor)
    return Rig(dimmed.around, (*dimmed.lamps[:place], lamp, *dimmed.lamps[place:]))


def without(rig: Rig, name: str) -> Rig:
    """Without one lamp; the rest becomes brighter, so that the ground stays as bright. ConfigError when it is not
    there."""
    gone = rig.lamp(name)
    kept = Rig(rig.around, tuple(lamp for lamp in rig.lamps if lamp is not gone))
    factor = float(luminance_of(rig.ground())) / max(float(luminance_of(kept.ground())), 1e-12)
    return scaled(kept, factor, factor)


def probed(envmap: EnvMap, ground: float) -> Rig:
    """The light of a probe or an HDR panorama (H, W, 3), scaled so that the level ground receives the luminance
    ``ground``: its own exposure is not known."""
    factor = ground / max(float(luminance_of(ground_irradiance(envmap))), 1e-12)
    return Rig(EnvironmentMap(envmap * factor))
