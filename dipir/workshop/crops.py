"""Photos cut out of HDR panoramas, each with the light that surrounded it: training pairs of the light prior."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.image import latlong
from dipir.image.color import BT709, linear_to_srgb
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap

_LUMINANCE = torch.tensor(BT709)


@dataclass(frozen=True)
class CropConfig:
    """Ranges of the random photos. Angles in degrees, exposure in stops."""

    stops: float = 1.0  # half width of the random exposure
    balance: float = 0.06  # standard deviation of log white-balance gains
    response: float = 0.3  # share of plates with a response curve other than sRGB
    noise: float = 0.01  # largest standard deviation, display
    saturation: float = 0.5
    """Range of the random saturation of the surroundings, plate and light alike (few real environments have to stand
    for many)."""
    covered: float = 0.3  # share of the light prior's plates with something in front of a part


@dataclass(frozen=True)
class Panorama:
    """A panorama made ready for cropping."""

    padded: Tensor  # (3, H, W + 2) radiance, one column repeated at each side
    env: EnvMap  # (64, 128, 3) radiance


def prepare(envmap: EnvMap, height: int = 512) -> Panorama:
    """``envmap`` (H, W, 3), reduced to at most ``height`` rows for the crops and to 64 rows for the light."""
    if envmap.shape[0] > height:
        envmap = EnvironmentMap(envmap).envmap(height, 2 * height)
    planes = envmap.permute(2, 0, 1)
    return Panorama(torch.cat([planes[..., -1:], planes, planes[..., :1]], -1).contiguous(),
                    EnvironmentMap(envmap).envmap(64, 128))


def perspective_crop(envmap: EnvMap, camera: Camera) -> Tensor:
    """What ``camera`` sees of infinitely distant surroundings: (3, H, W), linear, the map's own radiance.

    Several rays a pixel are averaged where a pixel is larger than a texel, so that detail does not alias.
    """
    texel = 2 * math.pi / envmap.shape[1]
    rays = max(1, math.ceil(1 / camera.focal_px / texel))
    fine = camera.resized(camera.width * rays, camera.height * rays)
    directions = torch.from_numpy(fine.directions().astype(np.float32))
    image = latlong.sample(envmap, directions).permute(2, 0, 1)
    return torch.nn.functional.avg_pool2d(image[None], rays)[0]


def auto_exposure(plate_lin: Tensor) -> float:
    """The gain that a camera would choose for (3, H, W) linear: geometric mean of luminance to 0.16, but no more
    than a tenth of the picture above white."""
    luminance = torch.tensordot(_LUMINANCE, plate_lin, 1).clamp_min(1e-8)
    middle = 0.16 / luminance.log().mean().exp()
    return float(torch.minimum(middle, 1.0 / luminance.flatten().quantile(0.9)))


def quantise(display: Tensor) -> Tensor:
    """Rounded to the 256 steps of a photo."""
    return (display.clamp(0, 1) * 255).round() / 255


def turned_crop(panorama: Panorama, camera: Camera, turn: float, mirrored: bool, rays: int,
                moved: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Crop of the surroundings turned by ``turn`` revolutions, then mirrored; and the directions of its pixels.
    ``moved``: from directions (..., 3) to those in which the panorama shows the same things."""
    fine = camera.resized(camera.width * rays, camera.height * rays)
    seen = directions(fine)
    u, v = latlong.uv(moved(seen) if moved is not None else seen)
    u = ((1 - u if mirrored else u) - turn) % 1.0
    columns = panorama.padded.shape[2]
    grid = torch.stack([(u * (columns - 2) + 1) / columns * 2 - 1, v * 2 - 1], -1)[None]
    plate = torch.nn.functional.grid_sample(panorama.padded[None], grid, padding_mode="border", align_corners=False)
    return torch.nn.functional.avg_pool2d(plate, rays)[0], directions(camera)


def directions(camera: Camera) -> Tensor:
    """``Camera.directions`` in single precision, a few times faster, which counts when every batch is new."""
    x = (torch.arange(camera.width) + (0.5 - camera.cx)) / -camera.focal_px
    y = (torch.arange(camera.height) + (0.5 - camera.cy)) / -camera.focal_px
    axes = torch.from_numpy(camera.to_world[:3, :3].astype(np.float32))
    d = x[None, :, None] * axes[:, 0] + (y[:, None, None] * axes[:, 1] + axes[:, 2])
    return d / d.square().sum(-1, keepdim=True).sqrt()


def saturate(radiance: Tensor, amount: float) -> Tensor:
    """(..., 3) with its distance from grey scaled; luminance stays unless a channel would become negative."""
    grey = (radiance @ _LUMINANCE)[..., None]
    return (grey + (radiance - grey) * amount).clamp_min(0)


def random_gains(rng: np.random.Generator, plate: Tensor, config: CropConfig) -> Tensor:
    """(3,) exposure times white balance: one of several automatic exposures, partly grey-world balance, jitter."""
    quantile, target = ((0.5, 0.18), (0.9, 0.75), (0.97, 1.0))[rng.integers(3)]
    luminance = torch.tensordot(_LUMINANCE, plate, 1).flatten()
    if rng.random() < 0.3:
        gain = auto_exposure(plate)
    else:
        gain = target / float(luminance.kthvalue(max(1, int(quantile * luminance.numel()))).values.clamp_min(1e-8))
    mean = plate.mean((1, 2)).clamp_min(1e-8)
    balance = (mean.mean() / mean).clamp(0.25, 4.0) ** float(rng.choice([0.0, rng.uniform(0, 0.7)]))
    jitter = torch.from_numpy(np.exp(rng.normal(size=3) * config.balance).astype(np.float32))
    balance = balance * jitter
    return balance / balance.mean() * gain * 2.0 ** rng.uniform(-config.stops, config.stops)


def develop(rng: np.random.Generator, plate_lin: Tensor, config: CropConfig) -> Image:
    """Exposed linear plate -> photo: clipping, response curve, saturation, noise, 8 bits."""
    x = linear_to_srgb(plate_lin.clamp(0, 1))
    if rng.random() < config.response:
        x = x ** float(np.exp(rng.normal() * 0.15))
        contrast = float(rng.uniform(-0.2, 0.35))
        x = x + contrast * (x * x * (3 - 2 * x) - x)
        grey = torch.tensordot(_LUMINANCE, x, 1)
        x = grey + (x - grey) * float(rng.uniform(0.8, 1.25))
    if config.noise and rng.random() < 0.5:
        noise = torch.from_numpy(rng.normal(size=tuple(x.shape)).astype(np.float32))
        x = x + noise * float(rng.uniform(0, config.noise))
    return quantise(x)
