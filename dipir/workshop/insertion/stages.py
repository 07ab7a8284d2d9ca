"""Stages: an object in front of a camera, its light transport recorded once, small enough to keep hundreds of them.

The object's map is kept in half precision. The shadow's is kept as the share of each texel of the upper hemisphere that
the object hides, in 255 steps, because what the texel adds to the ground is known exactly (``latlong.plane_weights``).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.image import latlong
from dipir.priors.insertion import gbuffer_planes
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.framing import Window, grounded, working_window
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop import shards
from dipir.workshop.things.objects import random_asset

SIZE = 64
PLATE = (128, 96)
ROWS, COLUMNS = 16, 32
_UPPER = ROWS // 2 * COLUMNS
_FAINT = 5e-4
"""Ground pixels that lose a smaller share than this of an even sky are not kept."""


@dataclass(frozen=True)
class StageSettings:
    """How the light transport of a stage is recorded."""

    samples: int = 8  # samples, bsdf_samples, light_samples, depth: of the transport
    bsdf_samples: int = 4
    light_samples: int = 2
    depth: int = 3
    meshes: float = 0.25  # share of stages with a mesh file, the others have a procedural object


@dataclass(frozen=True)
class Stage:
    """One recorded stage of 64 x 64 pixels and 16 x 32 texels; P object pixels, G ground pixels under the shadow."""

    object_map: Tensor  # (P, 3, 512) float16
    object_pixels: Tensor  # (P,) int16, flat
    offset: Tensor  # (P, 3) float16 own emission
    hidden: Tensor  # (G, 256) uint8 share of each upper texel that the object hides, 255 = all
    shadow_pixels: Tensor  # (G,) int16
    gbuffers: Tensor  # (12, 64, 64) float16, see :func:`gbuffer_planes`
    view: Tensor
    """(9,) float64 plate width, height, field of view, pitch, roll in degrees, height in metres; window x0, y0,
    side."""

    @property
    def camera(self) -> Camera:
        """The plate's camera."""
        width, height, fov, pitch, roll, above = self.view[:6].tolist()
        return Camera.looking(round(width), round(height), fov, above, pitch, roll)

    @property
    def window(self) -> Window:
        """The part of the plate that the stage shows."""
        return Window(*(round(v) for v in self.view[6:].tolist()))

    @property
    def alpha(self) -> Tensor:
        """(1, 64, 64) float32 object coverage."""
        return self.gbuffers[:1].float()

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(getattr(self, name).nbytes for name in self.__dataclass_fields__)

    def light(self, env: Tensor) -> tuple[Tensor, Tensor]:
        """Under K maps (K, 16, 32, 3): premultiplied object radiance and shadow ratio, both (K, 3, 64, 64) float32."""
        count = len(env)
        texels = env.reshape(count, -1, 3).permute(2, 1, 0)
        rgb = torch.bmm(self.object_map.permute(1, 0, 2).float(), texels) + self.offset.T[..., None].float()
        shown = env.new_zeros(3, SIZE * SIZE, count).index_copy_(1, self.object_pixels.long(), rgb)
        ground = texels[:, :_UPPER] * latlong.plane_weights(ROWS, COLUMNS, device=env.device).reshape(-1)[:_UPPER, None]
        lost = (self.hidden.float() @ ground) / (255 * ground.sum(1, keepdim=True).clamp_min(1e-12))
        ratio = env.new_ones(3, SIZE * SIZE, count).index_copy_(1, self.shadow_pixels.long(), (1 - lost).clamp(0, 1))
        return tuple(x.permute(2, 0, 1).reshape(count, 3, SIZE, SIZE) for x in (shown, ratio))

    def recoloured(self, order: Sequence[int]) -> Stage:
        """The same stage with an object whose colour channels are exchanged: ``order`` is a permutation of 0, 1, 2.
        Exact, because light of one channel never becomes light of another."""
        order = list(order)
        planes = self.gbuffers.clone()
        planes[5:8] = self.gbuffers[5:8][order]
        return replace(self, object_map=self.object_map[:, order], offset=self.offset[:, order], gbuffers=planes)

    @staticmethod
    def of(transport: Transport, view: Sequence[float]) -> Stage:
        """The compact form of a transport over a ground plane, recorded at 64 x 64 pixels and 16 x 32 texels; on the
        CPU, where stages are stored."""
        transport = device.moved(transport, torch.device("cpu"))
        g = transport.gbuffers
        weights = latlong.plane_weights(ROWS, COLUMNS).reshape(-1)[:_UPPER]
        ground = g.ground.reshape(-1)[transport.shadow_pixels].clamp_min(1e-3)
        blocked = transport.blocked.float()[:, :_UPPER] / ground[:, None]
        kept = blocked.sum(1) > _FAINT
        hidden = (blocked[kept] / weights * 255).round().clamp(0, 255).byte()
        return Stage(transport.object_map.half(), transport.object_pixels.short(), transport.offset.half(), hidden,
                     transport.shadow_pixels[kept].short(), gbuffer_planes(g)[0].half(),
                     torch.tensor(view, dtype=torch.float64))


def random_stage(rng: np.random.Generator, asset: Asset) -> tuple[Scene, list[float]]:
    """The asset standing somewhere on the ground of a random plate, and the nine numbers of ``Stage.view``. Lengths
    are relative: the light is at infinity, so that only angles matter. The object may pass the plate's edges by a tenth
    of its width and height."""
    while True:
        width, height = PLATE if rng.random() < 0.7 else PLATE[::-1]
        fov = rng.triangular(38, 58, 78) * (width / max(PLATE))
        lens = [fov, rng.triangular(-2, 12, 40), rng.normal()]
        camera = Camera.looking(width, height, lens[0], 1.5, lens[1], lens[2])
        pixel = np.array([rng.uniform(0.12, 0.88) * width, rng.uniform(0.45, 0.97) * height])
        ray = camera.directions(pixel)
        if ray[1] > -0.03:
            continue
        foot = camera.position - ray * camera.position[1] / ray[1]
        size = rng.triangular(0.12, 0.28, 0.6) * height / camera.focal_px * np.linalg.norm(foot - camera.position)
        low, high = asset.bounds
        size *= (high - low)[1] / float(np.max(high - low))
        placed = PlacedAsset(asset, grounded(float((high - low)[1]), size, foot, rng.uniform(0, 2 * np.pi)))
        points = np.concatenate([p.vertices for p in placed.parts])
        uv, depth = camera.project(points.astype(np.float64))
        inside = (uv > [-0.1 * width, -0.1 * height]).all() and (uv < [1.1 * width, 1.1 * height]).all()
        if depth.min() > 0.1 and inside:
            blank = torch.zeros(1, 3, height, width)
            scene = Scene(Plate(blank, blank), camera, (placed,))
            window = working_window(scene.objects, camera)
            return scene, [width, height, *lens, 1.5, window.x0, window.y0, window.side]


def record(seed: int, meshes: Sequence[Asset] = (), settings: StageSettings = StageSettings()) -> Stage:
    """The stage of a seed: the same on every call on one thread. One to two seconds."""
    rng = np.random.default_rng(split_seed(seed, "stage"))
    asset = (meshes[rng.integers(len(meshes))] if len(meshes) and rng.random() < settings.meshes
             else random_asset(split_seed(seed, "asset")))
    scene, view = random_stage(rng, asset)
    near = Window(*view[6:]).camera(scene.camera, SIZE)
    return Stage.of(Transport.record(scene, near, TransportSettings(
        samples=settings.samples, bsdf_samples=settings.bsdf_samples, light_samples=settings.light_samples,
        depth=settings.depth, seed=seed & 0xFFFF)), view)


def record_shard(path: Path, indices: Sequence[int], seed: int, settings: StageSettings,
                 mesh_paths: Sequence[Path]) -> None:
    """Record the stages ``indices`` of the set ``seed`` into one file."""
    meshes = [load_asset(p) for p in mesh_paths]
    save(path, [record(split_seed(seed, "composite", i), meshes, settings) for i in indices])


def save(path: Path, stages: Sequence[Stage]) -> None:
    """One .safetensors file of stages, one after the other; ``pixels`` has P and G of each."""
    tensors = {name: torch.cat([getattr(s, name) for s in stages]).contiguous()
               for name in ("object_map", "object_pixels", "offset", "hidden", "shadow_pixels")}
    tensors |= {name: torch.stack([getattr(s, name) for s in stages]) for name in ("gbuffers", "view")}
    tensors["pixels"] = torch.tensor([[len(s.object_pixels), len(s.shadow_pixels)] for s in stages])
    shards.save(path, tensors, {"format": "dipir stages"})


def load(path: Path) -> list[Stage]:
    """The stages of a file written by :func:`save`."""
    t = load_file(path)
    shown, shaded = (t["pixels"][:, k].tolist() for k in range(2))
    parts = [t[name].split(shown) for name in ("object_map", "object_pixels", "offset")]
    parts += [t[name].split(shaded) for name in ("hidden", "shadow_pixels")]
    return [Stage(*row) for row in zip(*parts, t["gbuffers"], t["view"], strict=True)]
