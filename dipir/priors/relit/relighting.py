"""A picture in other light: a rendering equation on guessed surfaces, and a small network that corrects it.

Where the picture shows surfaces, light before is ``shading`` and light after is irradiance: the key light by Lambert's
law, as far as nothing in the picture is in its way, and a fill: even, or what the rest of a known light gives each
normal (``whole_light``). Their quotient is the gain; what the surfaces get
wrong, interreflection, gloss and what lies outside of the picture are the network's.
"""
from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.arrays import Image
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.nets.surface_net import SurfaceNet, SurfaceNetConfig
from dipir.priors.nets.turned_unet import TurnedUNet
from dipir.priors.relit.depth_shadows import in_camera, visibility
from dipir.priors.relit.surfaces import Surfaces
from dipir.priors.weights import PRIORS, read_network, write_weights
from dipir.scene.direction import NORMAL_DEG

DEFAULT_PATH = PRIORS / "relighting.safetensors"
ARCHITECTURE = "dipir.relighting.2"
COMMAND = "dipir prior train relighting"
FILL = 0.2
"""Radiance of the fill where a white wall that faces the key light has 1, unless asked otherwise."""
_STRONGEST = 3.0  # stops of correction
_PLANES = 10
_DARKEST, _BRIGHTEST = -4.0, 4.0
_SHIFTS = 8


@dataclass(frozen=True)
class GuessConfig:
    """Sizes of :class:`GuessNet`: of the surfaces' network, and of the correcting one."""

    widths: tuple[int, ...] = SurfaceNetConfig.widths
    heads: int = SurfaceNetConfig.heads
    channels: tuple[int, ...] = (32, 48, 64)
    embedding: int = 96
    fine: int = 24


@dataclass(frozen=True)
class Plan:
    """What physics says of B pictures, each in its light; all (B, 1, H, W)."""

    cosine: Tensor  # [0, 1] between normals and the light
    free: Tensor  # [0, 1] what is in nobody's shadow
    gain: Tensor  # log2 of light after over light before, 0 where there is no surface; its mean is not fixed


def planned(seen: Surfaces, light: Tensor, fill: float | Tensor = FILL, key: float | Tensor = 1.0, *,
            shadows: bool = True) -> Plan:
    """light : (B, 4), ``LightDirection.numbers``;  fill : a number, (B, 1, 1, 1) or (B, 1, H, W), at least 0
    key : what a surface that faces the light receives from it, in the unit of ``fill``: a number or (B, 1, 1, 1)
    shadows : traced on the depth."""
    towards = in_camera(light, seen.up)
    size = math.radians(NORMAL_DEG) * torch.exp2(2 * light[:, 3])
    normal = functional.normalize(seen.normal, dim=1)
    direct = (normal * towards[:, :, None, None]).sum(1, keepdim=True)
    # A wide light wraps around: half of it still reaches a surface that turns away by its half width.
    soft = size.sin()[:, None, None, None].clamp_min(0.02)
    cosine = (functional.softplus(direct / soft * 3) * soft / 3).clamp(0, 1)
    cosine = seen.sure * cosine + (1 - seen.sure) * 0.35
    with torch.no_grad():
        free = visibility(seen.depth, normal, towards, size, seen.solid) if shadows else torch.ones_like(cosine)
    after = key * cosine * free + fill
    gain = (after.log2() - 2 * seen.shading).clamp(_DARKEST, _BRIGHTEST) * seen.solid
    return Plan(cosine, free, gain)


def levelled(image: Image, gain: Tensor, solid: Tensor) -> Tensor:
    """(B, 1, H, W) ``gain`` in stops, shifted where the picture is ``solid`` so that its mean light stays: no direction
    says how strong a light is."""
    weight = srgb_to_linear(image).mean(1, keepdim=True) * solid
    before = weight.sum((2, 3), keepdim=True) + 1e-4
    # Where the network is not sure, a shift counts in part: what is missing is shifted again.
    for _ in range(_SHIFTS):
        after = (weight * torch.exp2(gain)).sum((2, 3), keepdim=True) + 1e-4
        gain = gain + solid * (before / after).log2().clamp(-4, 4)
    return gain


def lit(image: Image, gain: Tensor) -> Image:
    """The picture (display) with its light changed by ``gain`` stops, not cut off at white."""
    return linear_to_srgb(srgb_to_linear(image) * torch.exp2(gain))


class RelightingNet(nn.Module):
    """``net(image, seen, plan, light)`` -> (B, 1, S, S) stops to add to ``plan.gain``; zero at first. Squares, the side
    a multiple of 16."""

    def __init__(self, config: GuessConfig = GuessConfig()) -> None:
        super().__init__()
        self.body = TurnedUNet(_PLANES + config.widths[-1], config.channels, config.embedding, config.fine)

    def forward(self, image: Image, seen: Surfaces, plan: Plan, light: Tensor) -> Tensor:
        """image : (B, 3, S, S) display;  light : (B, 4)."""
        grey = seen.albedo.mean(1, keepdim=True).clamp_min(0.01).log2() / 4 + 0.5
        planes = torch.cat([image * 2 - 1, grey, seen.shading, plan.cosine, plan.free, plan.gain / 3, seen.depth,
                            seen.solid, seen.fine], 1)
        towards = torch.cat([in_camera(light, seen.up), light[:, 3:4]], 1)
        raw = self.body(planes, seen.normal, towards).float()
        return _STRONGEST * torch.tanh(raw / _STRONGEST) * seen.solid


class GuessNet(nn.Module):
    """The networks of a first guess: ``surfaces`` sees, ``relighting`` corrects. ``contrast``: what the guessed
    change is multiplied with, in stops; 1 = as it is."""

    contrast: Tensor

    def __init__(self, config: GuessConfig = GuessConfig()) -> None:
        super().__init__()
        self.config = config
        self.surfaces = SurfaceNet(SurfaceNetConfig(config.widths, config.heads))
        self.relighting = RelightingNet(config)
        self.register_buffer("contrast", torch.ones(()))


def load_guess(path: str | Path | None = None) -> tuple[GuessNet, str]:
    """(networks, hash of their weights) from a .safetensors file, by default the one that ships. PriorError when it
    cannot be used."""
    net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, COMMAND,
                             lambda settings: GuessNet(GuessConfig(**settings)))
    return net.eval().requires_grad_(False), meta["hash"]


def save_guess(net: GuessNet, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
    """Write the weights as float16; returns their hash."""
    return write_weights(path, net.state_dict(), ARCHITECTURE, json.dumps(asdict(net.config)), notes)
