"""Small environments, solids and plates for the tests of the light prior's training."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.priors.light import Look
from dipir.priors.nets import efficientnet
from dipir.priors.nets.light_unet import LightUNet, LightUNetConfig
from dipir.scene.camera import Camera
from dipir.scene.source import Source
from dipir.workshop.crops import CropConfig
from dipir.workshop.light.batches import HEIGHT, WIDTH, Raw, directions
from dipir.workshop.light.dressing import Lit
from dipir.workshop.light.places import Places
from dipir.workshop.light.pool import drawn_places
from dipir.workshop.light.props import Props
from dipir.workshop.light.sources import LightPriorConfig
from dipir.workshop.trainer import TrainConfig

NET = LightUNetConfig(widths=(8, 8, 16), tokens=16, heads=2, embedding=8, hidden=16, dropout=0.0)
CONFIG = LightPriorConfig(TrainConfig(steps=2, rate=1e-3, warmup=1, validate_every=2, log_every=1), NET, batch=2,
                          bare=0.5, pool=1, renew=10**6)
PLAIN = CropConfig(stops=0, balance=0, response=0, noise=0, saturation=0, covered=0)
UP = (0.0, 1.0, 0.0)
WHOLE, SHORT = efficientnet.STAGES, ((1, 3, 2, 16, 1), (1, 3, 2, 40, 1), (1, 3, 2, 112, 1), (1, 3, 2, 320, 1))


@contextlib.contextmanager
def short_backbone() -> Iterator[None]:
    """Networks made inside have four blocks in place of EfficientNet's sixteen, and the same outputs."""
    efficientnet.STAGES = SHORT
    try:
        yield
    finally:
        efficientnet.STAGES = WHOLE


def unit(azimuth_deg: float, elevation_deg: float) -> torch.Tensor:
    """(3,) azimuth 0 = +Z, towards +X."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])


def angle_deg(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(math.acos(float((a @ b / a.norm() / b.norm()).clamp(-1, 1))))


def drawn(count: int = 4, seed: int = 1) -> Places:
    """Drawn environments, every other one with a sun."""
    return drawn_places(np.random.default_rng(seed), count)


def scrambled(seed: int = 4, config: LightUNetConfig = NET) -> LightUNet:
    """A small network whose parts all have a say."""
    torch.manual_seed(seed)
    net = LightUNet(config)
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return net


def sky_with_sun(rows: int, source: Source, level: float = 1.0) -> torch.Tensor:
    """An even map with a source in it, (rows, 2 rows, 3)."""
    return level + source.lobe().envmap(rows, 2 * rows)


def solids(*parts: tuple, colour: float = 0.6, gloss: float = 0.0) -> Props:
    """One plate with the solids (kind, middle, half sizes, yaw in degrees), all of one grey."""
    def stacked(values):
        return torch.tensor([values], dtype=torch.float32)
    count = len(parts)
    return Props(torch.tensor([[p[0] for p in parts]]), stacked([p[1] for p in parts]), stacked([p[2] for p in parts]),
                 torch.deg2rad(stacked([p[3] if len(p) > 3 else 0.0 for p in parts])),
                 torch.full((1, count, 2, 3), colour), torch.zeros(1, count, 3), torch.full((1, count), gloss))


def lit(direction: torch.Tensor, strength: float = 3.0, level: float = 1.0, sigma: float = 0.004) -> Lit:
    """An even rest and a white source, one plate."""
    return Lit(torch.full((1, 64, 128, 3), level), direction[None], torch.full((1, 3), strength), torch.tensor([sigma]))


def told_colours(rays: torch.Tensor) -> torch.Tensor:
    """Radiance (..., 3) that says where it comes from: 0.4 + 0.3 (x, y, z)."""
    return 0.4 + 0.3 * rays


def raw_plates(count: int = 4, seed: int = 0) -> Raw:
    """Plates of :func:`told_colours` by random cameras, a source of its own strength beside each."""
    rng = np.random.default_rng(seed)
    camera = torch.from_numpy(np.stack([rng.uniform(50, 75, count), rng.uniform(0, 25, count),
                                        rng.normal(size=count)], 1)).float()
    rays = directions(camera, WIDTH, HEIGHT)
    sun = torch.stack([unit(float(a), float(e)) for a, e in zip(rng.uniform(-180, 180, count),
                                                                rng.uniform(15, 60, count), strict=True)])
    return Raw(told_colours(rays).permute(0, 3, 1, 2), told_colours(latlong.directions(16, 32)).repeat(count, 1, 1, 1),
               sun, torch.from_numpy(rng.uniform(0.5, 4, (count, 1))).float() * torch.tensor([[1.1, 1.0, 0.8]]),
               torch.full((count,), 0.005), camera, rays[:, 3 * HEIGHT // 4, WIDTH // 3])


def rays_of(camera: Camera) -> torch.Tensor:
    """(H, W, 3) unit directions of a camera's pixels."""
    return torch.from_numpy(camera.directions().astype(np.float32))


def same_light(a: Look, b: Look) -> None:
    """Two looks say the same, up to rounding."""
    for key in ("soft", "rest"):
        torch.testing.assert_close(getattr(a, key), getattr(b, key), rtol=1e-3, atol=1e-4)
    assert a.hard == pytest.approx(b.hard, abs=1e-4)
    for x, y in zip(a.guesses, b.guesses, strict=True):
        assert angle_deg(x.direction, y.direction) < 0.5 and x.chance == pytest.approx(y.chance, abs=1e-4)
    for x, y in zip(a.sources, b.sources, strict=True):
        torch.testing.assert_close(x.irradiance, y.irradiance, rtol=1e-2, atol=1e-4)
        assert x.sigma == pytest.approx(y.sigma, rel=1e-3)
