"""Batches of plates with their light for the light prior, from stored pairs: procedural views and crops of photographed
panoramas, each time with another exposure, white balance, response, crop and mirror image."""
from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dipir import disk
from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop import crops, shards

HEIGHT, WIDTH = 96, 128


@dataclass(frozen=True)
class PairSet:
    """N stored plates with their light."""

    plate: Tensor  # (N, 3, 96, 128) float16 linear
    env: Tensor  # (N, 16, 32, 3) in the same unit
    camera: Tensor  # (N, 3) horizontal field of view, pitch, roll in degrees (azimuth at +Z)
    weight: Tensor  # (N,) how often a pair is drawn, relative to the others


def concentration(env: Tensor) -> Tensor:
    """(N, 16, 32, 3) -> (N,) share of all light that comes from the brightest texel and its eight neighbours."""
    share = latlong.solid_angles(*env.shape[1:3], device=env.device).expand(env.shape[1:3])
    energy = env.float().mean(-1) * share
    wide = torch.cat([energy[..., -1:], energy, energy[..., :1]], -1)[:, None]
    around = 9 * functional.avg_pool2d(functional.pad(wide, (0, 0, 1, 1)), 3, 1)[:, 0]
    return (around.amax((1, 2)) / energy.sum((1, 2)).clamp_min(1e-12)).clamp(0, 1)


CONCENTRATION, ELEVATION_DEG = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6), (10.0, 25.0, 45.0)
"""Borders of the classes of light in which procedural pairs are made as frequent as photographed ones."""


def light_class(env: Tensor) -> Tensor:
    """(N, 16, 32, 3) -> (N,) class by concentration and by the elevation of the brightest texel."""
    luminance = env.float().mean(-1)
    row = luminance.flatten(1).argmax(1) // env.shape[2]
    elevation = 90 - (row + 0.5) * 180 / env.shape[1]
    dense, high = (torch.bucketize(value, torch.tensor(borders, device=env.device)) for value, borders in (
        (concentration(env), CONCENTRATION), (elevation, ELEVATION_DEG)))
    return dense * (len(ELEVATION_DEG) + 1) + high


def like(pairs: PairSet, model: PairSet) -> PairSet:
    """``pairs`` weighted so that concentration and height of their light are distributed as in ``model``: procedural
    rooms and streets have more bare and low lights than photographs, and a net trained on them sees suns everywhere.
    A pair counts a fifth to five times as often as before."""
    mine, theirs = light_class(pairs.env), light_class(model.env)
    count = (len(CONCENTRATION) + 1) * (len(ELEVATION_DEG) + 1)
    have, want = (torch.bincount(c, weights=p.weight.double(), minlength=count) for c, p in ((mine, pairs),
                                                                                            (theirs, model)))
    ratio = (want / want.sum()) / (have / have.sum()).clamp_min(1e-6)
    return replace(pairs, weight=(pairs.weight * ratio.clamp(0.2, 5)[mine]).float())


SUNNY = 0.3
"""Concentration above which the viewpoint of a panorama is not moved: shadows would no longer fit their sun."""


def frame_panoramas(panoramas: Sequence[crops.Panorama], each: int = 600, seed: int = 0) -> PairSet:
    """``each`` crops of every panorama, turned and framed at random (see ``crops.CropConfig``), most of those without a
    sun from a viewpoint of their own (:class:`Moved`); kept in the cache."""
    digest = hashlib.sha256(repr((2, each, seed, [round(float(p.env.mean()), 6) for p in panoramas])).encode())
    path = disk.cache_dir() / "views" / f"photographed_{digest.hexdigest()[:12]}.safetensors"
    if not shards.stored(path, {}, "plate"):
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        made = [_crop(rng, p) for p in panoramas for _ in range(each)]
        plate, env, camera = (torch.stack(x) for x in zip(*made, strict=True))
        shards.save(path, {"plate": plate, "env": env, "camera": camera}, {})
    made = load_file(path)
    return PairSet(made["plate"], made["env"], made["camera"], torch.ones(len(made["plate"])))


@dataclass(frozen=True)
class Moved:
    """Another viewpoint in the place of a panorama, thought of as a ball of radius 1 with a floor ``below`` its middle:
    what is near comes nearer, and 26 photographed places become many."""

    shift: Tensor  # (3,) of the viewpoint
    below: float

    @staticmethod
    def random(rng: np.random.Generator) -> Moved:
        """Up to 0.45 to a side, a third of the height up or down."""
        below, angle, far = rng.uniform(0.15, 0.7), rng.uniform(0, 2 * math.pi), 0.45 * math.sqrt(rng.random())
        shift = [far * math.cos(angle), below * rng.uniform(-0.35, 0.35), far * math.sin(angle)]
        return Moved(torch.tensor(shift, dtype=torch.float32), below)

    def __call__(self, directions: Tensor) -> Tensor:
        """(..., 3) unit vectors from the new viewpoint -> those from the old one to the same points."""
        along = directions @ self.shift
        ball = (along.square() + 1 - self.shift.square().sum()).sqrt() - along
        down = (self.below + self.shift[1]) / (-directions[..., 1]).clamp_min(1e-6)
        floor = torch.where(directions[..., 1] < 0, down, torch.inf)
        return functional.normalize(self.shift + torch.minimum(ball, floor)[..., None] * directions, dim=-1)


def _crop(rng: np.random.Generator, panorama: crops.Panorama) -> tuple[Tensor, Tensor, Tensor]:
    fov, pitch, roll = rng.triangular(45, 62, 82), rng.triangular(-6, 6, 32), rng.normal()
    camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
    turn = int(rng.integers(128))
    sunny = float(concentration(latlong.resize(panorama.env, 16, 32)[None])[0]) > SUNNY
    moved = Moved.random(rng) if rng.random() < 0.75 and not sunny else None
    plate, _ = crops.turned_crop(panorama, camera, turn / 128, False, 2, moved)
    env = torch.roll(panorama.env, turn, 1)
    env = latlong.resize(env if moved is None else _sampled(env, moved), 16, 32)
    gain = 1 / plate.flatten().quantile(0.9).clamp_min(1e-6)
    return ((plate * gain).clamp(0, 60000).half(), env * gain, torch.tensor([fov, pitch, roll], dtype=torch.float32))


def _sampled(env: Tensor, moved: Moved) -> Tensor:
    """A map (64, 128, 3) from another viewpoint, at twice the size: a lamp keeps its radiance and changes in size."""
    return latlong.sample(env, moved(latlong.directions(2 * env.shape[0], 2 * env.shape[1])))


@dataclass(frozen=True)
class Batch:
    """B photos with their light."""

    plate_disp: Tensor  # (B, 3, 96, 128) display [0, 1]
    directions: Tensor  # (B, 96, 128, 3)
    env: Tensor  # (B, 16, 32, 3)


def draw(rng: np.random.Generator, pairs: PairSet, count: int, config: crops.CropConfig = crops.CropConfig()) -> Batch:
    """``count`` photos of random pairs."""
    ladder = pairs.weight.double().cumsum(0)
    chosen = torch.searchsorted(ladder, torch.from_numpy(rng.random(count)) * ladder[-1])
    rows = [_one(rng, pairs, int(index), config) for index in chosen.clamp_max(len(ladder) - 1)]
    return Batch(*(torch.stack(x) for x in zip(*rows, strict=True)))


def _one(rng: np.random.Generator, pairs: PairSet, index: int,
         config: crops.CropConfig) -> tuple[Tensor, Tensor, Tensor]:
    plate, env = pairs.plate[index].float(), pairs.env[index].float()
    fov, pitch, roll = map(float, pairs.camera[index])
    directions = crops.directions(Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll))
    if rng.random() < 0.5:
        plate, env = plate.flip(-1), env.flip(1)
        directions = directions.flip(1) * directions.new_tensor([-1.0, 1.0, 1.0])
    if rng.random() < 0.5:
        plate, directions = _window(rng, plate, directions)
    if config.saturation:
        amount = 1.0 + rng.uniform(-1.0, 0.6) * config.saturation
        plate = crops.saturate(plate.permute(1, 2, 0), amount).permute(2, 0, 1)
        env = crops.saturate(env, amount)
    gains = crops.random_gains(rng, plate, config)
    photo = crops.develop(rng, plate * gains[:, None, None], config)
    return _covered(rng, photo) if rng.random() < config.covered else photo, directions, env * gains


def _covered(rng: np.random.Generator, photo: Tensor) -> Tensor:
    """Something in the way, of an even colour: no single corner of a plate may decide."""
    height, width = (int(side * rng.uniform(0.15, 0.5)) for side in (HEIGHT, WIDTH))
    top, left = rng.integers(HEIGHT - height + 1), rng.integers(WIDTH - width + 1)
    colour = torch.from_numpy(rng.uniform(0, 0.9, (3, 1, 1)).astype(np.float32))
    photo = photo.clone()
    photo[:, top:top + height, left:left + width] = crops.quantise(colour)
    return photo


def _window(rng: np.random.Generator, plate: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """A part of the plate around its middle column, of another shape or a narrower lens, at the full size again."""
    width = 2 * round(WIDTH / 2 * rng.uniform(0.6, 1.0))
    height = round(HEIGHT * rng.uniform(0.65, 1.0))
    left, top = (WIDTH - width) // 2, int(rng.integers(HEIGHT - height + 1))
    planes = torch.cat([plate, directions.permute(2, 0, 1)])[:, top:top + height, left:left + width]
    planes = functional.interpolate(planes[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0]
    return planes[:3], functional.normalize(planes[3:].permute(1, 2, 0), dim=-1)
