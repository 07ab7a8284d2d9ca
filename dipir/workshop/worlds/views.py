"""Plates of procedural scenes, each with the light at its insertion point: training pairs of the light prior.

A scene is loaded once and then seen by several cameras under several lights (other skies, suns, lamps), so that a pair
costs a fraction of a panorama. Unlike a crop of a panorama, a plate of a view shows the ground that the object stands
on, with the shadows that fall on it, and its light is that of the place in the scene, not of the camera.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import EnvMap, split_seed
from dipir.event import Notify
from dipir.image import latlong
from dipir.scene.camera import Camera
from dipir.workshop import photo_textures, shards
from dipir.workshop.worlds.cameras import View, from_scene, into_scene, pixel_rays, random_view, texel_rays
from dipir.workshop.worlds.denoise import Hits, denoise_plate, pixel_means
from dipir.workshop.worlds.described import DescribedWorld
from dipir.workshop.worlds.lights import scene_lights
from dipir.workshop.worlds.tracer import splat_sun, sun_directions

KINDS = ("outdoor", "indoor", "night")
_SHARES = (0.48, 0.44, 0.08)
_SPREAD_M = {"outdoor": 5.0, "night": 5.0, "indoor": 1.5}
HALF_MAX = 60000.0


def _any_row(rows: int, wanted: int) -> bool:
    """Black views are left out of a shard, so that only an empty one is not whole."""
    return rows > 0


SET = shards.DataSet("views", 2, "kind", "views", _any_row)
default_dir = SET.default_dir


@dataclass(frozen=True)
class ViewSettings:
    """How many views are made of a scene, and how they are traced."""

    height: int = 96  # height, width: of the plates
    width: int = 128
    spp: int = 8  # paths a pixel (half of them in the open)
    env_height: int = 32  # env_height, env_spp: rows of the traced environment (stored at 16 rows) and paths a texel
    env_spp: int = 12
    depth: int = 4  # longest path
    lights: int = 4  # lights, cameras: of a scene, each light with each camera is a pair
    cameras: int = 7
    shard: int = 8  # scenes a file
    at_object: float = 0.5  # share of views whose light is that at a point on the ground (else at the camera)


def scene_pairs(index: int, seed: int, settings: ViewSettings = ViewSettings(),
                patches: np.ndarray | None = None) -> dict[str, Tensor]:
    """All pairs of scene ``index`` of the set ``seed``, N = lights x cameras; the same on every call. ``patches``: of
    photographs, put on some of the surfaces (see ``photo_textures``).

    plate : (N, 3, h, w) float16, linear, 90 % of it below 1;  env : (N, 16, 32, 3) float32 in the same unit, camera
    azimuth at +Z;  camera : (N, 3) float32 field of view, pitch, roll in degrees;  kind, scene : (N,) int64
    """
    rng = np.random.default_rng(split_seed(seed, "view", index))
    kind = str(rng.choice(KINDS, p=_SHARES))
    scene, anchor, lights = scene_lights(rng, kind, settings.lights)
    if patches is not None:
        detail = np.random.default_rng(split_seed(seed, "detail", index))
        scene = {**scene, "parts": photo_textures.add_detail(detail, scene["parts"], patches)}
    world = DescribedWorld(scene)
    size = settings.width, settings.height
    views = [random_view(rng, world, anchor, _SPREAD_M[kind], size, settings.at_object)
             for _ in range(settings.cameras)]
    # ---- rays of plates and environments ----
    # In the open one light, the sun, makes most of what is seen, and hardly any noise; the sky outshines what bounces
    # often.
    spp = max(2, settings.spp // 2) if kind == "outdoor" else settings.spp
    depth = settings.depth if kind == "indoor" else max(2, settings.depth - 1)
    rays = device.moved(_Rays.through(rng, views, spp, settings))
    panes = window_panes(scene["parts"])
    # ---- every light seen by every camera ----
    means, errors, envs = [], [], []
    for number, light in enumerate(lights):
        seen = light.pop("seen", None)
        world.relight(**light)
        radiance = world.radiance(rays.origins, rays.directions, depth, split_seed(seed, f"paths{number}", index))
        mean, error = pixel_means(radiance[:rays.split].reshape(len(views), *size[::-1], spp, 3))
        means.append(mean)
        errors.append(error)
        maps = radiance[rays.split:].reshape(len(views), settings.env_height, -1, settings.env_spp, 3).mean(3)
        sun = light.get("sun") or seen
        for view, envmap in zip(views, maps, strict=True):
            if sun is not None:
                share = _sun_share(world, view, sun["direction"], panes if seen is not None else None)
                envmap = splat_sun(envmap, from_scene(sun["direction"], view.yaw_rad), sun["irradiance"], share)
            envs.append(latlong.resize(envmap, 16, 32))
    # ---- smooth plates ----
    mean, error = torch.stack(means, 1), torch.stack(errors, 1)
    plates = [denoise_plate(mean[n], error[n], device.moved(_center_hits(world, view))) for n, view in enumerate(views)]
    plate = torch.stack(plates, 1).flatten(0, 1)
    return _stored_form(plate.cpu(), torch.stack(envs).cpu(), views, kind, index)


@dataclass(frozen=True)
class _Rays:
    """Rays of all views of a scene."""

    origins: Tensor  # origins, directions: (N, 3), the plates' first, from ``split`` on those of the environments
    directions: Tensor
    split: int

    @staticmethod
    def through(rng: np.random.Generator, views: Sequence[View], spp: int, settings: ViewSettings) -> _Rays:
        plates = [into_scene(pixel_rays(rng, v.camera, spp), v.yaw_rad) for v in views]
        maps = [into_scene(texel_rays(rng, settings.env_height, settings.env_spp), v.yaw_rad) for v in views]
        origins = [v.eye.expand(len(r), 3) for v, r in zip(views, plates, strict=True)]
        origins += [v.place.expand(len(r), 3) for v, r in zip(views, maps, strict=True)]
        return _Rays(torch.cat(origins), torch.cat(plates + maps), sum(map(len, plates)))


def window_panes(parts: Sequence[dict]) -> list[tuple[Tensor, Tensor]]:
    """Lower and upper corners (3,) of the window panes of a described room."""
    corners = [quad for part in parts if part["name"].startswith("pane") for quad in part["vertices"].reshape(-1, 4, 3)]
    return [(torch.tensor(quad.min(0)), torch.tensor(quad.max(0))) for quad in corners]


def _sun_share(world: DescribedWorld, view: View, direction: np.ndarray,
               panes: list[tuple[Tensor, Tensor]] | None) -> Tensor:
    """(64,) 0 or 1: the rays of the sun's disc that reach the insertion point; with ``panes`` those through one."""
    rays = sun_directions(direction)
    origin = view.place.expand(len(rays), 3)
    if panes is None:
        return (~world.blocked(origin, rays)).float()
    point = world.first_hits(origin, rays).point
    inside = [((point > low - 3e-3) & (point < high + 3e-3)).all(-1) for low, high in panes]
    return torch.stack(inside).any(0).float() if inside else torch.zeros(len(rays))


def _center_hits(world: DescribedWorld, view: View) -> Hits:
    """First hits (H, W, ...) through the middles of the pixels."""
    shape = view.camera.height, view.camera.width
    rays = into_scene(torch.from_numpy(view.camera.directions().astype(np.float32)).reshape(-1, 3), view.yaw_rad)
    hits = world.first_hits(view.eye.expand(len(rays), 3), rays)
    return Hits(*(getattr(hits, f.name).unflatten(0, shape) for f in fields(Hits)))


def _stored_form(plate: Tensor, env: Tensor, views: Sequence[View], kind: str, index: int) -> dict[str, Tensor]:
    """Plates scaled to their 90 % quantile; black views (a camera in the dark) are left out."""
    level = plate.flatten(1).quantile(0.9, dim=1)
    keep = level > 1e-5
    gain = 1 / level.clamp_min(1e-5)[:, None, None, None]
    rows = [[v.camera.fov_x_deg, *_pitch_roll(v.camera)] for v in views] * (len(plate) // len(views))
    kinds, scenes = (torch.full((int(keep.sum()),), number, dtype=torch.int64) for number in (KINDS.index(kind), index))
    return {"plate": (plate * gain).clamp(0, HALF_MAX)[keep].half().contiguous(),
            "env": (env * gain)[keep].contiguous(),
            "camera": torch.tensor(rows, dtype=torch.float32)[keep].contiguous(),
            "kind": kinds, "scene": scenes}


def _pitch_roll(camera: Camera) -> tuple[float, float]:
    """Degrees, as ``Camera.looking`` takes them."""
    forward, side = camera.to_world[:3, 2], camera.to_world[:3, 0]
    level = math.hypot(float(forward[0]), float(forward[2]))
    return -math.degrees(math.asin(float(forward[1]))), math.degrees(math.asin(float(side[1]) / level))


def _make(indices: range, seed: int, settings: ViewSettings, patches: Path | None) -> dict[str, Tensor]:
    bank = photo_textures.load(patches) if patches is not None else None
    return _joined([scene_pairs(index, seed, settings, bank) for index in indices])


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([p[key] for p in parts]) for key in parts[0]}


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: ViewSettings = ViewSettings(), panoramas: Sequence[EnvMap] = ()) -> Path:
    """Make the pairs of scenes 0 ... count - 1 of the set ``seed``; see :meth:`shards.DataSet.generate`.
    ``panoramas``: photographed ones whose patches lie on some of the surfaces."""
    folder = Path(out_dir) if out_dir is not None else default_dir()
    shards.check_numbers(SET.name, count, workers)
    patches = photo_textures.stored(panoramas, folder) if panoramas else None
    metadata = SET.metadata(seed, settings, patches=patches.stem if patches is not None else "none")
    return SET.generate(count, folder, _make, (seed, settings, patches), metadata, shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> dict[str, Tensor]:
    """All pairs of a folder (:func:`scene_pairs`), or those of its first ``limit`` shards. ConfigError when there are
    none or a shard is broken."""
    return _joined(SET.load(out_dir, dict, limit))
