"""A whole light as relighting takes it: its strongest lamp as the key, whose shadows are traced, and what all else
gives a surface by its normal.

All else is a sum over parts of the sphere, E(n) = sum_k max(n . e_k, 0), with e_k the radiance of part k integrated
over its directions as a vector. That is the clamped cosine integral, exact but for the few parts that a horizon cuts;
nine spherical harmonics (Ramamoorthi and Hanrahan, SIGGRAPH 2001) are off by up to 9 % and may be negative.
"""
from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.device import moved
from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.priors.relit.depth_shadows import in_camera
from dipir.priors.relit.relighting import FILL
from dipir.priors.relit.surfaces import Surfaces
from dipir.scene.direction import SOFT_DEG, LightDirection, angles_of
from dipir.scene.light import bright_region
from dipir.scene.rig import Lamp, Rig
from dipir.scene.source import luminance_of

_ROWS, _FINE = 16, 128  # of the maps that are summed, and looked at for a key
_WITH, _RING = 2, 3  # half widths that the key reaches, and up to which the light around it is measured
_GREY = 1.2  # the largest channel over the smallest of what still counts as grey
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class WholeLight:
    """A light in the frame of a picture's level camera: +x the picture's right, +y up, +z towards the camera.

    Its unit: the surface that receives most has 1.2, as one that faces the key has where the fill is even and a
    fifth of it."""

    name: str  # of its file
    direction: LightDirection  # of the key; without one, where most light comes from
    key: float  # what a surface that faces the key receives from it, 0 where no lamp stands out
    rest: Tensor  # (N, 3) e_k of all else, on the CPU
    tints: tuple[tuple[float, float, float], ...]  # colours of the key, if there is one, and of all else; largest = 1

    @staticmethod
    def of(rig: Rig, name: str = "light", yaw_deg: float = 0.0) -> WholeLight:
        """The luminance of ``rig``, seen by a camera that is turned by ``yaw_deg`` (``Camera.looking``). The key is the
        strongest lamp, or a bright spot of what is around that is stronger and no wider than 35 degrees to each side.
        ConfigError where there is no light."""
        rig = moved(rig, torch.device("cpu"))
        around = rig.around.envmap(_FINE, 2 * _FINE).double()
        lamps = [_lamp_vector(lamp) for lamp in rig.lamps]
        strengths = [float(vector.norm()) for vector, _ in lamps]
        spot = _spot(around)
        best = max(range(len(lamps)), key=strengths.__getitem__, default=None)
        key, wide, key_colour = torch.zeros(3, dtype=torch.float64, device="cpu"), SOFT_DEG, None
        if spot is not None and float(spot.vector.norm()) > (strengths[best] if lamps else 0.0):
            key, wide, key_colour, around = spot.vector, spot.half_width_deg, spot.colour, spot.without
        elif lamps:
            key, key_colour = lamps.pop(best)
            wide = math.degrees(rig.lamps[best].source.sigma * math.sqrt(2 * math.log(2)))
        rest = torch.cat([_parts(luminance_of(around)), *(vector[None] for vector, _ in lamps)])
        rest = rest[rest.norm(dim=1) > 0]
        rest_colour = _total(around) + sum(colour for _, colour in lamps)

        # ---- frame and unit ----
        key, rest = (_in_picture(v, yaw_deg) for v in (key, rest))
        main, all_of_it = key, float(key.norm() + rest.norm(dim=1).sum())
        if not 0 < all_of_it < math.inf:
            raise ConfigError(f"{name}: there is no light in it; accepted is a light that is not black.")
        if not key.any():
            main = rest.sum(0)
            main = main if float(main.norm()) > 0.02 * all_of_it else main.new_tensor([0.0, 1.0, 0.0])
        tints = [_tint(colour) for colour in (key_colour, rest_colour) if colour is not None and colour.any()]
        direction = LightDirection(*angles_of(main), min(max(wide, 1.0), 60.0))
        return WholeLight(name, direction, float(key.norm()), rest.float(), tuple(tints))._in_unit()

    def fill(self, seen: Surfaces) -> Tensor:
        """(B, 1, H, W) what the rest gives each pixel of B pictures; where normals are unsure, partly the mean of all
        directions."""
        normal = torch.nn.functional.normalize(seen.normal, dim=1)
        level = torch.eye(3, device=normal.device, dtype=normal.dtype).repeat(len(normal), 1)
        axes = in_camera(level, seen.up.repeat_interleave(3, 0)).view(-1, 3, 3)
        normal = torch.einsum("bkc,bchw->bkhw", axes, normal)
        received = torch.zeros_like(normal[:, :1])
        for part in self.rest.to(normal).split(_CHUNK):
            received += torch.einsum("bkhw,nk->bnhw", normal, part).clamp_min(0).sum(1, keepdim=True)
        return seen.sure * received + (1 - seen.sure) * self.mean_fill

    @property
    def mean_fill(self) -> float:
        """What the rest gives a surface, mean over all its directions."""
        return float(self.rest.norm(dim=1).sum()) / 4

    @property
    def key_to_fill(self) -> float:
        """The key, on a surface that faces it, over ``mean_fill``; infinite where there is nothing but the key."""
        return self.key / self.mean_fill if self.mean_fill else math.inf

    @property
    def key_share(self) -> float:
        """Part of the light on a surface that faces the key which is the key's, [0, 1]."""
        return self.key / (self.key + self._faces_key())

    def _faces_key(self) -> float:
        return float((self.rest @ self.direction.vector).clamp_min(0).sum())

    def with_key_to_fill(self, ratio: float) -> WholeLight:
        """The same key over a rest that is brighter or dimmer. ConfigError where there is no key, or no rest."""
        if not self.key or not self.mean_fill:
            lacks = "no lamp stands out in it" if self.mean_fill else "there is nothing around its lamp"
            raise ConfigError(f"{self.name}: --key-to-fill {ratio:g} was given, but {lacks}; accepted is a light with "
                              "both. Leave --key-to-fill out, or give the light by --direction.")
        return replace(self, rest=self.rest * (self.key_to_fill / ratio))._in_unit()

    def _in_unit(self) -> WholeLight:
        """The same in the unit of the class, by what faces the key and what faces most of the rest."""
        most = torch.nn.functional.normalize(torch.stack([self.direction.vector, self.rest.sum(0)]), dim=1)
        received = (self.rest @ most.T).clamp_min(0).sum(0) + self.key * (most @ most[0]).clamp_min(0)
        unit = (1 + FILL) / float(received.max())
        return replace(self, key=self.key * unit, rest=self.rest * unit)

    def describe(self) -> str:
        """In one line for people."""
        d = self.direction
        if not self.key:
            return f"{self.name}: soft light, no lamp stands out, most from {_degrees(d)}"
        return (f"{self.name}: key from {_degrees(d)}, half width {d.size_deg:.3g}, {100 * self.key_share:.0f} % of "
                f"the light on what faces it; key to fill {self.key_to_fill:.2g}")

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say about it."""
        if all(max(tint) <= _GREY * min(tint) for tint in self.tints):
            return (self.describe(),)
        names = ("key", "rest") if self.key else ("all of it",)
        colours = ", ".join(f"{name} {', '.join(f'{c:.2f}' for c in tint)}"
                            for name, tint in zip(names, self.tints, strict=False))
        return (self.describe(), f"{self.name}: its colour is left out ({colours} in R, G, B): only its brightness "
                                 "counts, hue is kept")

    def record(self) -> dict:
        """Plain values for ``result.json``."""
        return {"name": self.name, "key": round(self.key, 4), "key_share": round(self.key_share, 4),
                "mean_fill": round(self.mean_fill, 4), "tints": [list(tint) for tint in self.tints]}

    @property
    def digest(self) -> str:
        """Names its numbers."""
        numbers = torch.cat([self.rest.flatten(), self.direction.numbers, torch.tensor([self.key], device="cpu")])
        return hashlib.sha256(numbers.float().numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Spot:
    """A bright spot of a map."""

    vector: Tensor  # (3,) its radiance above what is around it, integrated as a vector
    half_width_deg: float
    colour: Tensor  # (3,) energy
    without: EnvMap  # the map without it


def _spot(envmap: EnvMap) -> _Spot | None:
    """The brightest spot of a map, None where that is wider than 35 degrees to each side or the map is black."""
    lum = luminance_of(envmap)
    height, width = lum.shape
    solid, directions = _sphere(height, width)
    region = bright_region(lum)
    half = math.acos(max(-1.0, 1 - float((region * solid).sum()) / (2 * math.pi)))
    centre = ((lum * region * solid)[..., None] * directions).sum((0, 1))
    if half > math.radians(SOFT_DEG) or not float(centre.norm()) > 0:
        return None
    angle = torch.acos((directions @ centre / centre.norm()).clamp(-1, 1))
    reach = max(half, math.pi / height)
    ring = lum[(angle > _WITH * reach) & (angle < _RING * reach)]
    above = (lum - ring.median()).clamp_min(0) * (angle <= _WITH * reach)
    part = (above / lum.clamp_min(1e-30))[..., None]
    vector = ((above * solid)[..., None] * directions).sum((0, 1))
    return _Spot(vector, math.degrees(half), _total(envmap * part), envmap * (1 - part))


def _lamp_vector(lamp: Lamp) -> tuple[Tensor, Tensor]:
    """((3,) luminance of a lamp integrated as a vector, (3,) its energy in colour); a spherical Gaussian of sharpness s
    points coth(s) - 1 / s of its energy along its axis."""
    source = lamp.source
    sharpness = 1 / source.sigma**2
    along = 1 / math.tanh(min(sharpness, 50.0)) - 1 / sharpness
    energy = source.irradiance.double().clamp_min(0)
    return source.direction.double() * (along * luminance_of(energy)), energy


def _parts(lum: Tensor) -> Tensor:
    """(N, 3) vectors e_k of a map (H, 2 H) of luminance in 16 x 32 parts."""
    height, width = lum.shape
    solid, directions = _sphere(height, width)
    moment = (lum * solid)[..., None] * directions
    return moment.reshape(_ROWS, height // _ROWS, 2 * _ROWS, width // (2 * _ROWS), 3).sum((1, 3)).reshape(-1, 3)


def _total(envmap: EnvMap) -> Tensor:
    return (envmap * _sphere(*envmap.shape[:2])[0][..., None]).sum((0, 1))


def _sphere(height: int, width: int) -> tuple[Tensor, Tensor]:
    """((H, 1) solid angles, (H, W, 3) directions) of texels."""
    return (latlong.solid_angles(height, width, torch.float64, torch.device("cpu")),
            latlong.directions(height, width, torch.float64, torch.device("cpu")))


def _in_picture(vectors: Tensor, yaw_deg: float) -> Tensor:
    """World vectors (..., 3) in the frame of a level camera that is turned by ``yaw_deg``: its left is at +X turned
    towards -Z, what it looks at is at +Z turned towards +X."""
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    x, y, z = vectors.unbind(-1)
    return torch.stack([s * z - c * x, y, -s * x - c * z], -1)


def _tint(colour: Tensor) -> tuple[float, float, float]:
    red, green, blue = (colour / colour.max()).tolist()
    return round(red, 3), round(green, 3), round(blue, 3)


def _degrees(direction: LightDirection) -> str:
    return f"azimuth {direction.azimuth_deg:.0f}, elevation {direction.elevation_deg:.0f}"
