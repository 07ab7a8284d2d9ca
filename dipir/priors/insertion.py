"""The small insertion prior that ships in ``assets/priors``: pixel space, told the plate and the exact G-buffers."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from dipir.arrays import EnvMap, Image
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.composite import over_shadowed
from dipir.priors.nets.composite_unet import CompositeUNet, CompositeUNetConfig
from dipir.priors.weights import PRIORS, read_network, write_weights
from dipir.render.renderer import GBuffers
from dipir.render.transport import Transport

DEFAULT_PATH = PRIORS / "insert.safetensors"
ARCHITECTURE = "dipir.composite_unet.1"
SIZE = 64


@final
class InsertionPrior(AbstractDenoiser):
    """Denoiser of 64 x 64 composites; ``hash`` names the weights in a result. Make one by :meth:`load`."""

    sigma_min, sigma_max = 0.02, 40.0
    working_size = SIZE
    reads_planes = True

    def __init__(self, net: CompositeUNet, hash: str = "untrained") -> None:
        self.net = self.adaptable = net.eval().requires_grad_(False)
        self.hash = hash

    @staticmethod
    def load(path: str | Path | None = None) -> InsertionPrior:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used."""
        net, meta = read_network(Path(path or DEFAULT_PATH), ARCHITECTURE, "dipir prior train insert",
                                 lambda settings: CompositeUNet(CompositeUNetConfig(**settings)))
        return InsertionPrior(net, meta["hash"])

    @staticmethod
    def untrained() -> InsertionPrior:
        """A prior of the default architecture whose estimate is the hint itself (its last layer is zero)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return InsertionPrior(CompositeUNet())

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def to(self, where: torch.device) -> InsertionPrior:
        """Itself, with its network there."""
        self.net.to(where)
        return self

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, json.dumps(asdict(self.net.config)), notes)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        if condition.planes is None:
            raise ValueError("the insertion prior needs Condition.planes; make them with planes_of().")
        planes = condition.planes
        return self.net(x, sigma, planes.expand(len(x), -1, -1, -1) if len(planes) == 1 else planes)

    def encode(self, image_disp: Tensor) -> Tensor:
        return image_disp * 2 - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)


def planes_of(transport: Transport, plate: Image, mirrored: EnvMap, wide: Image) -> Tensor:
    """(1, 21, 64, 64) condition of an insertion. plate : (1, 3, 64, 64) display, the window;  mirrored : (16, 32, 3)
    radiance, of the hint;  wide : (1, 3, 64, 64) display, the whole plate"""
    gbuffers = gbuffer_planes(transport.gbuffers)
    return insertion_planes(plate, light_stage(transport, plate, mirrored), wide, gbuffers)


def insertion_planes(plate: Image, hint: Image, wide: Image, gbuffers: Tensor) -> Tensor:
    """(B, 21, 64, 64) condition: window of the plate, the composite under the mirrored plate's light, the whole plate
    (all display [0, 1]) and the twelve G-buffer planes."""
    return torch.cat([plate * 2 - 1, hint * 2 - 1, wide * 2 - 1, gbuffers], 1)


def gbuffer_planes(g: GBuffers) -> Tensor:
    """(1, 12, H, W): alpha, ground, normal 3, albedo 3, roughness, metallic, depth and height relative to the object's
    middle and size (scale free)."""
    inside = g.alpha > 0
    middle = g.depth[inside].mean() if inside.any() else g.depth.new_tensor(1.0)
    size = (g.position[:, 1:2][inside].max() if inside.any() else g.alpha.new_tensor(1.0)).clamp_min(1e-6)
    depth = torch.where(inside, (g.depth - middle) / size, 0.0)
    height = torch.where(inside, g.position[:, 1:2] / size, 0.0)
    return torch.cat([g.alpha, g.ground, g.normal, g.albedo, g.roughness, g.metallic, depth.clamp(-2, 2), height], 1)


def light_stage(transport: Transport, plate_disp: Image, env: EnvMap) -> Image:
    """(1, 3, H, W) display: the object in the plate under an environment, in linear light, then clipped."""
    passes = transport.passes(env)
    linear = over_shadowed(passes.object_rgb, passes.alpha, srgb_to_linear(plate_disp), passes.shadow_ratio)
    return linear_to_srgb(linear.clamp(0, 1))
