"""Batches of plates with their light for the light prior, from stored pairs: procedural views and crops of photographed
panoramas, each time with another exposure, white balance, response, crop and mirror image."""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.synth import crops, shards

HEIGHT, WIDTH = 96, 128


@dataclass(frozen=True)
class PairSet:
    """plate : (N, 3, 96, 128) float16 linear;  env : (N, 16, 32, 3) in the same unit;  camera : (N, 3) horizontal field
    of view, pitch, roll in degrees (azimuth at +Z);  weight : (N,) how often a pair is drawn, relative to the others"""

    plate: Tensor
    env: Tensor
    camera: Tensor
    weight: Tensor


def concentration(env: Tensor) -> Tensor:
    """(N, 16, 32, 3) -> (N,) share of all light that comes from the brightest texel and its eight neighbours."""
    share = latlong.solid_angles(*env.shape[1:3]).expand(env.shape[1:3])
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
    high = torch.bucketize(elevation, torch.tensor(ELEVATION_DEG))
    return torch.bucketize(concentration(env), torch.tensor(CONCENTRATION)) * (len(ELEVATION_DEG) + 1) + high


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


def photographed(panoramas: Sequence[crops.Panorama], each: int = 300, seed: int = 0) -> PairSet:
    """``each`` crops of every panorama, turned and framed at random (see ``crops.CropConfig``); kept in the cache."""
    digest = hashlib.sha256(repr((each, seed, [round(float(p.env.mean()), 6) for p in panoramas])).encode())
    path = shards.cache_dir() / "views" / f"photographed_{digest.hexdigest()[:12]}.safetensors"
    if not shards.stored(path, {}, "plate"):
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        made = [_crop(rng, p) for p in panoramas for _ in range(each)]
        plate, env, camera = (torch.stack(x) for x in zip(*made, strict=True))
        shards.save(path, {"plate": plate, "env": env, "camera": camera}, {})
    made = load_file(path)
    return PairSet(made["plate"], made["env"], made["camera"], torch.ones(len(made["plate"])))


def _crop(rng: np.random.Generator, panorama: crops.Panorama) -> tuple[Tensor, Tensor, Tensor]:
    fov, pitch, roll = rng.triangular(45, 62, 82), rng.triangular(-6, 6, 32), rng.normal()
    camera = Camera.looking(WIDTH, HEIGHT, fov, pitch_deg=pitch, roll_deg=roll)
    turn = int(rng.integers(128))
    plate, _ = crops.turned_crop(panorama, camera, turn / 128, False, rays=2)
    env = latlong.resize(torch.roll(panorama.env, turn, 1), 16, 32)
    gain = 1 / plate.flatten().quantile(0.9).clamp_min(1e-6)
    return ((plate * gain).clamp(0, 60000).half(), env * gain, torch.tensor([fov, pitch, roll], dtype=torch.float32))


@dataclass(frozen=True)
class Batch:
    """plate_disp : (B, 3, 96, 128) display [0, 1];  directions : (B, 96, 128, 3);  env : (B, 16, 32, 3)"""

    plate_disp: Tensor
    directions: Tensor
    env: Tensor


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
        plate = crops.saturated(plate.permute(1, 2, 0), amount).permute(2, 0, 1)
        env = crops.saturated(env, amount)
    gains = crops.random_gains(rng, plate, config)
    return crops.develop(rng, plate * gains[:, None, None], config), directions, env * gains


def _window(rng: np.random.Generator, plate: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """A part of the plate around its middle column, of another shape or a narrower lens, at the full size again."""
    width = 2 * round(WIDTH / 2 * rng.uniform(0.6, 1.0))
    height = round(HEIGHT * rng.uniform(0.65, 1.0))
    left, top = (WIDTH - width) // 2, int(rng.integers(HEIGHT - height + 1))
    planes = torch.cat([plate, directions.permute(2, 0, 1)])[:, top:top + height, left:left + width]
    planes = functional.interpolate(planes[None], (HEIGHT, WIDTH), mode="bilinear", align_corners=False)[0]
    return planes[:3], functional.normalize(planes[3:].permute(1, 2, 0), dim=-1)
