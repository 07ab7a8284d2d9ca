"""Light on what rays met: direct, from each of several lights alone, once bounced, and from the sky.

A path tracer would do the same; asked for one light after the other it takes three times as long, because here all
lights share their rays. Surfaces reflect as a diffuse layer under a GGX lobe (Walter et al. 2007).
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap
from dipir.image import latlong
from dipir.workshop.surfaces.stages import Met, RayStage

_BRIGHTEST, _HIGHLIGHT = 8.0, 64.0
_MIRROR = 0.35  # what reflects the surroundings: smoother than this, or metallic
_AHEAD = 0.5  # light on what a bounced ray of the sky meets, as a part of the sky's


@dataclass(frozen=True)
class Lobe:
    """A light far away, or a lamp in a room: as much comes from it as would give a white wall that faces it radiance 1
    (a lamp: at the distance ``level``)."""

    towards: Tensor  # (3,) unit vector, of a lamp seen from the middle of what is lit
    size_deg: float  # where its radiance has fallen to half
    place: Tensor | None = None  # (3,) of a lamp
    level: float = 1.0  # metres


@dataclass(frozen=True)
class LightOnHits:
    """Light on N hits."""

    each: Tensor  # (L, N, 3) radiance towards the ray's origin, of each light alone, without bounces
    around: Tensor
    """(1 + L, N, 3) what comes back from other surfaces and the sky, over the albedo: of the sky, of each light."""
    mirrored: Tensor  # (1 + L, N, 3) what surfaces mirror of all that, radiance
    free: Tensor  # (L, N) 1 where the light reaches the surface, 0 where something is in the way or it faces away


def shaded(stage: RayStage, met: Met, eye: Tensor, lights: Sequence[Lobe], sky: EnvMap,
           random: torch.Generator) -> LightOnHits:
    """All of it, for hits of rays from ``eye`` (3,) or (N, 3); ``sky`` (H, W, 3) radiance."""
    count, each = len(met.valid), len(lights)
    out = LightOnHits(*(met.albedo.new_zeros(n, count, 3) for n in (each, 1 + each, 1 + each)),
              met.albedo.new_zeros(each, count))
    rows = met.valid.nonzero()[:, 0]
    if not len(rows):
        return out
    m = met[rows]
    view = functional.normalize((eye if eye.ndim == 1 else eye[rows]) - m.point, dim=1)
    start = m.point + m.normal * (1e-4 * stage.reach)
    # ---- direct ----
    towards, far, power = _from_all(lights, start, random)
    cosine = (towards * m.normal).sum(-1).clamp_min(0)
    free = _free(stage, start, towards, far, cosine > 0)
    cosine = cosine * power
    direct = torch.stack([_reflected(m, view, t) for t in towards]) * (cosine * free)[..., None]
    out.each[:, rows], out.free[:, rows] = direct.clamp(0, _BRIGHTEST), free
    # ---- from the sky and by one bounce ----
    ahead = _hemisphere(m.normal, random)
    second = stage.met(start, ahead)
    matt = 1 - m.metallic[:, None]
    overhead = latlong.sample(sky, ahead)
    met_sky = second.albedo * (_AHEAD * latlong.sample(sky, second.normal))
    out.around[0, rows] = torch.where(second.valid[:, None], met_sky, overhead) * matt
    hit = second.valid.nonzero()[:, 0]
    if len(hit):
        there = second[hit]
        place = there.point + there.normal * (1e-4 * stage.reach)
        onward, away, strong = _from_all(lights, place, random)
        lit = (onward * there.normal).sum(-1).clamp_min(0) * strong
        lit = lit * _free(stage, place, onward, away, lit > 0)
        out.around[1:, rows[hit]] = (matt[hit] * there.albedo) * lit[..., None]
    # ---- mirrored surroundings ----
    shiny = ((m.roughness < _MIRROR) | (m.metallic > 0.2)).nonzero()[:, 0]
    if len(shiny):
        s = m[shiny]
        glossy = _mirrored(s, view[shiny], random)
        third = stage.met(start[shiny], glossy)
        met_sky = third.albedo * (_AHEAD * latlong.sample(sky, third.normal))
        seen = torch.where(third.valid[:, None], met_sky, latlong.sample(sky, glossy))
        fresnel = _fresnel(s, (view[shiny] * s.normal).sum(1).clamp(0, 1))
        place = third.point + third.normal * (1e-4 * stage.reach)
        onward, away, strong = _from_all(lights, place, random)
        lit = (onward * third.normal).sum(-1).clamp_min(0) * strong * third.valid
        lit = lit * _free(stage, place, onward, away, lit > 0)
        out.mirrored[:, rows[shiny]] = (fresnel * torch.cat([seen[None], third.albedo * lit[..., None]])).clamp(
            0, _BRIGHTEST)
    return out


def _free(stage: RayStage, start: Tensor, towards: Tensor, far: Tensor, wanted: Tensor) -> Tensor:
    """(L, N) 1 where nothing is in the way from (N, 3) towards (L, N, 3) as ``far`` as the light (L, N); 0 where it is
    not ``wanted`` (L, N)."""
    light, row = wanted.nonzero(as_tuple=True)
    free = wanted.float()
    if len(row):
        free[light, row] = (~stage.blocked(start[row], towards[light, row], far[light, row])).float()
    return free


def _fresnel(m: Met, cosine: Tensor) -> Tensor:
    """(N, 3) Schlick's approximation; 4 % at normal incidence, of metals their colour."""
    facing = 0.04 + (m.albedo - 0.04) * m.metallic[:, None]
    return facing + (1 - facing) * ((1 - cosine) ** 5)[:, None] * (1 - m.roughness)[:, None]


def _reflected(m: Met, view: Tensor, towards: Tensor) -> Tensor:
    """(N, 3) pi times the BSDF: 1 for a white diffuse surface."""
    half = functional.normalize(view + towards, dim=1)
    n_h, n_v, n_l = ((m.normal * x).sum(1).clamp(1e-3, 1) for x in (half, view, towards))
    alpha2 = (m.roughness.clamp_min(0.08) ** 4)
    density = alpha2 / (n_h * n_h * (alpha2 - 1) + 1) ** 2
    shadowing = 1 / ((n_v + (alpha2 + (1 - alpha2) * n_v**2).sqrt()) * (n_l + (alpha2 + (1 - alpha2) * n_l**2).sqrt()))
    glossy = _fresnel(m, (view * half).sum(1).clamp(0, 1)) * (density * shadowing)[:, None]
    return m.albedo * (1 - m.metallic[:, None]) + glossy.clamp_max(_HIGHLIGHT)


def _frame(axis: Tensor) -> tuple[Tensor, Tensor]:
    helper = torch.where(axis[:, 1:2].abs() > 0.9, axis.new_tensor([[1.0, 0, 0]]), axis.new_tensor([[0.0, 1, 0]]))
    side = functional.normalize(torch.linalg.cross(helper.expand_as(axis), axis), dim=1)
    return side, torch.linalg.cross(axis, side)


def _from_all(lights: Sequence[Lobe], points: Tensor, random: torch.Generator) -> tuple[Tensor, ...]:
    """:func:`_from` of all lights: (L, N, 3), (L, N), (L, N)."""
    return tuple(torch.stack(x) for x in zip(*(_from(light, points, random) for light in lights), strict=True))


def _from(light: Lobe, points: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Of points (N, 3): directions (N, 3) spread as the light's radiance, how far it is (N,), its power there (N,)."""
    count = len(points)
    if light.place is None:
        return _about(light.towards.expand(count, 3), light.size_deg, random), points.new_full((count,), 1e4), \
            points.new_ones(count)
    way = light.place - points
    distance = way.norm(dim=1).clamp_min(0.05)
    power = (light.level / distance).clamp_max(3) ** 2
    return _about(way / distance[:, None], light.size_deg, random), distance * 0.97, power


def _about(axis: Tensor, size_deg: float, random: torch.Generator) -> Tensor:
    """(N, 3) directions about the axes (N, 3), a Gaussian of the angle."""
    count = len(axis)
    side, up = _frame(axis)
    sigma = math.radians(size_deg) / math.sqrt(2 * math.log(2))
    angle = (sigma * torch.randn(2, count, 1, generator=random)).clamp(-1.2, 1.2)
    return functional.normalize(axis + angle[0].tan() * side + angle[1].tan() * up, dim=1)


def _hemisphere(normal: Tensor, random: torch.Generator) -> Tensor:
    """(N, 3) with a density in proportion to the cosine."""
    z = 2 * torch.rand(len(normal), 1, generator=random) - 1
    turn = 2 * math.pi * torch.rand(len(normal), 1, generator=random)
    ring = (1 - z * z).clamp_min(0).sqrt()
    return functional.normalize(normal + torch.cat([ring * turn.cos(), z, ring * turn.sin()], 1) * 0.999, dim=1)


def _mirrored(m: Met, view: Tensor, random: torch.Generator) -> Tensor:
    """(N, 3) the view mirrored at a normal that the roughness has tilted, never into the surface."""
    tilt = torch.randn(m.normal.shape, generator=random) * (0.5 * m.roughness**2)[:, None]
    normal = functional.normalize(m.normal + tilt, dim=1)
    out = 2 * (normal * view).sum(1, keepdim=True) * normal - view
    below = (out * m.normal).sum(1, keepdim=True)
    return functional.normalize(out + (0.02 - below).clamp_min(0) * m.normal, dim=1)


def smoothed(light: Tensor, normal: Tensor, depth: Tensor, reach: int) -> Tensor:
    """A cross-bilateral filter: means of (C, H, W) over what has nearly the same normal (3, H, W) and depth in stops
    (1, H, W) within ``reach`` pixels. Light of few rays is rough, and light from around is smooth."""
    total, weights = torch.zeros_like(light), torch.zeros_like(depth)
    pad = [reach] * 4
    wide = functional.pad(torch.cat([light, normal, depth])[None], pad, mode="replicate")[0]
    height, width = light.shape[1:]
    for y in range(2 * reach + 1):
        for x in range(2 * reach + 1):
            other = wide[:, y:y + height, x:x + width]
            apart = (other[-4:-1] - normal).square().sum(0, keepdim=True) * 8
            apart = apart + (other[-1:] - depth).square() * 200
            weight = torch.exp(-apart - ((y - reach) ** 2 + (x - reach) ** 2) / (reach * reach))
            total += other[:-4] * weight
            weights += weight
    return total / weights
