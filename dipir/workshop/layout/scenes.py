"""Scenes of the layout pictures: up to four things of eight shapes on a floor, before a wall or a horizon.

Everything reflects 0.6 and the light is grey: colours are put in afterwards (`layout/data.py`). Floors and walls have a
texture of one size and things have none, because the renderer compiles a kernel for every other mixture.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dipir.arrays import EnvMap, split_seed
from dipir.errors import SceneError
from dipir.image import latlong
from dipir.priors.captions import MATERIALS, SHAPES
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.camera import Camera
from dipir.scene.framing import grounded
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop.layout.things import BASE, random_yaw, thing
from dipir.workshop.things.materials import random_pattern
from dipir.workshop.things.objects import rectangle

MOST = 4
"""Things in a picture."""
SIZE = 64
LEAST_SEEN, LEAST_PX = 0.6, 9.0
"""Share of a thing that others leave to see; pixels of its visible part, across and upwards."""
_COUNTS = (0.05, 0.36, 0.31, 0.19, 0.09)
_SPANS = ((0.30, 0.75), (0.24, 0.50), (0.21, 0.46), (0.20, 0.40))
_AWAY, _HALF, _TEXTURE, _RASTER = 4.0, 80.0, 128, 4
_TRIES, _PLACES = 2000, 12


@dataclass(frozen=True)
class LayoutScene:
    """A layout scene without colours."""

    scene: Scene  # the things, then the floor, then the wall if there is one
    shapes: tuple[str, ...]  # shapes, materials: of the things
    materials: tuple[str, ...]
    light: EnvMap  # (64, 128, 3) grey radiance
    sky: tuple[float, float]  # what a white wall would show above the horizon, at the picture's bottom and top


def random_scene(seed: int, size: int = SIZE, count: int | None = None) -> LayoutScene:
    """The scene of a seed: none to four things, or ``count``. One fills 30 to 75 % of the picture's height or width,
    several 20 to 50 %; others leave at least 60 % of each to see. SceneError for more things than four, and when no
    arrangement is found."""
    rng = np.random.default_rng(split_seed(seed, "layout"))
    count = int(rng.choice(MOST + 1, p=_COUNTS)) if count is None else count
    if not 0 <= count <= MOST:
        raise SceneError(f"a layout scene of {count} things; accepted are 0 to {MOST}.")
    for _ in range(_TRIES):
        walled = rng.random() < 0.65
        camera = _camera(rng, size, walled)
        kinds = [SHAPES[k] for k in rng.integers(len(SHAPES), size=count)]
        words = [MATERIALS[k] for k in rng.integers(len(MATERIALS), size=count)]
        things = _arranged(rng, camera, kinds, words)
        if things is not None:
            break
    else:
        raise SceneError(f"seed {seed}: found no place for {count} things in {_TRIES} tries; choose another seed.")
    far = max([_AWAY, *(float(p.vertices[:, 2].max()) for t in things for p in t.parts)])
    backdrop = [_panel(rng, "floor", 0.0)]
    if walled:
        backdrop.append(_panel(rng, "wall", far + rng.uniform(0.05, 2.5)))
    blank = torch.zeros(1, 3, size, size)
    bottom = rng.uniform(0.6, 1.0)
    return LayoutScene(Scene(Plate(blank, blank), camera, (*things, *backdrop)), tuple(kinds), tuple(words),
                       studio_light(rng, walled), (bottom, bottom * rng.uniform(0.7, 1.3)))


# ---- arrangement -----------------------------------------------------------------------------------------------------

def _camera(rng: np.random.Generator, size: int, walled: bool) -> Camera:
    """Looks down at a point of the floor 4 m away; low enough to show the horizon where there is no wall."""
    fov = rng.uniform(28, 48)
    pitch = rng.uniform(8, 27) if walled else rng.uniform(6, 0.42 * fov)
    return Camera.looking(size, size, fov, _AWAY * math.sin(math.radians(pitch)), pitch, rng.normal())


def _arranged(rng: np.random.Generator, camera: Camera, kinds: list[str], materials: list[str]
              ) -> list[PlacedAsset] | None:
    """The things, standing apart from each other, each with enough to see, or None."""
    placed: list[PlacedAsset] = []
    flat = camera.angles_deg[0] < 15
    for shape, material in zip(kinds, materials, strict=True):
        asset = thing(rng, shape, material, flat)
        for _ in range(_PLACES):
            one = _put(rng, camera, asset, shape, _SPANS[len(kinds) - 1])
            if one is not None and all(_apart(one, other) for other in placed):
                placed.append(one)
                break
        else:
            return None
    return placed if all(_enough_seen(placed, camera)) else None


def _put(rng: np.random.Generator, camera: Camera, asset: Asset, shape: str, spans: tuple[float, float]
         ) -> PlacedAsset | None:
    """The asset at a random place of the floor, scaled to a random share of the picture; None when it leaves it."""
    size, span = camera.width, rng.uniform(*spans)
    pixel = np.array([rng.uniform(0.08, 0.92), rng.uniform(0.4, 0.97)]) * size
    ray = camera.directions(pixel)
    if ray[1] > -0.02:
        return None
    at = camera.position - ray * camera.position[1] / ray[1]
    if not 0.3 * _AWAY < at[2] < 2.5 * _AWAY:
        return None
    yaw = random_yaw(rng, shape)
    tall = float(np.ptp(asset.bounds[:, 1]))
    scale = 0.1 * at[2]
    # Each turn brings what the picture shows nearer to the wanted size.
    for _ in range(4):
        one = PlacedAsset(asset, grounded(tall, scale, at, yaw), shape)
        seen, depth = camera.project(one.parts[0].vertices.astype(np.float64))
        if depth.min() < 0.1 * _AWAY:
            return None
        extent = np.ptp(seen, axis=0)
        scale *= max(span * size / extent.max(), (LEAST_PX + 0.8) * size / SIZE / extent.min())
    inside = seen.min() > 0.01 * size and seen.max() < 0.99 * size
    return one if inside and extent.max() < 0.8 * size else None


def _apart(one: PlacedAsset, other: PlacedAsset) -> bool:
    """Their footprints, as discs, do not meet."""
    reach = sum(float(np.linalg.norm((p.vertices - o.to_world[:3, 3])[:, [0, 2]], axis=1).max())
                for o in (one, other) for p in o.parts)
    return float(np.linalg.norm((one.to_world - other.to_world)[[0, 2], 3])) > reach


def _enough_seen(placed: list[PlacedAsset], camera: Camera) -> list[bool]:
    """Whether others leave enough of each thing, by silhouettes, the nearer before the farther."""
    fine = camera.resized(_RASTER * camera.width, _RASTER * camera.height)
    outlines = [silhouette(p, fine) for p in placed]
    depth = [float(p.to_world[2, 3]) for p in placed]
    enough, unit = [], _RASTER * camera.width / SIZE
    for k, outline in enumerate(outlines):
        seen = outline.copy()
        for j, other in enumerate(outlines):
            if depth[j] < depth[k]:
                seen &= ~other
        rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
        # A margin, because silhouettes are a little larger than what rays hit.
        enough.append(seen.sum() > (LEAST_SEEN + 0.05) * outline.sum() and
                      min(np.ptp(rows), np.ptp(columns)) > (LEAST_PX + 0.3) * unit)
    return enough


def silhouette(placed: PlacedAsset, camera: Camera) -> np.ndarray:
    """(H, W) bool: pixels that the thing alone would cover."""
    canvas = np.zeros((camera.height, camera.width), np.uint8)
    for part in placed.parts:
        points = np.round(camera.project(part.vertices.astype(np.float64))[0] * 16 - 8).astype(np.int32)
        for triangle in points[part.faces.astype(np.int64)]:
            cv2.fillConvexPoly(canvas, triangle, 1, shift=4)
    return canvas > 0


def _panel(rng: np.random.Generator, name: str, depth: float) -> PlacedAsset:
    """The floor, or a wall that stands on it ``depth`` metres away; plain or with a faint pattern around BASE."""
    if name == "floor":
        corners = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 1], [1, 0, -1]]) * _HALF
        normal = [0, 1, 0]
    else:
        corners = np.array([[1, 0, 0], [-1, 0, 0], [-1, 1, 0], [1, 1, 0]]) * _HALF + [0, 0, depth]
        normal = [0, 0, -1]
    plain, contrast = rng.random() < (0.35 if name == "floor" else 0.6), rng.uniform(0.08, 0.4)
    pattern = cv2.resize(random_pattern(rng).astype(np.float32), (_TEXTURE, _TEXTURE), interpolation=cv2.INTER_LINEAR)
    relief = 0.0 if plain else contrast * (pattern - pattern.mean()) / max(float(np.abs(pattern - 0.5).max()), 1e-3)
    texture = np.broadcast_to((BASE * np.clip(1 + relief, 0.4, 1.5) * np.ones_like(pattern))[..., None],
                              (_TEXTURE, _TEXTURE, 3)).astype(np.float32)
    tiles = np.linalg.norm(corners[[1, 3]] - corners[0], axis=1) / np.exp(rng.uniform(np.log(0.5), np.log(3.0)))
    polished = name == "floor" and rng.random() < 0.2
    material = Material(name, (BASE,) * 3, roughness=float(rng.uniform(0.2, 0.35) if polished else rng.uniform(0.6, 1)),
                        specular=float(rng.uniform(0.1, 0.5)), metallic=1e-3, base_color_texture=texture)
    return PlacedAsset(rectangle(name, corners, normal, tiles, material), np.eye(4), name)


# ---- light -----------------------------------------------------------------------------------------------------------

def studio_light(rng: np.random.Generator, walled: bool, height: int = 64) -> EnvMap:
    """(height, 2 height, 3) grey radiance of a dim room with two to four bright panels, which metals mirror, and a
    round lamp, the key; black below the floor. None of them behind the wall if there is one."""
    d = latlong.directions(height, 2 * height).numpy()
    env = rng.uniform(0.08, 0.3) * (1 + rng.uniform(0, 0.7) * d[..., 1])
    widest = 80 if walled else 150
    for _ in range(int(rng.integers(2, 5))):
        axis = _towards(rng.uniform(-widest, widest), rng.uniform(8, 75))
        aside = np.cross(axis, [0, 1, 0])
        aside /= np.linalg.norm(aside)
        front = np.maximum(d @ axis, 1e-3)
        x, y = (np.abs(d @ side) / front for side in (aside, np.cross(aside, axis)))
        wide, tall = rng.uniform(0.1, 0.4, 2)
        soft_x, soft_y = (np.clip(0.5 - outside / 0.06, 0, 1) for outside in (x - wide, y - tall))
        env = env + np.exp(rng.uniform(0.2, 1.6)) * soft_x * soft_y * (d @ axis > 0.05)
    key = d @ _towards(rng.choice([-1, 1]) * rng.uniform(10, min(widest, 110)), rng.uniform(25, 70))
    width = rng.uniform(7, 16)
    lamp = np.clip((width - np.degrees(np.arccos(np.clip(key, -1, 1)))) / 3 + 0.5, 0, 1)
    gathered = (lamp * np.clip(key, 0, 1) * latlong.solid_angles(height, 2 * height).numpy()).sum()
    env = env + lamp * (rng.uniform(0.7, 1.4) * math.pi / gathered)
    env = env * (d[..., 1] > -0.05)
    return torch.from_numpy(env.astype(np.float32))[..., None].expand(-1, -1, 3).contiguous()


def _towards(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """(3,) unit vector; azimuth 0 is the camera's side of the scene."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array([math.sin(azimuth) * math.cos(elevation), math.sin(elevation),
                     -math.cos(azimuth) * math.cos(elevation)])
