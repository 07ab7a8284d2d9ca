"""Objects under a ring and a dome of lights, each light in a picture of its own, so that light can be mixed later."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.arrays import EnvMap, split_seed
from dipir.event import Notify
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.scene.direction import LightDirection
from dipir.workshop import shards
from dipir.workshop.relight.scenes import KINDS, dome_lights, light_map, random_scene
from dipir.workshop.stored import decode, encode, join, part

SET = shards.DataSet("relit", 1, "kind", "relit scenes")
VERSION, default_dir = SET.version, SET.default_dir


@dataclass(frozen=True)
class RelitSettings:
    """How scenes are rendered under single lights."""

    size: int = 128  # pixels of a side
    lights: int = 12  # a scene
    spp: int = 16  # spp, depth: of each picture
    depth: int = 3
    sky_spp: int = 32  # of the ambient one
    meshes: float = 0.3  # share of objects from files, where there are any
    shard: int = 8  # scenes a file


@dataclass(frozen=True)
class RelitSet:
    """S scenes of L lights each, S x S pixels."""

    lit: Tensor  # (S, L, 3, H, W) uint8, :func:`decode` gives linear radiance, premultiplied by ``alpha``
    sky: Tensor  # (S, 3, H, W) uint8, the same under ambient light of mean radiance 1
    light: Tensor  # (S, L, 4) float32, ``LightDirection.numbers``
    alpha: Tensor  # alpha, subject: (S, 1, H, W) uint8 coverage by anything, by the objects
    subject: Tensor
    albedo: Tensor  # (S, 3, H, W) uint8, linear, 255 = 1
    normal: Tensor
    """(S, 3, H, W) int8, 127 = 1, +x the picture's right, +y up, +z towards the camera (the camera's heading, not its
    tilt)."""
    kind: Tensor  # (S,) int64, index in ``KINDS``

    def __len__(self) -> int:
        return len(self.lit)

    def part(self, rows: slice) -> RelitSet:
        """Some of the scenes."""
        return part(self, rows)

    def at(self, size: int) -> RelitSet:
        """The scenes at a size that divides theirs: means over blocks, of linear light."""
        if size == self.lit.shape[-1]:
            return self
        block = self.lit.shape[-1] // size
        # One scene after the other: in single precision a whole set may not fit.
        light = {name: torch.stack([encode(functional.avg_pool2d(decode(one), block)) for one in getattr(self, name)])
                 for name in ("lit", "sky")}
        means = {name: torch.stack([functional.avg_pool2d(one.float(), block).round().to(one.dtype)
                                    for one in getattr(self, name)])
                 for name in ("alpha", "subject", "albedo", "normal")}
        return replace(self, **light, **means)


def record(seed: int, meshes: Sequence[Asset] = (), settings: RelitSettings = RelitSettings(),
           extra: Sequence[LightDirection] = ()) -> RelitSet:
    """The one scene of a seed. extra : lights beside those of the dome, after them."""
    made = random_scene(seed, settings.size, meshes, settings.meshes)
    rng = np.random.default_rng(split_seed(seed, "lights"))
    lights = [*dome_lights(rng, settings.lights, made.kind), *extra]
    tracer = PathTracer(made.scene, made.scene.camera, RenderSettings(settings.spp, settings.depth, 0),
                        gbuffer_samples=16)

    def shot(env: EnvMap, spp: int, k: int | str) -> Tensor:
        return tracer.object_pass(env, seed=split_seed(seed, k) & 0xFFFF, spp=spp)[0][0].cpu()

    with torch.no_grad():
        # One size of map for all: the renderer compiles for it.
        sky = functional.interpolate(made.sky.permute(2, 0, 1)[None], (64, 128), mode="bilinear")[0]
        ambient = shot(sky.permute(1, 2, 0).contiguous(), settings.sky_spp, "sky")
        lit = torch.stack([shot(light_map(light), settings.spp, k) for k, light in enumerate(lights)])
    g = device.moved(tracer.gbuffers, torch.device("cpu"))
    subject = g.alpha * ((g.object_id > 0) & (g.object_id <= made.objects))
    normal = torch.cat([-g.normal[:, :1], g.normal[:, 1:2], -g.normal[:, 2:]], 1)
    alpha, subject, albedo = ((x.clamp(0, 1) * 255).round().byte() for x in (g.alpha, subject, g.albedo))
    numbers = torch.stack([light.numbers for light in lights])
    return RelitSet(encode(lit)[None], encode(ambient)[None], numbers[None], alpha, subject, albedo,
                    (normal * 127).round().to(torch.int8), torch.tensor([KINDS.index(made.kind)]))


def solid(asset: Asset) -> bool:
    """No part lets light through: cut-outs and glass have no single normal."""
    return all(p.material.opacity >= 1 and p.material.opacity_texture is None for p in asset.parts)


# ----------------------------------------------------------------------------------------------------------- on disk
def _make(indices: range, seed: int, settings: RelitSettings, meshes: Sequence[Path]) -> dict[str, Tensor]:
    assets = [asset for asset in map(load_asset, meshes) if solid(asset)]
    return vars(join([record(split_seed(seed, "scene", i), assets, settings) for i in indices]))


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: RelitSettings = RelitSettings(), meshes: Sequence[Path] = ()) -> Path:
    """Make the scenes 0 ... count - 1 of the set ``seed``, some of whose objects are ``meshes``; see
    :meth:`shards.DataSet.generate`."""
    metadata = SET.metadata(seed, settings, meshes=" ".join(path.name for path in meshes))
    return SET.generate(count, out_dir, _make, (seed, settings, tuple(meshes)), metadata, shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> RelitSet:
    """All scenes of a folder, or those of its first ``limit`` shards. ConfigError when there are none or a shard is
    broken."""
    return join(SET.load(out_dir, lambda tensors: RelitSet(**tensors), limit))
