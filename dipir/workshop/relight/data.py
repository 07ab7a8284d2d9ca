"""Objects under a ring and a dome of lights, each light in a picture of its own, so that light can be mixed later."""
from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from dipir import device, disk
from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Asset, load_asset
from dipir.scene.direction import LightDirection
from dipir.workshop import shards
from dipir.workshop.relight.scenes import KINDS, dome_lights, light_map, random_scene

VERSION = 1
BRIGHTEST = 8.0
"""Largest radiance that is kept; a white wall that faces the light has 1."""
_GAMMA = 2.4
_DECODED = (torch.arange(256) / 255) ** _GAMMA * BRIGHTEST


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
        return RelitSet(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def at(self, size: int) -> RelitSet:
        """The scenes at a size that divides theirs: means over blocks, of linear light."""
        if size == self.lit.shape[-1]:
            return self
        pool = lambda x: functional.avg_pool2d(x, self.lit.shape[-1] // size)
        # One scene after the other: in single precision a whole set may not fit.
        light = lambda x: torch.stack([encode(pool(decode(one))) for one in x])
        mean = lambda x: torch.stack([pool(one.float()).round().to(x.dtype) for one in x])
        return replace(self, lit=light(self.lit), sky=light(self.sky), alpha=mean(self.alpha),
                       subject=mean(self.subject), albedo=mean(self.albedo), normal=mean(self.normal))


def encode(linear: Tensor) -> Tensor:
    """Radiance [0, 8] -> uint8, finer for the dark."""
    return ((linear / BRIGHTEST).clamp(0, 1) ** (1 / _GAMMA) * 255).round().byte()


def decode(stored: Tensor) -> Tensor:
    """Inverse of :func:`encode` up to rounding: float32 radiance."""
    return _decoded(stored.device)[stored.long()]


@functools.lru_cache(maxsize=8)
def _decoded(where: torch.device) -> Tensor:
    return _DECODED.to(where)


def record(seed: int, meshes: Sequence[Asset] = (), settings: RelitSettings = RelitSettings(),
           extra: Sequence[LightDirection] = ()) -> RelitSet:
    """The one scene of a seed. extra : lights beside those of the dome, after them."""
    made = random_scene(seed, settings.size, meshes, settings.meshes)
    rng = np.random.default_rng(split_seed(seed, "lights"))
    lights = [*dome_lights(rng, settings.lights, made.kind), *extra]
    tracer = PathTracer(made.scene, made.scene.camera, RenderSettings(settings.spp, settings.depth, 0),
                        gbuffer_samples=16)
    shot = lambda env, spp, k: tracer.object_pass(env, seed=split_seed(seed, k) & 0xFFFF, spp=spp)[0][0].cpu()
    with torch.no_grad():
        # One size of map for all: the renderer compiles for it.
        sky = functional.interpolate(made.sky.permute(2, 0, 1)[None], (64, 128), mode="bilinear")[0]
        ambient = shot(sky.permute(1, 2, 0).contiguous(), settings.sky_spp, "sky")
        lit = torch.stack([shot(light_map(light), settings.spp, k) for k, light in enumerate(lights)])
    g = device.moved(tracer.gbuffers, torch.device("cpu"))
    subject = g.alpha * ((g.object_id > 0) & (g.object_id <= made.objects))
    normal = torch.cat([-g.normal[:, :1], g.normal[:, 1:2], -g.normal[:, 2:]], 1)
    byte = lambda x: (x.clamp(0, 1) * 255).round().byte()
    numbers = torch.stack([light.numbers for light in lights])
    return RelitSet(encode(lit)[None], encode(ambient)[None], numbers[None], byte(g.alpha), byte(subject),
                    byte(g.albedo), (normal * 127).round().to(torch.int8), torch.tensor([KINDS.index(made.kind)]))


def join(parts: Sequence[RelitSet]) -> RelitSet:
    """Several sets as one."""
    return RelitSet(*(torch.cat([getattr(p, name) for p in parts]) for name in RelitSet.__dataclass_fields__))


def solid(asset: Asset) -> bool:
    """No part lets light through: cut-outs and glass have no single normal."""
    return all(p.material.opacity >= 1 and p.material.opacity_texture is None for p in asset.parts)


# ----------------------------------------------------------------------------------------------------------- on disk
def default_dir() -> Path:
    """``relit/vN`` in the cache folder."""
    return disk.cache_dir() / "relit" / f"v{VERSION}"


def _metadata(seed: int, settings: RelitSettings, meshes: Sequence[Path]) -> dict[str, str]:
    return {"format": "dipir relit", "version": str(VERSION), "seed": str(seed),
            "settings": json.dumps(asdict(settings)), "meshes": " ".join(path.name for path in meshes)}


def _make_shard(path: Path, indices: range, seed: int, settings: RelitSettings, meshes: Sequence[Path]) -> None:
    assets = [asset for asset in map(load_asset, meshes) if solid(asset)]
    made = join([record(split_seed(seed, "scene", i), assets, settings) for i in indices])
    shards.save(path, {name: getattr(made, name).contiguous() for name in RelitSet.__dataclass_fields__},
                _metadata(seed, settings, meshes))


def generate(scenes: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1,
             on_event: Callable[[Event], None] | None = None, settings: RelitSettings = RelitSettings(),
             meshes: Sequence[Path] = ()) -> Path:
    """Make scenes 0 ... scenes - 1 of the set ``seed`` in ``out_dir`` (default :func:`default_dir`); those there are
    kept. Returns the folder. ConfigError for a folder of another set or numbers out of range, RenderError when a worker
    fails."""
    folder = Path(out_dir) if out_dir is not None else default_dir()
    metadata = _metadata(seed, settings, meshes)
    return shards.generate(scenes, folder, "relit", settings.shard,
                           lambda path, indices: shards.stored(path, metadata, "kind") >= len(indices), _make_shard,
                           (seed, settings, tuple(meshes)), workers, on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> RelitSet:
    """All scenes of a folder, or those of its first ``limit`` shards. ConfigError when there are none or a shard is
    broken."""
    folder = Path(out_dir) if out_dir is not None else default_dir()
    paths = sorted(folder.glob("relit_*.safetensors"))[:limit]
    if not paths:
        raise ConfigError(f"{folder}: holds no relit scenes; make them with `dipir synth relit`")
    parts = []
    for path in paths:
        try:
            parts.append(RelitSet(**load_file(path)))
        except (SafetensorError, OSError, TypeError) as problem:
            raise ConfigError(f"{path}: is not a readable shard ({problem}); delete it and generate again") from problem
    return join(parts)
