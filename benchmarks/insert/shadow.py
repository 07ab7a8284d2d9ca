"""The cast shadow on the ground as a plan: its direction, darkness, penumbra and hardness.

A plan is the shadow pass of a camera straight above the object. The pass does not show the object, so the whole shadow
is seen, also what the picture hides, and a pixel is the same length everywhere. Lengths are in heights of the object.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from dipir.arrays import EnvMap
from dipir.image.color import luminance
from dipir.render.mitsuba_scene import BuiltScene
from dipir.render.proxy_sites import Catcher, shadow_pass
from dipir.scene.camera import Camera
from dipir.scene.proxy import PlacedAsset

SIDE = 224  # Pixels of a plan.
REACH = 2.5  # How far it goes beyond the object, in its heights: a light 22 degrees high still shows its shadow's end.
MARGIN = 0.05  # Ground so near the object (heights) is left out: contact is dark under any light.
PATCH = 0.05  # Area that must be at least as dark as the darkest ratio, in areas of the object seen from above.
EDGE = 0.1  # Distance across an edge (heights) in which light must be lost to count as a hard shadow.
HARD = 0.2  # Part of the light that must be lost in it.
AIM = 0.1  # A shadow whose middle is less than this (heights) from the object's points nowhere.
NOWHERE_DEG = 90.0  # Direction error of a shadow that points nowhere: the mean of a guess.
FAINT, BLACK = 0.02, 0.01  # Darkness without any edge to measure; least ratio that is told from black.
WIDEST = 1.0  # Penumbra (heights) of what has no edge; profiles across edges reach half as far to both sides.
STEPS = 81  # Points of a profile.


@dataclass(frozen=True)
class Plan:
    """Ground around an object, seen from above: columns go to the world's -X, rows to its -Z."""

    camera: Camera  # of SIDE x SIDE pixels
    height_px: float  # the object's height, pixels
    beside: np.ndarray  # (H, W) bool, ground that is neither below the object nor within MARGIN of it
    from_middle: np.ndarray  # (2, H, W) rows and columns from the middle of the nearest piece of the object
    area_px: float  # of the object, pixels

    @staticmethod
    def of(objects: Sequence[PlacedAsset], side: int = SIDE) -> Plan:
        """Around objects that stand on y = 0. ValueError for what has no extent."""
        vertices = [p.vertices.astype(np.float64) for o in objects for p in o.parts]
        points = np.concatenate(vertices)
        low, high = points.min(0), points.max(0)
        height = max(float(high[1]), 0.1 * float(np.ptp(points[:, [0, 2]], axis=0).max()))
        if not height > 0:
            raise ValueError("a plan needs an object with an extent")
        half = 0.5 * float(np.hypot(*np.ptp(points[:, [0, 2]], axis=0))) + REACH * height
        camera = above((low + high) / 2, half, side)
        # ---- what lies below the object ----
        inside = np.zeros((side, side), np.uint8)
        scale = side / (2 * half)
        faces = [p.faces for o in objects for p in o.parts]
        for v, f in zip(vertices, faces, strict=True):
            x, z = (v[:, k] - (low[k] + high[k]) / 2 for k in (0, 2))
            pixels = (np.stack([side / 2 - x * scale, side / 2 - z * scale], 1) * 16).round().astype(np.int32) - 8
            for triangle in pixels[f]:
                cv2.fillConvexPoly(inside, triangle, 1, shift=4)
        # ---- pieces that do not touch throw shadows of their own ----
        pieces, count = ndimage.label(inside, np.ones((3, 3)))
        middles = np.array(ndimage.center_of_mass(inside, pieces, range(1, count + 1))).T
        away, nearest = ndimage.distance_transform_edt(inside == 0, return_indices=True)
        from_middle = np.indices(inside.shape) - middles[:, pieces[tuple(nearest)] - 1]
        return Plan(camera, height * scale, away > max(1.0, MARGIN * height * scale), from_middle, float(inside.sum()))

    @torch.no_grad()
    def ratio(self, built: BuiltScene, light: EnvMap, seed: int, spp: int) -> Tensor:
        """(1, 3, H, W): shadowed over lit ground under a map (H', W', 3)."""
        ground = torch.ones(1, 1, self.camera.height, self.camera.width)
        made = shadow_pass(built, self.camera, Catcher.of(built, self.camera, ground), light, seed=seed, spp=spp)
        return torch.where(made.lit > 0, made.shadowed / made.lit.clamp_min(1e-12), 1.0)


def above(middle: np.ndarray, half: float, side: int) -> Camera:
    """A camera so far above that ``half`` metres of the ground around a point reach its edges; the world's +Z is up in
    its picture and +X left."""
    position = np.array([middle[0], 20 * half, middle[2]])
    pose = np.eye(4)
    pose[:3] = np.stack([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0], position], 1)
    return Camera(side, side, 20 * side / 2, side / 2, side / 2, pose)


@dataclass(frozen=True)
class CastShadow:
    """What a person sees of a shadow."""

    direction_deg: float | None
    """Where it falls, about +Y from the world's +Z towards +X; None when it points nowhere."""
    darkest: float
    """Ratio of the ground beside the object that is exceeded everywhere but on :data:`PATCH`, [0, 1]."""
    penumbra: float
    """Mean distance across its edge between 20 and 80 % of its darkness, heights of the object; at most WIDEST."""
    hardness: float
    """Part of the light that is lost within :data:`EDGE` across its sharpest edges, [0, 1]."""

    @property
    def hard(self) -> bool:
        """Whether a person would call it a hard shadow."""
        return self.hardness >= HARD


def darkness(ratio: Tensor) -> np.ndarray:
    """(H, W) in [0, 1]: luminance that a plan's ratio (1, 3, H, W) takes away."""
    return np.clip(1 - luminance(ratio)[0, 0].double().numpy(), 0, 1)


def cast(ratio: Tensor, plan: Plan, tone: Callable[[Tensor], Tensor] | None = None,
         even: np.ndarray | float = 0.0) -> CastShadow:
    """Of a plan's ratio (1, 3, H, W).

    tone : a method's curve of the shadow;  even : (H, W) darkness under even light, which an object that is not round
    throws to one side as well, and which therefore does not count for the direction
    """
    dark = darkness(tone(ratio) if tone else ratio)
    patch = max(1, round(PATCH * plan.area_px))
    # ---- darkness ----
    darkest = _quantile(dark, plan.beside, patch)
    # ---- direction: from the object's middle to that of what is darker than half; rows go to -Z, columns to -X ----
    thrown = np.maximum(ndimage.gaussian_filter(dark - even, MARGIN * plan.height_px), 0)  # Noise points anywhere.
    deepest = _quantile(thrown, plan.beside, patch)
    weight = np.maximum(thrown - deepest / 2, 0) * plan.beside
    dz, dx = -(weight * plan.from_middle).sum((1, 2)) / max(weight.sum(), 1e-12)
    aimed = deepest > FAINT and math.hypot(dx, dz) > AIM * plan.height_px
    # ---- edges: a step blurred by this width has a slope of one step in EDGE ----
    slope = _slope(dark, plan, EDGE / math.sqrt(2 * math.pi))
    steep = np.hypot(*slope)
    hardness = min(_quantile(steep, plan.beside, patch) * EDGE * plan.height_px, 1.0)
    penumbra = WIDEST if darkest <= FAINT else _width(dark, plan, slope, _quantile(steep, plan.beside, patch))
    return CastShadow(math.degrees(math.atan2(dx, dz)) if aimed else None, 1 - darkest, penumbra, hardness)


def _quantile(values: np.ndarray, where: np.ndarray, count: int) -> float:
    """The value that ``count`` pixels reach."""
    some = values[where]
    return float(np.partition(some, -count)[-count]) if len(some) >= count else float(some.max(initial=0.0))


def _slope(dark: np.ndarray, plan: Plan, width: float) -> np.ndarray:
    """(2, H, W) gradient (rows, columns), 1 / pixel, after a blur of ``width`` heights over the ground beside the
    object alone."""
    sigma = max(width * plan.height_px, 0.7)
    mask = plan.beside.astype(float)
    blurred = ndimage.gaussian_filter(dark * mask, sigma) / np.maximum(ndimage.gaussian_filter(mask, sigma), 1e-6)
    return np.stack(np.gradient(blurred)) * (ndimage.gaussian_filter(mask, sigma) > 1e-3)


def _width(dark: np.ndarray, plan: Plan, slope: np.ndarray, least: float) -> float:
    """Median distance (heights) between 20 and 80 % of the drop, on profiles across the edges that are as steep as
    ``least``: from the middle of the drop outwards, on ground beside the object."""
    steep = np.hypot(*slope)
    rows, columns = (plan.beside & (steep >= max(least, 1e-9))).nonzero()
    if not len(rows):
        return WIDEST
    t = np.linspace(-WIDEST / 2, WIDEST / 2, STEPS) * plan.height_px
    towards = slope[:, rows, columns] / steep[rows, columns]  # Towards the dark.
    at = np.stack([rows, columns])[:, :, None] + towards[:, :, None] * t
    profile = ndimage.map_coordinates(ndimage.gaussian_filter(dark, 0.5), at, order=1, mode="nearest")
    usable = ndimage.map_coordinates(plan.beside.astype(float), at, order=1, mode="nearest") > 0.5
    widths = [_crossing(p, u) for p, u in zip(profile, usable, strict=True)]
    return float(np.median(widths)) * WIDEST


def _crossing(profile: np.ndarray, usable: np.ndarray) -> float:
    """Part of a rising profile between its 20 and 80 % levels, around the point next to its middle where it is at
    50 %; 1 when it never gets there."""
    low, high = profile[usable].min(), profile[usable].max()
    if not high > low:
        return 1.0
    level = (profile - low) / (high - low)
    half = len(level) // 2
    crossings = np.flatnonzero((level[:-1] < 0.5) & (level[1:] >= 0.5))
    start = int(crossings[np.abs(crossings - half).argmin()]) if len(crossings) else half
    below, over = np.flatnonzero(level[:start + 1] <= 0.2), np.flatnonzero(level[start:] >= 0.8)
    if not len(below) or not len(over):
        return 1.0
    first, last = int(below[-1]), start + int(over[0])
    # Between the two points at each end.
    begin = first + (0.2 - level[first]) / max(level[first + 1] - level[first], 1e-9)
    end = last - (level[last] - 0.8) / max(level[last] - level[last - 1], 1e-9)
    return max(end - begin, 0.0) / (len(level) - 1)


def shadow_figures(got: CastShadow, want: CastShadow) -> dict[str, float | None]:
    """Errors; direction and penumbra are defined only where the truth is hard. ``hardness`` is the method's score in
    the decision between a hard shadow and none."""
    row: dict[str, float | None] = {"hardness": got.hardness, "cast_deg": None, "penumbra_log2": None}
    row["darkest_log2"] = abs(math.log2(max(got.darkest, BLACK) / max(want.darkest, BLACK)))
    if want.hard and want.direction_deg is not None:
        off = NOWHERE_DEG if got.direction_deg is None else got.direction_deg - want.direction_deg
        row["cast_deg"] = abs((off + 180) % 360 - 180)
    if want.hard:
        row["penumbra_log2"] = abs(math.log2(got.penumbra / want.penumbra))
    return row
