"""The working window: the square of the plate around the objects and their shadows, at the prior's resolution."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from dipir.arrays import Image
from dipir.errors import SceneError
from dipir.scene.camera import Camera, turned_about_y
from dipir.scene.proxy import PlacedAsset


@dataclass(frozen=True)
class Window:
    """A square of the plate, whole pixels; may lie partly outside."""

    x0: int  # left
    y0: int  # top
    side: int  # pixels

    def camera(self, camera: Camera, size: int) -> Camera:
        """The camera that sees this window as ``size`` x ``size`` pixels."""
        return camera.crop(self.x0, self.y0, self.side, self.side, size, size)

    def cut(self, image: Image, size: int) -> Image:
        """(B, C, H, W) -> (B, C, size, size), antialiased; edge pixels are repeated outside the plate."""
        height, width = image.shape[-2:]
        left, top = max(0, -self.x0), max(0, -self.y0)
        right, bottom = max(0, self.x0 + self.side - width), max(0, self.y0 + self.side - height)
        padded = functional.pad(image, (left, right, top, bottom), mode="replicate")
        x, y = self.x0 + left, self.y0 + top
        piece = padded[..., y:y + self.side, x:x + self.side]
        return functional.interpolate(piece, (size, size), mode="bilinear", antialias=True, align_corners=False)


def projected_box(objects: tuple[PlacedAsset, ...], camera: Camera) -> np.ndarray:
    """(2, 2) pixel box (min, max) of all vertices in front of the camera. Raises SceneError when there are none."""
    points = np.concatenate([p.vertices for o in objects for p in o.parts]) if objects else np.zeros((0, 3))
    uv, depth = camera.project(points.astype(np.float64))
    uv = uv[depth > 1e-6]
    if not len(uv):
        raise SceneError("no object lies in front of the camera; check --at, --height and the camera's pitch.")
    return np.stack([uv.min(0), uv.max(0)])


def working_window(objects: tuple[PlacedAsset, ...], camera: Camera, margin: float = 2.4) -> Window:
    """A square ``margin`` times the larger side of the objects' box, centred a little below their middle (shadows fall
    on the ground), moved inside the plate where it fits."""
    box = projected_box(objects, camera)
    box = np.clip(box, [[-camera.width, -camera.height]], [[2 * camera.width, 2 * camera.height]])
    extent = float((box[1] - box[0]).max())
    side = int(round(max(extent * margin, 16)))
    centre = box.mean(0) + [0, 0.12 * extent]
    low = np.round(centre - side / 2).astype(int)
    for axis, limit in enumerate((camera.width, camera.height)):
        if side <= limit:
            low[axis] = int(np.clip(low[axis], 0, limit - side))
    return Window(int(low[0]), int(low[1]), side)


def wide_view(image: Image, size: int) -> Image:
    """The whole plate squeezed to ``size`` x ``size`` (aspect not kept)."""
    return functional.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)


def grounded(asset_height: float, scale: float, position: np.ndarray, yaw_rad: float) -> np.ndarray:
    """(4, 4) pose of an asset of ``asset_height`` scaled to ``scale`` metres, standing upright at ``position``."""
    factor = scale / max(asset_height, 1e-9)
    pose = np.eye(4)
    pose[:3, :3] = factor * turned_about_y(yaw_rad)
    pose[:3, 3] = position
    return pose


def as_directions(camera: Camera, device: torch.device | str = "cpu") -> torch.Tensor:
    """(H, W, 3) float32 world directions of the pixel centres, on ``device``."""
    return torch.from_numpy(camera.directions().astype(np.float32)).to(device)
