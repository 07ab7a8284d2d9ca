"""Correctly lit composites for training the insertion prior: random objects, cameras, real and procedural light.

One *stage* is an object in front of a camera; its transport is recorded once and lit by many environments. Shards of
stages are safetensors files in ``$DIPIR_CACHE/composites``; remade by one command, never committed.
"""
from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dipir.arrays import split_seed
from dipir.diffusion.light_prior import features
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.asset import Asset, load_asset
from dipir.scene.camera import Camera
from dipir.scene.description import Scene
from dipir.scene.framing import as_directions, grounded, wide_view, working_window
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.synth import crops
from dipir.synth.objects import random_asset

SIZE = 64
PLATE = (128, 96)


@dataclass(frozen=True)
class CompositeSettings:
    """relights : environments a stage;  samples : camera samples of the transport;  real : share of stages lit by
    real panoramas;  meshes : share of stages with a real training mesh;  stages_per_shard : stages a file"""

    relights: int = 32
    samples: int = 4
    real: float = 0.6
    meshes: float = 0.2
    stages_per_shard: int = 25


def cache_folder() -> Path:
    """``$DIPIR_CACHE/composites`` (default ``~/.cache/dipir``)."""
    return Path(os.environ.get("DIPIR_CACHE", Path.home() / ".cache" / "dipir")) / "composites"


def random_stage(rng: np.random.Generator, asset: Asset) -> tuple[Scene, Camera]:
    """The asset standing somewhere on the ground of a random plate; and the plate's camera. Lengths are relative: the
    light is at infinity, so that only angles matter."""
    while True:
        width, height = PLATE if rng.random() < 0.7 else PLATE[::-1]
        fov = rng.triangular(38, 58, 78) * (width / max(PLATE))
        camera = Camera.looking(width, height, fov, 1.5, rng.triangular(-2, 12, 40))
        pixel = np.array([rng.uniform(0.12, 0.88) * width, rng.uniform(0.45, 0.97) * height])
        ray = camera.directions(pixel)
        if ray[1] > -0.03:
            continue
        foot = camera.position - ray * camera.position[1] / ray[1]
        size = rng.uniform(0.15, 0.6) * height / camera.focal_px * np.linalg.norm(foot - camera.position)
        low, high = asset.bounds
        size *= (high - low)[1] / float(np.max(high - low))
        pose = grounded(float((high - low)[1]), size, foot, rng.uniform(0, 2 * np.pi))
        placed = PlacedAsset(asset, pose)
        points = np.concatenate([p.vertices for p in placed.parts])
        uv, depth = camera.project(points.astype(np.float64))
        if depth.min() > 0.1 and (uv > -0.1 * width).all() and (uv[:, 0] < 1.1 * width).all():
            blank = torch.zeros(1, 3, height, width)
            return Scene(Plate(blank, blank), camera, (placed,)), camera


def stage_samples(seed: int, panoramas: Sequence[crops.Panorama], meshes: Sequence[Asset],
                  settings: CompositeSettings = CompositeSettings()) -> dict[str, Tensor]:
    """One stage lit ``relights`` times. uint8 images are display-referred.

    gbuffers (12, 64, 64) float16: alpha, ground, normal 3, albedo 3, roughness, metallic, depth ratio, height ratio
    plate, target, hint (K, 3, 64, 64) uint8: window without and with the object, and under the mirrored-plate light
    wide (K, 3, 64, 64) uint8: whole plate;  env (K, 16, 32, 3) float16 radiance
    """
    rng = np.random.default_rng(split_seed(seed, "stage"))
    asset = (meshes[rng.integers(len(meshes))] if len(meshes) and rng.random() < settings.meshes
             else random_asset(split_seed(seed, "asset")))
    scene, camera = random_stage(rng, asset)
    window = working_window(scene.objects, camera)
    near = window.camera(camera, SIZE)
    transport = Transport.record(scene, near, TransportSettings(
        samples=settings.samples, light_samples=2, depth=3, seed=seed & 0xFFFF))
    rows: dict[str, list[Tensor]] = {k: [] for k in ("plate", "target", "hint", "wide", "env")}
    for _ in range(settings.relights):
        panorama = panoramas[rng.integers(len(panoramas))]
        turn, mirrored = int(rng.integers(128)), bool(rng.random() < 0.5)
        wide, _ = crops.turned_crop(panorama, camera, turn / 128, mirrored, rays=2)
        close, _ = crops.turned_crop(panorama, near, turn / 128, mirrored, rays=1)
        env = torch.roll(panorama.env, turn, 1)
        env = latlong.resize(env.flip(1) if mirrored else env, 16, 32)
        gains = crops.random_gains(rng, wide, crops.CropConfig())
        env, wide, close = env * gains, wide * gains[:, None, None], close * gains[:, None, None]
        wide, close = (crops.quantise(linear_to_srgb(x.clamp(0, 1)))[None] for x in (wide, close))
        base = features(wide, as_directions(camera)[None]).base[0].permute(1, 2, 0)
        for name, value in (("plate", close), ("target", light_stage(transport, close, env)),
                            ("hint", light_stage(transport, close, base)), ("wide", wide_view(wide, SIZE))):
            rows[name].append((value[0].clamp(0, 1) * 255).round().byte())
        rows["env"].append(env.clamp_max(6e4).half())
    return {"gbuffers": gbuffer_planes(transport.gbuffers)[0].half(), **{k: torch.stack(v) for k, v in rows.items()}}


def light_stage(transport: Transport, plate_disp: Tensor, env: Tensor) -> Tensor:
    """(1, 3, H, W) display: the object in the plate under an environment, in linear light, then clipped."""
    passes = transport.passes(env)
    linear = passes.object_rgb + (1 - passes.alpha) * srgb_to_linear(plate_disp) * passes.shadow_ratio
    return linear_to_srgb(linear.clamp(0, 1))


def gbuffer_planes(g) -> Tensor:
    """(1, 12, H, W): alpha, ground, normal 3, albedo 3, roughness, metallic, depth and height relative to the object's
    middle and size (scale free)."""
    inside = g.alpha > 0
    mean = lambda t: t[inside].mean() if inside.any() else t.new_tensor(1.0)
    size = (g.position[:, 1:2][inside].max() if inside.any() else g.alpha.new_tensor(1.0)).clamp_min(1e-6)
    depth = torch.where(inside, (g.depth - mean(g.depth)) / size, 0.0)
    height = torch.where(inside, g.position[:, 1:2] / size, 0.0)
    return torch.cat([g.alpha, g.ground, g.normal, g.albedo, g.roughness, g.metallic, depth.clamp(-2, 2), height], 1)


def _shard_job(arguments) -> str:
    path, stages, seed, settings, panoramas_path, mesh_paths, threads = arguments
    os.environ["DIPIR_THREADS"] = str(threads)
    torch.set_num_threads(1)  # Thousands of tiny operations: threads would only wait for each other.
    with safe_open(panoramas_path, "pt") as f:
        panoramas = [crops.Panorama(f.get_tensor(f"{k}.padded"), f.get_tensor(f"{k}.env"))
                     for k in range(len(f.keys()) // 2)]
    meshes = [load_asset(p) for p in mesh_paths]
    made = [stage_samples(split_seed(seed, "composite", i), panoramas, meshes, settings) for i in stages]
    save_file({k: torch.stack([m[k] for m in made]).contiguous() for k in made[0]}, f"{path}.part")
    os.replace(f"{path}.part", path)
    return str(path)


def generate(count: int, out_dir: Path, real: Sequence[Tensor], procedural: Sequence[Tensor],
             mesh_paths: Sequence[Path], settings: CompositeSettings = CompositeSettings(), seed: int = 0,
             workers: int = 1, on_event: Callable[[Event], None] | None = None) -> list[Path]:
    """Write ``count`` stages; shards that exist are kept (resumable). Each shard uses a random subset of panoramas and
    a process of its own, because Mitsuba does not give the memory of scenes back."""
    out_dir.mkdir(parents=True, exist_ok=True)
    jobs = []
    for k in range(math.ceil(count / settings.stages_per_shard)):
        path = out_dir / f"stages_{k:05d}.safetensors"
        stages = range(k * settings.stages_per_shard, min(count, (k + 1) * settings.stages_per_shard))
        if not path.exists():
            jobs.append((k, path, stages))
    context = multiprocessing.get_context("spawn")
    start, done = time.monotonic(), 0
    with context.Pool(workers, maxtasksperchild=1) as pool:
        for first in range(0, len(jobs), workers):
            group = [_prepare_job(j, out_dir, real, procedural, mesh_paths, settings, seed, workers)
                     for j in jobs[first:first + workers]]
            for path in pool.imap_unordered(_shard_job, group):
                Path(path).with_suffix(".panoramas").unlink(missing_ok=True)
                done += 1
                if on_event:
                    left = (time.monotonic() - start) / done * (len(jobs) - done)
                    on_event(Event("composites", done, len(jobs), left))
    return sorted(out_dir.glob("stages_*.safetensors"))


def _prepare_job(job, out_dir, real, procedural, mesh_paths, settings, seed, workers):
    """Pick the panoramas of a shard and lay them down for its process."""
    k, path, stages = job
    rng = np.random.default_rng(split_seed(seed, "shard", k))
    pool = real if len(real) and (rng.random() < settings.real or not len(procedural)) else procedural
    chosen = [pool[i] for i in rng.choice(len(pool), min(len(pool), 12), replace=False)]
    prepared = [crops.prepare(p) for p in chosen]
    file = path.with_suffix(".panoramas")
    tensors = {f"{k}.{name}": getattr(p, name).contiguous()
               for k, p in enumerate(prepared) for name in ("padded", "env")}
    save_file(tensors, file)
    return path, stages, seed, settings, file, list(mesh_paths), max(1, (os.cpu_count() or 2) // workers)


def load(out_dir: Path) -> dict[str, Tensor]:
    """All shards joined: the fields of :func:`stage_samples` with a leading stage axis."""
    parts: dict[str, list[Tensor]] = {}
    for path in sorted(out_dir.glob("stages_*.safetensors")):
        with safe_open(path, "pt") as f:
            for key in f.keys():
                parts.setdefault(key, []).append(f.get_tensor(key))
    return {k: torch.cat(v) for k, v in parts.items()}
