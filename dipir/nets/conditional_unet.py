"""A conditional U-Net of the small pixel-space priors, preconditioned as in EDM around a first guess (a picture)."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.nets.blocks import Attention, Conv, ResBlock, groups, upsample


@dataclass(frozen=True)
class ConditionalUNetConfig:
    """planes : condition channels, pictures in [-1, 1], the first guess first;  vector : numbers of the condition that
    are no picture, 0 = none
    channels : of the levels of 1/2, 1/4, 1/8 ... of the size;  blocks : a level and direction
    embedding : width of the noise-level embedding;  detail : channels handed to the full-size layers, without which
    noise and planes would have to pass through the narrow half-size ones
    sigma_data : standard deviation of target minus first guess (EDM's sigma_data)"""

    planes: int = 3
    vector: int = 0
    channels: tuple[int, ...] = (32, 64, 96)
    blocks: int = 2
    embedding: int = 192
    detail: int = 8
    sigma_data: float = 0.25


class ConditionalUNet(nn.Module):
    """x0 estimate of a noisy picture: D = guess + c_skip (x - guess) + c_out F(c_in (x - guess), planes, sigma)
    (Karras et al. 2022, eq. 7, around the first guess)."""

    GUESS = slice(0, 3)
    """Which planes are the first guess."""

    def __init__(self, config: ConditionalUNetConfig) -> None:
        super().__init__()
        self.config = config
        c, e = config.channels, config.embedding
        self.embed = nn.Sequential(nn.Linear(64, e), nn.SiLU(), nn.Linear(e, e))
        self.describe = (nn.Sequential(nn.Linear(config.vector, e), nn.SiLU(), nn.Linear(e, e)) if config.vector
                         else None)
        self.enter = Conv((config.planes + 3) * 4, c[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [], c[0]
        for level, channels in enumerate(c):
            for _ in range(config.blocks):
                self.down.append(ResBlock(width, channels, e))
                width = channels
                skips.append(width)
            if level < len(c) - 1:
                self.down.append(Conv(width, width, stride=2))
        self.middle = nn.ModuleList([ResBlock(width, width, e), Attention(width), ResBlock(width, width, e)])
        for level, channels in reversed(list(enumerate(c))):
            for _ in range(config.blocks):
                self.up.append(ResBlock(width + skips.pop(), channels, e))
                width = channels
            if level > 0:
                self.up.append(Conv(width, width))
        self.norm = nn.GroupNorm(groups(width), width)
        self.leave = Conv(width, 12)
        self.hand_over = Conv(width, 4 * config.detail)
        self.fine = nn.Sequential(Conv(config.planes + 3 + config.detail, 40), nn.SiLU(), Conv(40, 40), nn.SiLU(),
                                  Conv(40, 3))
        for last in (self.leave, self.fine[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, sigma: Tensor, planes: Tensor, vector: Tensor | None = None) -> Tensor:
        """x : (B, 3, H, W) noisy in [-1, 1] space, H and W multiples of 2 to the number of levels;  sigma : (B,)
        planes : (B, planes, H, W);  vector : (B, vector) -> (B, 3, H, W)."""
        s, d = sigma[:, None, None, None], self.config.sigma_data
        guess = planes[:, self.GUESS]
        scale = (s**2 + d**2).sqrt()
        residual = x - guess
        embedding = functional.silu(self._told(sigma, planes, vector))
        out = self._network(residual / scale, planes, embedding)
        return guess + residual * d**2 / scale**2 + out.to(x.dtype) * s * d / scale

    def _told(self, sigma: Tensor, planes: Tensor, vector: Tensor | None) -> Tensor:
        """(B, embedding): what every block is told beside its features, before the activation."""
        frequencies = torch.exp(torch.linspace(0, math.log(200.0), 32, device=sigma.device))
        angle = (sigma.log() / 4)[:, None] * frequencies
        told = self.embed(torch.cat([angle.sin(), angle.cos()], 1))
        return told if self.describe is None else told + self.describe(vector)

    def _network(self, x: Tensor, planes: Tensor, embedding: Tensor) -> Tensor:
        h = self.enter(functional.pixel_unshuffle(torch.cat([x, planes], 1), 2))
        skips = []
        for layer in self.down:
            if isinstance(layer, ResBlock):
                h = layer(h, embedding)
                skips.append(h)
            else:
                h = layer(h)
        for layer in self.middle:
            h = layer(h, embedding) if isinstance(layer, ResBlock) else layer(h)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), embedding) if isinstance(layer, ResBlock) else layer(upsample(h))
        h = functional.silu(self.norm(h))
        detail = functional.pixel_shuffle(self.hand_over(h), 2)
        return functional.pixel_shuffle(self.leave(h), 2) + self.fine(torch.cat([x, planes, detail], 1))
