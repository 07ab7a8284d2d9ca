"""Networks that turn a picture into editing layers (Lasagna, Bashkirova et al. 2023; ``unet_generator.py`` of the
authors). One is fitted to every picture.

The original's batch norm sees a batch of one, which makes it an instance norm: here it is called so.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64, 128)


class DoubleConv(nn.Module):
    """Convolution, instance norm, ReLU, twice: (B, channels_in, H, W) -> (B, channels_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(layer for c in (channels_in, channels_out) for layer in (
            nn.Conv2d(c, channels_out, 3, padding=1, bias=False), nn.InstanceNorm2d(channels_out, affine=True),
            nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class LayerUNet(nn.Module):
    """Encoder 16-32-64-128 and one decoder 64-32-16 for every layer; the first step up is shared. The last convolution
    starts at zero: every layer starts even.

    layers : channels of each layer, for example (1, 1) for multiply and divide
    """

    def __init__(self, layers: tuple[int, ...] = (1, 1)) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.down = nn.ModuleList([DoubleConv(3, a), DoubleConv(a, b), DoubleConv(b, c), DoubleConv(c, d)])
        self.shared = DoubleConv(d + c, c)
        self.decoders = nn.ModuleList(
            nn.ModuleList([DoubleConv(c + b, b), DoubleConv(b + a, a), nn.Conv2d(a, n, 1)]) for n in layers)
        for decoder in self.decoders:
            nn.init.zeros_(decoder[2].weight)
            nn.init.zeros_(decoder[2].bias)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) display [0, 1], sides of at least 16 -> per layer (B, n, H, W), any real number, 0 at first."""
        skips, h = [], image
        for k, block in enumerate(self.down):
            h = block(h if k == 0 else functional.max_pool2d(h, 2))
            skips.append(h)
        h = self.shared(_joined(h, skips[2]))
        out = []
        for middle, last, leave in self.decoders:
            out.append(leave(last(_joined(middle(_joined(h, skips[1])), skips[0]))))
        return tuple(out)


def _joined(low: Tensor, skip: Tensor) -> Tensor:
    """The low-resolution map brought to the skip's size, and the skip."""
    up = functional.interpolate(low, skip.shape[2:], mode="bilinear", align_corners=False)
    return torch.cat([up, skip], 1)
