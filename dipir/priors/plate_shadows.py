"""What the shadows in a plate say about its light: lit and shaded parts of the same ground, and their ratio.

A shadow on the ground leaves the material as it is: along its whole edge brightness falls by the same factor, towards
blue rather than red under a blue sky, and the texture goes on. So: ground of one colour is grown from where the object
will stand; steps in log radiance along its edges are clustered; what lies behind a cluster's edge, as dark as its step
says, is a candidate; and its traits decide how likely it is a shadow and not paint, a stain or a thing.
(Edges of shadows as log-ratio steps: Finlayson, Hordley, Lu, Drew, "On the removal of shadows from images", 2006;
classified on the ground: Lalonde, Efros, Narasimhan, "Detecting ground shadows in outdoor consumer photographs", 2010.)
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir.arrays import Image, Mask
from dipir.errors import ImageError
from dipir.image.color import BT709
from dipir.priors.shadows.edges import Edges, clusters, find_edges, parts
from dipir.priors.shadows.ground import WEIGHTS, WORKING, WorkingPlate, grow, seed_of
from dipir.priors.shadows.traits import chance_of, traits
from dipir.scene.camera import Camera
from dipir.scene.scene import Scene

SURE = 0.65
"""From this chance on a shadow is taken for one. Of 320 held-out dressed crops 48 reached it: 29 by the shadow of a
thing, 7 by another shaded part of a place with a hard light, 12 wrongly, mostly by a dark thing and 10 of them in soft
light. Of the 184 with a hard light four fifths did not: it tells of a shadow that is seen, not that there is none."""
_HIDDEN = 0.6  # part of the rest's light that the thing which throws a shadow leaves of it, median on dressed crops
_SUPPORT = 0.25  # how much of another look's chance counts
_LEAST_GROUND = 1500  # pixels of ground in view
_FAINTEST, _DARKEST = 0.45, 4.5  # stops that a shadow may take


@dataclass(frozen=True)
class ShadowEvidence:
    """What a plate's own shadows show."""

    ratio: Tensor
    """(3,) shaded over lit radiance of the same ground, linear, in (0, 1]: what is left of the
    ground's light where something hides the source and a part of the sky (`rest_share`); 1 when no shadow was seen."""
    sure: float
    """[0, 1], chance that this is a shadow's ratio."""
    lit: Mask
    """(1, 1, h, w) of 0 and 1, ground in the light, at the size that was looked at (``WORKING``)."""
    shaded: Mask
    """(1, 1, h, w) of 0 and 1, the same ground in shade."""

    @property
    def level(self) -> float:
        """The ratio of luminances, as far as one number can say it."""
        return float((self.ratio.double() * self.ratio.new_tensor(BT709).double()).sum())

    @property
    def rest_share(self) -> float:
        """What open ground would keep without the source, in (0, 1]: more than ``level``, because a thing that throws a
        shadow also hides a part of the sky from it."""
        return min(1.0, self.level / _HIDDEN)


def ground_shadows(scene: Scene) -> ShadowEvidence:
    """Evidence from the scene's plate on the level ground on which its first object stands."""
    foot = scene.objects[0].to_world[:3, 3].copy() if scene.objects else np.zeros(3)
    if scene.objects:
        foot[1] = min(float(part.vertices[:, 1].min()) for part in scene.objects[0].parts)
    uv, depth = scene.camera.project(foot)
    at = (float(uv[0]), float(uv[1])) if scene.objects and depth > 0 else None
    return plate_shadows(scene.plate.lin, scene.camera, at, float(foot[1]))


def plate_shadows(plate_lin: Image, camera: Camera, at_px: tuple[float, float] | None = None,
                  level_m: float = 0.0) -> ShadowEvidence:
    """Evidence from one plate.

    plate_lin : (1, 3, H, W) linear, any exposure;  camera : of the plate's size;  at_px : a pixel that shows the ground
    in question (x, y), without one the ground before the camera;  level_m : height of the level ground, metres.
    ImageError when plate and camera do not have one size.
    """
    if plate_lin.ndim != 4 or plate_lin.shape[:2] != (1, 3) or plate_lin.shape[-2:] != (camera.height, camera.width):
        raise ImageError(f"a plate of shape {tuple(plate_lin.shape)} with a camera of {camera.width} x {camera.height} "
                         "pixels; accepted: (1, 3, height, width) of the camera's size.")
    view = WorkingPlate.of(plate_lin, camera, level_m)
    if np.count_nonzero(view.ground) < _LEAST_GROUND:
        return _evidence(view, None, plate_lin)
    scale = view.ground.shape[1] / camera.width
    at = None if at_px is None else (at_px[0] * scale, at_px[1] * scale)
    grown = grow(view, seed_of(view.ground, at))
    if grown is None:
        return _evidence(view, None, plate_lin)
    looks = [list(candidates(view, *grown))]
    looks += [_closer(plate_lin, camera, level_m, window, grown[0]) for window in _windows(camera)]
    return _evidence(view, _agreed(looks), plate_lin)


def _agreed(looks: list[list[Candidate]]) -> Candidate | None:
    """The likeliest candidate, with the mean step of all that agree with it, and surer for each other look that has
    one: what is a shadow at one size is one at another, and parts of one shadow have one step."""
    best = max((c for look in looks for c in look), key=lambda c: c.chance, default=None)
    if best is None:
        return None
    together, doubt = [best], 1 - best.chance
    for look in looks:
        alike = [c for c in look if c is not best and _alike(c.step, best.step)]
        together += alike
        if alike and all(c is not best for c in look):
            doubt *= 1 - _SUPPORT * max(c.chance for c in alike)
    step = np.average([c.step for c in together], 0, weights=[c.chance for c in together])
    return replace(best, step=step, chance=1 - doubt)


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    off = one - other
    return abs(off @ WEIGHTS) < 0.35 and abs(off[0] - off[2]) < 0.4


def _evidence(view: WorkingPlate, best: Candidate | None, like: Tensor) -> ShadowEvidence:
    shape, step = view.ground.shape, np.zeros(3) if best is None else best.step
    masks = [np.zeros(shape)] * 2 if best is None else [best.lit, best.shaded]
    masks = [torch.asarray(mask.astype(np.float32), device=like.device)[None, None] for mask in masks]
    ratio = torch.asarray(np.minimum(np.exp2(-step), 1.0).astype(np.float32), device=like.device)
    return ShadowEvidence(ratio, 0.0 if best is None else best.chance, *masks)


# ---- looking closer --------------------------------------------------------------------------------------------------

def _windows(camera: Camera) -> Iterator[tuple[int, int, int, int]]:
    """(x, y, width, height) of quarters of the plate that overlap, below its upper quarter; none when it is so small
    that they would show nothing new. Shadows of small things need them."""
    width, height = camera.width // 2, camera.height // 2
    if max(width, height) >= 0.75 * WORKING:
        for y in (height // 2, height):
            for x in (0, width // 2, width):
                yield x, y, width, height


def _closer(plate_lin: Image, camera: Camera, level_m: float, window: tuple[int, int, int, int], ground: np.ndarray
            ) -> list[Candidate]:
    """Candidates in a window, beside the ground (h, w) bool that was found in the whole plate; masks of that size."""
    x, y, width, height = window
    near = camera.crop(x, y, width, height, width, height)
    view = WorkingPlate.of(plate_lin[..., y:y + height, x:x + width], near, level_m, white=float(plate_lin.max()))
    scale = ground.shape[1] / camera.width
    left, top = round(x * scale), round(y * scale)
    right, bottom = round((x + width) * scale), round((y + height) * scale)
    part = cv2.erode(ground[top:bottom, left:right].astype(np.uint8), np.ones((3, 3)))
    seed = cv2.resize(part, view.ground.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    grown = grow(view, seed & view.ground)
    if grown is None:
        return []

    def back(mask: np.ndarray) -> np.ndarray:
        whole = np.zeros(ground.shape, bool)
        whole[top:bottom, left:right] = cv2.resize(mask.astype(np.uint8), (right - left, bottom - top)) > 0
        return whole

    return [replace(c, lit=back(c.lit), shaded=back(c.shaded)) for c in candidates(view, *grown)]


# ---- candidates ------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class Candidate:
    """Two neighbouring regions that may be one ground in two lights."""

    step: np.ndarray  # (3,) stops by which the dark one is darker, each channel
    chance: float  # [0, 1] that it is a cast shadow
    lit: np.ndarray  # (h, w) bool
    shaded: np.ndarray  # (h, w) bool
    traits: dict[str, float]  # what the chance was worked out from, see `traits`


def candidates(view: WorkingPlate, region: np.ndarray, colour: np.ndarray) -> Iterator[Candidate]:
    """All pairs of a region of ground (h, w) bool, and of its colour (h, w, 3), see `grow`, with something darker or
    brighter beside it."""
    edges = find_edges(view, region)
    for region_is_lit in (True, False):
        stops = edges.steps @ WEIGHTS
        chosen = edges.usable & edges.inside[0 if region_is_lit else 1] & (stops > _FAINTEST) & (stops < _DARKEST)
        if np.count_nonzero(chosen) < 10:
            continue
        some = edges.only(chosen)
        for cluster in clusters(some.steps):
            step = np.median(some.steps[cluster], 0)
            other = colour - step if region_is_lit else colour + step
            for part, rim, alike in parts(view, region, other, float(step @ WEIGHTS), some.only(cluster)):
                yield from _candidate(view, region, part, rim, region_is_lit, alike)


def _candidate(view: WorkingPlate, region: np.ndarray, part: np.ndarray, rim: Edges, region_is_lit: bool, alike: float
               ) -> Iterator[Candidate]:
    step = np.median(rim.steps, 0)
    if _FAINTEST <= step @ WEIGHTS <= _DARKEST:
        found = traits(view, region, part, rim, region_is_lit)
        found["alike"] = math.log2(alike)
        lit, shaded = (region, part) if region_is_lit else (part, region)
        yield Candidate(step, chance_of(found), lit, shaded, found)
