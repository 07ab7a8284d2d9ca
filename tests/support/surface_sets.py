"""Balls with known surfaces, shaded by hand: what training of the surfaces' network reads, without a renderer."""
from __future__ import annotations

import math

import torch

from dipir.priors.relit.surfaces import Surfaces
from dipir.scene.direction import LightDirection
from dipir.workshop.relight.scenes import KINDS
from dipir.workshop.stored import encode, join
from dipir.workshop.surfaces.backdrops import Backdrops
from dipir.workshop.surfaces.data import OUTDOOR, SurfaceSet

FEATURES = 8
"""Of the small networks of tests."""
LIGHTS = (LightDirection(70, 20, 6), LightDirection(-60, 35, 12), LightDirection(0, 60, 4), LightDirection(30, 10, 25))


def frame(pitch_deg: float, roll_deg: float = 0.0) -> torch.Tensor:
    """(3, 3) rows: the level direction to the right, the vertical, and the level direction towards the camera, as a
    camera sees them that looks down by ``pitch_deg`` and is turned about its view by ``roll_deg``."""
    c, s = math.cos(math.radians(pitch_deg)), math.sin(math.radians(pitch_deg))
    a, b = math.cos(math.radians(roll_deg)), math.sin(math.radians(roll_deg))
    return torch.tensor([[1.0, 0, 0], [0, c, s], [0, -s, c]]) @ torch.tensor([[a, b, 0], [-b, a, 0], [0, 0, 1]])


def ball_normals(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, S, S) normals of a ball that fills five sixths of the picture, 0 around it, and where it is."""
    axis = (torch.arange(size) + 0.5) / size * 2.4 - 1.2
    x, y = axis[None].expand(size, size), -axis[:, None].expand(size, size)
    inside = x**2 + y**2 < 1
    return torch.stack([x, y, (1 - x**2 - y**2).clamp_min(0).sqrt()]) * inside, inside


def ball(albedo: tuple[float, float, float], size: int = 32, kind: int = KINDS.index("free"), pitch_deg: float = 0.0,
         covered: bool = False, *, roll_deg: float = 0.0) -> SurfaceSet:
    """One ball before nothing, or (``covered``) before a grey wall that faces the camera. Something out of the picture
    keeps the first light from the uppermost quarter of it."""
    normal, inside = ball_normals(size)
    solid = inside | torch.tensor(covered)
    normal = torch.where(inside, normal, torch.tensor([0.0, 0.0, 1.0])[:, None, None] * solid)
    color = torch.where(inside, torch.tensor(albedo)[:, None, None], 0.4 * solid)
    numbers, axes = torch.stack([light.numbers for light in LIGHTS]), frame(pitch_deg, roll_deg)
    cosine = torch.einsum("lc,chw->lhw", numbers[:, :3] @ axes, normal).clamp_min(0)
    free = (cosine > 0).float()
    free[0, :size // 4] = 0
    lit = color * (cosine * free)[:, None]
    distance = (4 - normal[2]).log2()
    depth = (distance - distance[solid].median()) * solid

    def byte(x: torch.Tensor) -> torch.Tensor:
        return (x.float() * 255).round().byte()[None]

    return SurfaceSet(encode(lit)[None], encode(color * (0.8 + 0.4 * (axes[1] @ normal.flatten(1)).view(size, size)))[
        None], byte(free), numbers[None], byte(solid[None]), byte(inside[None]), byte(color),
        (normal * 127).round().to(torch.int8)[None], depth[None, None].half(), torch.tensor([40.0]), axes[1][None],
        torch.tensor([kind]))


def balls(size: int = 32) -> SurfaceSet:
    """Four scenes: before nothing, before a wall, under the open sky, before nothing seen from above."""
    free, wall = KINDS.index("free"), KINDS.index("wall")
    return join([ball((0.8, 0.5, 0.2), size, free), ball((0.3, 0.6, 0.7), size, wall, 0.0, True),
                 ball((0.5, 0.5, 0.5), size, OUTDOOR, 15.0), ball((0.9, 0.2, 0.2), size, free, 30.0, roll_deg=8.0)])


def backdrops(size: int = 32) -> Backdrops:
    """Three places that are rough, two skies that grow brighter upwards."""
    random = torch.Generator().manual_seed(0)
    ramp = torch.linspace(1, 0.3, size)[:, None].expand(2, 3, size, size)
    return Backdrops(torch.rand(3, 3, size, size, generator=random).half(), ramp.half())


def true_ball(size: int = 64, pitch_deg: float = 0.0, solid: float = 1.0) -> Surfaces:
    """What a perfect network would see of an evenly lit grey ball before a wall that faces the camera."""
    normal, inside = ball_normals(size)
    normal = torch.where(inside, normal, torch.tensor([0.0, 0.0, 1.0])[:, None, None])[None]
    flat = torch.zeros(1, 1, size, size)
    return Surfaces(normal, torch.full((1, 3, size, size), 0.5), flat, flat, flat, flat + solid, frame(pitch_deg)[1:2],
                    flat.expand(1, FEATURES, size, size))
