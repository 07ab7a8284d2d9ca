"""The ground plane of a posed sequence, from its points and its cameras."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dipir.errors import SceneError

TRIALS = 2000
NEAR = 0.01
"""Distance from the plane, in median distances of cameras from the points, at which a point lies on it."""
STEEPEST_COS = np.cos(np.deg2rad(50.0))
"""People hold cameras upright and look down at things: the plane's normal is within 50 degrees of what they call up."""
_REFINED, _KEPT, _FEW = 8, 12, 2000
_LEAST = 30
_MOST = 20_000
_BELOW = 2.0  # A point below the plane counts against it as much as this many on it count for it.


@dataclass(frozen=True)
class GroundPlane:
    """The plane that a sequence's things stand on, and how far to trust it."""

    point: np.ndarray  # (3,) of the plane
    normal: np.ndarray  # (3,) unit, towards the cameras
    share: float  # of the points on it
    below: float  # share of the points beneath it
    tilt_deg: float  # degrees between its normal and the cameras' mean up
    orbit_deg: float  # between it and the plane through the cameras' places, NaN when they lie on no plane
    confidence: float  # [0, 1], see `fit_ground`

    def height(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) distances above the plane."""
        return (points - self.point) @ self.normal


def fit_ground(points: np.ndarray, poses: np.ndarray, seed: int = 0) -> GroundPlane:
    """The plane that most points lie on, few beneath, all cameras above (RANSAC, then least squares).

    points : (N, 3);  poses : (F, 4, 4) camera-to-world, +X left, +Y up, +Z forward

    ``confidence`` is the product of three figures in [0, 1]: the share of points on the plane (a fifth is enough), few
    beneath it (1 - 5 x their share), and agreement with the cameras (falling from 1 at 20 degrees between the normal
    and the nearer of orbit and mean up, to 0 at 50). With fewer than 30 points, or when no plane passes, it is the
    plane across the cameras' up through the lowest point that is seen, confidence 0. SceneError without cameras.
    """
    if len(poses) == 0:
        raise SceneError("a ground plane was asked for, but there are no cameras; give at least one frame with a pose.")
    points = points[np.isfinite(points).all(-1)]
    centres, up = poses[:, :3, 3], mean_up(poses)
    orbit = orbit_normal(centres, up)
    if len(points) < _LEAST:
        return _guess(points, poses, up, orbit)
    rng = np.random.default_rng(seed)
    if len(points) > _MOST:
        points = points[rng.choice(len(points), _MOST, replace=False)]
    near = NEAR * float(np.median(np.linalg.norm(centres - np.median(points, 0), axis=1)))
    found = _best(rng, points, centres, up, orbit, near)
    if found is None:
        return _guess(points, poses, up, orbit)
    point, normal = found
    heights = (points - point) @ normal
    share, below = float((np.abs(heights) < near).mean()), float((heights < -2 * near).mean())
    return _judged(point, normal, share, below, up, orbit)


def mean_up(poses: np.ndarray) -> np.ndarray:
    """(F, 4, 4) -> (3,) unit. Of cameras that look down at one thing from all sides the mean of their own ups is the
    world's; the plane of their left directions corrects it for those on one side only."""
    up = poses[:, :3, 1].mean(0)
    up = up / max(np.linalg.norm(up), 1e-12)
    left = poses[:, :3, 0]
    values, vectors = np.linalg.eigh(left.T @ left / len(left))
    # Left directions of upright cameras lie in the horizontal plane; one direction alone does not say which.
    if len(left) < 3 or values[1] < 0.02:
        return up
    normal = vectors[:, 0] * np.sign(vectors[:, 0] @ up)
    return normal if normal @ up > STEEPEST_COS else up


def orbit_normal(centres: np.ndarray, up: np.ndarray) -> np.ndarray | None:
    """(3,) unit normal, upwards, of the plane through (F, 3) places; None when they lie on no plane, or on a line."""
    if len(centres) < 4:
        return None
    _, values, vectors = np.linalg.svd(centres - centres.mean(0), full_matrices=False)
    if values[1] < 0.1 * values[0] or values[2] > 0.3 * values[1]:
        return None
    return vectors[2] * (1.0 if vectors[2] @ up >= 0 else -1.0)


def _best(rng: np.random.Generator, points: np.ndarray, centres: np.ndarray, up: np.ndarray, orbit: np.ndarray | None,
          near: float) -> tuple[np.ndarray, np.ndarray] | None:
    """(point, normal): planes through three points and planes across the cameras' up, the best few of them refined."""
    corners = points[rng.integers(len(points), size=(TRIALS, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    level = [up] if orbit is None else [up, orbit]
    through = points[rng.integers(len(points), size=TRIALS // 8)]
    normals = np.concatenate([normals * np.where(normals @ up < 0, -1.0, 1.0)[:, None],
                              *(np.tile(n, (len(through), 1)) for n in level)])
    starts = np.concatenate([corners[:, 0], *[through] * len(level)])
    few = points[rng.choice(len(points), min(len(points), _FEW), replace=False)]
    ranked = sorted(zip(starts, normals, strict=True), key=lambda plane: -_score(few, centres, up, near, *plane))
    kept = [_refined(points, up, near, *plane) for plane in ranked[:_KEPT]]
    score, best = max(((_score(points, centres, up, near, *plane), plane) for plane in kept), key=lambda x: x[0])
    return best if score > 0 else None


def _score(points: np.ndarray, centres: np.ndarray, up: np.ndarray, near: float, point: np.ndarray,
           normal: np.ndarray) -> float:
    if normal @ up < STEEPEST_COS or ((centres - point) @ normal).min() <= near:
        return 0.0
    heights = (points - point) @ normal
    return float((np.abs(heights) < near).mean() - _BELOW * (heights < -2 * near).mean())


def _refined(points: np.ndarray, up: np.ndarray, near: float, point: np.ndarray,
             normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares over the points on the plane, repeated."""
    for _ in range(_REFINED):
        close = points[np.abs((points - point) @ normal) < near]
        if len(close) < 3:
            break
        point = close.mean(0)
        values, vectors = np.linalg.eigh((close - point).T @ (close - point))
        normal = vectors[:, 0] if vectors[:, 0] @ up > 0 else -vectors[:, 0]
    return point, normal


def _guess(points: np.ndarray, poses: np.ndarray, up: np.ndarray, orbit: np.ndarray | None) -> GroundPlane:
    centres = poses[:, :3, 3]
    spread = float(np.linalg.norm(centres - centres.mean(0), axis=1).mean())
    # A few lowest points are often noise. Without any, a hand's height is as good a guess as another.
    low = np.quantile(points @ up, 0.02) if len(points) else (centres @ up).min() - max(spread, 1.0)
    low = min(low, (centres @ up).min() - 1e-3 * max(spread, 1e-9))
    point = centres.mean(0)
    point = point + (low - point @ up) * up
    return _judged(point, up, 0.0, 0.0, up, orbit)


def _judged(point: np.ndarray, normal: np.ndarray, share: float, below: float, up: np.ndarray,
            orbit: np.ndarray | None) -> GroundPlane:
    tilt, turned = (np.nan if other is None else float(np.degrees(np.arccos(np.clip(normal @ other, -1, 1))))
                    for other in (up, orbit))
    apart = np.nanmin([tilt, turned])
    agreement = float(np.clip((50 - apart) / 30, 0, 1))
    confidence = min(1.0, 5 * share) * max(0.0, 1 - 5 * below) * agreement
    return GroundPlane(point, normal, share, below, tilt, turned, confidence)
