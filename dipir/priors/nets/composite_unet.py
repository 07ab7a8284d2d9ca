"""The network of the small insertion prior: the conditional U-Net over 64 x 64 composites, told the whole plate too."""
from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from dipir.priors.nets.blocks import Conv
from dipir.priors.nets.conditional_unet import ConditionalUNet, ConditionalUNetConfig

PLANES = 21
"""Condition channels: plate 3, hint 3, wide view 3 (all in [-1, 1]), G-buffers 12."""


@dataclass(frozen=True)
class CompositeUNetConfig:
    """Size of the network."""

    channels: tuple[int, ...] = (32, 64, 96)
    """Of the levels 32, 16 and 8 pixels wide; the others as in :class:`ConditionalUNetConfig`."""
    blocks: int = 2
    embedding: int = 192
    detail: int = 8
    sigma_data: float = 0.25


class CompositeUNet(ConditionalUNet):
    """The first guess is the hint: what the mirrored plate's light would show. The wide view joins the embedding."""

    GUESS = slice(3, 6)

    def __init__(self, config: CompositeUNetConfig = CompositeUNetConfig()) -> None:
        super().__init__(ConditionalUNetConfig(PLANES, 0, config.channels, config.blocks, config.embedding,
                                               config.detail, config.sigma_data))
        self.config = config
        self.wide = nn.Sequential(Conv(3, 24, stride=2), nn.SiLU(), Conv(24, 48, stride=2), nn.SiLU(),
                                  Conv(48, 64, stride=2), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
                                  nn.Linear(64 * 16, config.embedding))

    def _told(self, sigma: Tensor, planes: Tensor, vector: Tensor | None) -> Tensor:
        return super()._told(sigma, planes, vector) + self.wide(planes[:, 6:9])
