"""The network of the small insertion prior: a conditional U-Net over 64 x 64 composites, preconditioned as in EDM."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.nets.blocks import Attention, Conv, ResBlock, groups, upsample

PLANES = 21
"""Condition channels: plate 3, hint 3, wide view 3 (all in [-1, 1]), G-buffers 12."""


@dataclass(frozen=True)
class CompositeUNetConfig:
    """channels : of the levels 32, 16 and 8 pixels wide;  blocks : a level and direction;  embedding : width of the
    noise-level embedding;  detail : channels handed to the full-size layers, without which noise and plate would
    have to pass through the narrow half-size ones;  sigma_data : standard deviation of target
    minus hint (EDM's sigma_data)"""

    channels: tuple[int, ...] = (32, 64, 96)
    blocks: int = 2
    embedding: int = 192
    detail: int = 8
    sigma_data: float = 0.25


class CompositeUNet(nn.Module):
    """x0 estimate of a noisy composite: D = hint + c_skip (x - hint) + c_out F(c_in (x - hint), planes, sigma)
    (Karras et al. 2022, eq. 7, around the hint: what the mirrored plate's light would show)."""

    def __init__(self, config: CompositeUNetConfig = CompositeUNetConfig()) -> None:
        super().__init__()
        self.config = config
        c, e = config.channels, config.embedding
        self.embed = nn.Sequential(nn.Linear(64, e), nn.SiLU(), nn.Linear(e, e))
        self.wide = nn.Sequential(Conv(3, 24, stride=2), nn.SiLU(), Conv(24, 48, stride=2), nn.SiLU(),
                                  Conv(48, 64, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                                  nn.Linear(64 * 16, e))
        self.enter = Conv((PLANES + 3) * 4, c[0])
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
        self.fine = nn.Sequential(Conv(PLANES + 3 + config.detail, 40), nn.SiLU(), Conv(40, 40), nn.SiLU(), Conv(40, 3))
        for last in (self.leave, self.fine[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, sigma: Tensor, planes: Tensor) -> Tensor:
        """x : (B, 3, 64, 64) noisy in [-1, 1] space;  sigma : (B,);  planes : (B, 21, 64, 64) -> (B, 3, 64, 64)."""
        s, d = sigma[:, None, None, None], self.config.sigma_data
        hint = planes[:, 3:6]
        scale = (s**2 + d**2).sqrt()
        residual = x - hint
        out = self._network(residual / scale, sigma, planes)
        return hint + residual * d**2 / scale**2 + out.to(x.dtype) * s * d / scale

    def _network(self, x: Tensor, sigma: Tensor, planes: Tensor) -> Tensor:
        frequencies = torch.exp(torch.linspace(0, math.log(200.0), 32, device=x.device))
        angle = (sigma.log() / 4)[:, None] * frequencies
        embedding = functional.silu(self.embed(torch.cat([angle.sin(), angle.cos()], 1)) + self.wide(planes[:, 6:9]))
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
