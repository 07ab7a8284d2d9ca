"""Scenes for relighting data: objects before a backdrop and the lights that go around them."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dipir.arrays import EnvMap, split_seed
from dipir.image import latlong
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.camera import Camera
from dipir.scene.direction import LightDirection
from dipir.scene.framing import grounded
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop.things.materials import random_color, random_material
from dipir.workshop.things.objects import random_asset, rectangle

KINDS = ("stage", "floor", "wall", "free")
"""Floor and wall; floor alone; wall alone, the object floats before it; nothing behind the object."""
_SHARES = (0.4, 0.2, 0.15, 0.25)
_RING, _DOME = 8, 3
TEXTURE_PX = 128
"""Of a side of all textures."""


@dataclass(frozen=True)
class RelitScene:
    """A scene to be relit."""

    scene: Scene  # what is pictured
    kind: str  # one of ``KINDS``
    objects: int  # how many of the scene's objects are subjects (the others are backdrop)
    sky: EnvMap  # (H, W, 3) radiance of the ambient light, mean 1


def random_scene(seed: int, size: int, meshes: Sequence[Asset] = (), mesh_share: float = 0.3) -> RelitScene:
    """The scene of a seed, seen by a square camera of ``size`` pixels: one to three objects, mostly one, that fill
    half to nine tenths of the picture."""
    rng = np.random.default_rng(split_seed(seed, "relit"))
    kind = KINDS[int(rng.choice(len(KINDS), p=_SHARES))]
    pitch = rng.uniform(4, 30) if kind in ("stage", "floor") else rng.uniform(-5, 25)
    camera = Camera.looking(size, size, rng.uniform(25, 50), 1.0, pitch, rng.normal() * 1.5)
    placed = _subjects(rng, seed, camera, meshes, mesh_share)
    low = min(float(p.vertices[:, 1].min()) for o in placed for p in o.parts)
    far = max(float(p.vertices[:, 2].max()) for o in placed for p in o.parts)
    backdrop = []
    if kind in ("stage", "floor"):
        backdrop.append(_panel(rng, "floor", low, 0.0))
    if kind in ("stage", "wall"):
        backdrop.append(_panel(rng, "wall", low, far + rng.uniform(0.05, 1.5)))
    blank = torch.zeros(1, 3, size, size)
    scene = Scene(Plate(blank, blank), camera, tuple(_alike(o) for o in (*placed, *backdrop)))
    return RelitScene(scene, kind, len(placed), random_sky(rng))


def _subjects(rng: np.random.Generator, seed: int, camera: Camera, meshes: Sequence[Asset],
              mesh_share: float) -> list[PlacedAsset]:
    """Objects side by side on one level, moved along the view so that together they fit the picture."""
    # ---- side by side ----
    count = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    pieces, x = [], 0.0
    for k in range(count):
        file = meshes[rng.integers(len(meshes))] if len(meshes) and rng.random() < mesh_share else None
        asset = file or random_asset(split_seed(seed, "subject", k))
        extent = np.ptp(asset.bounds, axis=0)
        scale = rng.uniform(0.6, 1.0) / float(extent.max())
        reach = 0.5 * scale * float(np.hypot(extent[0], extent[2]))
        pieces.append((asset, scale, np.array([x + reach, 0.0, rng.uniform(-0.2, 0.2)]), rng.uniform(0, 2 * np.pi)))
        x += 2 * reach

    def put(move: np.ndarray) -> list[PlacedAsset]:
        heights = [float(np.ptp(a.bounds[:, 1])) for a, *_ in pieces]
        return [PlacedAsset(a, grounded(height, s * height, at + move, yaw))
                for height, (a, s, at, yaw) in zip(heights, pieces, strict=True)]

    # ---- as far away as they fit the picture ----
    points = np.concatenate([p.vertices for o in put(np.zeros(3)) for p in o.parts]).astype(np.float64)
    middle, radius = (points.min(0) + points.max(0)) / 2, float(np.linalg.norm(np.ptp(points, axis=0)) / 2)
    distance, fill = 3 * radius / math.tan(math.radians(camera.fov_x_deg) / 2), rng.uniform(0.55, 0.95)
    # Each turn brings what the picture shows nearer to the wanted share of it.
    for _ in range(4):
        move = camera.position + camera.to_world[:3, 2] * distance - middle
        seen = camera.project(points + move)[0]
        distance = max(distance * float(np.ptp(seen, axis=0).max()) / (fill * camera.width), 1.2 * radius)
    aside = camera.to_world[:3, 0] * rng.normal() * 0.1 * (1 - fill) * radius
    return put(move + aside)


def _panel(rng: np.random.Generator, name: str, height: float, depth: float) -> PlacedAsset:
    """A large floor at ``height``, or a wall that stands on it ``depth`` metres away; dull, often textured."""
    half = 25.0
    if name == "floor":
        corners = np.array([[-half, height, -half], [-half, height, half], [half, height, half], [half, height, -half]])
        normal = [0, 1, 0]
    else:
        top = height + rng.uniform(1.5, 5.0)
        corners = np.array([[half, height, depth], [-half, height, depth], [-half, top, depth], [half, top, depth]])
        normal = [0, 0, -1]
    tiles = np.linalg.norm(corners[[1, 3]] - corners[0], axis=1) / rng.uniform(0.4, 2.0)
    base = random_material(rng, name)
    plain = rng.random() < 0.5
    color = np.clip(random_color(rng) * 0.8 + 0.08, 0.05, 0.85) if plain else np.clip(base.base_color, 0.05, 0.85)
    material = Material(name, tuple(float(c) for c in color), roughness=float(rng.uniform(0.4, 1.0)),
                        specular=float(rng.uniform(0.1, 0.5)),
                        base_color_texture=None if plain else base.base_color_texture,
                        normal_texture=base.normal_texture if rng.random() < 0.3 else None)
    return PlacedAsset(rectangle(name, corners, normal, tiles, material), np.eye(4), name)


def _alike(placed: PlacedAsset) -> PlacedAsset:
    """The same thing with all textures, of one size: the renderer would compile a kernel for every other mixture of
    textures and sizes, which takes longer than all the pictures of a scene."""
    parts = []
    for part in placed.asset.parts:
        m = part.material
        filled = {"base_color_texture": m.base_color, "roughness_texture": m.roughness,
                  "metallic_texture": m.metallic, "normal_texture": (0.5, 0.5, 1.0)}
        textures = {name: at_common_size(getattr(m, name), value) for name, value in filled.items()}
        uvs = np.zeros((len(part.vertices), 2), np.float32) if part.uvs is None else part.uvs
        material = replace(m, **textures, emission=(0.0, 0.0, 0.0), emission_texture=None)
        parts.append(replace(part, material=material, uvs=uvs))
    return replace(placed, asset=Asset(tuple(parts)))


def at_common_size(texture: np.ndarray | None, value: float | tuple[float, ...]) -> np.ndarray:
    """(H, W) or (H, W, 3) texture -> ``TEXTURE_PX`` square; None -> one that is ``value`` everywhere."""
    if texture is None:
        return np.full((TEXTURE_PX, TEXTURE_PX, *np.shape(value)), value, np.float32)
    method = cv2.INTER_AREA if texture.shape[0] > TEXTURE_PX else cv2.INTER_LINEAR
    return cv2.resize(texture, (TEXTURE_PX, TEXTURE_PX), interpolation=method)


def random_sky(rng: np.random.Generator, height: int = 16) -> EnvMap:
    """(height, 2 height, 3) ambient radiance with mean 1: even, brighter above or on one side, faintly coloured."""
    d = latlong.directions(height, 2 * height)
    slope = torch.tensor([rng.normal() * 0.35, abs(rng.normal()) * 0.5, rng.normal() * 0.35], dtype=torch.float32)
    tint = torch.tensor(np.exp(rng.normal(size=3) * 0.05), dtype=torch.float32)
    sky = (d @ slope).exp()[..., None] * tint
    weight = latlong.solid_angles(height, 2 * height)[..., None]
    return sky * (4 * math.pi * 3 / (sky * weight).sum())


def dome_lights(rng: np.random.Generator, count: int, kind: str) -> list[LightDirection]:
    """Lights on a ring (eight, 45 degrees apart, up to 35 degrees high), on the dome above it (three), and at random,
    from below too where there is no floor. Repeats in that order up to ``count``; sizes 3 to 40 degrees. Most of those
    that a wall would hide come from the front instead."""
    turn, lights = rng.uniform(-180, 180), []
    for k in range(count):
        place = k % (_RING + _DOME + 1)
        if place < _RING:
            azimuth, elevation = turn + 45 * place + rng.uniform(-15, 15), rng.uniform(2, 35)
        elif place < _RING + _DOME:
            azimuth, elevation = turn + 120 * place + rng.uniform(-40, 40), rng.uniform(35, 75)
        elif kind in ("wall", "free") and rng.random() < 0.7:
            azimuth, elevation = rng.uniform(-180, 180), -rng.uniform(5, 70)
        else:
            azimuth, elevation = rng.uniform(-180, 180), rng.uniform(70, 90)
        hidden = kind in ("stage", "wall") and math.cos(math.radians(azimuth)) < -0.2 and elevation < 65
        if hidden and rng.random() < 0.65:
            azimuth = rng.uniform(-105, 105)
        size = float(np.exp(rng.uniform(np.log(3.0), np.log(40.0))))
        lights.append(LightDirection((azimuth + 180) % 360 - 180, elevation, size))
    return lights


def light_map(light: LightDirection, height: int = 64) -> EnvMap:
    """(height, 2 height, 3) radiance of a lobe. As much light comes from it as, all from one direction, would give a
    white wall facing it radiance 1; being spread, it gives 0.97 at a half width of 12 degrees, 0.72 at 40. The camera
    looks along +Z, so that the picture's right is -X and towards the camera is -Z."""
    x, y, z = light.vector
    towards = torch.stack([-x, y, -z])
    angle = torch.rad2deg(torch.acos((latlong.directions(height, 2 * height) @ towards).clamp(-1, 1)))
    # A lobe narrower than a texel would miss them all.
    lobe = torch.exp(-math.log(2) * (angle / max(light.size_deg, 100 / height)) ** 2)
    total = (lobe * latlong.solid_angles(height, 2 * height)).sum()
    return (lobe * (math.pi / total))[..., None].expand(-1, -1, 3).contiguous()
