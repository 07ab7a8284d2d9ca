"""Array aliases and the conventions of the whole program, stated once.

* Images are ``(B, 3, H, W)`` float32. ``_lin`` = linear light, BT.709 primaries, 1.0 = plate white.
  ``_disp`` = display-referred sRGB in [0, 1].
* World: right-handed, +Y up, metres. Ground plane at y = 0 unless a scene says otherwise.
* Cameras: camera-to-world 4x4; camera axes +X left, +Y up, +Z forward (Mitsuba = PyTorch3D).
  Pixel coordinates have their origin at the image corner: pixel (i, j) has its centre at (i + 0.5, j + 0.5).
* Quaternions wxyz.
* Environment maps: equirectangular ``(H, W, 3)``, W = 2 H, radiance; row 0 = +Y; u = 0 -> -Z, 0.25 -> +X, 0.5 -> +Z,
  0.75 -> -X (Mitsuba = OpenEXR/USD latlong). Direction of (u, v):
  ``(sin(2 pi u) sin(pi v), cos(pi v), -cos(2 pi u) sin(pi v))``.
* Noise level is always ``sigma`` (variance exploding: x_sigma = x0 + sigma * noise).
* Angles carry ``_deg`` or ``_rad``, lengths ``_m``.
"""
from __future__ import annotations

import hashlib

from jaxtyping import Float, Int
from torch import Tensor

Image = Float[Tensor, "batch 3 height width"]
Mask = Float[Tensor, "batch 1 height width"]
IdMap = Int[Tensor, "batch 1 height width"]
EnvMap = Float[Tensor, "height width 3"]
Directions = Float[Tensor, "*shape 3"]


def split_seed(seed: int, *names: object) -> int:
    """A 31-bit seed that depends on ``seed`` and on every name, stable between runs and machines."""
    text = repr((int(seed), *map(str, names))).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little") & 0x7FFFFFFF
