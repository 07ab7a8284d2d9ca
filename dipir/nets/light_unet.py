"""The body of the light prior: what a plate shows on the sphere, and the plate itself, to a whole environment map."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dipir.nets.blocks import Attention, Conv, ResBlock, upsample


@dataclass(frozen=True)
class LightUNetConfig:
    """Sizes of :class:`LightUNet`.

    sphere_channels, plate_channels : input planes of the lat-long features and of the plate
    widths : channels at 1, 1/2, 1/4 of the output map;  plate_widths : channels of the plate encoder at
        1/2, 1/4, 1/8, 1/16 of its input;  heads : of every attention;  embedding : length of the plate's summary
    """

    sphere_channels: int = 12
    plate_channels: int = 7
    widths: tuple[int, ...] = (48, 96, 128)
    plate_widths: tuple[int, ...] = (24, 48, 96, 128)
    heads: int = 4
    embedding: int = 128


class PlateEncoder(nn.Module):
    """Plate planes (B, C, S, S) -> tokens (B, (S / 16)^2, D) and a summary (B, E)."""

    def __init__(self, config: LightUNetConfig) -> None:
        super().__init__()
        first, *widths = config.plate_widths
        layers: list[nn.Module] = [Conv(config.plate_channels, first, 3, 2)]
        for before, after in zip(config.plate_widths, widths, strict=False):
            layers += [nn.SiLU(), Conv(before, after, 3, 2), ResBlock(after, after)]
        self.body = nn.Sequential(*layers)
        self.attention = Attention(widths[-1], config.heads)
        self.block = ResBlock(widths[-1], widths[-1])
        self.summary = nn.Sequential(nn.Linear(2 * widths[-1], config.embedding), nn.SiLU())

    def forward(self, plate: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, S, S) -> (B, T, D), (B, E)."""
        h = self.block(self.attention(self.body(plate)))
        return h.flatten(2).transpose(1, 2), self.summary(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))


class LightUNet(nn.Module):
    """U-Net over the lat-long map (columns wrap around) conditioned on the plate by FiLM and cross-attention.

    The output is a correction of ``base_log``, the extrapolated plate, and starts at zero: an untrained net returns
    the extrapolation itself.
    """

    def __init__(self, config: LightUNetConfig = LightUNetConfig()) -> None:
        super().__init__()
        self.config = config
        a, b, c = config.widths
        e, heads, tokens = config.embedding, config.heads, config.plate_widths[-1]
        self.plate = PlateEncoder(config)
        self.stem = Conv(config.sphere_channels, a, 3, 2, wrap=True)
        self.down0 = ResBlock(a, a, e, wrap=True)
        self.to1 = Conv(a, b, 3, 2, wrap=True)
        self.down1 = ResBlock(b, b, e, wrap=True)
        self.cross1 = Attention(b, heads, tokens)
        self.to2 = Conv(b, c, 3, 2, wrap=True)
        self.middle0 = ResBlock(c, c, e, wrap=True)
        self.cross2 = Attention(c, heads, tokens)
        self.self2 = Attention(c, heads)
        self.middle1 = ResBlock(c, c, e, wrap=True)
        self.up1 = ResBlock(c + b, b, e, wrap=True)
        self.cross_up = Attention(b, heads, tokens)
        self.up0 = ResBlock(b + a, a, e, wrap=True)
        self.out = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), Conv(a, 3, 3, wrap=True))
        self.level = nn.Linear(e, 3)
        for layer in (self.out[-1], self.level):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, sphere: Tensor, plate: Tensor, base_log: Tensor) -> Tensor:
        """sphere : (B, Cs, 2H, 2W);  plate : (B, Cp, S, S), S a multiple of 16;  base_log : (B, 3, H, W) natural
        logarithm of the extrapolated radiance -> (B, 3, H, W) natural logarithm of the radiance."""
        tokens, summary = self.plate(plate)
        h0 = self.down0(self.stem(sphere), summary)
        h1 = self.cross1(self.down1(self.to1(h0), summary), tokens)
        h2 = self.cross2(self.middle0(self.to2(h1), summary), tokens)
        h2 = self.middle1(self.self2(h2), summary)
        h1 = self.cross_up(self.up1(torch.cat([upsample(h2), h1], 1), summary), tokens)
        h0 = self.up0(torch.cat([upsample(h1), h0], 1), summary)
        return base_log + self.out(h0) + self.level(summary)[..., None, None]
