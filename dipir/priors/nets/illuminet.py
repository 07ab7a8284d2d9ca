"""IllumiNet: one picture and a light direction in, the picture under that light out (docs/method.md 4.1).

The published description fixes four levels, attention after each block, a light encoder whose features are spread over
the picture and joined to the image features, and a sigmoid at the end. It fixes neither widths nor the kind of
attention; ours are channel and spatial attention (CBAM, Woo et al. 2018), cheap enough for every level. The light also
scales the features of each decoder block (FiLM): shading is a product of light and normal, which a sum cannot express.
"""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 4
_OCTAVES = 3
_EDGE = 1e-3


@dataclass(frozen=True)
class IllumiNetConfig:
    """Size of the network."""

    planes: int = 3
    """Channels of the input, the first three of them the picture."""
    light: int = 3
    """Numbers that describe the light, the first three its direction."""
    channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    """Of the four levels."""
    embedding: int = 96
    """Width of the light's features."""
    stem: int = 1
    """Pixels of a side that the first layer folds into channels (2 = the network works at half size)."""
    residual: bool = True
    """The output starts as the picture (its first three planes), else as even grey."""


class GatedAttention(nn.Module):
    """Channel attention, then spatial attention (CBAM): (B, C, H, W) -> the same, each value scaled by 0 to 1."""

    def __init__(self, channels: int, ratio: int = 8) -> None:
        super().__init__()
        inner = max(4, channels // ratio)
        self.squeeze = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.Conv2d(inner, channels, 1))
        self.where = nn.Conv2d(2, 1, 7, padding=3)
        # Both gates start nearly open; half-closed ones would quarter the signal in every block.
        nn.init.constant_(self.squeeze[-1].bias, 1.0)
        nn.init.constant_(self.where.bias, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)) + self.squeeze(x.amax((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.where(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class Block(nn.Module):
    """Convolution, batch norm, ReLU, twice, then attention; ``embedding`` scales and shifts after both norms."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(channels_out), nn.BatchNorm2d(channels_out)
        self.film = nn.Linear(embedding, 4 * channels_out) if embedding else None
        self.attention = GatedAttention(channels_out)
        if self.film is not None:
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, light: Tensor | None = None) -> Tensor:
        """(B, channels_in, H, W), (B, embedding) -> (B, channels_out, H, W)."""
        scale1, shift1, scale2, shift2 = ((0.0,) * 4 if self.film is None
                                          else self.film(light)[..., None, None].chunk(4, 1))
        x = functional.relu(self.norm1(self.conv1(x)) * (1 + scale1) + shift1)
        x = functional.relu(self.norm2(self.conv2(x)) * (1 + scale2) + shift2)
        return self.attention(x)


class IllumiNet(nn.Module):
    """``IllumiNet()(image, light)``: see the module's text. Any size; sides are padded to multiples of 16 x stem."""

    def __init__(self, config: IllumiNetConfig = IllumiNetConfig()) -> None:
        super().__init__()
        self.config = config
        c, e = config.channels, config.embedding
        if len(c) != LEVELS:
            raise ValueError(f"IllumiNet has {LEVELS} levels, {len(c)} widths were given")
        inputs = config.light + 6 * _OCTAVES
        self.encoder = nn.Sequential(nn.Linear(inputs, e), nn.ReLU(), nn.Linear(e, e), nn.ReLU())
        widths = (config.planes * config.stem**2, *c)
        self.down = nn.ModuleList(Block(widths[i], widths[i + 1]) for i in range(LEVELS))
        self.bottleneck = Block(c[-1] + e, c[-1], e)
        self.reduce = nn.ModuleList(nn.Conv2d(c[min(i + 1, LEVELS - 1)], c[i], 3, padding=1)
                                    for i in reversed(range(LEVELS)))
        self.up = nn.ModuleList(Block(2 * c[i], c[i], e) for i in reversed(range(LEVELS)))
        self.head = nn.Conv2d(c[0], 3 * config.stem**2, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, light: Tensor) -> Tensor:
        """image : (B, planes, H, W), the picture in [0, 1] first;  light : (B, 3 or more), a unit vector (+x right, +y
        up, +z towards the camera) and whatever else describes the light -> (B, 3, H, W) in [0, 1]."""
        height, width = image.shape[2:]
        unit = self.config.stem * 2**LEVELS
        bottom, right = -height % unit, -width % unit
        padded = functional.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image
        out = self._network(padded, self.encoder(light_features(light)))[..., :height, :width]
        if self.config.residual:
            out = out + torch.logit(image[:, :3].clamp(_EDGE, 1 - _EDGE))
        return torch.sigmoid(out)

    def _network(self, image: Tensor, light: Tensor) -> Tensor:
        h, skips = functional.pixel_unshuffle(image, self.config.stem), []
        for block in self.down:
            h = block(h)
            skips.append(h)
            h = functional.max_pool2d(h, 2)
        spread = light[..., None, None].expand(-1, -1, *h.shape[2:])
        h = self.bottleneck(torch.cat([h, spread], 1), light)
        for reduce, block in zip(self.reduce, self.up, strict=True):
            h = reduce(functional.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=False))
            h = block(torch.cat([h, skips.pop()], 1), light)
        return functional.pixel_shuffle(self.head(h), self.config.stem)


def light_features(light: Tensor) -> Tensor:
    """(B, L) -> (B, L + 18): the numbers, and sines and cosines of the direction at three octaves, so that small turns
    of a light can move a narrow highlight."""
    angles = (light[:, :3, None] * _octaves(light.dtype, light.device)).flatten(1)
    return torch.cat([light, angles.sin(), angles.cos()], 1)


@functools.lru_cache(maxsize=8)
def _octaves(dtype: torch.dtype, where: torch.device) -> Tensor:
    return math.pi * 2.0 ** torch.arange(_OCTAVES, dtype=dtype, device=where)
