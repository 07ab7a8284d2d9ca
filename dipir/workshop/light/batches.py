"""Batches for the light prior, made on the device of their data, all plates at once: linear plates with their light
from several sources, and the photos that cameras make of them.

All random numbers of a batch are drawn on the CPU and go to the device in one transfer; the grain of noisy photos comes
from a long strip of noise that lies there.
"""
from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.image import latlong
from dipir.image.color import BT709, linear_to_srgb
from dipir.priors.light_input import PLATE
from dipir.scene.source import ground_irradiances
from dipir.workshop import crops
from dipir.workshop.captured import packed, unpacked
from dipir.workshop.crops import CropConfig
from dipir.workshop.stored import tall

Columns = Mapping[str, np.ndarray]
Numbers = Mapping[str, Tensor]
HEIGHT, WIDTH = PLATE
STRIP = 1 << 23
"""Numbers of the strip of noise; places in it are whole numbers that float32 still holds exactly."""


@dataclass(frozen=True)
class Raw:
    """B linear plates with the light at a place in them, in one unit; camera azimuth at +Z."""

    plate: Tensor
    """(B, 3, 192, 256) radiance."""
    rest: Tensor
    """(B, 16, 32, 3) radiance without the source."""
    direction: Tensor
    """(B, 3) towards the source."""
    irradiance: Tensor
    """(B, 3) of a surface that faces it, 0 where it does not reach the place."""
    sigma: Tensor
    """(B,) its width."""
    camera: Tensor
    """(B, 3) horizontal field of view, pitch down, roll, degrees."""
    place: Tensor
    """(B, 3) direction in which the place on the ground is seen."""


@dataclass(frozen=True)
class Truth:
    """The light of B photos, plate white = 1."""

    rest: Tensor
    """rest, direction, irradiance, sigma: as of :class:`Raw`."""
    direction: Tensor
    irradiance: Tensor
    sigma: Tensor

    def total(self) -> Tensor:
        """(B, 16, 32, 3) radiance with the source, in the texel that it lies in."""
        return self.rest + in_texel(self.direction, self.irradiance, *self.rest.shape[1:3])

    def share(self) -> Tensor:
        """(B,) the source's share of the luminance that level ground receives."""
        weights = _constant(BT709, self.rest.device)
        own = (self.irradiance @ weights) * self.direction[:, 1].clamp_min(0)
        return own / (own + ground_irradiances(self.rest) @ weights).clamp_min(1e-12)


@dataclass(frozen=True)
class Batch:
    """B photos with their light."""

    plate_disp: Tensor
    """(B, 3, 192, 256) display [0, 1]."""
    directions: Tensor
    """(B, 192, 256, 3)."""
    place: Tensor
    """(B, 3)."""
    truth: Truth


def in_texel(direction: Tensor, irradiance: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 3) maps that hold sources of (B, 3) directions and irradiances in the texel where each lies."""
    u, v = latlong.uv(direction)
    row, column = (v * height).long().clamp(0, height - 1), (u * width).long().clamp(0, width - 1)
    solid = latlong.solid_angles(height, width, device=direction.device)[:, 0]
    flat = irradiance.new_zeros(len(direction), height * width, 3)
    value = (irradiance / solid[row][:, None])[:, None]
    flat = flat.scatter(1, (row * width + column)[:, None, None].expand(-1, 1, 3), value)
    return flat.reshape(-1, height, width, 3)


def ship(columns: Columns, where: torch.device) -> dict[str, Tensor]:
    """All columns as float32 tensors on ``where``, in one transfer."""
    return unpacked(columns, device.sent(torch.from_numpy(packed(columns)), where))


# ------------------------------------------------------------------------------------------------------------- sources
class AbstractSource(ABC):
    """Linear plates with their light, on the device ``where``. Subclasses are final."""

    where: torch.device

    @abstractmethod
    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        """The random numbers of ``count`` plates."""

    @abstractmethod
    def plates(self, numbers: Numbers) -> Raw:
        """The plates of these numbers."""

    def renewed(self, step: int) -> None:
        """Called before every step: time for what changes slowly."""
        return None


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


def quantile(ordered: Tensor, share: float) -> Tensor:
    """(B,) quantile of rows (B, N) in rising order, interpolated as torch.quantile does."""
    place = share * (ordered.shape[1] - 1)
    low = math.floor(place)
    return torch.lerp(ordered[:, low], ordered[:, min(low + 1, ordered.shape[1] - 1)], place - low)


# -------------------------------------------------------------------------------------------------------------- photos
def columns(rng: np.random.Generator, count: int, config: CropConfig) -> dict[str, np.ndarray]:
    """The random numbers of ``count`` photos, whatever they show."""
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
        "cover_left": np.floor(rng.random(count) * (WIDTH - cover[1] + 1)), "colour": rng.uniform(0, 0.9, (count, 3)),
        "blur": rng.random(count) * chance(0.5)}


def photos(raw: Raw, numbers: Numbers, strip: Tensor | None = None) -> Batch:
    """What cameras make of linear plates: framed, mirrored, exposed, developed with the given ``numbers``
    (:func:`columns`). strip : (STRIP,) noise, None = there is no grain."""
    mirrored = numbers["mirrored"] > 0
    planes = torch.cat([raw.plate, directions(raw.camera, WIDTH, HEIGHT).permute(0, 3, 1, 2)], 1)
    planes = _windows(planes, mirrored, numbers)
    turn = torch.where(mirrored[:, None], _constant((-1.0, 1.0, 1.0), planes.device), 1.0)
    rays = functional.normalize(planes[:, 3:], dim=1).permute(0, 2, 3, 1) * turn[:, None, None]
    amount = tall(numbers["amount"])
    plate = _saturated(planes[:, :3], amount)
    rest = _saturated(torch.where(tall(mirrored), raw.rest.flip(2), raw.rest).permute(0, 3, 1, 2), amount)
    irradiance = _saturated(tall(raw.irradiance), amount)[..., 0, 0]
    gains = _gains(plate, numbers)
    photo = _developed(_softened(plate * tall(gains), numbers), numbers, strip)
    return Batch(_covered(photo, numbers), rays, raw.place * turn,
                 Truth((rest * tall(gains)).permute(0, 2, 3, 1), raw.direction * turn, irradiance * gains, raw.sigma))


def _softened(plate: Tensor, numbers: Numbers) -> Tensor:
    """Mixed with its mean over 3 x 3 pixels: lenses differ, and nothing may be told from the edges of things."""
    around = functional.avg_pool2d(functional.pad(plate, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.lerp(plate, around, tall(numbers["blur"]))


def _windows(planes: Tensor, mirrored: Tensor, numbers: Numbers) -> Tensor:
    """(B, C, 192, 256) -> the same, each one's window at the full size, mirrored where it shall be: bilinear, ending at
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


Sources = Sequence[tuple[int, AbstractSource]]
"""How many plates of each."""


def draw_columns(rng: np.random.Generator, sources: Sources, config: CropConfig) -> dict[str, np.ndarray]:
    """The random numbers of a batch, so many plates of each source."""
    out = {f"{k}/{key}": value for k, (count, source) in enumerate(sources)
           for key, value in source.columns(rng, count).items()}
    return out | columns(rng, sum(count for count, _ in sources), config)


@torch.no_grad()
def assembled(numbers: Numbers, sources: Sources, config: CropConfig) -> Batch:
    """The batch of the numbers of :func:`draw_columns`. In single precision, whatever autocast says."""
    where = sources[0][1].where
    with device.single_precision(where):
        made = [source.plates({key.partition("/")[2]: value for key, value in numbers.items()
                               if key.startswith(f"{k}/")}) for k, (_, source) in enumerate(sources)]
        raw = Raw(*(torch.cat(column) for column in zip(*(vars(m).values() for m in made), strict=True)))
        return photos(raw, numbers, noise_strip(where) if config.noise else None)


def draw(rng: np.random.Generator, sources: Sources, config: CropConfig = CropConfig()) -> Batch:
    """Photos: so many of each source, all sources on one device."""
    for _, source in sources:
        source.renewed(0)
    return assembled(ship(draw_columns(rng, sources, config), sources[0][1].where), sources, config)
