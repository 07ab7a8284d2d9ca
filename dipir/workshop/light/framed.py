"""Bare crops of panoramas, framed anew in every batch."""
from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.image import latlong
from dipir.workshop.light.batches import HEIGHT, WIDTH, AbstractSource, Numbers, Raw, directions, in_texel, quantile
from dipir.workshop.light.dressing import pooled
from dipir.workshop.light.places import FAINT, Places
from dipir.workshop.light.props import turned
from dipir.workshop.stored import tall


@final
class Framed(AbstractSource):
    """Random cameras in random panoramas; most of those without a sun from another viewpoint (:func:`_moved`: what is
    near comes nearer, and few places become many). Places with a hard source are ``favour`` times as frequent."""

    RAYS = 2

    def __init__(self, places: Places, favour: float = 1.5) -> None:
        self.places, self.where = places, places.sigma.device
        hard = places.share.cpu().numpy() > FAINT
        self.hard = hard
        weight = np.where(hard, favour, 1.0)
        self.ladder = (weight / weight.sum()).cumsum()
        self.whole = places.rest + in_texel(places.direction, places.irradiance, *places.rest.shape[1:3])

    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        chosen = np.searchsorted(self.ladder, rng.random(count)).clip(max=len(self.hard) - 1)
        below, angle = rng.uniform(0.15, 0.7, count), rng.uniform(0, 2 * math.pi, count)
        far = 0.45 * np.sqrt(rng.random(count))
        shift = np.stack([far * np.cos(angle), below * rng.uniform(-0.35, 0.35, count), far * np.sin(angle)], 1)
        return {"panorama": chosen, "turn": rng.integers(128, size=count), "below": below, "shift": shift,
                "moved": (rng.random(count) < 0.75) & ~self.hard[chosen], **random_view(rng, count)}

    def plates(self, numbers: Numbers) -> Raw:
        p, chosen, turn = self.places, numbers["panorama"].long(), numbers["turn"]
        moved = numbers["moved"] > 0
        plate = crops(p.padded, chosen, numbers["camera"], turn, self.RAYS,
                      lambda seen: torch.where(tall(moved), _moved(seen, numbers), seen))
        gain = exposure(plate)
        env = rolled(torch.where(tall(moved), self.whole[chosen], p.rest[chosen]), turn)
        rays = latlong.directions(128, 256, device=self.where).expand(len(env), -1, -1, -1)
        rest = torch.where(tall(moved), pooled(_sampled(env, _moved(rays, numbers)), 16, 32), pooled(env, 16, 32))
        irradiance = torch.where(moved[:, None], 0, p.irradiance[chosen])
        return Raw(plate * tall(gain), rest * tall(gain), about(p.direction[chosen], turn), irradiance * gain[:, None],
                   p.sigma[chosen], numbers["camera"], numbers["place"])


def random_view(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """``camera``, (count, 3) field of view, pitch and roll in degrees; ``place``, (count, 3) direction of a place on
    the ground before it, 4 to 45 degrees below the horizon."""
    fov, pitch = rng.triangular(45, 62, 82, count), rng.triangular(-4, 10, 38, count)
    across = np.radians(fov / 2) * rng.uniform(-0.75, 0.75, count)
    below = np.radians(np.clip(pitch + rng.uniform(-0.2, 0.8, count) * fov * 0.36, 4, 45))
    place = np.stack([np.sin(across) * np.cos(below), -np.sin(below), np.cos(across) * np.cos(below)], 1)
    return {"camera": np.stack([fov, pitch, rng.normal(size=count)], 1), "place": place}


def exposure(plate: Tensor) -> Tensor:
    """(B,) gains that bring nine tenths of the plates (B, 3, H, W) below 1."""
    return 1 / quantile(plate.flatten(1).sort(1).values, 0.9).clamp_min(1e-6)


def about(direction: Tensor, turn: Tensor) -> Tensor:
    """(B, 3) in surroundings turned by ``turn`` (B,) 1/128 revolutions, as :func:`rolled` and :func:`crops` do it."""
    return turned(direction, -turn / 128 * 2 * math.pi)


def rolled(env: Tensor, turn: Tensor) -> Tensor:
    """(B, H, 128, 3), each turned by whole columns ``turn`` (B,)."""
    height, width = env.shape[1:3]
    column = (torch.arange(width, device=env.device) - turn.long()[:, None]) % width
    return env.gather(2, column[:, None, :, None].expand(-1, height, -1, 3))


def crops(padded: Tensor, chosen: Tensor, camera: Tensor, turn: Tensor, rays: int, moved=lambda seen: seen) -> Tensor:
    """(B, 3, 192, 256) radiance that cameras see of panoramas (N, 3, H, W + 2), turned: ``crops.turned_crop`` of each,
    with ``rays`` x ``rays`` points a pixel."""
    seen = moved(directions(camera, WIDTH * rays, HEIGHT * rays))
    u, v = latlong.uv(seen)
    u = (u - (turn / 128)[:, None, None]) % 1.0
    wide = padded.shape[3]
    grid = torch.stack([(u * (wide - 2) + 1) / wide * 2 - 1, v * 2 - 1], -1)
    fine = functional.grid_sample(padded[chosen].float(), grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(fine, rays)


def _sampled(env: Tensor, rays: Tensor) -> Tensor:
    """Bilinear lookup of each of (B, H, W, 3) in directions (B, h, w, 3): (B, h, w, 3)."""
    width = env.shape[2]
    u, v = latlong.uv(rays)
    wide = torch.cat([env[:, :, -1:], env, env[:, :, :1]], 2).permute(0, 3, 1, 2)
    grid = torch.stack([(u * width + 1) / (width + 2) * 2 - 1, v * 2 - 1], -1)
    return functional.grid_sample(wide, grid, padding_mode="border", align_corners=False).permute(0, 2, 3, 1)


def _moved(seen: Tensor, numbers: Numbers) -> Tensor:
    """Another viewpoint in the place of a panorama, thought of as a ball of radius 1 with a floor ``below`` its middle:
    (B, h, w, 3) unit vectors from the new viewpoint -> those from the old one to the same points."""
    shift, below = tall(numbers["shift"]).permute(0, 2, 3, 1), numbers["below"][:, None, None]
    along = (seen * shift).sum(-1)
    ball = (along.square() + 1 - shift.square().sum(-1)).sqrt() - along
    down = (below + shift[..., 1]) / (-seen[..., 1]).clamp_min(1e-6)
    near = torch.where(seen[..., 1] < 0, torch.minimum(ball, down), ball)
    return functional.normalize(shift + near[..., None] * seen, dim=-1)
