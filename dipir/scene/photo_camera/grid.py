"""The grid overlay: what a camera believes about the ground, drawn on the photo, for a person to judge."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dipir.arrays import Image
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset

LINE, STRONG, HORIZON = (255, 214, 0), (255, 120, 0), (0, 220, 255)   # sRGB, drawn over a dark rim
OBJECT, WHITE = (120, 255, 120), (255, 255, 255)
NEAR_M = 0.02
REACH = 20
"""Lines of the grid to each side."""
LEAST_WIDTH = 960         # Smaller plates are enlarged, so that numbers and lines are legible.
_SIZE = 0.7               # Of letters, at weight 1.
_EDGES = [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]


@dataclass(frozen=True)
class Marker:
    """An object that stands in the scene, as the grid shows it."""

    label: str
    foot: np.ndarray  # (3,) world, the middle of its foot
    corners: np.ndarray  # (8, 3) world, of its upright box; bits of the index: which end of x, y, z

    @staticmethod
    def of(placed: PlacedAsset) -> Marker:
        """The box of an asset's own bounds, where it was placed, with its name and height."""
        bounds = placed.asset.bounds.astype(float)
        corners = np.array([[bounds[k >> axis & 1, axis] for axis in range(3)] for k in range(8)])
        to_world = placed.to_world
        foot = to_world[:3, :3] @ [0, bounds[0, 1], 0] + to_world[:3, 3]
        corners = corners @ to_world[:3, :3].T + to_world[:3, 3]
        return Marker(f"{placed.name[:40]} {np.ptp(corners[:, 1]):.3g} m", foot, corners)


def draw_grid(plate: Plate, camera: Camera, heading_deg: float = 0.0, markers: Sequence[Marker] = ()) -> Image:
    """(1, 3, H, W) display-referred [0, 1]: the plate with the ground grid y = 0 (lines 1 m apart for a camera at eye
    height, labelled with the distance), the horizon, the camera's numbers, and the objects' boxes and contact points.
    A plate narrower than 960 pixels is enlarged to that width; others keep their size.

    ``heading_deg`` turns the grid against the camera's heading, for instance along the buildings
    (``CameraEstimate.heading_deg``). A good camera has lines that run with the paving and keep their spacing.
    """
    canvas = np.ascontiguousarray((plate.disp[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    if plate.size[0] < LEAST_WIDTH:
        size = LEAST_WIDTH, max(1, round(plate.size[1] * LEAST_WIDTH / plate.size[0]))
        canvas, camera = cv2.resize(canvas, size, interpolation=cv2.INTER_CUBIC), camera.resized(*size)
    height, width = canvas.shape[:2]
    # A tall picture has no room for letters in proportion to its height.
    weight = max(1.0, min(max(width, height) / 900, width / 700))
    if camera.position[1] > 0:
        _draw_ground(canvas, camera, heading_deg, weight)
    _draw_horizon(canvas, camera, weight)
    for marker in markers:
        _draw_marker(canvas, camera, marker, weight)
    pitch, roll, _ = camera.angles_deg
    numbers = f"fov {camera.fov_x_deg:.1f}  pitch {pitch:.1f}  roll {roll:.1f} deg  height {camera.position[1]:.2f} m"
    _text(canvas, numbers, (8 * weight, 20 * weight), weight, WHITE)
    return torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255


def grid_step_m(height_m: float) -> float:
    """Spacing of the grid, metres: 1 at eye height; decimal steps for table tops and towers."""
    return 10.0 ** math.floor(math.log10(height_m / 0.6)) if height_m > 0 else 1.0


def ground_lines(camera: Camera, heading_deg: float = 0.0, reach: int = REACH) -> list[tuple[int, np.ndarray]]:
    """(number, ends (2, 3) in the world) of every line of the grid, ``reach`` to each side; number 0 runs through the
    camera's foot."""
    step = grid_step_m(camera.position[1])
    ahead, side, foot = _axes(camera, heading_deg)
    return [(k, foot + step * (k * across + reach * np.array([[-1.0], [1.0]]) * along))
            for k in range(-reach, reach + 1) for along, across in ((ahead, side), (side, ahead))]


def _axes(camera: Camera, heading_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along and across the grid, and the point below the camera."""
    yaw = math.radians(camera.angles_deg[2] - heading_deg)
    return (np.array([math.sin(yaw), 0, math.cos(yaw)]), np.array([-math.cos(yaw), 0, math.sin(yaw)]),
            camera.position * [1, 0, 1])


def ahead_of(camera: Camera, ends: np.ndarray) -> np.ndarray | None:
    """(2, 2) pixels of a world segment (2, 3), cut at the near plane; None behind it."""
    _, depth = camera.project(ends)
    near = NEAR_M * max(camera.position[1], 0.1)
    if (depth <= near).all():
        return None
    if (depth <= near).any():
        t = (near - depth[0]) / (depth[1] - depth[0])
        ends = ends.copy()
        ends[int(depth[1] <= near)] = ends[0] + t * (ends[1] - ends[0])
    return camera.project(ends)[0]


def _draw_ground(canvas: np.ndarray, camera: Camera, heading_deg: float, weight: float) -> None:
    for k, ends in ground_lines(camera, heading_deg):
        strong = k % 5 == 0
        _segment(canvas, camera, ends, STRONG if strong else LINE, weight * (2 if strong else 1))
    step, (ahead, _, foot) = grid_step_m(camera.position[1]), _axes(camera, heading_deg)
    for k in (1, 2, 3, 4, 5, 10, 15, 20):
        pixel, depth = camera.project(foot + step * k * ahead)
        if depth > NEAR_M * step and abs(heading_deg) < 30:
            _text(canvas, f"{k * step:g} m", pixel + [4 * weight, -3 * weight], 0.9 * weight, WHITE)


def _draw_marker(canvas: np.ndarray, camera: Camera, marker: Marker, weight: float) -> None:
    """The box, its name over it, and a cross in a ring at the contact point."""
    for a, b in _EDGES:
        _segment(canvas, camera, marker.corners[[a, b]], OBJECT, weight)
    pixels, depth = camera.project(np.concatenate([marker.foot[None], marker.corners]))
    near = NEAR_M * max(camera.position[1], 0.1)
    if depth[0] > near and (np.abs(pixels[0]) < 1e5).all():
        where = tuple(int(round(v)) for v in pixels[0])
        for color, thickness in (((0, 0, 0), round(weight) + 2), (OBJECT, max(1, round(weight)))):
            cv2.circle(canvas, where, round(7 * weight), color, thickness, cv2.LINE_AA)
            cv2.drawMarker(canvas, where, color, cv2.MARKER_CROSS, round(22 * weight), thickness, cv2.LINE_AA)
    shown = pixels[1:][depth[1:] > near]
    if len(shown):
        room = _text_size(marker.label, weight)[0]
        x = min(max(shown[:, 0].mean() - room / 2, 4 * weight), canvas.shape[1] - room - 4 * weight)
        y = min(max(shown[:, 1].min() - 8 * weight, 40 * weight), canvas.shape[0] - 26 * weight)
        _text(canvas, marker.label, (x, y), weight, OBJECT)


def _segment(canvas: np.ndarray, camera: Camera, ends: np.ndarray, color: tuple[int, int, int], weight: float) -> None:
    """One world segment (2, 3), cut at the near plane, with a dark rim so that it shows on any photo."""
    pixels = ahead_of(camera, ends)
    if pixels is not None:
        _line(canvas, pixels, color, weight)


def _line(canvas: np.ndarray, ends: np.ndarray, color: tuple[int, int, int], weight: float) -> None:
    # The rasteriser overflows on far away ends.
    clipped = clip(ends, canvas.shape[1], canvas.shape[0], 10)
    if clipped is None:
        return
    a, b = (tuple(int(round(16 * (v - 0.5))) for v in p) for p in clipped)
    cv2.line(canvas, a, b, (0, 0, 0), max(1, round(weight)) + 2, cv2.LINE_AA, 4)
    cv2.line(canvas, a, b, color, max(1, round(weight)), cv2.LINE_AA, 4)


def clip(ends: np.ndarray, width: int, height: int, margin: float = 0.0) -> np.ndarray | None:
    """A 2D segment (2, 2) cut to the image and a margin (Liang and Barsky); None where it misses them."""
    start, step = ends[0], ends[1] - ends[0]
    low, high = 0.0, 1.0
    for axis, size in ((0, width), (1, height)):
        for direction, room in ((-step[axis], start[axis] + margin), (step[axis], size + margin - start[axis])):
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
    _text(canvas, where, (width - _text_size(where, weight)[0] - 8 * weight, y), weight, HORIZON)


def _text_size(text: str, weight: float) -> tuple[int, int]:
    """(width, height) in pixels."""
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _SIZE * weight, max(1, round(weight)))[0]


def _text(canvas: np.ndarray, text: str, at: tuple[float, float], weight: float, color: tuple[int, int, int]) -> None:
    if not (np.abs(at) < 1e5).all():
        return
    # The font has no letters but these.
    text = text.encode("ascii", "replace").decode()
    thick, rim = max(1, round(weight)), max(1, round(1.2 * weight))
    # The rim is made of shifted copies: a thicker text is also a wider one in some versions of OpenCV.
    shifts = [(dx, dy) for dx in (-rim, 0, rim) for dy in (-rim, 0, rim) if (dx, dy) != (0, 0)]
    for dx, dy in (*shifts, (0, 0)):
        cv2.putText(canvas, text, (int(at[0]) + dx, int(at[1]) + dy), cv2.FONT_HERSHEY_SIMPLEX, _SIZE * weight,
                    (0, 0, 0) if (dx, dy) != (0, 0) else color, thick, cv2.LINE_AA)
