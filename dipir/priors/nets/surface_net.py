"""The network that guesses surfaces: EfficientNet-Lite0 and a decoder with skip connections at every stride."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, upsample
from dipir.priors.nets.efficientnet import CHANNELS, FINE_CHANNELS, EfficientNetLite

OUTPUTS, WHOLE = 10, 2


@dataclass(frozen=True)
class SurfaceNetConfig:
    """Sizes of :class:`SurfaceNet`."""

    widths: tuple[int, ...] = (128, 112, 80, 48, 32, 24)
    """Channels of the decoder at strides 32, 16, 8, 4, 2, 1; at the last convolutions, elsewhere a residual block."""
    heads: int = 4
    """Of the attention at stride 16."""


class SurfaceNet(nn.Module):
    """``net(photo)``: (B, 3, H, W) in [0, 1], sizes multiples of 32 -> (B, 10, H, W) and (B, 2) of the whole picture,
    any numbers, zero at first, and (B, F, H, W) what the first were made of, F the last of the widths."""

    def __init__(self, config: SurfaceNetConfig = SurfaceNetConfig()) -> None:
        super().__init__()
        self.config = config
        w = config.widths
        skips = tuple(reversed((*FINE_CHANNELS, *CHANNELS[:-1])))
        self.backbone = EfficientNetLite()
        self.deep = nn.Conv2d(CHANNELS[-1], w[0], 1)
        self.middle = ResBlock(w[0], w[0])
        self.up = nn.ModuleList(ResBlock(before + skip, after)
                                for before, skip, after in zip(w[:-2], skips, w[1:-1], strict=True))
        self.attention = Attention(w[1], config.heads)
        self.fine = nn.Sequential(Conv(w[-2] + 3, w[-1]), nn.SiLU())
        self.out = Conv(w[-1], OUTPUTS)
        self.whole = nn.Sequential(nn.Linear(CHANNELS[-1], 64), nn.SiLU(), nn.Linear(64, WHOLE))
        for last in (self.out, self.whole[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        photo = photo.contiguous(memory_format=torch.channels_last)
        # In half precision the processor's gradients of depthwise convolutions take three times as long.
        with torch.autocast(photo.device.type, enabled=photo.device.type != "cpu" and torch.is_autocast_enabled()):
            *skips, late = self.backbone.pyramid(photo)
        h = self.middle(self.deep(late))
        for k, (block, skip) in enumerate(zip(self.up, reversed(skips), strict=True)):
            h = block(torch.cat([upsample(h), skip], 1))
            if k == 0:
                h = self.attention(h)
        h = functional.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False)
        fine = self.fine(torch.cat([h, photo * 2 - 1], 1))
        return self.out(fine), self.whole(late.mean((2, 3))), fine
