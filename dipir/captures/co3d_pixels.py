"""Photos, masks and depths of CO3Dv2: JPEG and PNG, depths with half floats in the 16 bits of a PNG."""
from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from dipir.captures.sequence import Frame, read_stored
from dipir.disk import write_bytes
from dipir.errors import ImageError
from dipir.image.files import write_png

_FRAMES = 16  # At most so many depths are read for points.


def read_mask(path: Path) -> np.ndarray:
    """(H, W) float32 in [0, 1], the probability of the object, as it lies in the file. ImageError."""
    return read_stored(path)[0][0, 0].numpy()


def read_depth(frame: Frame) -> np.ndarray | None:
    """(H, W) float32 along the view axis in the world's units, 0 where nothing is known; None without a file. The 16
    bits of a pixel are those of a half float. ImageError."""
    if frame.depth is None:
        return None
    pixels, info = read_stored(frame.depth)
    if info.bits != 16:
        raise ImageError(f"{frame.depth}: has {info.bits} bits a pixel; accepted are 16-bit PNG files whose bits are "
                         "half floats. Fetch the file again.")
    stored = (pixels[0, 0].double().numpy() * 65535).round().astype(np.uint16)
    depth = stored.view(np.float16).astype(np.float32) * frame.depth_scale
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0)
    if frame.depth_mask is None:
        return depth
    known = read_mask(frame.depth_mask) > 0
    if known.shape != depth.shape:
        raise ImageError(f"{frame.depth_mask}: {known.shape[1]} x {known.shape[0]} pixels for depths of "
                         f"{depth.shape[1]} x {depth.shape[0]}; accepted are masks of that size. Fetch it again.")
    return depth * known


def depth_points(frames: Sequence[Frame], count: int = 4000) -> np.ndarray:
    """(N, 3) world points, about ``count``, from the frames' depths, instead of a point cloud that is missing; (0, 3)
    without readable depths."""
    rng, having = np.random.default_rng(0), [f for f in frames if f.depth is not None]
    chosen = sorted({int(k) for k in np.linspace(0, len(having) - 1, min(len(having), _FRAMES)).round()})
    found = [np.zeros((0, 3))]
    for frame in (having[k] for k in chosen):
        try:
            depth = read_depth(frame)
        except ImageError:
            continue
        rows, columns = np.nonzero(depth)
        if not len(rows):
            continue
        pick = rng.integers(len(rows), size=-(-count // len(chosen)))
        y, x = rows[pick], columns[pick]
        camera, (height, width) = frame.camera, depth.shape
        rays = camera.directions(np.stack([(x + 0.5) * camera.width / width, (y + 0.5) * camera.height / height], -1))
        found.append(camera.position + rays * (depth[y, x] / (rays @ camera.to_world[:3, 2]))[:, None])
    return np.concatenate(found)


def write_photo(path: str | Path, disp: Tensor) -> None:
    """(1, 3, H, W) display values in [0, 1] -> JPEG without chroma subsampling. ImageError."""
    pixels = (disp[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
    write_bytes(path, stream.getvalue())


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """(H, W) in [0, 1] -> PNG of 8 bits. ImageError."""
    write_png(path, torch.from_numpy(np.asarray(mask, np.float32))[None, None])


def write_depth(path: str | Path, depth: np.ndarray) -> None:
    """(H, W) -> PNG whose 16 bits are half floats; 0 = unknown. ImageError."""
    bits = np.ascontiguousarray(depth, np.float32).astype(np.float16).view(np.uint16)
    write_png(path, torch.from_numpy(bits / 65535)[None, None], bits=16)
