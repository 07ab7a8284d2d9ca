"""A pool of dressed crops: made on the device of the training, kept there, renewed part by part while it runs."""
from __future__ import annotations

import math
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.image import latlong
from dipir.workshop.light.batches import HEIGHT, WIDTH, AbstractSource, Numbers, Raw, directions, ship
from dipir.workshop.light.dressing import Lit, Painted, dressed, irradiance, looked_up, pooled, seen_from
from dipir.workshop.light.framed import about, crops, exposure, random_view, rolled
from dipir.workshop.light.places import FAINT, Places
from dipir.workshop.light.props import compact, random_things
from dipir.workshop.stored import part, tall


@final
class Pool(AbstractSource):
    """``size`` dressed crops in parts of ``chunk``; from each step number that ``every`` divides on, the next part is
    another one. What a part holds depends on the seed and the step alone, so that a resumed run has the same pool."""

    def __init__(self, places: Places, size: int, every: int = 4, chunk: int = 64, seed: int = 0) -> None:
        self.places, self.where, self.seed = places, places.sigma.device, seed
        self.every, self.chunk, self.count = every, min(chunk, size), max(1, size // min(chunk, size))
        self.made: list[int] = [-1] * self.count
        self.data: Raw | None = None

    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        return {"row": rng.integers(self.count * self.chunk, size=count)}

    def plates(self, numbers: Numbers) -> Raw:
        rows = part(self.data, numbers["row"].long())
        return Raw(*(v.float() for v in vars(rows).values()))

    def renewed(self, step: int) -> None:
        turns = step // self.every
        for k in range(self.count):
            generation = (turns + self.count - 1 - k) // self.count
            if self.made[k] != generation:
                self._make(k, generation)

    def _make(self, k: int, generation: int) -> None:
        fresh = dress(self.places, split_seed(self.seed, "pool", k, generation), self.chunk)
        stored = replace(fresh, plate=fresh.plate.clamp(0, 60000).half(), rest=fresh.rest.clamp(0, 60000).half())
        if self.data is None:
            self.data = Raw(*(v.new_zeros(self.count * self.chunk, *v.shape[1:]) for v in vars(stored).values()))
        for whole, piece in zip(vars(self.data).values(), vars(stored).values(), strict=True):
            whole[k * self.chunk:(k + 1) * self.chunk] = piece
        self.made[k] = generation


@torch.no_grad()
def dress(places: Places, seed: int, count: int) -> Raw:
    """``count`` random dressed crops of panoramas.

    Two thirds are of places with a hard source. A third of the others gets a sun of our own: what lies below the
    horizon, in plate and light, is then as much brighter as the ground is. Ground is painted with that of another place
    for 35 of 100, and nearly always where there is none.
    """
    rng, where = np.random.default_rng(seed), places.sigma.device
    generator = torch.Generator(where).manual_seed(seed % 2**63)
    # ---- numbers ----
    hard = places.share.cpu().numpy() > FAINT
    chosen = np.where((rng.random(count) < 0.62) & hard.any(), rng.choice(np.flatnonzero(hard) if hard.any() else
                      len(hard), count), rng.integers(len(hard), size=count))
    view = random_view(rng, count)
    height = np.exp(rng.uniform(math.log(0.4), math.log(2.2), count))
    props = random_things(rng, count, view["camera"][:, :2], height)
    plain = places.plain.cpu().numpy()
    textures = rng.choice(np.flatnonzero(~plain) if not plain.all() else len(plain), count)
    elevation, azimuth = np.radians(rng.uniform(8, 70, count)), rng.uniform(-math.pi, math.pi, count)
    sun = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], 1)
    n = ship({**view, "height": height, "chosen": chosen, "turn": rng.integers(128, size=count), "sun": sun,
              "own": (rng.random(count) < 0.35) & ~hard[chosen], "strength": rng.uniform(0.5, 0.93, count),
              "warmth": rng.normal(size=count) * 0.12 + 0.05, "texture": textures,
              "paint": rng.random(count) < np.where(plain[chosen], 0.9, 0.35), "scale": rng.uniform(0.3, 1.5, count),
              "albedo": np.exp(rng.uniform(math.log(0.07), math.log(0.6), count)),
              "spin": rng.uniform(-math.pi, math.pi, count)}, where)
    props = compact(type(props)(*(v.to(where) for v in vars(props).values())))
    # ---- light and picture ----
    index = n["chosen"].long()
    rest = rolled(places.rest[index], n["turn"])
    light = _own_sun(Lit(rest, about(places.direction[index], n["turn"]), places.irradiance[index],
                         places.sigma[index]), n)
    rays = directions(n["camera"], WIDTH, HEIGHT)
    plate = crops(places.padded, index, n["camera"], n["turn"], 2)
    up = light.direction.new_tensor([0.0, 1.0, 0.0]).expand(count, 1, 3)
    added = 1 + light.ground() / irradiance(light, up)[:, 0]
    own, below = tall(n["own"]) > 0, (rays[..., 1:2] < -0.01).permute(0, 3, 1, 2)
    plate = torch.where(below & own, plate * tall(added), plate)
    under = latlong.directions(*rest.shape[1:3], device=where)[..., 1:2] < 0
    light = replace(light, rest=torch.where(under & own, rest * added[:, None, None], rest))
    plate, _ = dressed(plate, rays, n["height"], props, light, generator, painted=_painted(places, rays, n))
    # ---- the light at a place that nothing stands on ----
    along = n["place"] / (-n["place"][:, 1:2]).clamp_min(0.05)
    spot = along * n["height"][:, None]
    spot[:, 1] = 0.02
    around, reached = seen_from(props, light, spot, generator)
    clear = ~props.within(spot)
    around = torch.where(tall(clear), around, pooled(light.rest, 16, 32))
    reached = torch.where(clear, reached, 1.0)
    gain = exposure(plate)
    return Raw(plate * tall(gain), around * tall(gain), light.direction,
               light.irradiance * (gain * reached)[:, None], light.sigma, n["camera"], n["place"])


def _own_sun(light: Lit, numbers: Numbers) -> Lit:
    """Where ``own`` is 1, with a sun at ``sun`` that has the share ``strength`` of the ground's light."""
    own = numbers["own"][:, None] > 0
    level = irradiance(light, light.direction.new_tensor([0.0, 1.0, 0.0]).expand(len(own), 1, 3))[:, 0]
    share, warm = numbers["strength"][:, None], numbers["warmth"]
    colour = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm], 1)
    strong = share / (1 - share) * level.mean(1, keepdim=True) * colour / numbers["sun"][:, 1:2]
    return Lit(light.rest, torch.where(own, numbers["sun"], light.direction),
               torch.where(own, strong, light.irradiance), torch.where(own[:, 0], 0.0045, light.sigma))


def _painted(places: Places, rays: Tensor, numbers: Numbers) -> Painted:
    """Ground of other panoramas, looked down on from their own height."""
    batch = len(rays)
    index, scale = numbers["texture"].long(), numbers["scale"][:, None, None]
    ray = rays.reshape(batch, -1, 3)
    flat = ray / (-ray[..., 1:2]).clamp_min(0.02) * scale
    c, s = numbers["spin"].cos()[:, None], numbers["spin"].sin()[:, None]
    down = torch.stack([c * flat[..., 0] + s * flat[..., 2], -torch.ones_like(flat[..., 0]),
                        c * flat[..., 2] - s * flat[..., 0]], -1)
    maps = places.padded[index, :, :, 1:-1].permute(0, 2, 3, 1)
    colour = looked_up(maps, down).float()
    level = pooled(places.rest[index], 16, 32)[:, 11:].mean((1, 2)).mean(1)[:, None, None].clamp_min(1e-5)
    level = torch.maximum(level, 0.3 * colour.mean((1, 2), keepdim=True)).clamp_min(1e-5)
    return Painted((colour / level * numbers["albedo"][:, None, None]).clamp(0.005, 0.9), numbers["paint"] > 0)


def drawn_places(rng: np.random.Generator, count: int = 6, height: int = 64) -> Places:
    """Environments made here, for tests and for measuring speed: sky, ground with a pattern, a sun in every other."""
    maps = []
    for k in range(count):
        rays = latlong.directions(height, 2 * height)
        sun = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=3) * [1, 0.3, 1] + [0, 0.8, 0]).float(),
                                            dim=0)
        pattern = ((rays[..., :1] * 9).sin() * (rays[..., 2:] * 7).sin()).abs()
        tint = torch.from_numpy(rng.uniform(0.3, 1.0, (2, 3)).astype(np.float32))
        base = torch.where(rays[..., 1:2] > 0, 0.5 + 0.5 * rays[..., 1:2], 0.1 + 0.3 * pattern)
        base = torch.where(rays[..., 1:2] > 0, base * tint[0], base * tint[1])
        maps.append(base + (2e3 if k % 2 == 0 else 0) * (3e3 * ((rays @ sun)[..., None] - 1)).exp())
    return Places.of(maps, height)
