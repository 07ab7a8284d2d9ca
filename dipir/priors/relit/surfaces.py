"""What a photo shows of surfaces: normals, albedo, the light on them, depth, cast shadows, and where there are none.
A network trained on rendered scenes guesses them."""
from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image
from dipir.priors.nets.surface_net import SurfaceNet

SIZE = 128
"""Longer side of the pictures that it was trained on."""
_UNIT = 32


@dataclass(frozen=True)
class Surfaces:
    """Guessed surfaces of B pictures."""

    normal: Tensor
    """(B, 3, H, W), +x the picture's right, +y its top, +z towards the camera; shorter where the network is unsure."""
    albedo: Tensor  # (B, 3, H, W) linear (0, 1)
    shading: Tensor  # (B, 1, H, W) log2(light / its mean) / 2, where light = linear picture / albedo
    depth: Tensor  # (B, 1, H, W) distance along the view in stops about the median, within 4
    shadow: Tensor  # (B, 1, H, W) [0, 1] share of the main light that something keeps off a surface that faces it
    solid: Tensor  # (B, 1, H, W) [0, 1] 1 = a surface, 0 = sky, nothing that could be lit
    up: Tensor  # (B, 3) unit vector, the vertical in the frame of ``normal``
    fine: Tensor  # (B, F, H, W) the network's last features, any numbers: what it knows besides

    @property
    def sure(self) -> Tensor:
        """(B, 1, H, W) [0.3, 1] how far the network is sure of its normals."""
        return self.normal.norm(dim=1, keepdim=True).clamp(0.3, 1)

    def mirrored(self) -> Surfaces:
        """As the mirror images of the pictures would show them."""
        left_right = self.up.new_tensor([-1.0, 1, 1])
        flipped = {name: value.flip(-1) for name, value in vars(self).items() if value.ndim == 4}
        return replace(self, **flipped | {"normal": self.normal.flip(-1) * left_right[:, None, None],
                                          "up": self.up * left_right})

    def __getitem__(self, rows: slice | Tensor) -> Surfaces:
        """Those of some of the pictures."""
        return Surfaces(*(value[rows] for value in vars(self).values()))


@torch.no_grad()
def see(net: SurfaceNet, image: Image) -> Surfaces:
    """What ``net`` guesses of (B, 3, H, W) display [0, 1], at any size; 128 to 192 pixels a side are best."""
    height, width = image.shape[2:]
    padded = functional.pad(image, (0, -width % _UNIT, 0, -height % _UNIT), mode="replicate")
    raw, whole, fine = net(padded)
    return surfaces_of(raw[..., :height, :width], whole, fine[..., :height, :width])


def surfaces_of(raw: Tensor, whole: Tensor, fine: Tensor) -> Surfaces:
    """What the network gives, any numbers (B, 10, H, W), (B, 2) and (B, F, H, W), as surfaces."""
    raw, (right, towards) = raw.float(), whole.float().unbind(1)
    normal, albedo, shading, depth, shadow, solid = raw.split((3, 3, 1, 1, 1, 1), 1)
    # A grey of a fifth where nothing is said; a stop is a step of one.
    albedo = torch.sigmoid(albedo * 1.5 - 1.4)
    return Surfaces(normal / (1 + normal.square().sum(1, keepdim=True)).sqrt(), albedo, shading, depth,
                    torch.sigmoid(shadow), torch.sigmoid(solid + 1),
                    functional.normalize(torch.stack([right, torch.ones_like(right), towards], 1), dim=1), fine.float())
