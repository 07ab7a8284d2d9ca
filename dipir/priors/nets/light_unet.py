"""The body of the light prior: what a plate shows on the sphere, and the plate itself, to a whole environment map."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, upsample


@dataclass(frozen=True)
class LightUNetConfig:
    """Sizes of :class:`LightUNet`."""

    sphere_channels: int = 12
    plate_channels: int = 7
    """Input planes of the lat-long features and of the plate."""
    widths: tuple[int, ...] = (48, 96, 128)
    """Channels at 1, 1/2, 1/4 of the output map."""
    plate_widths: tuple[int, ...] = (24, 48, 96, 128)
    """Channels of the plate encoder at 1/2, 1/4, 1/8, 1/16 of its input."""
    plate_blocks: tuple[int, ...] = (0, 1, 2, 2)
    """Residual blocks at each of those."""
    heads: int = 4
    """Of every attention."""
    embedding: int = 128
    """Length of the plate's summary."""
    dropout: float = 0.1
    """Of the plate's tokens."""


class Toward(nn.Module):
    """The short way from the plate to the direction of its dominant light: the plate's features in 3 x 4 fields, two
    linear layers, 8 x 16 logits in the camera's frame, interpolated. The other way, attention in the U-Net, starts at
    zero and would have to learn which part of the plate to ask first."""

    def __init__(self, channels: int, hidden: int = 256) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 64, 1)
        self.body = nn.Sequential(nn.SiLU(), nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(), nn.Linear(64 * 12, hidden),
                                  nn.SiLU(), nn.Linear(hidden, 8 * 16))
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 16, 32)."""
        coarse = self.body(self.reduce(features)).reshape(-1, 1, 8, 16)
        wrapped = torch.cat([coarse[..., -1:], coarse, coarse[..., :1]], -1)
        return nn.functional.interpolate(wrapped, scale_factor=2.0, mode="bilinear")[:, 0, :, 2:-2]


class PlateEncoder(nn.Module):
    """Plate planes (B, C, H, W) -> tokens (B, H W / 256, D), a summary (B, E), and logits of where the dominant light
    is (B, 16, 32)."""

    def __init__(self, config: LightUNetConfig) -> None:
        super().__init__()
        before, layers = config.plate_channels, []
        for width, blocks in zip(config.plate_widths, config.plate_blocks, strict=True):
            layers += [nn.SiLU()] if layers else []
            layers += [Conv(before, width, 3, 2), *(ResBlock(width, width) for _ in range(blocks))]
            before = width
        self.body = nn.Sequential(*layers)
        self.attention = Attention(before, config.heads)
        self.block = ResBlock(before, before)
        self.attention2 = Attention(before, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.toward = Toward(before)
        self.summary = nn.Sequential(nn.Linear(2 * before, config.embedding), nn.SiLU(), nn.Dropout(config.dropout))

    def forward(self, plate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) -> (B, T, D), (B, E), (B, 16, 32)."""
        h = self.attention2(self.block(self.attention(self.body(plate))))
        summary = self.summary(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))
        return self.dropout(h.flatten(2).transpose(1, 2)), summary, self.toward(h)


@dataclass(frozen=True)
class LightEstimate:
    """What the network says of a plate."""

    smooth: Tensor
    """(B, 3, H, W) natural logarithm of the radiance without the dominant light."""
    direction: Tensor
    """(B, H, W) logits of where the dominant light is."""
    energy: Tensor
    """(B, 3) natural logarithm of the dominant light's mean radiance over the sphere."""


class LightUNet(nn.Module):
    """U-Net over the lat-long map (columns wrap around) conditioned on the plate by FiLM and cross-attention.

    The dominant light has outputs of its own, a distribution over directions and an energy: where the sun stands is a
    question of *which* texel, and its radiance, thousands of times that of its neighbours, drowns everything else in a
    regression. The smooth rest is a correction of ``base_log``, the extrapolated plate, and starts at zero.
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
        self.self_up = Attention(b, heads)
        self.up0 = ResBlock(b + a, a, e, wrap=True)
        self.out = nn.Sequential(nn.GroupNorm(8, a), nn.SiLU(), Conv(a, 4, 3, wrap=True))
        self.level = nn.Linear(e, 6)
        for layer in (self.out[-1], self.level):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, sphere: Tensor, plate: Tensor, base_log: Tensor) -> LightEstimate:
        """sphere : (B, Cs, 2H, 2W);  plate : (B, Cp, h, w), multiples of 16;  base_log : (B, 3, H, W) natural
        logarithm of the extrapolated radiance."""
        tokens, summary, toward = self.plate(plate)
        h0 = self.down0(self.stem(sphere), summary)
        h1 = self.cross1(self.down1(self.to1(h0), summary), tokens)
        h2 = self.cross2(self.middle0(self.to2(h1), summary), tokens)
        h2 = self.middle1(self.self2(h2), summary)
        h1 = self.self_up(self.cross_up(self.up1(torch.cat([upsample(h2), h1], 1), summary), tokens))
        h0 = self.up0(torch.cat([upsample(h1), h0], 1), summary)
        out, level = self.out(h0), self.level(summary)
        return LightEstimate(base_log + out[:, :3] + level[:, :3, None, None], out[:, 3] + toward,
                             base_log.mean((2, 3)) - 1.5 + level[:, 3:])
