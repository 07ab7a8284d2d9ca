"""The body of the light prior: what a plate shows on the sphere, and the plate itself, to a whole environment map and
the one source in it that throws shadows."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, upsample
from dipir.priors.nets.efficientnet import CHANNELS, EfficientNetLite


@dataclass(frozen=True)
class LightUNetConfig:
    """Sizes of :class:`LightUNet`."""

    sphere_channels: int = 13
    coarse_channels: int = 5
    """Input planes of the lat-long features, and of what is told about the plate at 1/16 of its size."""
    widths: tuple[int, ...] = (48, 96, 128)
    """Channels at 1, 1/2, 1/4 of the output map."""
    tokens: int = 160
    """Channels of the plate's features."""
    heads: int = 4
    """Of every attention."""
    embedding: int = 160
    """Length of the plate's summary."""
    hidden: int = 384
    """Width of the short way to the direction."""
    dropout: float = 0.1
    """Of the plate's tokens."""
    ground: bool = True
    """Whether it also looks at the ground from above."""


class Toward(nn.Module):
    """The short way from the plate to its source: features in 6 x 8 fields, and what the ground says, to one vector,
    from which come 16 x 32 logits of the direction in the camera's frame. The other way, attention in the U-Net, starts
    at zero and would have to learn which part of the plate to ask first."""

    def __init__(self, channels: int, config: LightUNetConfig) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 64, 1)
        self.body = nn.Linear(64 * 48 + (GroundEncoder.OUT if config.ground else 0), config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.direction = nn.Linear(config.hidden, 16 * 32)
        nn.init.zeros_(self.direction.weight)
        nn.init.zeros_(self.direction.bias)

    def forward(self, features: Tensor, ground: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, C, h, w), (B, G) -> (B, 16, 32) logits, (B, hidden)."""
        fields = functional.adaptive_avg_pool2d(functional.silu(self.reduce(features)), (6, 8)).flatten(1)
        hidden = self.dropout(functional.silu(self.body(fields if ground is None else torch.cat([fields, ground], 1))))
        return self.direction(hidden).reshape(-1, 16, 32), hidden


class GroundEncoder(nn.Module):
    """The ground from above at two scales (B, 2, 4, 128, 128) -> (B, OUT). There, shadows of upright things are
    parallel."""

    OUT = 256

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 24, 48, 64, 96)
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [Conv(before, after, 3, 2), nn.SiLU()]
        self.body = nn.Sequential(*layers, ResBlock(96, 96), nn.Conv2d(96, 24, 1), nn.SiLU(), nn.Flatten())
        self.out = nn.Linear(2 * 24 * 64, self.OUT)

    def forward(self, views: Tensor) -> Tensor:
        """(B, 2, 4, 128, 128) -> (B, OUT)."""
        each = self.body(views.flatten(0, 1)).unflatten(0, (-1, 2))
        return functional.silu(self.out(each.flatten(1)))


class PlateEncoder(nn.Module):
    """The photo by EfficientNet-Lite0, joined at 1/16 of its size with where its pixels look."""

    def __init__(self, config: LightUNetConfig) -> None:
        super().__init__()
        width = config.tokens
        self.backbone = EfficientNetLite()
        self.fine = nn.Conv2d(CHANNELS[1] + config.coarse_channels, width, 1)
        self.finer = nn.Conv2d(4 * CHANNELS[0], width, 1)
        self.deep = nn.Conv2d(CHANNELS[2], width, 1)
        self.block0 = ResBlock(width, width)
        self.attention = Attention(width, config.heads)
        self.block = ResBlock(width, width)
        self.attention2 = Attention(width, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.ground = GroundEncoder() if config.ground else None
        self.toward = Toward(width, config)
        self.summary = nn.Sequential(nn.Linear(2 * width + config.hidden, config.embedding), nn.SiLU(),
                                     nn.Dropout(config.dropout))

    def forward(self, photo: Tensor, coarse: Tensor, ground: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, 3, H, W), (B, C, H / 16, W / 16), (B, 2, 4, 128, 128) -> tokens (B, T, D), summary (B, E), logits of the
        direction (B, 16, 32), hidden (B, hidden)."""
        early, middle, late = self.backbone(photo)
        h = self.fine(torch.cat([middle, coarse.to(middle.dtype)], 1)) + upsample(self.deep(late))
        h = self.block0(h + self.finer(functional.pixel_unshuffle(early, 2)))
        h = self.attention2(self.block(self.attention(h)))
        logits, hidden = self.toward(h, None if self.ground is None else self.ground(ground))
        summary = self.summary(torch.cat([h.mean((2, 3)), h.amax((2, 3)), hidden], 1))
        return self.dropout(h.flatten(2).transpose(1, 2)), summary, logits, hidden


@dataclass(frozen=True)
class LightEstimate:
    """What the network says of a plate."""

    smooth: Tensor
    """(B, 3, H, W) natural logarithm of the radiance without the dominant light."""
    direction: Tensor
    """(B, H, W) logits of where the dominant light is."""
    energy: Tensor
    """(B, 3) natural logarithm of the dominant light's mean radiance over the sphere."""
    hard: Tensor
    """(B,) logit that direct light of one small source reaches the place."""
    share: Tensor
    """(B,) logit of that source's share of the luminance that level ground receives, if there is one."""
    width: Tensor
    """(B,) natural logarithm of the width (sigma) of its spherical Gaussian."""


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
        e, heads, tokens = config.embedding, config.heads, config.tokens
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
        self.source = nn.Linear(e + config.hidden, 3)
        for layer in (self.out[-1], self.level, self.source):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, sphere: Tensor, photo: Tensor, coarse: Tensor, ground: Tensor,
                base_log: Tensor) -> LightEstimate:
        """sphere : (B, Cs, 2H, 2W);  photo : (B, 3, h, w), multiples of 32;  coarse : (B, Cc, h / 16, w / 16);
        ground : (B, 2, 4, 128, 128);  base_log : (B, 3, H, W) natural logarithm of the extrapolated radiance."""
        tokens, summary, toward, hidden = self.plate(photo, coarse, ground)
        h0 = self.down0(self.stem(sphere), summary)
        h1 = self.cross1(self.down1(self.to1(h0), summary), tokens)
        h2 = self.cross2(self.middle0(self.to2(h1), summary), tokens)
        h2 = self.middle1(self.self2(h2), summary)
        h1 = self.self_up(self.cross_up(self.up1(torch.cat([upsample(h2), h1], 1), summary), tokens))
        h0 = self.up0(torch.cat([upsample(h1), h0], 1), summary)
        out, level = self.out(h0), self.level(summary)
        hard, share, width = self.source(torch.cat([summary, hidden], 1)).unbind(1)
        return LightEstimate(base_log + out[:, :3] + level[:, :3, None, None], out[:, 3] + toward,
                             base_log.mean((2, 3)) - 1.5 + level[:, 3:], hard - 0.5, share + 1.0, width - 5.0)
