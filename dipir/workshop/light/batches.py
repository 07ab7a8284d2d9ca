"""Batches for the light prior made on the device of their data, all plates at once: the photos of ``light_pairs.draw``,
from stored pairs or from panoramas that lie there, which are then framed anew in every batch.

All random numbers of a batch are drawn on the CPU and go to the device in one transfer; the grain of noisy photos comes
from a long strip of noise that lies there. The numbers are not those of ``light_pairs.draw``; what is made of them is.
"""
from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.image import latlong
from dipir.image.color import BT709, linear_to_srgb
from dipir.workshop import crops
from dipir.workshop.crops import CropConfig
from dipir.workshop.light.pairs import HEIGHT, SUNNY, WIDTH, Batch, PairSet, concentration
from dipir.workshop.stored import tall

Columns = Mapping[str, np.ndarray]
Numbers = Mapping[str, Tensor]
STRIP = 1 << 23
"""Numbers of the strip of noise; places in it are whole numbers that float32 still holds exactly."""


def ship(columns: Columns, where: torch.device) -> dict[str, Tensor]:
    """All columns as float32 tensors on ``where``, in one transfer."""
    flat = np.concatenate([np.asarray(c, np.float32).ravel() for c in columns.values()])
    there = device.sent(torch.from_numpy(flat), where)
    parts = there.split([np.asarray(c).size for c in columns.values()])
    return {key: part.reshape(np.asarray(c).shape) for (key, c), part in zip(columns.items(), parts, strict=True)}


# ------------------------------------------------------------------------------------------------------------- sources
class AbstractSource(ABC):
    """Linear plates with their light, of random framings, on the device ``where``. Subclasses are final."""

    where: torch.device

    @abstractmethod
    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        """The random numbers of ``count`` plates."""

    @abstractmethod
    def plates(self, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, 96, 128) linear, (B, 16, 32, 3) light in the same unit, (B, 3) field of view, pitch, roll, degrees."""


@final
class Stored(AbstractSource):
    """Pairs that lie on a device, drawn by their weights."""

    def __init__(self, pairs: PairSet, where: torch.device) -> None:
        self.where = where
        self.ladder = pairs.weight.double().cumsum(0).cpu().numpy()
        self.pairs = device.moved(pairs, where)

    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        row = np.searchsorted(self.ladder, rng.random(count) * self.ladder[-1])
        return {"row": row.clip(max=len(self.ladder) - 1)}

    def plates(self, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor]:
        row = numbers["row"].long()
        return self.pairs.plate[row].float(), self.pairs.env[row].float(), self.pairs.camera[row]


@final
class Framed(AbstractSource):
    """Panoramas that lie on a device, as ``light_pairs.frame_panoramas`` does. Small ones are enlarged to the size of
    the largest."""

    RAYS = 2

    def __init__(self, panoramas: Sequence[crops.Panorama], where: torch.device) -> None:
        self.where = where
        size = max((p.padded.shape[1:] for p in panoramas), key=lambda s: s[0])
        padded = [p.padded if p.padded.shape[1:] == size else
                  functional.interpolate(p.padded[None], size, mode="bilinear")[0] for p in panoramas]
        self.padded = torch.stack(padded).to(where)
        self.env = torch.stack([p.env for p in panoramas]).to(where)
        self.sunny = (concentration(resized(self.env, 16, 32)) > SUNNY).cpu().numpy()

    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        chosen = rng.integers(len(self.sunny), size=count)
        below, angle = rng.uniform(0.15, 0.7, count), rng.uniform(0, 2 * math.pi, count)
        far = 0.45 * np.sqrt(rng.random(count))
        shift = np.stack([far * np.cos(angle), below * rng.uniform(-0.35, 0.35, count), far * np.sin(angle)], 1)
        return {"panorama": chosen, "turn": rng.integers(128, size=count), "below": below, "shift": shift,
                "moved": (rng.random(count) < 0.75) & ~self.sunny[chosen],
                "camera": np.stack([rng.triangular(45, 62, 82, count), rng.triangular(-6, 6, 32, count),
                                    rng.normal(size=count)], 1)}

    def lights(self, rng: np.random.Generator, count: int, chunk: int = 64) -> Tensor:
        """(count, 16, 32, 3) of random plates, on the CPU: how their light is distributed."""
        parts = [self.plates(ship(self.columns(rng, min(chunk, count - start)), self.where))[1].cpu()
                 for start in range(0, count, chunk)]
        return torch.cat(parts)

    def plates(self, numbers: Numbers) -> tuple[Tensor, Tensor, Tensor]:
        chosen, camera = numbers["panorama"].long(), numbers["camera"]
        plate, env = self.crops(numbers), self._light(self.env[chosen], numbers)
        gain = 1 / quantile(plate.flatten(1).sort(1).values, 0.9).clamp_min(1e-6)
        # Half precision, as the stored ones have.
        return ((plate * tall(gain)).clamp(0, 60000).half().float(), env * tall(gain), camera)

    def crops(self, numbers: Numbers) -> Tensor:
        """(B, 3, 96, 128) radiance: ``crops.turned_crop`` of each."""
        rays = self.RAYS
        seen = directions(numbers["camera"], WIDTH * rays, HEIGHT * rays)
        u, v = latlong.uv(torch.where(tall(numbers["moved"]) > 0, _moved(seen, numbers), seen))
        u = (u - (numbers["turn"] / 128)[:, None, None]) % 1.0
        columns = self.padded.shape[3]
        grid = torch.stack([(u * (columns - 2) + 1) / columns * 2 - 1, v * 2 - 1], -1)
        fine = functional.grid_sample(self.padded[numbers["panorama"].long()], grid, padding_mode="border",
                                      align_corners=False)
        return functional.avg_pool2d(fine, rays)

    def _light(self, env: Tensor, numbers: Numbers) -> Tensor:
        """(B, 64, 128, 3) of each panorama -> (B, 16, 32, 3), turned, and from another viewpoint where it is moved."""
        height, width = env.shape[1:3]
        column = (torch.arange(width, device=env.device) - numbers["turn"].long()[:, None]) % width
        env = env.gather(2, column[:, None, :, None].expand(-1, height, -1, 3))
        rays = latlong.directions(2 * height, 2 * width, device=env.device).expand(len(env), -1, -1, -1)
        u, v = latlong.uv(_moved(rays, numbers))
        wide = torch.cat([env[:, :, -1:], env, env[:, :, :1]], 2).permute(0, 3, 1, 2)
        grid = torch.stack([(u * width + 1) / (width + 2) * 2 - 1, v * 2 - 1], -1)
        elsewhere = functional.grid_sample(wide, grid, padding_mode="border", align_corners=False)
        return torch.where(tall(numbers["moved"]) > 0, resized(elsewhere.permute(0, 2, 3, 1), 16, 32),
                           resized(env, 16, 32))


def _moved(seen: Tensor, numbers: Numbers) -> Tensor:
    """``light_pairs.Moved`` of each: (B, h, w, 3) unit vectors -> those from the middle of the panorama."""
    shift, below = tall(numbers["shift"]).permute(0, 2, 3, 1), numbers["below"][:, None, None]
    along = (seen * shift).sum(-1)
    ball = (along.square() + 1 - shift.square().sum(-1)).sqrt() - along
    down = (below + shift[..., 1]) / (-seen[..., 1]).clamp_min(1e-6)
    near = torch.where(seen[..., 1] < 0, torch.minimum(ball, down), ball)
    return functional.normalize(shift + near[..., None] * seen, dim=-1)


def directions(camera: Tensor, width: int, height: int) -> Tensor:
    """(B, 3) field of view, pitch and roll in degrees -> (B, height, width, 3): ``crops.directions`` of each."""
    fov, p, r = torch.deg2rad(camera.double()).unbind(1)
    zero, focal = torch.zeros_like(p), 0.5 * width / (fov / 2).tan()
    # The columns of the pose: rotation by pitch times rotation by roll.
    right, up, ahead = (torch.stack(x, 1).float() for x in (
        (r.cos(), p.cos() * r.sin(), p.sin() * r.sin()), (-r.sin(), p.cos() * r.cos(), p.sin() * r.cos()),
        (zero, -p.sin(), p.cos())))
    focal = focal.float()
    x, y = _pixel_places(width, camera.device), _pixel_places(height, camera.device)
    across, down = -x / focal[:, None], -y / focal[:, None]
    d = across[:, None, :, None] * right[:, None, None] + (down[:, :, None, None] * up[:, None, None]
                                                           + ahead[:, None, None])
    return d / d.square().sum(-1, keepdim=True).sqrt()


@functools.lru_cache(maxsize=16)
def _pixel_places(count: int, where: torch.device) -> Tensor:
    """(count,) middles of pixels, from the picture's middle."""
    return torch.arange(count, device=where) + (0.5 - count / 2)


def resized(env: Tensor, height: int, width: int) -> Tensor:
    """``latlong.resize`` of each of (B, H, W, 3)."""
    batch, h, w, c = env.shape
    weighted = env * latlong.solid_angles(h, w, env.dtype, env.device)[..., None]
    pooled = weighted.reshape(batch, height, h // height, width, w // width, c).sum((2, 4))
    return pooled / latlong.solid_angles(height, width, env.dtype, env.device)[..., None]


def quantile(ordered: Tensor, share: float) -> Tensor:
    """(B,) quantile of rows (B, N) in rising order, interpolated as torch.quantile does."""
    place = share * (ordered.shape[1] - 1)
    low = math.floor(place)
    return torch.lerp(ordered[:, low], ordered[:, min(low + 1, ordered.shape[1] - 1)], place - low)


# -------------------------------------------------------------------------------------------------------------- photos
def columns(rng: np.random.Generator, count: int, config: CropConfig) -> dict[str, np.ndarray]:
    """The random numbers of ``count`` photos, whatever they show; in distribution those of ``light_pairs.draw``."""
    def chance(share: float) -> np.ndarray:
        return rng.random(count) < share

    window, response, covered, noisy = chance(0.5), chance(config.response), chance(config.covered), chance(0.5)
    wide = np.where(window, 2 * np.round(WIDTH / 2 * rng.uniform(0.6, 1.0, count)), WIDTH)
    tall = np.where(window, np.round(HEIGHT * rng.uniform(0.65, 1.0, count)), HEIGHT)
    cover = [np.floor(side * rng.uniform(0.15, 0.5, count)) * covered for side in (HEIGHT, WIDTH)]
    return {
        "mirrored": chance(0.5), "wide": wide, "tall": tall, "left": (WIDTH - wide) // 2,
        "top": np.floor(rng.random(count) * (HEIGHT - tall + 1)),
        "amount": 1 + rng.uniform(-1.0, 0.6, count) * config.saturation,
        "metering": np.where(chance(0.3), 3, rng.integers(3, size=count)),
        "balance": np.where(chance(0.5), 0, rng.uniform(0, 0.7, count)),
        "jitter": np.exp(rng.normal(size=(count, 3)) * config.balance),
        "exposure": 2.0 ** rng.uniform(-config.stops, config.stops, count),
        "gamma": np.where(response, np.exp(rng.normal(size=count) * 0.15), 1),
        "contrast": np.where(response, rng.uniform(-0.2, 0.35, count), 0),
        "saturation": np.where(response, rng.uniform(0.8, 1.25, count), 1),
        "noise": rng.uniform(0, config.noise, count) * noisy * np.where(chance(0.5), 1, -1),
        "grain": rng.integers(STRIP, size=count),
        "cover_tall": cover[0], "cover_wide": cover[1],
        "cover_top": np.floor(rng.random(count) * (HEIGHT - cover[0] + 1)),
        "cover_left": np.floor(rng.random(count) * (WIDTH - cover[1] + 1)), "colour": rng.uniform(0, 0.9, (count, 3))}


def photos(plate: Tensor, env: Tensor, camera: Tensor, numbers: Numbers, strip: Tensor | None = None) -> Batch:
    """What cameras make of linear plates (B, 3, 96, 128) and their light (B, 16, 32, 3): ``light_pairs.draw`` with the
    given ``numbers`` (:func:`columns`). strip : (STRIP,) noise, None = there is no grain."""
    mirrored = numbers["mirrored"] > 0
    planes = torch.cat([plate, directions(camera, WIDTH, HEIGHT).permute(0, 3, 1, 2)], 1)
    planes = _windows(planes, mirrored, numbers)
    rays = functional.normalize(planes[:, 3:], dim=1).permute(0, 2, 3, 1)
    rays = torch.where(tall(mirrored), rays * _constant((-1.0, 1.0, 1.0), plate.device), rays)
    amount = tall(numbers["amount"])
    plate = _saturated(planes[:, :3], amount)
    env = _saturated(torch.where(tall(mirrored), env.flip(2), env).permute(0, 3, 1, 2), amount)
    gains = _gains(plate, numbers)
    photo = _developed(plate * tall(gains), numbers, strip)
    return Batch(_covered(photo, numbers), rays, (env * tall(gains)).permute(0, 2, 3, 1))


def _windows(planes: Tensor, mirrored: Tensor, numbers: Numbers) -> Tensor:
    """(B, C, 96, 128) -> the same, each one's window at the full size, mirrored where it shall be: bilinear, ending at
    the window's edges, exact where the window is everything."""
    def taps(size: int, first: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        middle = _pixel_places(size, planes.device) + size / 2
        place = (middle * (length / size)[:, None] - 0.5).clamp_min(0)
        low = place.floor()
        high = torch.minimum(low + 1, length[:, None] - 1)
        return (low + first[:, None]).long(), (high + first[:, None]).long(), place - low

    batch, channels, height, width = planes.shape
    low, high, share = taps(height, numbers["top"], numbers["tall"])
    near, far = (planes.gather(2, i[:, None, :, None].expand(-1, channels, -1, width)) for i in (low, high))
    planes = torch.lerp(near, far, share[:, None, :, None])
    low, high, share = taps(width, numbers["left"], numbers["wide"])
    low, high = (torch.where(mirrored[:, None], width - 1 - i, i) for i in (low, high))
    near, far = (planes.gather(3, i[:, None, None].expand(-1, channels, height, -1)) for i in (low, high))
    return torch.lerp(near, far, share[:, None, None])


@functools.lru_cache(maxsize=32)
def _constant(values: tuple[float, ...], where: torch.device) -> Tensor:
    return torch.tensor(values, device=where)


def _grey(pictures: Tensor) -> Tensor:
    """(B, 1, H, W) luminance."""
    return (pictures * _constant(BT709, pictures.device)[:, None, None]).sum(1, keepdim=True)


def _saturated(pictures: Tensor, amount: Tensor) -> Tensor:
    grey = _grey(pictures)
    return (grey + (pictures - grey) * amount).clamp_min(0)


METERED, TARGETS = (0.5, 0.9, 0.97), (0.18, 0.75, 1.0)


def _gains(plate: Tensor, numbers: Numbers) -> Tensor:
    """(B, 3): ``crops.random_gains`` of each."""
    ordered = _grey(plate).flatten(1).sort(1).values
    rank = [max(1, int(q * ordered.shape[1])) - 1 for q in METERED]
    metered = torch.stack([ordered[:, k] for k in rank], 1)
    levels = _constant(TARGETS, plate.device) / metered.clamp_min(1e-8)
    automatic = torch.minimum(0.16 / ordered.clamp_min(1e-8).log().mean(1).exp(),
                              1 / quantile(ordered.clamp_min(1e-8), 0.9))
    gain = torch.cat([levels, automatic[:, None]], 1).gather(1, numbers["metering"].long()[:, None])
    mean = plate.mean((2, 3)).clamp_min(1e-8)
    balance = (mean.mean(1, keepdim=True) / mean).clamp(0.25, 4.0) ** numbers["balance"][:, None] * numbers["jitter"]
    return balance / balance.mean(1, keepdim=True) * gain * numbers["exposure"][:, None]


def _developed(plate: Tensor, numbers: Numbers, strip: Tensor | None) -> Tensor:
    """(B, 3, H, W) exposed -> photos: ``crops.develop`` of each."""
    x = linear_to_srgb(plate.clamp(0, 1)) ** tall(numbers["gamma"])
    x = x + tall(numbers["contrast"]) * (x * x * (3 - 2 * x) - x)
    grey = _grey(x)
    x = grey + (x - grey) * tall(numbers["saturation"])
    if strip is not None:
        place = numbers["grain"].long()[:, None] + torch.arange(x[0].numel(), device=x.device)
        x = x + strip[place % len(strip)].reshape(x.shape) * tall(numbers["noise"])
    return crops.quantise(x)


def _covered(photo: Tensor, numbers: Numbers) -> Tensor:
    def inside(size: int, first: Tensor, length: Tensor) -> Tensor:
        place = torch.arange(size, device=photo.device)
        return (place >= first[:, None]) & (place < (first + length)[:, None])

    rows = inside(HEIGHT, numbers["cover_top"], numbers["cover_tall"])
    across = inside(WIDTH, numbers["cover_left"], numbers["cover_wide"])
    return torch.where((rows[:, :, None] & across[:, None])[:, None], tall(crops.quantise(numbers["colour"])), photo)


@functools.lru_cache(maxsize=2)
def noise_strip(where: torch.device) -> Tensor:
    """(STRIP,) normal numbers of a fixed seed, on a device."""
    return device.randn((STRIP,), torch.Generator().manual_seed(11), where)


@torch.no_grad()
def draw(rng: np.random.Generator, sources: Sequence[tuple[int, AbstractSource]],
         config: CropConfig = CropConfig()) -> Batch:
    """Photos: so many of each source, all sources on one device. In single precision, whatever autocast says."""
    drawn = [source.columns(rng, count) for count, source in sources]
    packed = {f"{k}/{key}": value for k, columns_ in enumerate(drawn) for key, value in columns_.items()}
    total = sum(count for count, _ in sources)
    packed |= columns(rng, total, config)
    where = sources[0][1].where
    with device.single_precision(where):
        numbers = ship(packed, where)
        made = [source.plates({key: numbers[f"{k}/{key}"] for key in drawn[k]})
                for k, (_, source) in enumerate(sources)]
        plate, env, camera = (torch.cat(parts) for parts in zip(*made, strict=True))
        return photos(plate, env, camera, numbers, noise_strip(where) if config.noise else None)
