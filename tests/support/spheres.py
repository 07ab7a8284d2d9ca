"""Maps and a small sphere for tests of the three-sphere benchmark."""
from __future__ import annotations

import torch

from benchmarks.spheres.render import Sphere, camera
from dipir.image import latlong

SMALL = Sphere.seen_by(camera(54, 96))


def smooth_map(height: int = 64, seed: int = 3) -> torch.Tensor:
    """A few broad coloured lights."""
    g = torch.Generator().manual_seed(seed)
    d = latlong.directions(height, 2 * height)
    axes = torch.nn.functional.normalize(torch.randn(5, 3, generator=g), dim=-1)
    return 0.2 + torch.exp(8 * (d @ axes.T - 1)) @ (3 * torch.rand(5, 3, generator=g))
