"""Photos all around one object under known light, as someone with a phone takes them: an object on a table top, the
surroundings infinitely far away, one exposure for all."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dipir.arrays import EnvMap, Image, split_seed
from dipir.image.color import linear_to_srgb
from dipir.render.gbuffer import record_gbuffers
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop.crops import auto_exposure, perspective_crop, quantise
from dipir.workshop.things.materials import random_pattern
from dipir.workshop.things.objects import random_of_kind, rectangle

_FINE = 4
_TABLE_M, _TEXTURE = 1.6, 512
_FOV_DEG = 52.0


@dataclass(frozen=True)
class PosedSettings:
    """How an object is photographed from all around."""

    frames: int = 12  # around the object, evenly and then moved at random
    width: int = 256  # width, height: pixels
    height: int = 192
    spp: int = 128  # spp, depth: of the path tracer
    depth: int = 4
    arc_deg: float = 360.0  # how far around they go


@dataclass(frozen=True, eq=False)
class PosedShot:
    """One photo."""

    image: Image  # (1, 3, H, W) display, in 256 steps
    mask: np.ndarray  # (H, W) [0, 1] coverage of the object
    depth: np.ndarray  # (H, W) metres along the view axis, 0 = only surroundings
    camera: Camera  # in the world of the object, metres


@dataclass(frozen=True, eq=False)
class Posed:
    """A capture with its truth."""

    shots: tuple[PosedShot, ...]  # in the order they were taken
    light: EnvMap  # (H, W, 3) radiance around the object, white in the photos = 1
    things: tuple[PlacedAsset, ...]  # the object, standing on y = 0 at the origin, and the table top


def photograph(kind: str, radiance: EnvMap, seed: int, settings: PosedSettings = PosedSettings()) -> Posed:
    """An object of ``things.objects.KINDS`` under ``radiance`` (H, W, 3). The first photo sets the exposure of all.
    AssetError for an unknown kind."""
    rng = np.random.default_rng(split_seed(seed, "posed"))
    size = rng.uniform(0.2, 0.45)
    things = (_scaled(random_of_kind(kind, split_seed(seed, "posed object")), size), _table(rng))
    cameras = orbit(rng, size, settings)
    pictures = [_lit(things, camera, radiance, split_seed(seed, "noise", k) & 0xFFFF, settings)
                for k, camera in enumerate(cameras)]
    gain = auto_exposure(pictures[0][0])
    shots = [PosedShot(quantise(linear_to_srgb((picture * gain).clamp(0, 1)))[None], mask, depth, camera)
             for (picture, mask, depth), camera in zip(pictures, cameras, strict=True)]
    return Posed(tuple(shots), radiance * gain, things)


def orbit(rng: np.random.Generator, size: float, settings: PosedSettings) -> list[Camera]:
    """Cameras around the origin that look at the middle of a thing ``size`` metres high, a little beside it."""
    start, distance = rng.uniform(0, 2 * math.pi), size * rng.uniform(2.6, 3.4)
    low, swing = np.radians(rng.uniform(18, 30)), np.radians(rng.uniform(3, 14))
    cameras = []
    for k in range(settings.frames):
        turn = start + np.radians(settings.arc_deg) * (k + rng.uniform(-0.15, 0.15)) / settings.frames
        rise = low + swing * (1 + math.sin(2 * turn))
        away = distance * rng.uniform(0.92, 1.08)
        eye = away * np.array([math.sin(turn) * math.cos(rise), math.sin(rise), math.cos(turn) * math.cos(rise)])
        target = size * np.array([0, 0.45, 0]) + rng.uniform(-0.08, 0.08, 3) * size
        pose = looking_at(eye, target, math.radians(rng.normal(0, 1.5)))
        focal = settings.width / 2 / math.tan(math.radians(_FOV_DEG) / 2)
        cameras.append(Camera(settings.width, settings.height, focal, settings.width / 2, settings.height / 2, pose))
    return cameras


def looking_at(eye: np.ndarray, target: np.ndarray, roll_rad: float = 0.0) -> np.ndarray:
    """(4, 4) camera-to-world of a camera at ``eye``, upright but for its roll about the view axis."""
    ahead = (target - eye) / np.linalg.norm(target - eye)
    left = np.cross([0.0, 1.0, 0.0], ahead)
    left /= np.linalg.norm(left)
    up = np.cross(ahead, left)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([c * left + s * up, c * up - s * left, ahead], 1)
    pose[:3, 3] = eye
    return pose


def surface_points(shots: Sequence[PosedShot], count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(count, 3) places that the photos show, and their colours (count, 3) uint8; as a reconstruction's, but exact."""
    points, colours = [], []
    for shot, share in zip(shots, np.diff(np.linspace(0, count, len(shots) + 1).round()).astype(int), strict=True):
        rows, columns = np.nonzero(shot.depth > 0)
        chosen = rng.integers(len(rows), size=share)
        y, x = rows[chosen], columns[chosen]
        rays = shot.camera.directions(np.stack([x + 0.5, y + 0.5], -1))
        along = rays @ shot.camera.to_world[:3, 2]
        points.append(shot.camera.position + rays * (shot.depth[y, x] / along)[:, None])
        colours.append((shot.image[0, :, y, x].T.numpy() * 255).round().astype(np.uint8))
    return np.concatenate(points), np.concatenate(colours)


# ---- one picture -----------------------------------------------------------------------------------------------------

def _lit(things: tuple[PlacedAsset, ...], camera: Camera, radiance: EnvMap, seed: int,
         settings: PosedSettings) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """((3, H, W) linear, mask, depth)."""
    blank = torch.zeros(1, 3, camera.height, camera.width)
    scene = Scene(Plate(blank, blank), camera, things)
    tracer = PathTracer(scene, camera, RenderSettings(settings.spp, settings.depth, seed), gbuffer_samples=16)
    with torch.no_grad():
        rgb, alpha = (x.cpu() for x in tracer.object_pass(radiance, seed=seed, spp=settings.spp))
    fine = record_gbuffers(tracer.built, camera.resized(camera.width * _FINE, camera.height * _FINE), 1).object_id[0, 0]
    mask = torch.nn.functional.avg_pool2d((fine == 1).float()[None], _FINE)[0].cpu().numpy()
    picture = rgb[0] + (1 - alpha[0]) * perspective_crop(radiance, camera)
    return picture, mask, tracer.gbuffers.depth[0, 0].cpu().numpy()


def _scaled(asset: Asset, size: float) -> PlacedAsset:
    return PlacedAsset(asset, np.diag([size, size, size, 1.0]), "object")


def _table(rng: np.random.Generator) -> PlacedAsset:
    """A square top with a pattern in two colours."""
    corners = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 1], [1, 0, -1]], np.float32) * (_TABLE_M / 2)
    pattern = cv2.resize(random_pattern(rng).astype(np.float32), (_TEXTURE, _TEXTURE), interpolation=cv2.INTER_LINEAR)
    first = rng.uniform(0.15, 0.7, 3)
    second = np.clip(first * rng.uniform(0.5, 1.5) + rng.uniform(-0.08, 0.08, 3), 0.05, 0.9)
    texture = (first + (second - first) * pattern[..., None]).astype(np.float32)
    material = Material("table", tuple(first), roughness=float(rng.uniform(0.5, 1)), specular=0.3, metallic=1e-3,
                        base_color_texture=texture)
    return PlacedAsset(rectangle("table", corners, (0, 1, 0), (3, 3), material), np.eye(4), "table")
