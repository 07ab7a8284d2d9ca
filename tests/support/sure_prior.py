"""A prior that is one picture, and quick settings of relight()."""
from __future__ import annotations

from dataclasses import replace

from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.relight.config import RelightConfig, RelightGuidance
from dipir.relight.layers import seen_size, shrink
from dipir.relight.method import Engine, RelightRequest
from dipir.scene.direction import LightDirection

LEFT = RelightRequest(LightDirection(-90, 20))


class Sure(AbstractDenoiser):
    """Whatever it is shown, this picture is what it meant: the prior that is one point."""

    sigma_min, sigma_max = 0.02, 40.0

    def __init__(self, picture):
        self.picture = shrink(picture, seen_size(picture, 64)) * 2 - 1

    def __call__(self, x, sigma, condition):
        return self.picture.expand(len(x), -1, -1, -1)

    def encode(self, image_disp):
        return image_disp * 2 - 1

    def decode(self, latent):
        return ((latent + 1) / 2).clamp(0, 1)


def sure(picture) -> Engine:
    return Engine(Sure(picture))


def quick(**settings) -> RelightConfig:
    config = RelightConfig(guidance=RelightGuidance(samples=2, sampler_steps=3), **settings)
    return replace(config, layers=replace(config.layers, size=64), fit=replace(config.fit, steps=60))
