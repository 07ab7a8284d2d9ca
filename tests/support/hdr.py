"""Radiance files for tests: the package reads them and writes none."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor


def write_hdr(path: str | Path, lin: Tensor) -> None:
    """Linear light, (1, 3, H, W) image or (H, W, 3) map -> Radiance RGBE (8 bit mantissa shared exponent: relative
    error of the brightest channel below 0.4 %); negative values become 0."""
    pixels = (lin if lin.ndim == 3 else lin[0].permute(1, 2, 0)).detach().cpu().numpy()
    pixels = np.clip(pixels, 0, 1e37).astype(np.float64)
    peak = pixels.max(-1, keepdims=True)
    # 255.5 / 256 and more would round up to a mantissa of 256: take the next exponent, which the factor gives.
    exponent = np.where(peak > 1e-37, np.frexp(peak * (256 / 255.5))[1], -128)
    mantissas = np.rint(np.ldexp(pixels, 8 - exponent))
    # Scanlines without run lengths: every reader takes them. They cannot be taken for run lengths, because the largest
    # mantissa is at least 128. Written here and not by OpenCV, whose encoder cuts mantissas off (0.2 % too dark).
    body = np.concatenate([mantissas, exponent + 128], -1)
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {pixels.shape[0]} +X {pixels.shape[1]}\n"
    Path(path).write_bytes(head.encode() + np.where(peak > 1e-37, body, 0).astype(np.uint8).tobytes())
