"""Environment maps by hand for the light prior's tests."""
from __future__ import annotations

import math

import torch

from dipir.image import latlong


def sun_map(azimuth_deg: float, elevation_deg: float, peak: float = 500.0) -> torch.Tensor:
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    axis = torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
    lobe = (60 * (latlong.directions(16, 32) @ axis - 1)).exp()
    return 0.5 + peak * lobe[..., None].expand(-1, -1, 3)
