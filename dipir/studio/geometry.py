"""What stands where in a document: its camera, its objects, and the lines and boxes that the page draws over the photo.

Nothing here renders; objects are their convex hulls, so that every drag can ask at once.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from dipir.errors import DipirError
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.files import load_camera, with_numbers
from dipir.scene.photo_camera.grid import ahead_of, clip, ground_lines
from dipir.scene.proxy import PlacedAsset, Proxy, place
from dipir.scene.scene_file import MaterialOverride, override_materials
from dipir.studio.document.state import CameraNumbers, Document, Item, PlateFacts

REACH = 12
"""Lines of the grid on either side."""


@dataclass(frozen=True)
class Setting:
    """What a document's objects stand in."""

    camera: Camera
    proxy: Proxy = Proxy()


def numbers_of(camera: Camera) -> CameraNumbers:
    """The four numbers of a camera."""
    pitch, roll, _ = camera.angles_deg
    return CameraNumbers(camera.fov_x_deg, pitch, roll, float(camera.position[1]))


def camera_of(document: Document, size: tuple[int, int], path_of: Callable[[str], Path]) -> Camera:
    """The camera at the plate's ``size``: its four numbers, and of a camera file what they do not say."""
    numbers = document.camera
    if document.camera_file is None:
        return Camera.looking(*size, numbers.fov_deg, numbers.height_m, numbers.pitch_deg, numbers.roll_deg)
    camera = load_camera(path_of(document.camera_file), size)
    return with_numbers(camera, **{key: value for key, value in vars(numbers).items()
                                   if abs(value - getattr(numbers_of(camera), key)) > 1e-9})


# ---- objects ---------------------------------------------------------------------------------------------------------

def hull_of(asset: Asset) -> Asset:
    """The asset as the corners of its convex hull, one part for each of its own; what can be seen of it, where it
    stands and its outline are the same. Flat parts keep all of their vertices."""
    def corners(vertices: np.ndarray) -> np.ndarray:
        try:
            return vertices[ConvexHull(vertices.astype(float)).vertices]
        except (QhullError, ValueError):
            return vertices

    bare = {"faces": np.zeros((0, 3), np.uint32), "normals": None, "uvs": None}
    return replace(asset, parts=tuple(replace(p, vertices=corners(p.vertices), **bare) for p in asset.parts))


def stand(item: Item, asset: Asset, setting: Setting) -> PlacedAsset:
    """The asset (or its hull) with the document's materials, where the document has it. Raises SceneError where it
    cannot stand."""
    asset = override_materials(asset, overrides_of(item))
    return place(asset, setting.camera, item.at, height_m=item.height_m, scale=item.scale, yaw_deg=item.yaw_deg,
                 proxy=setting.proxy, name=item.name)


def overrides_of(item: Item) -> dict[str, MaterialOverride]:
    """Part -> what is changed of its material."""
    def plain(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return {part: MaterialOverride(**{key: plain(value) for key, value in values.items()})
            for part, values in item.material.items()}


def height_of(item: Item, asset: Asset) -> float:
    """Metres."""
    bounds = override_materials(asset, overrides_of(item)).bounds
    own = float(bounds[1, 1] - bounds[0, 1])
    return item.height_m if item.height_m is not None else own * (item.scale or 1.0)


def seen(item: Item, hull: Asset | None, setting: Setting, why: str = "") -> dict:
    """{"box": [x0, y0, x1, y1] in plate pixels or null, "height_m", "parts", "error": text or null} for the page.
    why : there is no hull"""
    if hull is None:
        return {"box": None, "height_m": item.height_m, "parts": [], "error": why or "its file is being read"}
    told = {"height_m": height_of(item, hull), "parts": [part.name for part in hull.parts]}
    try:
        placed = stand(item, hull, setting)
    except DipirError as problem:
        return {**told, "box": None, "error": str(problem)}
    return {**told, "box": box_of(placed, setting.camera), "error": None}


def box_of(placed: PlacedAsset, camera: Camera) -> list[float]:
    """[x0, y0, x1, y1] of its outline, cut to the picture."""
    pixels, depth = camera.project(np.concatenate([part.vertices for part in placed.parts]).astype(float))
    ahead = pixels[depth > 1e-6]
    low = np.clip(ahead.min(0), 0, [camera.width, camera.height])
    high = np.clip(ahead.max(0), 0, [camera.width, camera.height])
    return [round(float(v), 2) for v in (*low, *high)]


# ---- lines over the photo --------------------------------------------------------------------------------------------

def horizon_of(camera: Camera) -> list[list[float]] | None:
    """[[x0, y0], [x1, y1]] at the left and right edge; may lie outside; None where it has no such height."""
    ends = [[x, camera.horizon_y(x)] for x in (0.0, float(camera.width))]
    return ends if all(math.isfinite(y) and abs(y) < 1e7 for _, y in ends) else None


def grid_of(camera: Camera, heading_deg: float = 0.0) -> list[list[list[float]]]:
    """Lines of the ground's grid in plate pixels, cut to the picture: [[x0, y0], [x1, y1]] each."""
    if camera.position[1] <= 0:
        return []
    lines = []
    for _, ends in ground_lines(camera, heading_deg, REACH):
        pixels = ahead_of(camera, ends)
        cut = None if pixels is None else clip(pixels, camera.width, camera.height)
        lines += [] if cut is None else [[[round(float(v), 1) for v in end] for end in cut]]
    return lines


def camera_view(document: Document, camera: Camera, facts: PlateFacts) -> dict:
    """What the page is told of the camera."""
    changed = document.camera != facts.estimate
    return {**vars(document.camera), "confidence": 1.0 if changed else facts.confidence,
            "source": "set by hand" if changed else facts.source, "estimate": vars(facts.estimate),
            "horizon": horizon_of(camera), "grid": grid_of(camera, facts.heading_deg)}
