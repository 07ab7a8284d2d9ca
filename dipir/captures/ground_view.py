"""The ground of a posed sequence seen from above, and its photos without the object that stands on it.

A part of the ground that the object hides in one photo is free in another, so all photos together show all of it.
"""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dipir.captures.sequence import Frame, PosedSequence, frame_mask, frame_plate
from dipir.errors import DipirError, ImageError
from dipir.image.color import linear_to_srgb, luminance
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate, plate_from_tensor

# Lengths in heights of the object.
WIDE = 0.09      # Radius of the disc that a point of the object stands for: clouds have gaps.
_GAP = 0.2       # Radius of the disc that a point of the ground stands for.
_COMPANY = 3     # A point of the object has at least so many others within WIDE.
_JOINED = 0.25   # Points nearer to each other than this belong to one thing.
_MOST = 4000     # Points of the object that are used.
REACH = 3.5      # Half of the side of the square of ground.
_FRAMES = 16     # Photos that are used.
_ALIKE = 0.15    # Ground is where photos differ by at most so much: median, in log luminance.
_MASKED = 0.25   # A pixel whose mask is above this probability shows the object.


@dataclass(frozen=True, eq=False)
class GroundView:
    """A square of the ground around the object. Row and column grow with z and x."""

    middle: np.ndarray  # (3,) of the object
    size: float  # height of the object
    reach: float  # half of the side, in heights of the object
    thing: np.ndarray  # (N, 3) points of the object, see `object_points`
    lin: np.ndarray  # (cells, cells, 3) linear, the median over photos
    known: np.ndarray
    """(cells, cells) bool: two photos or more agree, and the cloud has points (beyond a table's edge it has none)."""

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """x and z of the cells' middles."""
        return _places(self.middle, self.size, self.reach, len(self.known))

    def splat(self, places: np.ndarray, wide: float) -> np.ndarray:
        """(cells, cells) of 0 and 1: places (N, 2) on the ground, from the middle, as discs of radius ``wide`` heights
        of the object."""
        return _splat(places, wide, self.size, self.reach, len(self.known))

    def at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((..., 3) linear colours of points (..., 3) of the ground, whether they are known)."""
        return self._look(np.where(self.known[..., None], self.lin, 0), points), self._look(self.known, points) > 0.999

    def within(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) -> (...) bool: in the convex hull of what is known, so most likely on the same ground."""
        hull = np.zeros(self.known.shape, np.uint8)
        if self.known.any():
            corners = cv2.convexHull(np.argwhere(self.known)[:, ::-1].astype(np.int32))
            cv2.fillConvexPoly(hull, corners, 1)
        return self._look(hull, points) > 0.5

    def _look(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        cells = len(self.known)
        spot = ((points[..., [0, 2]] - self.middle[[0, 2]]) / (self.reach * self.size) + 1) / 2 * cells - 0.5
        spot = np.clip(np.nan_to_num(spot, nan=-9.0), -9, cells + 9).astype(np.float32)
        return cv2.remap(image.astype(np.float32), spot[..., 0], spot[..., 1], cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def object_points(sequence: PosedSequence, middle: np.ndarray, size: float) -> np.ndarray:
    """(N, 3) points of the object, ``_MOST`` at most: above the ground and connected with many points near the middle.
    Points without neighbours are errors of the reconstruction and left out."""
    height, away = sequence.points[:, 1], np.linalg.norm((sequence.points - middle)[:, [0, 2]], axis=1)
    found = sequence.points[(away < REACH * size) & (height > 0.04 * size) & (height < 1.3 * size)]
    if len(found) > _MOST:
        found = found[np.random.default_rng(0).choice(len(found), _MOST, replace=False)]
    if len(found) <= _COMPANY:
        return found[:0]
    found = found[cKDTree(found).query(found, [_COMPANY + 1])[0][:, 0] < WIDE * size]
    pairs = cKDTree(found).query_pairs(_JOINED * size, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), shape=(len(found),) * 2)
    part = connected_components(links, directed=False)[1]
    near = np.bincount(part[np.linalg.norm((found - middle)[:, [0, 2]], axis=1) < size], minlength=len(found))
    return found[near[part] > near.max(initial=0) / 10]


def ground_view(sequence: PosedSequence, middle: np.ndarray, size: float, cells: int = 96, reach: float = REACH,
                longest: int = 256) -> GroundView:
    """The ground around the object of a sequence that stands on its ground (`on_ground`). longest : side of the photos,
    pixels. Photos that cannot be read are passed over."""
    x, z = _places(middle, size, reach, cells)
    ground, thing = np.stack([x, np.zeros_like(x), z], -1), object_points(sequence, middle, size)
    chosen = np.linspace(0, len(sequence.frames) - 1, min(len(sequence.frames), _FRAMES)).round().astype(int)
    seen = [got for k in sorted(set(chosen))
            if (got := _seen(sequence.frames[k], ground, thing, size, longest)) is not None]
    flat = sequence.points[np.abs(sequence.points[:, 1]) < 0.04 * size]
    known = _splat(flat[:, [0, 2]] - middle[[0, 2]], _GAP, size, reach, cells)
    # Closed over gaps, not grown: beyond a table's edge there is no ground.
    known = cv2.erode(known, _disc(_GAP * cells / (2 * reach))) > 0
    lin = np.zeros((cells, cells, 3), np.float32)
    colours = np.stack(seen) if seen else np.full((1, cells, cells, 3), np.nan, np.float32)
    known &= np.isfinite(colours[..., 0]).sum(0) >= 2
    if known.any():
        lin[known] = np.nanmedian(colours[:, known], axis=0)
        # What is not ground looks different from every side.
        away = np.abs(log_luminance(colours[:, known]) - log_luminance(lin[known]))
        known[known] = np.nanmedian(away, axis=0) < _ALIKE
    return GroundView(middle, size, reach, thing, lin, known)


def remove_object(frame: Frame, view: GroundView, longest: int | None = None) -> tuple[Plate, Camera]:
    """The photo without the object, and its camera, as in `frame_plate`. The ground behind the object comes from the
    other photos; gaps in it are painted in from around them (Telea 2004). Where the object hides what lies beyond the
    ground, that is painted in from what is not ground. The object's shadow stays."""
    plate, camera = frame_plate(frame, longest)
    # ---- the ground behind the object ----
    covered = _covered(frame, camera, view.thing, view.size)
    rays = camera.directions()
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.where(rays[..., 1] < -1e-6, -camera.position[1] / rays[..., 1], np.nan)
    spots = camera.position + rays * far[..., None]
    (colour, known), flat = view.at(spots), view.within(spots)
    # ---- at the exposure of this photo ----
    lin = plate.lin[0].permute(1, 2, 0).numpy()
    # Photos of one place differ a little in exposure: scaled so that the pixels around the object agree.
    near = cv2.dilate(covered.astype(np.uint8), np.ones((15, 15))).astype(bool) & ~covered & known
    gain = np.median(lin[near] / np.maximum(colour[near], 1e-4), axis=0) if near.sum() > 20 else 1.0
    disp = plate.disp[0].permute(1, 2, 0).numpy()
    ground = linear_to_srgb(torch.from_numpy((colour * gain).clip(0, 1)).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    filled = np.where((covered & known)[..., None], ground, disp)
    # ---- gaps in it, and what lies beyond it ----
    behind = covered & ~flat & ~known
    filled = _inpainted(filled, covered & ~known & ~behind, behind)
    filled = _inpainted(filled, behind, flat | known)
    out = torch.from_numpy(filled.astype(np.float32)).permute(2, 0, 1)[None]
    return plate_from_tensor(out, frame.image, camera.fov_x_deg), camera


# ---- parts -----------------------------------------------------------------------------------------------------------

def _places(middle: np.ndarray, size: float, reach: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    steps = (np.arange(cells) + 0.5) / cells * 2 - 1
    x, z = np.meshgrid(steps * reach * size + middle[0], steps * reach * size + middle[2])
    return x, z


def _inpainted(disp: np.ndarray, hole: np.ndarray, not_from: np.ndarray) -> np.ndarray:
    """(H, W, 3) in [0, 1] with a hole painted in from its surroundings; those in ``not_from`` are left out where others
    exist."""
    away = hole | not_from if (~(hole | not_from)).any() else hole
    painted = cv2.inpaint((disp * 255).round().astype(np.uint8), away.astype(np.uint8), 4, cv2.INPAINT_TELEA)
    return np.where(hole[..., None], painted.astype(np.float32) / 255, disp)


def _splat(places: np.ndarray, wide: float, size: float, reach: float, cells: int) -> np.ndarray:
    at = np.floor((places / (reach * size) + 1) / 2 * cells).astype(int)
    at = at[((at >= 0) & (at < cells)).all(1)]
    marked = np.zeros((cells, cells), np.float32)
    marked[at[:, 1], at[:, 0]] = 1
    return cv2.dilate(marked, _disc(wide * cells / (2 * reach)))


def _disc(radius: float) -> np.ndarray:
    side = 2 * round(radius) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _seen(frame: Frame, ground: np.ndarray, thing: np.ndarray, size: float, longest: int) -> np.ndarray | None:
    """Linear colours of the ground's cells in one photo, NaN where it does not show them; None if it cannot be read."""
    try:
        plate, camera = frame_plate(frame, longest)
    except DipirError:
        return None
    uv, depth = camera.project(ground)
    inside = (depth > 0) & (uv > 1).all(-1) & (uv < np.array([camera.width, camera.height]) - 1).all(-1)
    spots = np.moveaxis(uv.astype(np.float32) - 0.5, -1, 0)
    colours, covered = (cv2.remap(image, *spots, cv2.INTER_LINEAR) for image in (
        plate.lin[0].permute(1, 2, 0).contiguous().numpy(), _covered(frame, camera, thing, size).astype(np.float32)))
    return np.where((inside & (covered < 0.01))[..., None], colours, np.nan)


def _hidden(thing: np.ndarray, camera: Camera, size: float) -> np.ndarray:
    """(H, W) float32, 1 where the object's points are, as discs."""
    spots, away = camera.project(thing)
    image = np.zeros((camera.height, camera.width), np.float32)
    front = away > 1e-3 * size
    reaches = np.minimum(1 + WIDE * size * camera.focal_px / away[front], camera.height)
    for (px, py), reach in zip(np.clip(spots[front], -9999, 9999).round().astype(int), reaches, strict=True):
        cv2.circle(image, (int(px), int(py)), int(reach), 1.0, -1)
    return image


def _covered(frame: Frame, camera: Camera, thing: np.ndarray, size: float) -> np.ndarray:
    """(H, W) bool: the object in a photo, by its mask, or its points where there is none, and two pixels more."""
    found = None
    if frame.mask is not None:
        try:
            mask = frame_mask(frame.mask, frame)
            pixels = camera.width, camera.height
            found = cv2.resize(mask[0, 0].numpy(), pixels, interpolation=cv2.INTER_AREA) > _MASKED
        except ImageError:
            found = None
    if found is None:
        points = _hidden(thing, camera, size)
        side = max(3, round(camera.height / 10)) | 1
        found = cv2.morphologyEx(points, cv2.MORPH_CLOSE, np.ones((side, side))) > 0
    return cv2.dilate(found.astype(np.uint8), np.ones((5, 5))).astype(bool)


def log_luminance(lin: np.ndarray) -> np.ndarray:
    """(..., 3) linear -> (...), at least that of 0.001."""
    flat = torch.from_numpy(np.ascontiguousarray(lin.reshape(-1, 3))).T[None, :, :, None]
    return luminance(flat)[0, 0, :, 0].clamp_min(1e-3).log().numpy().reshape(lin.shape[:-1])
