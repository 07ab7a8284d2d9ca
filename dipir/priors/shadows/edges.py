"""Edges on the ground, and the parts of it that lie behind them."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from dipir.priors.shadows.ground import WEIGHTS, WorkingPlate, hue

NEAR, BESIDE = slice(0, 3), slice(1, 4)
"""Which of the distances make an edge's step, and which show what lies beside it."""
_OFFSETS = (3.5, 5.0, 6.5, 8.0)  # distances from an edge at which it is measured


@dataclass(frozen=True, eq=False)
class Edges:
    """Pixels where luminance changes fastest across the edge."""

    rows: np.ndarray  # (N,) int
    columns: np.ndarray  # (N,) int
    bright: np.ndarray  # (N, 4, 3) log colours at ``_OFFSETS`` pixels towards the bright side
    dark: np.ndarray  # (N, 4, 3) and towards the dark one
    inside: tuple[np.ndarray, np.ndarray]  # (N,) bool each: the region lies on the bright side only, the dark one only
    usable: np.ndarray  # (N,) bool: both sides are ground in reach, the bright one not clipped, the dark one not black

    @property
    def steps(self) -> np.ndarray:
        """(N, 3) stops by which the dark side is darker."""
        return (self.bright - self.dark)[:, NEAR].mean(1)

    def only(self, which: np.ndarray) -> Edges:
        """Those edges, by mask or index."""
        return Edges(self.rows[which], self.columns[which], self.bright[which], self.dark[which],
                     (self.inside[0][which], self.inside[1][which]), self.usable[which])


def find_edges(view: WorkingPlate, region: np.ndarray) -> Edges:
    """All edges on the ground, seen from a region (h, w) bool. What changes by less than .06 stops a pixel is none."""
    dx, dy = view.slope
    steep = np.hypot(dx, dy)
    nx, ny = dx / (steep + 1e-9), dy / (steep + 1e-9)
    y, x = np.mgrid[:steep.shape[0], :steep.shape[1]].astype(np.float32)
    peak = (steep > 0.06) & view.ground
    for way in (1, -1):
        peak &= steep >= cv2.remap(steep, x + way * nx, y + way * ny, cv2.INTER_LINEAR)
    peak[:3] = peak[-3:] = peak[:, :3] = peak[:, -3:] = False
    rows, columns = np.nonzero(peak)
    nx, ny = nx[rows, columns], ny[rows, columns]

    def at(image: np.ndarray, offset: float) -> np.ndarray:
        return _read(image, columns + offset * nx, rows + offset * ny)

    blurred = cv2.GaussianBlur(view.logs, (0, 0), 1.0)
    bright, dark = (np.stack([at(blurred, way * o) for o in _OFFSETS], 1) for way in (1, -1))
    wide = cv2.dilate(region.astype(np.uint8), np.ones((3, 3))).astype(np.float32)
    inside = tuple((at(wide, 5 * way) > 0.5) & (at(wide, -4 * way) < 0.5) for way in (1, -1))
    beyond = (~view.ground).astype(np.float32)
    usable = (at(view.clipped, 5) < 0.3) & (at(view.black, -5) < 0.5) & (at(beyond, 5) + at(beyond, -5) < 0.5)
    return Edges(rows, columns, bright, dark, inside, usable)


def _read(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values at N places; in rows of 256, because OpenCV takes at most 32,767 columns."""
    spots = [np.pad(v.astype(np.float32), (0, -len(v) % 256)).reshape(-1, 256) for v in (x, y)]
    if not len(x):
        return np.zeros((0, *image.shape[2:]), np.float32)
    values = cv2.remap(image, *spots, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(-1, *values.shape[2:])[:len(x)]


def clusters(steps: np.ndarray) -> Iterator[np.ndarray]:
    """Up to three masks (N,) of steps (N, 3) that are nearly one: mean shift from the densest place, strong steps
    counting more."""
    # Spread within one shadow: .28 stops of luminance, .25 between red and blue, .15 between red and green.
    red, green, blue = steps.T
    spots = np.stack([steps @ WEIGHTS / 0.28, (red - blue) / 0.25, (red - green) / 0.15], 1)
    strength = np.sqrt(np.clip(steps @ WEIGHTS, 0.3, 2))
    left = np.ones(len(spots), bool)
    tried = spots[np.linspace(0, len(spots) - 1, min(len(spots), 600)).astype(int)]
    closeness = np.exp(-0.5 * ((tried[:, None] - spots[None]) ** 2).sum(-1)) * strength
    for _ in range(3):
        density = (closeness * left).sum(1)
        if density.max() < 6:
            return
        middle = tried[density.argmax()]
        for _ in range(4):
            weight = np.exp(-0.5 * ((spots - middle) ** 2).sum(-1)) * left
            middle = weight @ spots / weight.sum()
        distance = ((spots - middle) ** 2).sum(-1)
        near = left & (distance < 6.25)
        if np.count_nonzero(near) < 8:
            return
        yield near
        left &= distance >= 9


def parts(view: WorkingPlate, region: np.ndarray, colour: np.ndarray, stops: float, edges: Edges
           ) -> Iterator[tuple[np.ndarray, Edges, float]]:
    """Connected parts of this colour (h, w, 3) at these edges: (part (h, w) bool, its edges, how many parts there are,
    counted by edges: equal ones count whole). The three with most edges."""
    off = view.plain - colour
    alike = (np.abs(off @ WEIGHTS) < 0.35 + 0.12 * stops) & (hue(off) < 0.2 + 0.09 * stops)
    labels, count = ndimage.label(ndimage.binary_opening(view.ground & alike & ~region))
    reach = cv2.dilate(labels.astype(np.float32), np.ones((7, 7))).astype(int)
    owner = reach[edges.rows, edges.columns]
    touching, size = (np.bincount(v.ravel(), minlength=count + 1) for v in (owner, labels))
    touching[0] = 0
    good = np.nonzero((touching >= 8) & (size >= 30))[0]
    good = good[np.argsort(-touching[good], kind="stable")]
    share = touching[good].astype(float)
    for label in good[:3]:
        yield labels == label, edges.only(owner == label), share.sum() ** 2 / np.square(share).sum()
