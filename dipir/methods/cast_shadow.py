"""Where the dominant light of a posed sequence is, by the shadow that its object throws on the ground.

All photos together show the ground from above (what stands in front of it in one is beside it in another). For every
direction the object's points say where its shadow would fall; the direction whose shadow is where the ground is dark is
the light's. Where the light is soft no direction stands out, and nothing is said.
"""
from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir.errors import DipirError
from dipir.image import latlong
from dipir.image.color import luminance
from dipir.scene.sequence import Frame, PosedSequence, frame_plate

_CELLS, _REACH = 96, 3.5     # Of the ground from above: cells a side; half of the side in heights of the object.
_FRAMES, _LONGEST = 16, 256  # At most so many photos, of so many pixels.
_WIDE = 0.09                 # Of a point, in heights of the object: clouds have gaps.
_GAP = 0.2                   # Of the ground's points, likewise.
_LOWEST_DEG = 8.0
_ALIKE = 0.15  # Median difference of log luminance between photos, at most.
_WEIGHT = 100.0
"""On the correlation of darkness and shadow, [-1, 1]: a twentieth less is e^5 times less likely. Chosen on sequences
under training environments, where 10 to 40 did worse and 160 as well."""
_FEWEST = 60


def shadow_votes(sequence: PosedSequence, middle: np.ndarray, size: float, height: int = 16) -> Tensor:
    """(height, 2 height) logarithms of weights of directions, 0 = the likeliest, to be added to those of other
    witnesses; all 0 where there are too few points or too little ground to say anything.

    sequence : on its ground (``scene.sequence.on_ground``);  middle, size : of its object (``sequence.thing_of``)
    """
    nothing = torch.zeros(height, 2 * height)
    near = np.linalg.norm((sequence.points - middle)[:, [0, 2]], axis=1) < size
    thing = sequence.points[near & (sequence.points[:, 1] > 0.04 * size) & (sequence.points[:, 1] < 1.3 * size)]
    if len(thing) < _FEWEST:
        return nothing
    dark, known = darkness(sequence, thing, middle, size)
    if known.sum() < _CELLS**2 / 20:
        return nothing
    rays = latlong.directions(2 * height, 4 * height).reshape(-1, 3).double().numpy()
    above = rays[:, 1] > math.sin(math.radians(_LOWEST_DEG))
    votes = np.zeros(len(rays))
    for k in np.flatnonzero(above):
        votes[k] = correlation(thrown(thing, rays[k], middle, size), dark, known)
    # Below the horizon and too low no shadow says anything: as likely as the mean of all others.
    votes[~above] = votes[above].mean()
    fine = _WEIGHT * torch.from_numpy(votes).float().reshape(height, 2, 2 * height, 2)
    coarse = fine.permute(0, 2, 1, 3).reshape(height, 2 * height, 4).logsumexp(-1)
    return coarse - coarse.max()


def darkness(sequence: PosedSequence, thing: np.ndarray, middle: np.ndarray,
             size: float) -> tuple[np.ndarray, np.ndarray]:
    """((cells, cells) minus the logarithm of the ground's luminance around the object, its mean slope taken out; where
    it is known). Row and column grow with z and x."""
    steps = (np.arange(_CELLS) + 0.5) / _CELLS * 2 - 1
    x, z = np.meshgrid(steps * _REACH * size + middle[0], steps * _REACH * size + middle[2])
    ground = np.stack([x, np.zeros_like(x), z], -1)
    chosen = np.linspace(0, len(sequence.frames) - 1, min(len(sequence.frames), _FRAMES)).round().astype(int)
    seen = [got for k in sorted(set(chosen)) if (got := _seen(sequence.frames[k], ground, thing, size)) is not None]
    levels = np.full((1, _CELLS, _CELLS), np.nan) if not seen else np.stack(seen)
    # What is not ground (beyond a table's edge, something that stands there) looks different from every side.
    known = (np.isfinite(levels).sum(0) >= 2) & floor(sequence.points, middle, size)
    middle_level = np.zeros((_CELLS, _CELLS))
    if known.any():
        median = np.nanmedian(levels[:, known], axis=0)
        middle_level[known] = -median
        known[known] = np.nanmedian(np.abs(levels[:, known] - median), axis=0) < _ALIKE
    if known.any():
        slope = np.stack([np.ones(known.sum()), x[known], z[known]], -1)
        middle_level[known] -= slope @ np.linalg.lstsq(slope, middle_level[known], rcond=None)[0]
    return middle_level, known


def _seen(frame: Frame, ground: np.ndarray, thing: np.ndarray, size: float) -> np.ndarray | None:
    """Log luminance of the ground's cells in one photo, NaN where it does not show them; None if it cannot be read."""
    try:
        plate, camera = frame_plate(frame, _LONGEST)
    except DipirError:
        return None
    level = luminance(plate.lin)[0, 0].clamp_min(1e-3).log().numpy().astype(np.float32)
    uv, depth = camera.project(ground)
    inside = (depth > 0) & (uv > 1).all(-1) & (uv < np.array([camera.width, camera.height]) - 1).all(-1)
    spots, away = camera.project(thing)
    hidden = np.zeros(level.shape, np.float32)
    reach = 1 + int(_WIDE * size * camera.focal_px / max(float(np.median(away)), 1e-9))
    for px, py in spots[away > 0].round().astype(int):
        cv2.circle(hidden, (int(px), int(py)), reach, 1.0, -1)
    at = lambda image: cv2.remap(image, *np.moveaxis(uv.astype(np.float32) - 0.5, -1, 0), cv2.INTER_LINEAR)
    return np.where(inside & (at(hidden) < 0.01), at(level), np.nan)


def floor(points: np.ndarray, middle: np.ndarray, size: float) -> np.ndarray:
    """(cells, cells) where the cloud has points on the ground, closed over gaps: beyond a table's edge there are none.
    """
    flat = points[np.abs(points[:, 1]) < 0.04 * size]
    return _splat(flat[:, [0, 2]] - middle[[0, 2]], size, _GAP) > 0


def thrown(thing: np.ndarray, towards: np.ndarray, middle: np.ndarray, size: float) -> np.ndarray:
    """(cells, cells) [0, 1] shadow of points under a light in one direction."""
    fallen = thing[:, [0, 2]] - thing[:, 1:2] * towards[[0, 2]] / towards[1] - middle[[0, 2]]
    return _splat(fallen, size, _WIDE)


def _splat(places: np.ndarray, size: float, wide: float) -> np.ndarray:
    """Places (N, 2) on the ground, from the middle, as discs of radius ``wide`` heights of the object."""
    cells = np.floor((places / (_REACH * size) + 1) / 2 * _CELLS).astype(int)
    cells = cells[((cells >= 0) & (cells < _CELLS)).all(1)]
    marked = np.zeros((_CELLS, _CELLS), np.float32)
    marked[cells[:, 1], cells[:, 0]] = 1
    side = 2 * round(wide * _CELLS / (2 * _REACH)) + 1
    return cv2.dilate(marked, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def correlation(shadow: np.ndarray, dark: np.ndarray, known: np.ndarray) -> float:
    """Pearson's, over the known cells; 0 where either is constant there."""
    a, b = shadow[known] - shadow[known].mean(), dark[known] - dark[known].mean()
    norm = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 1e-12 else 0.0
