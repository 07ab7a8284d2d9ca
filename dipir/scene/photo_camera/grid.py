"""The grid overlay: what a camera believes about the ground, drawn on the photo, for a person to judge."""
from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from dipir.arrays import Image
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate

LINE, STRONG, HORIZON = (255, 214, 0), (255, 120, 0), (0, 220, 255)   # sRGB, drawn over a dark rim
NEAR_M = 0.02


def draw_grid(plate: Plate, camera: Camera, heading_deg: float = 0.0) -> Image:
    """(1, 3, H, W) display-referred [0, 1]: the plate with the ground grid y = 0 (lines 1 m apart for a camera at eye
    height, labelled with the distance), the horizon, and the camera's numbers.

    ``heading_deg`` turns the grid against the camera's heading, for instance along the buildings
    (``CameraEstimate.heading_deg``). A good camera has lines that run with the paving and keep their spacing.
    """
    canvas = np.ascontiguousarray((plate.disp[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    weight = max(1.0, max(plate.size) / 900)
    if camera.position[1] > 0:
        _draw_ground(canvas, camera, heading_deg, weight)
    _draw_horizon(canvas, camera, weight)
    pitch, roll, _ = camera.angles_deg
    numbers = f"fov {camera.fov_x_deg:.1f}  pitch {pitch:.1f}  roll {roll:.1f} deg  height {camera.position[1]:.2f} m"
    _text(canvas, numbers, (8 * weight, 20 * weight), weight, (255, 255, 255))
    return torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255


def grid_step_m(height_m: float) -> float:
    """Spacing of the grid, metres: 1 at eye height; decimal steps for table tops and towers."""
    return 10.0 ** math.floor(math.log10(height_m / 0.6)) if height_m > 0 else 1.0


def _draw_ground(canvas: np.ndarray, camera: Camera, heading_deg: float, weight: float) -> None:
    step = grid_step_m(camera.position[1])
    yaw = math.radians(camera.angles_deg[2] - heading_deg)
    ahead, side = np.array([math.sin(yaw), 0, math.cos(yaw)]), np.array([-math.cos(yaw), 0, math.sin(yaw)])
    foot = camera.position * [1, 0, 1]
    reach = 20
    for k in range(-reach, reach + 1):
        strong = k % 5 == 0
        for along, across in ((ahead, side), (side, ahead)):
            ends = foot + step * (k * across + reach * np.array([[-1.0], [1.0]]) * along)
            _segment(canvas, camera, ends, STRONG if strong else LINE, weight * (2 if strong else 1))
    for k in (1, 2, 3, 4, 5, 10, 15, 20):
        pixel, depth = camera.project(foot + step * k * ahead)
        if depth > NEAR_M * step and abs(heading_deg) < 30:
            _text(canvas, f"{k * step:g} m", pixel + [4 * weight, -3 * weight], 0.9 * weight, (255, 255, 255))


def _segment(canvas: np.ndarray, camera: Camera, ends: np.ndarray, color: tuple[int, int, int], weight: float) -> None:
    """One world segment (2, 3), cut at the near plane, with a dark rim so that it shows on any photo."""
    _, depth = camera.project(ends)
    near = NEAR_M * max(camera.position[1], 0.1)
    if (depth <= near).all():
        return
    if (depth <= near).any():
        t = (near - depth[0]) / (depth[1] - depth[0])
        ends[int(depth[1] <= near)] = ends[0] + t * (ends[1] - ends[0])
    _line(canvas, camera.project(ends)[0], color, weight)


def _line(canvas: np.ndarray, ends: np.ndarray, color: tuple[int, int, int], weight: float) -> None:
    clipped = _clip(ends, canvas.shape[1], canvas.shape[0])
    if clipped is None:
        return
    a, b = (tuple(int(round(16 * (v - 0.5))) for v in p) for p in clipped)
    cv2.line(canvas, a, b, (0, 0, 0), max(1, round(weight)) + 2, cv2.LINE_AA, 4)
    cv2.line(canvas, a, b, color, max(1, round(weight)), cv2.LINE_AA, 4)


def _clip(ends: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """Cut a 2D segment to the image and a margin (Liang-Barsky); the rasteriser overflows on far away ends."""
    start, step = ends[0], ends[1] - ends[0]
    low, high = 0.0, 1.0
    for axis, size in ((0, width), (1, height)):
        for direction, room in ((-step[axis], start[axis] + 10), (step[axis], size + 10 - start[axis])):
            if abs(direction) < 1e-12:
                if room < 0:
                    return None
            elif direction < 0:
                low = max(low, room / direction)
            else:
                high = min(high, room / direction)
    return None if low >= high else np.stack([start + low * step, start + high * step])


def _draw_horizon(canvas: np.ndarray, camera: Camera, weight: float) -> None:
    width, height = camera.width, camera.height
    left, right = camera.horizon_y(0.0), camera.horizon_y(float(width))
    if not (math.isfinite(left) and math.isfinite(right)):
        return
    _line(canvas, np.array([[0.0, left], [float(width), right]]), HORIZON, 2 * weight)
    where = "horizon" if 0 < right < height else f"horizon {'above' if right <= 0 else 'below'} the picture"
    y = min(max(right - 5 * weight, 40 * weight), height - 6 * weight)
    _text(canvas, where, (width - (7.5 * len(where) + 8) * weight, y), weight, HORIZON)


def _text(canvas: np.ndarray, text: str, at: tuple[float, float], weight: float, color: tuple[int, int, int]) -> None:
    if not (np.abs(at) < 1e5).all():
        return
    where, size = (int(at[0]), int(at[1])), 0.45 * weight
    cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), max(1, round(weight)) + 2, cv2.LINE_AA)
    cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, size, color, max(1, round(weight)), cv2.LINE_AA)
