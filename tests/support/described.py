"""Parts of described scenes by hand."""
from __future__ import annotations

import numpy as np

from dipir.workshop.worlds import meshes


def floor(radiance=None, size: float = 20.0, albedo: float = 0.5) -> dict:
    vertices, faces, uv = meshes.quad([-size / 2, 0, -size / 2], [size, 0, 0], [0, 0, size])
    part = {"name": "floor", "vertices": vertices, "faces": faces, "uv": uv, "roughness": None,
            "texture": np.full((2, 2, 3), albedo, np.float32), "radiance": None}
    return part | ({"name": "lamp", "radiance": radiance} if radiance is not None else {})
