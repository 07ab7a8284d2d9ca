"""A conditional U-Net of the small pixel-space priors, preconditioned as in EDM around a first guess (a picture)."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.priors.nets.blocks import noise_frequencies
from dipir.priors.nets.picture_unet import PictureUNet


@dataclass(frozen=True)
class ConditionalUNetConfig:
    """Size of the network."""

    planes: int = 3
    """Condition channels, pictures in [-1, 1], the first guess first."""
    vector: int = 0
    """Numbers of the condition that are no picture, 0 = none."""
    channels: tuple[int, ...] = (32, 64, 96)
    """Of the levels of 1/2, 1/4, 1/8 ... of the size."""
    blocks: int = 2
    """A level and direction."""
    embedding: int = 192
    """Width of the noise-level embedding."""
    detail: int = 8
    """Channels handed to the full-size layers, without which noise and planes would have to pass through the narrow
    half-size ones."""
    sigma_data: float = 0.25
    """Standard deviation of target minus first guess (EDM's sigma_data)."""


class ConditionalUNet(PictureUNet):
    """x0 estimate of a noisy picture: D = guess + c_skip (x - guess) + c_out F(c_in (x - guess), planes, sigma)
    (Karras et al. 2022, eq. 7, around the first guess)."""

    GUESS = slice(0, 3)
    """Which planes are the first guess."""

    def __init__(self, config: ConditionalUNetConfig) -> None:
        e = config.embedding
        super().__init__(config.planes + 3, 3, config.channels, config.blocks, embedding=e,
                         detail=config.detail)
        self.config = config
        self.embed = nn.Sequential(nn.Linear(64, e), nn.SiLU(), nn.Linear(e, e))
        self.describe = (nn.Sequential(nn.Linear(config.vector, e), nn.SiLU(), nn.Linear(e, e)) if config.vector
                         else None)

    def forward(self, x: Tensor, sigma: Tensor, planes: Tensor, vector: Tensor | None = None) -> Tensor:
        """x : (B, 3, H, W) noisy in [-1, 1] space, H and W multiples of 2 to the number of levels;  sigma : (B,)
        planes : (B, planes, H, W);  vector : (B, vector) -> (B, 3, H, W)."""
        s, d = sigma[:, None, None, None], self.config.sigma_data
        guess = planes[:, self.GUESS]
        scale = (s**2 + d**2).sqrt()
        residual = x - guess
        embedding = functional.silu(self._told(sigma, planes, vector))
        out = super().forward(torch.cat([residual / scale, planes], 1), embedding)
        return guess + residual * d**2 / scale**2 + out.to(x.dtype) * s * d / scale

    def _told(self, sigma: Tensor, planes: Tensor, vector: Tensor | None) -> Tensor:
        """(B, embedding): what every block is told beside its features, before the activation."""
        angle = (sigma.log() / 4)[:, None] * noise_frequencies(sigma.device)
        told = self.embed(torch.cat([angle.sin(), angle.cos()], 1))
        return told if self.describe is None else told + self.describe(vector)
