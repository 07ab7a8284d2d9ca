"""Pinhole camera: intrinsics, pose, rays, projection, crop and resize.

Camera axes +X left, +Y up, +Z forward; pixel origin at the image corner (see ``dipir/arrays.py``).
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


def turned_about_y(yaw_rad: float) -> np.ndarray:
    """(3, 3) rotation about +Y that turns +Z towards +X."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with square pixels."""

    width: int  # pixels
    height: int  # pixels
    focal_px: float  # pixels, > 0
    cx: float  # pixels from the left image edge (may lie outside after a crop)
    cy: float  # pixels from the top image edge
    to_world: np.ndarray  # (4, 4) float64, camera-to-world, rigid

    @staticmethod
    def looking(width: int, height: int, fov_x_deg: float, height_m: float = 1.6, pitch_deg: float = 0.0,
                roll_deg: float = 0.0, *, yaw_deg: float = 0.0) -> Camera:
        """Camera at (0, height_m, 0) looking along +Z; pitch > 0 looks down, roll > 0 turns the camera clockwise,
        yaw > 0 turns to the left (towards +X)."""
        focal = 0.5 * width / math.tan(math.radians(fov_x_deg) / 2)
        p, r, y = (math.radians(a) for a in (pitch_deg, roll_deg, yaw_deg))
        rx = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
        rz = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3] = turned_about_y(y) @ rx @ rz
        pose[1, 3] = height_m
        return Camera(width, height, focal, width / 2, height / 2, pose)

    @staticmethod
    def oblong(width: int, height: int, focal: tuple[float, float], centre: tuple[float, float],
               to_world: np.ndarray) -> tuple[Camera, float]:
        """The camera of a picture whose pixels need not be square (focal lengths and principal point along x and y,
        pixels from the image corner), and the factor by which its rows are stretched (about the upper edge) to make
        them so; the camera's height is that of the stretched picture, rounded up."""
        stretch = focal[0] / focal[1]
        tall = height if abs(stretch - 1) < 1e-9 else math.ceil(height * stretch - 1e-6)
        return Camera(width, tall, float(focal[0]), float(centre[0]), float(centre[1] * stretch), to_world), float(
            stretch)

    def to_dict(self) -> dict:
        """Plain values; :meth:`from_dict` is the inverse, exactly."""
        return {"width": self.width, "height": self.height, "focal_px": float(self.focal_px), "cx": float(self.cx),
                "cy": float(self.cy), "to_world": [[float(v) for v in row] for row in self.to_world]}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Camera:
        """Inverse of :meth:`to_dict`. Raises ValueError, KeyError, TypeError or OverflowError for anything else."""
        pose = np.array(data["to_world"], dtype=np.float64)
        numbers = [float(data[key]) for key in ("focal_px", "cx", "cy")]
        if pose.shape != (4, 4) or not np.isfinite(pose).all() or not np.isfinite(numbers).all() or numbers[0] <= 0:
            raise ValueError("the camera needs a finite 4x4 to_world and a focal_px > 0")
        size = int(data["width"]), int(data["height"])
        if not all(1 <= side <= 1_000_000 for side in size):
            raise ValueError(f"the camera's picture has {size[0]} x {size[1]} pixels")
        return Camera(*size, *numbers, pose)

    @property
    def fov_x_deg(self) -> float:
        """Horizontal field of view of a centred image of this width, degrees."""
        return math.degrees(2 * math.atan(0.5 * self.width / self.focal_px))

    @property
    def position(self) -> np.ndarray:
        """(3,) world position of the pinhole, metres."""
        return self.to_world[:3, 3]

    def crop(self, x0: float, y0: float, width: float, height: float, out_width: int, out_height: int) -> Camera:
        """The camera that sees the window (x0, y0, width, height) of this one, in pixels, as an image of
        ``out_width`` x ``out_height``; the window may lie partly outside. Both scales must agree (square pixels)."""
        scale = out_width / width
        if abs(out_height / height - scale) > 1e-3 * scale:
            raise ValueError(f"crop of {width}x{height} to {out_width}x{out_height} would give oblong pixels")
        return replace(self, width=out_width, height=out_height, focal_px=self.focal_px * scale,
                       cx=(self.cx - x0) * scale, cy=(self.cy - y0) * scale)

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another resolution with (nearly) the same aspect."""
        scale = width / self.width
        return replace(self, width=width, height=height, focal_px=self.focal_px * scale, cx=self.cx * scale,
                       cy=self.cy * height / self.height)

    def directions(self, pixels: np.ndarray | None = None) -> np.ndarray:
        """World directions, unit length, through ``pixels`` (..., 2); of every pixel centre (H, W, 3) without."""
        if pixels is None:
            x, y = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
            pixels = np.stack([x, y], -1)
        d = np.stack([-(pixels[..., 0] - self.cx) / self.focal_px, -(pixels[..., 1] - self.cy) / self.focal_px,
                      np.ones(pixels.shape[:-1])], -1)
        d = d / np.linalg.norm(d, axis=-1, keepdims=True)
        return d @ self.to_world[:3, :3].T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (..., 3) -> pixels (..., 2) and depth along the view axis (...), metres (<= 0: behind)."""
        local = (points - self.position) @ self.to_world[:3, :3]
        z = local[..., 2]
        safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
        uv = np.stack([self.cx - self.focal_px * local[..., 0] / safe,
                       self.cy - self.focal_px * local[..., 1] / safe], -1)
        return uv, z

    @property
    def angles_deg(self) -> tuple[float, float, float]:
        """(pitch, roll, yaw) in the sense of :meth:`looking`, degrees; the inverse of it for |pitch| < 90."""
        r = self.to_world[:3, :3]
        # World up in camera axes is row 1 of the rotation: (sin roll cos pitch, cos roll cos pitch, -sin pitch).
        pitch = math.asin(min(1.0, max(-1.0, -r[1, 2])))
        roll, yaw = math.atan2(r[1, 0], r[1, 1]), math.atan2(r[0, 2], r[2, 2])
        return math.degrees(pitch), math.degrees(roll), math.degrees(yaw)

    def horizon_y(self, x: float) -> float:
        """Image height of the horizon at column ``x``, pixels; may lie outside the image. Above it (for an upright
        camera) no ray meets the ground. NaN when the horizon is vertical or the camera looks straight down."""
        up = self.to_world[1, :3]
        if abs(up[1]) < 1e-9:
            return math.nan
        return float(self.cy + ((self.cx - x) * up[0] + self.focal_px * up[2]) / up[1])
