"""Scenes whose surfaces are known, each under a few single lights and a sky, so that light can be mixed later.

Two kinds: things before a backdrop (``workshop.relight.scenes``) and procedural landscapes and rooms
(``workshop.worlds``), where there is a whole scene with a sky.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.render.mitsuba_scene import build
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.direction import LightDirection
from dipir.scene.proxy import PlacedAsset
from dipir.workshop import photo_textures, shards
from dipir.workshop.relight.scenes import KINDS, dome_lights, random_scene
from dipir.workshop.stored import decode, encode, join, part
from dipir.workshop.surfaces.ingredients import SIZE_PX, Files, Ingredients
from dipir.workshop.surfaces.shade import Lobe, shaded, smoothed
from dipir.workshop.surfaces.stages import RayStage, ThingsStage, WorldStage
from dipir.workshop.worlds.cameras import View, from_scene, into_scene, pixel_rays, random_view
from dipir.workshop.worlds.described import DescribedWorld
from dipir.workshop.worlds.lights import scene_lights

SET = shards.DataSet("surfaces", 1, "kind", "scenes with known surfaces")
VERSION, default_dir = SET.version, SET.default_dir
OUTDOOR, INDOOR = len(KINDS), len(KINDS) + 1
"""Values of ``SurfaceSet.kind`` after those of ``KINDS``."""
FAR = 4.0
"""Largest distance that is told apart, in stops about the median."""
_WIDE_DEG = 10.0
_PAPERED = 0.65
_OUTDOORS = 0.65


@dataclass(frozen=True)
class SurfaceSettings:
    """How scenes are made."""

    size: int = SIZE_PX  # of a side
    lights: int = 4  # a scene
    spp: int = 4  # samples a pixel
    meshes: float = 0.6  # share of objects from files, where there are any
    worlds: float = 0.3  # share of landscapes and rooms
    shard: int = 64  # scenes a file


@dataclass(frozen=True)
class SurfaceSet:
    """S scenes under L lights each, S x S pixels."""

    lit: Tensor  # (S, L, 3, H, W) uint8, ``stored.decode`` gives linear radiance, premultiplied by ``alpha``
    sky: Tensor  # (S, 3, H, W) uint8, the same under a sky of mean radiance 1
    free: Tensor  # (S, L, H, W) uint8: 255 where the light reaches the surface
    light: Tensor  # (S, L, 4) float32, ``LightDirection.numbers``
    alpha: Tensor  # (S, 1, H, W) uint8 coverage by anything
    subject: Tensor  # (S, 1, H, W) uint8 by the objects
    albedo: Tensor  # (S, 3, H, W) uint8, linear, 255 = 1
    normal: Tensor  # (S, 3, H, W) int8, 127 = 1, +x the picture's right, +y its top, +z towards the camera
    depth: Tensor  # (S, 1, H, W) float16, log2 of the distance along the view over its median, within ``FAR``
    fov: Tensor  # (S,) float32 degrees, horizontal
    up: Tensor  # (S, 3) float32 the vertical, in the frame of ``normal``
    kind: Tensor  # (S,) int64, index in ``KINDS``, OUTDOOR, INDOOR

    def __len__(self) -> int:
        return len(self.lit)

    def part(self, rows: slice | Tensor) -> SurfaceSet:
        """Some of the scenes."""
        return part(self, rows)

    def at(self, size: int) -> SurfaceSet:
        """The scenes at a smaller size that divides theirs, means over pixels; what is known of surfaces alone is
        weighted by how much of a pixel they cover. ConfigError for other sizes."""
        side = self.lit.shape[-1]
        if size == side:
            return self
        if size < 1 or side % size:
            raise ConfigError(f"pictures of {size} pixels of scenes with {side}; accepted are sizes that divide it.")
        return join([_smaller(self.part(rows), side // size) for rows in torch.arange(len(self)).split(64)])


def _smaller(data: SurfaceSet, by: int) -> SurfaceSet:
    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x.flatten(0, -4).float(), by).view(*x.shape[:-2], *(n // by for n in x.shape[-2:]))

    def byte(x: Tensor) -> Tensor:
        return x.round().clamp(0, 255).byte()

    alpha = data.alpha / 255
    covered = mean(alpha).clamp_min(1e-6)
    return replace(data, lit=encode(mean(decode(data.lit))), sky=encode(mean(decode(data.sky))),
                   free=byte(mean(data.free[:, :, None])[:, :, 0]), alpha=byte(mean(data.alpha)),
                   subject=byte(mean(data.subject)), albedo=byte(mean(data.albedo * alpha) / covered),
                   normal=(mean(data.normal * alpha) / covered).round().to(torch.int8),
                   depth=(mean(data.depth.float() * alpha) / covered).half())


@dataclass(frozen=True)
class _Seen:
    """A stage, a camera in it and what lights it."""

    stage: RayStage
    camera: Camera  # azimuth at +Z
    eye: Tensor  # (3,)
    lobes: Sequence[Lobe]
    lights: Sequence[LightDirection]
    sky: EnvMap
    kind: int
    objects: int = 0  # how many of the first are subjects
    yaw_rad: float = 0.0  # turn of the scene that brings the camera's azimuth to +Z


def record(seed: int, meshes: Sequence[Asset] = (), settings: SurfaceSettings = SurfaceSettings(),
           patches: Sequence[np.ndarray] | None = None) -> SurfaceSet:
    """The one scene of a seed. patches : of photographs (``photo_textures``), for grounds and walls."""
    rng = np.random.default_rng(split_seed(seed, "surfaces"))
    if rng.random() < settings.worlds:
        return _pictured(rng, _world(rng, settings, patches), seed, settings)
    made = random_scene(seed, settings.size, meshes, settings.meshes)
    if patches is not None:
        papered = tuple(_papered(rng, o, patches) if k >= made.objects else o for k, o in enumerate(made.scene.objects))
        made = replace(made, scene=replace(made.scene, objects=papered))
    camera, lights = made.scene.camera, dome_lights(rng, settings.lights, made.kind)
    # The camera looks along +Z: the picture's right is -X.
    lobes = [Lobe(_flipped(light.vector), light.size_deg) for light in lights]
    seen = _Seen(ThingsStage(build(made.scene)), camera, torch.from_numpy(camera.position).float(), lobes, lights,
                 made.sky, KINDS.index(made.kind), made.objects)
    return _pictured(rng, seen, seed, settings)


def _papered(rng: np.random.Generator, backdrop: PlacedAsset, patches: Sequence[np.ndarray]) -> PlacedAsset:
    """Two thirds of floors and walls show a photographed surface instead of a drawn one."""
    if rng.random() > _PAPERED:
        return backdrop
    part, = backdrop.asset.parts
    patch = patches[rng.integers(len(patches))].astype(np.float32)
    side = part.material.base_color_texture.shape[0]
    colour = part.material.base_color_texture.mean((0, 1))
    picture = np.clip(cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA) * colour, 0.01, 0.9)
    material = replace(part.material, base_color_texture=picture.astype(np.float32))
    return replace(backdrop, asset=replace(backdrop.asset, parts=(replace(part, material=material),)))


def _flipped(vector: Tensor) -> Tensor:
    """Between the picture's frame (+x right, +z towards the camera) and that of a camera that looks along +Z."""
    return vector * torch.tensor([-1.0, 1.0, -1.0])


def _world(rng: np.random.Generator, settings: SurfaceSettings, patches: Sequence[np.ndarray] | None) -> _Seen:
    kind = "outdoor" if rng.random() < _OUTDOORS else "indoor"
    scene, anchor, _ = scene_lights(rng, kind, 1)
    # Patches of sun on a room's floor shine by themselves: they would be met as nothing.
    parts = [part for part in scene["parts"] if not part["name"].startswith("patch")]
    if patches is not None:
        parts = photo_textures.add_detail(rng, parts, patches)
    scene = {**scene, "parts": parts}
    world = DescribedWorld(scene)
    size = settings.size, settings.size
    view = random_view(rng, world, anchor, 5.0 if kind == "outdoor" else 1.5, size, 0.0)
    stage = WorldStage(world)
    sky = torch.ones(8, 16, 3) if scene.get("sky") is None else torch.from_numpy(np.asarray(scene["sky"], np.float32))
    sky = sky / sky.mean().clamp_min(1e-6)
    if kind == "outdoor":
        lights = [LightDirection(float(rng.uniform(-180, 180)), math.degrees(math.asin(rng.uniform(0.08, 0.98))),
                                 float(np.exp(rng.uniform(math.log(1.0), math.log(25.0)))))
                  for _ in range(settings.lights)]
        lobes = [Lobe(into_scene(_flipped(light.vector), view.yaw_rad), light.size_deg) for light in lights]
        return _Seen(stage, view.camera, view.eye, lobes, lights, sky, OUTDOOR, yaw_rad=view.yaw_rad)
    lobes = _lamps(rng, stage, view, settings.lights)
    lights = [_direction(_flipped(from_scene(one.towards, view.yaw_rad)), one.size_deg) for one in lobes]
    return _Seen(stage, view.camera, view.eye, lobes, lights, sky, INDOOR, yaw_rad=view.yaw_rad)


def _lamps(rng: np.random.Generator, stage: WorldStage, view: View, count: int) -> list[Lobe]:
    """Lamps in a room, at free places around the camera: each some way from it towards the nearest wall."""
    way = torch.from_numpy(rng.normal(size=(count, 3)).astype(np.float32))
    way[:, 1] = way[:, 1].abs() * 0.7
    way = torch.nn.functional.normalize(way, dim=1)
    wall = (stage.met(view.eye.expand(count, 3), way).point - view.eye).norm(dim=1).clamp(0.3, 6)
    places = view.eye + way * (wall * torch.from_numpy(rng.uniform(0.3, 0.9, count).astype(np.float32)))[:, None]
    forward = into_scene(torch.from_numpy(view.camera.to_world[:3, 2].astype(np.float32))[None], view.yaw_rad)
    ahead = (stage.met(view.eye[None], forward).point[0] - view.eye).norm().clamp(0.8, 6)
    middle = view.eye + forward[0] * ahead
    lobes = []
    for place in places:
        towards = place - middle
        lobes.append(Lobe(towards / towards.norm(), float(np.exp(rng.uniform(math.log(1.0), math.log(15.0)))), place,
                          float(towards.norm())))
    return lobes


def _direction(vector: Tensor, size_deg: float) -> LightDirection:
    x, y, z = vector.tolist()
    return LightDirection(math.degrees(math.atan2(x, z)), math.degrees(math.asin(max(-1.0, min(1.0, y)))), size_deg)


def _pictured(rng: np.random.Generator, seen: _Seen, seed: int, settings: SurfaceSettings) -> SurfaceSet:
    random = torch.Generator().manual_seed(split_seed(seed, "rays"))
    side, spp = settings.size, settings.spp
    rays = into_scene(pixel_rays(rng, seen.camera, spp), seen.yaw_rad)
    met = seen.stage.met(seen.eye.expand(len(rays), 3), rays)
    light = shaded(seen.stage, met, seen.eye, seen.lobes, seen.sky, random)

    def picture(x: Tensor) -> Tensor:
        """(N,) or (N, C) -> (C, H, W), means over the samples."""
        return x.reshape(side, side, spp, -1).mean(2).permute(2, 0, 1)

    # ---- what the light fell on ----
    alpha = picture(met.valid.float())
    share = alpha.clamp_min(1e-6)
    axes = torch.from_numpy(seen.camera.to_world[:3, :3].astype(np.float32))
    # In the camera's own frame: its right is -x of it, its top y, towards it -z.
    normal = picture(_flipped(from_scene(met.normal, seen.yaw_rad) @ axes)) / share
    forward = into_scene(axes[:, 2][None], seen.yaw_rad)[0]
    distance = ((met.point - seen.eye) @ forward).clamp_min(1e-3).log2() * met.valid
    distance = picture(distance) / share
    known = distance[alpha > 0.5]
    middle = known.median() if len(known) else distance.new_zeros(())
    depth = (distance - middle).clamp(-FAR, FAR) * (alpha > 0.02)
    subject = picture(((met.owner > 0) & (met.owner <= seen.objects)).float())
    numbers = torch.stack([one.numbers for one in seen.lights])
    albedo, guide = picture(met.albedo), torch.where(alpha > 0.02, depth, 2 * FAR)
    # ---- light, smooth where few rays made it rough ----
    around = smoothed(torch.cat([picture(one) for one in light.around]) / share, normal, guide, 4).unflatten(0, (-1, 3))
    around = around * albedo + torch.stack([picture(one) for one in light.mirrored])
    direct = torch.cat([picture(one) for one in light.each]) / (albedo.repeat(len(light.each), 1, 1) + 0.02)
    reaches = [1 if one.size_deg < _WIDE_DEG else 3 for one in seen.lobes]
    direct = torch.stack([smoothed(one, normal, guide, reach)
                          for one, reach in zip(direct.split(3), reaches, strict=True)])
    lit = direct * (albedo + 0.02) + around[1:]
    free = torch.cat([smoothed(picture(one) / share, normal, guide, reach)
                      for one, reach in zip(light.free, reaches, strict=True)])

    def whole(x: Tensor) -> Tensor:
        return (x.clamp(0, 1) * 255).round().byte()[None]

    return SurfaceSet(encode(lit)[None], encode(around[0])[None], whole(free), numbers[None], whole(alpha),
                      whole(subject), whole(albedo / share), (normal * 127).round().to(torch.int8)[None],
                      depth.half()[None], torch.tensor([seen.camera.fov_x_deg]).float(),
                      _flipped(axes[1])[None], torch.tensor([seen.kind]))


# ----------------------------------------------------------------------------------------------------------- on disk
def part_dir(held_out: bool) -> Path:
    """Where the scenes to train on, or those to choose on, are kept."""
    return default_dir().with_name(f"val_v{VERSION}") if held_out else default_dir()


def _make(indices: range, seed: int, settings: SurfaceSettings, ingredients: Ingredients) -> dict[str, Tensor]:
    # Several processes on a GPU slow each other, and these rays are few.
    if not device.current.cache_info().currsize:
        device.request("cpu")
    rng = np.random.default_rng(split_seed(seed, "meshes", indices.start))
    assets = ingredients.assets(rng.permutation(len(ingredients.names))[:24].tolist())
    patches = ingredients.patches()
    return vars(join([record(split_seed(seed, "scene", i), assets, settings, patches) for i in indices]))


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: SurfaceSettings = SurfaceSettings(), ingredients: Ingredients = Files()) -> Path:
    """Make the scenes 0 ... count - 1 of the set ``seed``, some of whose objects are meshes of ``ingredients`` (in each
    shard up to 24 of them), some of whose surfaces show its patches; see :meth:`shards.DataSet.generate`."""
    metadata = SET.metadata(seed, settings, meshes=" ".join(ingredients.names), patches=ingredients.patched)
    return SET.generate(count, out_dir, _make, (seed, settings, ingredients), metadata, shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> SurfaceSet:
    """All scenes of a folder, or those of its first ``limit`` shards. ConfigError when there are none or a shard is
    broken."""
    return join(SET.load(out_dir, lambda tensors: SurfaceSet(**tensors), limit))
