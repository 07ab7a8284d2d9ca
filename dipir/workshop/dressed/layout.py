"""Where the camera of a dressed photo looks, and where things stand on its ground."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera, turned_about_y
from dipir.scene.proxy import PlacedAsset

Rng = np.random.Generator
SMALLEST_M, LARGEST_M = 0.05, 2.0
"""Longest side of the things."""
_FARTHEST = 3.5  # distance from the camera's foot, in camera heights
_LEAST_PX = 14.0  # longest side of a thing in the picture
_MOST = 0.5  # longest side of a thing, in distances from the camera


@dataclass(frozen=True)
class Ranges:
    """Ranges of the random cameras: lower end, most frequent, upper end."""

    fov_deg: tuple[float, float, float] = (45.0, 62.0, 82.0)  # horizontal
    pitch_deg: tuple[float, float, float] = (-2.0, 13.0, 36.0)  # > 0 looks down
    height_m: tuple[float, float, float] = (0.4, 1.3, 2.0)  # above the ground


def random_view(rng: Rng, ranges: Ranges = Ranges()) -> tuple[float, float, float, float]:
    """Horizontal field of view, pitch and roll in degrees, height in metres: what :func:`camera_of` takes."""
    fov, pitch, height = (rng.triangular(*r) for r in (ranges.fov_deg, ranges.pitch_deg, ranges.height_m))
    return fov, pitch, rng.normal(), height


def camera_of(view: Sequence[float], size: tuple[int, int]) -> Camera:
    """The camera of such a view that looks along +Z, with ``size`` (width, height) pixels."""
    fov, pitch, roll, height = map(float, view)
    return Camera.looking(*size, fov, height, pitch_deg=pitch, roll_deg=roll)


def ground_points(rng: Rng, camera: Camera, count: int, margin: float = 0.0) -> np.ndarray:
    """(n, 3) points of the ground y = 0 seen in random pixels, n <= ``count``; ``margin``: share of the width by which
    they may lie beside the picture. None is farther than 3.5 camera heights."""
    x = rng.uniform(-margin, 1 + margin, count) * camera.width
    y = rng.uniform(0.25, 1 + margin / 2, count) * camera.height
    d = camera.directions(np.stack([x, y], -1))
    eye = camera.position
    with np.errstate(divide="ignore"):
        reach = eye[1] / -d[:, 1]
    points = eye + d * np.where(d[:, 1] < 0, reach, np.inf)[:, None]
    near = (d[:, 1] < 0) & (np.hypot(points[:, 0], points[:, 2]) < _FARTHEST * eye[1])
    return points[near] * [1.0, 0.0, 1.0]


def stand(rng: Rng, camera: Camera, things: Sequence[Asset]) -> list[PlacedAsset]:
    """The things on the ground in view, each turned at random, apart from each other and from the camera; those for
    which no room is found are left out."""
    placed, taken = [], []
    for thing in things:
        for point in ground_points(rng, camera, 12, 0.06):
            scale = _scale(rng, thing, camera, point)
            radius = scale * float(np.hypot(*np.ptp(thing.bounds, axis=0)[[0, 2]])) / 2
            if np.hypot(point[0], point[2]) > radius + 0.35 * camera.position[1] and all(
                    np.hypot(*(point - other)[[0, 2]]) > radius + size for other, size in taken):
                placed.append(PlacedAsset(thing, _pose(thing, point, scale, rng.uniform(0, 2 * math.pi))))
                taken.append((point, radius))
                break
    return placed


def _scale(rng: Rng, thing: Asset, camera: Camera, point: np.ndarray) -> float:
    """About the thing's own size, if that is a likely one, but neither too small to see at ``point`` nor so large that
    it hides the rest."""
    own = float(np.ptp(thing.bounds, axis=0).max())
    usual = own if SMALLEST_M / 2 < own < 2 * LARGEST_M else math.exp(rng.uniform(math.log(0.1), math.log(1.2)))
    distance = float(np.linalg.norm(point - camera.position))
    least, most = _LEAST_PX * distance / camera.focal_px, min(LARGEST_M, _MOST * distance)
    size = usual * math.exp(0.35 * rng.normal())
    return float(np.clip(size, max(SMALLEST_M, least * rng.uniform(1, 2.5)), max(most, SMALLEST_M))) / own


def _pose(thing: Asset, point: np.ndarray, scale: float, yaw_rad: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = scale * turned_about_y(yaw_rad)
    pose[:3, 3] = point - [0, scale * thing.bounds[0, 1], 0]
    return pose
