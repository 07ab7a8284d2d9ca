"""Relighting data without a renderer: dull balls under distant lights, shaded by hand."""
from __future__ import annotations

import torch

from dipir.scene.direction import LightDirection
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.stored import encode, join

DIRECTIONS = ((90, 10), (-90, 20), (0, 30), (45, 50), (-150, 40), (10, -30))


def ball(albedo: tuple[float, float, float] = (0.8, 0.5, 0.2), size: int = 32, lights: int = 5,
         covered: bool = False) -> RelitSet:
    """One ball before nothing, or (``covered``) before a grey wall that faces the camera."""
    axis = (torch.arange(size) + 0.5) / size * 2.4 - 1.2
    x, y = axis[None].expand(size, size), -axis[:, None].expand(size, size)
    inside = x**2 + y**2 < 1
    normal = torch.stack([x, y, (1 - x**2 - y**2).clamp_min(0).sqrt()])
    normal = torch.where(inside, normal, torch.tensor([0.0, 0.0, 1.0 if covered else 0.0])[:, None, None])
    grey = torch.full((3,), 0.4 if covered else 0.0)
    color = torch.where(inside, torch.tensor(albedo)[:, None, None], grey[:, None, None])
    numbers = torch.stack([LightDirection(*angles).numbers for angles in DIRECTIONS[:lights]])
    lit = torch.stack([color * torch.einsum("c,chw->hw", n[:3], normal).clamp_min(0) for n in numbers])
    def byte(mask):
        return (mask[None, None].float() * 255).byte()
    return RelitSet(encode(lit)[None], encode(color * (0.8 + 0.4 * normal[1]))[None], numbers[None],
                    byte(inside | torch.tensor(covered)), byte(inside), (color * 255).round().byte()[None],
                    (normal * 127).round().to(torch.int8)[None], torch.tensor([2 if covered else 3]))


def balls(size: int = 32, lights: int = 5) -> RelitSet:
    """Four scenes, two before a wall."""
    colours = ((0.8, 0.5, 0.2), (0.3, 0.6, 0.7), (0.5, 0.5, 0.5), (0.9, 0.2, 0.2))
    return join([ball(c, size, lights, k % 2 == 1) for k, c in enumerate(colours)])
