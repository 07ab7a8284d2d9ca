"""From scene-linear light to a photo: response curve, clipping, noise, JPEG. The same camera photographs plate and
composite, so that a composite's object has the look of its plate."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir.image.color import BT709, linear_to_srgb
from dipir.workshop import crops

_LUMINANCE = torch.tensor(BT709)
SENSOR = 8.0
"""Linear level, plate white = 1, above which even a camera with a soft shoulder records nothing more."""


@dataclass(frozen=True)
class PhotoConfig:
    """Ranges of the random cameras."""

    stops: float = 1.0  # half width of the random exposure
    balance: float = 0.06  # standard deviation of log white-balance gains
    saturation: float = 0.5  # of the surroundings, plate and light alike (few real environments have to stand for many)
    response: float = 0.35  # share of photos with a curve other than sRGB with hard clipping
    noise: float = 0.5  # share of noisy photos
    read: float = 0.004
    shot: float = 5e-4
    """read, shot: largest read noise, linear, and variance per linear light, at the size of the window's pixels."""
    jpeg: float = 0.35  # share of photos with JPEG artefacts
    quality: tuple[int, int] = (45, 95)  # range of it


@dataclass(frozen=True)
class Response:
    """A camera's curve, sRGB with hard clipping by default."""

    knee: float = 1.0  # linear level (0, 1] from which highlights bend towards 1, 1 = they are clipped
    gamma: float = 1.0  # exponent on display values
    contrast: float = 0.0  # share of an S-curve
    saturation: float = 1.0  # distance from grey

    @property
    def white(self) -> float:
        """Linear level at which the sensor is full."""
        return 1.0 if self.knee >= 1 else SENSOR

    def __call__(self, linear: Tensor) -> Tensor:
        """(..., 3, H, W) linear -> display [0, 1]."""
        x = linear.clamp(0, self.white)
        if self.knee < 1:
            above = (x - self.knee).clamp_min(0) / (1 - self.knee)
            x = torch.where(x > self.knee, 1 - (1 - self.knee) * (-above).exp(), x)
        x = linear_to_srgb(x)
        if self.gamma != 1:
            x = x ** self.gamma
        if self.contrast:
            x = x + self.contrast * (x * x * (3 - 2 * x) - x)
        if self.saturation != 1:
            grey = torch.einsum("c,...chw->...hw", _LUMINANCE, x)[..., None, :, :]
            x = grey + (x - grey) * self.saturation
        return x.clamp(0, 1)


@dataclass(frozen=True)
class Shooting:
    """One camera at one moment."""

    response: Response = Response()
    read: float = 0.0  # read, shot: noise, see :class:`PhotoConfig`
    shot: float = 0.0
    quality: int = 0  # of the JPEG, 0 = none

    def photo(self, linear: Tensor, rng: np.random.Generator) -> Tensor:
        """(3, H, W) linear light, exposed -> display [0, 1] in 8-bit steps."""
        if self.read or self.shot:
            deviation = (self.read**2 + self.shot * linear.clamp(0, self.response.white)).sqrt()
            grain = torch.from_numpy(rng.standard_normal(tuple(linear.shape), dtype=np.float32))
            linear = linear + deviation * grain
        display = crops.quantise(self.response(linear))
        return jpeg(display, self.quality) if self.quality else display


def random_shooting(rng: np.random.Generator, config: PhotoConfig = PhotoConfig()) -> Shooting:
    """A random camera."""
    response = Response()
    if rng.random() < config.response:
        response = Response(knee=1.0 if rng.random() < 0.5 else float(rng.uniform(0.4, 0.9)),
                            gamma=float(np.exp(rng.normal() * 0.12)), contrast=float(rng.uniform(-0.2, 0.35)),
                            saturation=float(rng.uniform(0.8, 1.2)))
    noisy, amount = rng.random() < config.noise, rng.random(2) ** 2
    quality = int(rng.integers(*config.quality)) if rng.random() < config.jpeg else 0
    return Shooting(response, *(float(a * limit) * noisy for a, limit in
                                zip(amount, (config.read, config.shot), strict=True)), quality)


def random_gains(rng: np.random.Generator, plate: Tensor, config: PhotoConfig = PhotoConfig()) -> Tensor:
    """(3,) exposure times white balance for a plate (3, H, W), linear: one of several automatic exposures, see
    ``crops.random_gains``. A quarter of the pixels is enough for it."""
    return crops.random_gains(rng, plate[:, ::2, ::2], crops.CropConfig(stops=config.stops, balance=config.balance))


def grade(radiance: Tensor, saturation: float, gains: Tensor | None = None) -> Tensor:
    """(3, H, W) with its distance from grey scaled, which keeps luminance unless a channel would become negative, and
    then each channel by ``gains`` (3,)."""
    matrix = saturation * torch.eye(3) + (1 - saturation) * _LUMINANCE
    matrix = matrix if gains is None else gains[:, None] * matrix
    return (matrix @ radiance.flatten(1)).clamp_min(0).reshape(radiance.shape)


def jpeg(display: Tensor, quality: int) -> Tensor:
    """(3, H, W) display [0, 1] through a JPEG file."""
    pixels = (display.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    _, packed = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1]
    return torch.from_numpy(np.ascontiguousarray(decoded)).permute(2, 0, 1).float() / 255
