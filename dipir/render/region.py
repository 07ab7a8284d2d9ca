"""The part of the picture in which objects can be seen: everything else of a plate is left alone."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir.render.mitsuba_scene import BuiltScene
from dipir.scene.camera import Camera

_GRAIN = 32  # Sizes are multiples of it where the picture is larger: every size of film compiles a kernel of its own.


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels within a picture of ``picture`` = (width, height)."""

    x0: int
    y0: int
    width: int
    height: int
    picture: tuple[int, int]

    @staticmethod
    def of_objects(built: BuiltScene, camera: Camera, margin: int = 2) -> Region:
        """All pixels that a part of an object can reach; the whole picture when one reaches behind the camera, one
        pixel when none is in view."""
        points = np.concatenate([p.vertices for _, p in built.parts]) if built.parts else np.zeros((0, 3))
        uv, depth = camera.project(points.astype(np.float64))
        size = (camera.width, camera.height)
        if not len(uv):
            return Region(0, 0, 1, 1, size)
        if depth.min() <= 1e-3:
            return Region(0, 0, *size, size)
        spans = [_span(uv[:, axis].min() - margin, uv[:, axis].max() + margin, limit)
                 for axis, limit in enumerate(size)]
        return Region(spans[0][0], spans[1][0], spans[0][1], spans[1][1], size)

    def camera(self, camera: Camera) -> Camera:
        """The camera that sees this rectangle alone, pixel by pixel."""
        return camera.crop(self.x0, self.y0, self.width, self.height, self.width, self.height)

    def pixels(self, device: torch.device) -> Tensor:
        """(width * height,) flat indices in the picture, row by row."""
        rows = torch.arange(self.y0, self.y0 + self.height, device=device)
        columns = torch.arange(self.x0, self.x0 + self.width, device=device)
        return (rows[:, None] * self.picture[0] + columns).flatten()

    def paste(self, image: Tensor) -> Tensor:
        """(B, C, height, width) -> (B, C, H, W) of the picture, 0 around it; differentiable."""
        right, below = (self.picture[0] - self.x0 - self.width, self.picture[1] - self.y0 - self.height)
        return torch.nn.functional.pad(image, (self.x0, right, self.y0, below))

    def cut(self, image: Tensor) -> Tensor:
        """(B, C, H, W) of the picture -> (B, C, height, width), a view."""
        return image[..., self.y0:self.y0 + self.height, self.x0:self.x0 + self.width]


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    """(first, count) of the pixels from ``low`` to ``high`` that lie in [0, limit), grown to a multiple of _GRAIN."""
    first, last = (int(np.clip(np.floor(v), 0, limit - 1)) for v in (low, high))
    count = min(limit, -(-(last + 1 - first) // _GRAIN) * _GRAIN)
    return min(first, limit - count), count
