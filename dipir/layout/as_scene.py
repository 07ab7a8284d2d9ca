"""A picture as the plate of a scene for `dipir insert`, an asset standing where a box is."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dipir.arrays import Image
from dipir.errors import ConfigError, SceneError
from dipir.layout.regions import Box, Region, parse_box
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.proxy import contact_point, place

_ROUNDS, _DAMPING = 32, 0.7


def scene_path(path: str | Path) -> Path:
    """The scene file's name, with .yaml. SceneError when it or its plate exists already."""
    path = Path(path)
    path = path if path.suffix.lower() in (".yaml", ".yml") else path.with_name(path.name + ".yaml")
    for file in (path, path.with_suffix(".png")):
        if file.exists():
            raise SceneError(f"{file}: exists already; choose another name with --as-scene, or delete it first.")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}. Make it first, or choose another name.")
    return path


def chosen_box(place: str | None, regions: Sequence[Region]) -> Box:
    """``place`` : number of a region from 1, or x0,y0,x1,y1; None = the first region. SceneError for anything else."""
    if place is not None and "," in place:
        return parse_box(f"--place: {place}").box
    number = 1 if place is None else int(place) if place.isdecimal() else 0
    if not 1 <= number <= len(regions):
        raise SceneError(f"--place {place or 1}: there are {len(regions)} regions; accepted are their numbers from 1, "
                         "or a box x0,y0,x1,y1.")
    return regions[number - 1].bounds()


def write_scene(image: Image, caption: str, box: Box, asset: str | Path, path: str | Path) -> Path:
    """Write the scene file and beside it its plate and ``NAME.grid.png``; returns the scene file's path.

    image : (1, 3, H, W) display. The camera is estimated as `dipir init` does; the asset stands upright on the ground,
    as high in the picture as the box, the middle of its outline's lower edge on that of the box. SceneError when the
    box shows no ground there, AssetError for an asset that cannot be used.
    """
    from dipir.image.files import write_png
    from dipir.scene.photo_camera.estimate import CameraOptions, resolve_camera
    from dipir.scene.photo_camera.grid import draw_grid
    from dipir.scene.plate import plate_from_tensor
    from dipir.scene.scene_file import ObjectSpec, SceneFile, write_scene_file

    path, loaded = scene_path(path), load_asset(asset)
    plate_file = path.with_suffix(".png")
    plate = plate_from_tensor((image.clamp(0, 1) * 255).round() / 255, plate_file)
    estimate = resolve_camera(plate)
    camera = estimate.camera
    at, height = fit_to_box(loaded, camera, box)
    pitch, roll, _ = camera.angles_deg
    options = CameraOptions(*(round(float(v), 3) for v in (camera.fov_x_deg, pitch, roll, camera.position[1])))
    spec = ObjectSpec(Path(asset), at, height_m=height)
    write_png(plate_file, plate.disp)
    write_png(path.with_suffix(".grid.png"), draw_grid(plate, camera, estimate.heading_deg))
    write_scene_file(SceneFile(plate_file, (spec,), options, prompt=caption, name=path.stem), path)
    return path


def fit_to_box(asset: Asset, camera: Camera, box: Box) -> tuple[tuple[float, float], float]:
    """(contact pixel, height in metres) with which the asset's outline is as high as the box and stands on the middle
    of its lower edge. SceneError when that is no place on the ground."""
    x0, y0, x1, y1 = (v * size for v, size in zip(box, 2 * (camera.width, camera.height), strict=True))
    middle, bottom, wanted = (x0 + x1) / 2, y1, y1 - y0
    x, y = middle, min(bottom, camera.height - 1.0)
    _, depth = camera.project(contact_point(camera, (x, y)))
    height = 0.5 * wanted * float(depth) / camera.focal_px
    for _ in range(_ROUNDS):
        try:
            pixels = _outline(asset, camera, (x, y), height)
        except SceneError:
            # On its way it may come too near; a smaller one is nearer to a place that is possible.
            height *= 0.7
            continue
        low, high = pixels.min(0), pixels.max(0)
        height *= (wanted / max(float(high[1] - low[1]), 1e-6)) ** _DAMPING
        x = _within(x + _DAMPING * (middle - (low[0] + high[0]) / 2), camera.width)
        y = _within(y + _DAMPING * (bottom - high[1]), camera.height)
    _outline(asset, camera, (x, y), height)
    return (round(x, 2), round(y, 2)), float(f"{height:.4g}")


def _outline(asset: Asset, camera: Camera, at: tuple[float, float], height: float) -> np.ndarray:
    """(N, 2) pixels of all vertices. SceneError when it cannot stand there, or reaches behind the camera."""
    placed = place(asset, camera, at, height_m=height)
    pixels, depth = camera.project(np.concatenate([part.vertices for part in placed.parts]).astype(float))
    if (depth <= 0).any():
        raise SceneError("the box is so large and so near that the asset would reach behind the camera; choose a "
                         "smaller box with --place.")
    return pixels


def _within(value: float, size: int) -> float:
    return float(min(max(value, 0.0), size - 1.0))
