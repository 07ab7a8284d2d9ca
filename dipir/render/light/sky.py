"""What light transport is recorded for: parts of the sky, each lit evenly. Dr.Jit code."""
from __future__ import annotations

import drjit as dr
import numpy as np
import torch
from torch import Tensor

from dipir.image import latlong
from dipir.render.backend import mitsuba
from dipir.render.bridge import to_array
from dipir.render.rays import opaque


class TexelSky:
    """All texels of a latlong map with ``height`` rows."""

    def __init__(self, height: int):
        self.height, self.width = height, 2 * height
        self.count = self.height * self.width
        edges = np.cos(np.linspace(0, np.pi, self.height + 1))
        self._cos_edges = to_array(edges)
        self._solid_angle = to_array((edges[:-1] - edges[1:]) * 2 * np.pi / self.width)

    def direction(self, texel, u2):
        """Uniform direction within a texel."""
        mi = mitsuba()
        row, col = texel // self.width, texel % self.width
        cos_top, cos_bottom = dr.gather(mi.Float, self._cos_edges, row), dr.gather(mi.Float, self._cos_edges, row + 1)
        y = dr.lerp(cos_top, cos_bottom, u2.y)
        sin = dr.safe_sqrt(1 - y * y)
        s, c = dr.sincos((mi.Float(col) + u2.x) * (2 * np.pi / self.width))
        return mi.Vector3f(s * sin, y, -c * sin)

    def solid(self, texel):
        """Solid angle of a texel."""
        return dr.gather(mitsuba().Float, self._solid_angle, texel // self.width)

    def find(self, direction):
        """(texel that a direction falls into, whether there is one)."""
        mi = mitsuba()
        u = dr.atan2(direction.x, -direction.z) * (0.5 / np.pi)
        u -= dr.floor(u)
        row = dr.minimum(mi.UInt32(dr.acos(dr.clip(direction.y, -1, 1)) * (self.height / np.pi)), self.height - 1)
        col = dr.minimum(mi.UInt32(u * self.width), self.width - 1)
        return row * self.width + col, mi.Bool(True)

    def plane_weights(self) -> Tensor:
        """(J,) exact integral of cos / pi over each texel for a surface that looks up, on the CPU."""
        return latlong.plane_weights(self.height, self.width).reshape(-1)


def disc_direction(axis, rise, u2):
    """Uniform direction within the disc about ``axis`` whose radius has a cosine of 1 - ``rise``."""
    mi = mitsuba()
    rise = u2.x * rise
    sin = dr.safe_sqrt(rise * (2 - rise))
    s, c = dr.sincos(u2.y * (2 * np.pi))
    return mi.Frame3f(axis).to_world(mi.Vector3f(c * sin, s * sin, 1 - rise))


class DiscSky:
    """One disc: a light of angular ``radius_rad`` about ``direction`` (3,), its only texel."""

    count = 1

    def __init__(self, direction: Tensor, radius_rad: float):
        self._axis = [float(v) for v in direction.detach().cpu()]
        # 1 - cos, without the loss of digits of a narrow disc.
        self._rise = 2 * np.sin(radius_rad / 2) ** 2

    def direction(self, texel, u2):
        """Uniform direction within the disc."""
        return disc_direction(self._centre(), opaque(self._rise), u2)

    @property
    def steradian(self) -> float:
        """Solid angle of the disc."""
        return float(2 * np.pi * self._rise)

    def solid(self, texel):
        """The same as a Dr.Jit value."""
        return opaque(self.steradian)

    def find(self, direction):
        """(0, whether a direction falls into the disc)."""
        return mitsuba().UInt32(0), dr.squared_norm(direction - self._centre()) <= 2 * opaque(self._rise)

    def plane_weights(self) -> Tensor:
        """(1,) as of :class:`TexelSky`; the disc counts as its centre."""
        return torch.tensor([2 * self._rise * max(0.0, self._axis[1])], dtype=torch.float32, device="cpu")

    def _centre(self):
        return mitsuba().Vector3f(*opaque(*self._axis))
