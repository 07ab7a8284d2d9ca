"""The ground in a plate: what is in reach, and what has one colour with a place on it."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from dipir.arrays import Image
from dipir.image.color import BT709
from dipir.scene.camera import Camera

WORKING = 400
"""Pixels along the longer side of the plate as it is looked at; lengths in this folder are in its pixels."""
WEIGHTS = np.array(BT709, np.float32)
_REACH = 12.0  # the ground is looked at up to so many camera heights away
_ALIKE, _HUE = 0.75, 0.35  # how far one material in one light may differ: stops of luminance, of a channel beside it


@dataclass(frozen=True, eq=False)
class WorkingPlate:
    """The plate at working size."""

    logs: np.ndarray  # (h, w, 3) log2 of radiance
    plain: np.ndarray  # (h, w, 3) the same without texture
    detail: np.ndarray  # (h, w, 3) texture: what is finer than 2.5 pixels
    slope: tuple[np.ndarray, np.ndarray]  # (h, w) each: log luminance along x and y, stops a pixel
    ground: np.ndarray  # (h, w) bool, in reach
    clipped: np.ndarray  # (h, w) 0 or 1
    black: np.ndarray  # (h, w) 0 or 1, too dark to tell colours

    @staticmethod
    def of(plate_lin: Image, camera: Camera, level_m: float, *, white: float | None = None) -> WorkingPlate:
        """A plate (1, 3, H, W) linear, or a window of one whose brightest value is ``white``, and its camera."""
        full = plate_lin[0].permute(1, 2, 0).detach().float().cpu().numpy()
        factor = min(1.0, WORKING / max(full.shape[:2]))
        width, height = (max(8, round(n * factor)) for n in (camera.width, camera.height))
        lin = cv2.resize(np.ascontiguousarray(full), (width, height), interpolation=cv2.INTER_AREA)
        # A photo is clipped at 1; a file of linear light, or one exposed anew, ends elsewhere and is not.
        ends = 0.95 if 0.99 <= (full.max() if white is None else white) <= 1.001 else np.inf
        clipped = (full.max(-1) >= ends).astype(np.float32)
        clipped = cv2.resize(clipped, (width, height), interpolation=cv2.INTER_AREA) > 0.3
        ground = in_reach(camera.resized(width, height), level_m)
        top = max(float(np.quantile(lin[ground].max(-1), 0.98)) if ground.any() else 1.0, 1e-9)
        logs = np.log2(np.maximum(lin, 0.002 * top)).astype(np.float32)
        smooth = cv2.GaussianBlur(logs @ WEIGHTS, (0, 0), 1.2)
        slope = tuple(cv2.Sobel(smooth, cv2.CV_32F, *axis, ksize=3) / 8 for axis in ((1, 0), (0, 1)))
        return WorkingPlate(logs, cv2.medianBlur(logs, 5), logs - cv2.GaussianBlur(logs, (0, 0), 2.5), slope, ground,
                            clipped.astype(np.float32), (lin.max(-1) < 0.004 * top).astype(np.float32))


def in_reach(camera: Camera, level_m: float = 0.0) -> np.ndarray:
    """(H, W) bool: the pixel's ray meets the plane at this height within ``_REACH`` times the camera's height over
    it. What stands on the plane is not told apart here."""
    rays, over = camera.directions(), float(camera.position[1]) - level_m
    down = -rays[..., 1]
    return (down > 1e-3) & (np.hypot(rays[..., 0], rays[..., 2]) < _REACH * down) & (over > 0)


def seed_of(ground: np.ndarray, at: tuple[float, float] | None) -> np.ndarray:
    """(h, w) bool: the ground round a pixel; without one, what is lowest in the picture and not at its sides."""
    height, width = ground.shape
    y, x = np.mgrid[:height, :width]
    if at is not None:
        round_it = ground & (np.hypot(x - at[0], y - at[1]) < 0.09 * width)
        if np.count_nonzero(round_it) >= 30:
            return round_it
    rows = np.nonzero(ground.any(1))[0]
    return ground & (y > rows[-1] - 0.3 * (rows[-1] - rows[0])) & (np.abs(x - width / 2) < 0.35 * width)


def hue(difference: np.ndarray) -> np.ndarray:
    """(..., 3) stops -> (...): how far a channel departs from luminance."""
    return np.abs(difference - (difference @ WEIGHTS)[..., None]).max(-1)


def _commonest(colours: np.ndarray, bin: float = 0.2) -> np.ndarray:
    """(N, 3) log colours -> (3,): the middle of the fullest region."""
    low = colours.min(0)
    cells = np.minimum(np.round((colours - low) / bin).astype(int) + 1, 118)
    counts = np.zeros(cells.max(0) + 2)
    np.add.at(counts, tuple(cells.T), 1)
    counts = ndimage.gaussian_filter(counts, 1.0)
    peak = low + (np.array(np.unravel_index(counts.argmax(), counts.shape)) - 1) * bin
    near = np.abs(colours - peak).max(1) < 0.3
    return np.median(colours[near], 0) if np.count_nonzero(near) > 5 else peak


def grow(view: WorkingPlate, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(region (h, w) bool, its colour everywhere (h, w, 3)): connected with the seed, of its commonest colour. The
    colour may change evenly over the picture: light falls off, and a lens darkens corners."""
    calm = seed & (np.hypot(*view.slope) < 0.2)
    calm = calm if np.count_nonzero(calm) >= 30 else seed
    if np.count_nonzero(calm) < 30:
        return None
    height, width = view.ground.shape
    y, x = (np.mgrid[:height, :width] / width).astype(np.float32)
    colour = np.broadcast_to(_commonest(view.plain[calm]), view.plain.shape)
    for last in (False, False, True):
        off = view.plain - colour
        region = view.ground & (np.abs(off @ WEIGHTS) < _ALIKE) & (hue(off) < _HUE)
        region = _connected(ndimage.binary_opening(region), calm)
        if np.count_nonzero(region) < 100:
            return None
        if not last:
            places = np.stack([np.ones(np.count_nonzero(region)), x[region], y[region]], 1)
            some = slice(None, None, max(1, len(places) // 4000))
            slopes = np.linalg.lstsq(places[some], view.plain[region][some], rcond=None)[0][1:].clip(-3, 3)
            middle = np.median(view.plain[region] - places[:, 1:] @ slopes, 0)
            colour = (middle + x[..., None] * slopes[0] + y[..., None] * slopes[1]).astype(np.float32)
    return region, colour


def _connected(region: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The parts of a region that hold most of the seed."""
    labels, count = ndimage.label(region)
    held = np.bincount(labels[seed & region], minlength=count + 1)
    held[0] = 0
    return np.isin(labels, np.nonzero(held > 0.1 * max(held.max(), 1))[0])
