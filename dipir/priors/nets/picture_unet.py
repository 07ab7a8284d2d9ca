"""The U-Net of the small pixel-space networks: it works at half size, and a few layers at full size add the detail."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, groups, upsample


class PictureUNet(nn.Module):
    """(B, planes, H, W) -> (B, out, H, W), zero at first. H and W must be multiples of 2 to the number of levels.

    channels : of the levels of 1/2, 1/4, 1/8 ... of the size;  blocks : a level and direction
    embedding : width of what all blocks are told, 0 = nothing;  detail : channels handed to the full-size layers,
    without which the planes would have to pass through the narrow half-size ones;  fine : width of those layers
    """

    def __init__(self, planes: int, out: int, channels: tuple[int, ...], blocks: int, *, embedding: int = 0,
                 detail: int = 8, fine: int = 40) -> None:
        super().__init__()
        c, e = channels, embedding
        self.enter = Conv(planes * 4, c[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [], c[0]
        for level, channel in enumerate(c):
            for _ in range(blocks):
                self.down.append(ResBlock(width, channel, e))
                width = channel
                skips.append(width)
            if level < len(c) - 1:
                self.down.append(Conv(width, width, stride=2))
        self.middle = nn.ModuleList([ResBlock(width, width, e), Attention(width), ResBlock(width, width, e)])
        for level, channel in reversed(list(enumerate(c))):
            for _ in range(blocks):
                self.up.append(ResBlock(width + skips.pop(), channel, e))
                width = channel
            if level > 0:
                self.up.append(Conv(width, width))
        self.norm = nn.GroupNorm(groups(width), width)
        self.leave = Conv(width, 4 * out)
        self.hand_over = Conv(width, 4 * detail)
        self.fine = nn.Sequential(Conv(planes + detail, fine), nn.SiLU(), Conv(fine, fine), nn.SiLU(), Conv(fine, out))
        for last in (self.leave, self.fine[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, planes: Tensor, embedding: Tensor | None = None) -> Tensor:
        """planes : (B, planes, H, W);  embedding : (B, embedding), activated -> (B, out, H, W)."""
        # In this order of numbers a processor's convolutions take a fifth less time.
        planes = planes.contiguous(memory_format=torch.channels_last)
        h = self.enter(functional.pixel_unshuffle(planes, 2))
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
        return functional.pixel_shuffle(self.leave(h), 2) + self.fine(torch.cat([planes, detail], 1))
