"""Procedural HDR panoramas with unclipped suns: environments for training composites. Deterministic per panorama (its
own seed), resumable per shard."""
from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dipir import disk
from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.workshop import shards

VERSION = 2
KINDS = ("outdoor", "indoor", "night")
_SHARES = (0.55, 0.35, 0.10)
_HALF_LIMIT = 60000.0


@dataclass(frozen=True)
class PanoramaSettings:
    """How panoramas are traced."""

    height: int = 128  # height, width: texels
    width: int = 256
    spp: int = 32  # samples per texel
    depth: int = 4  # longest path
    shard: int = 25  # panoramas per file


def default_dir() -> Path:
    """``$DIPIR_CACHE/panoramas/v1``, by default under ~/.cache/dipir."""
    return disk.cache_dir() / "panoramas" / f"v{VERSION}"


def expose(panorama: EnvMap, kind: str, rng: np.random.Generator) -> EnvMap:
    """Scale so that the median luminance is in 0.08-0.5, at night 0.02-0.15 (log-uniform)."""
    low, high = (0.02, 0.15) if kind == "night" else (0.08, 0.5)
    luminance = panorama @ panorama.new_tensor([0.2126, 0.7152, 0.0722])
    target = math.exp(rng.uniform(math.log(low), math.log(high)))
    # A black studio has a median near zero: its mean without the brightest texels stands in.
    anchor = max(float(luminance.median()), 0.15 * float(luminance.clamp_max(luminance.quantile(0.98)).mean()))
    return panorama * (target / max(anchor, 1e-8))


def one(index: int, seed: int, settings: PanoramaSettings = PanoramaSettings()) -> tuple[EnvMap, str]:
    """Panorama ``index`` of the set ``seed``: radiance (H, W, 3) float32 and its kind, the same on every call."""
    from dipir.workshop.worlds.rooms import indoor
    from dipir.workshop.worlds.scenes import night, outdoor
    from dipir.workshop.worlds.tracer import splat_sun, trace_panorama

    rng = np.random.default_rng(split_seed(seed, "panorama", index))
    kind = str(rng.choice(KINDS, p=_SHARES))
    scene, position = {"outdoor": outdoor, "indoor": indoor, "night": night}[kind](rng)
    panorama = trace_panorama(scene, position, (settings.height, settings.width), settings.spp, settings.depth,
                              split_seed(seed, "trace", index)).cpu()
    if scene.get("seen_sun"):
        panorama = splat_sun(panorama, scene["seen_sun"]["direction"], scene["seen_sun"]["irradiance"])
    return expose(panorama, kind, rng), kind


def save_shard(path: Path, panoramas: Tensor, kinds: Iterable[str], metadata: dict[str, str]) -> None:
    """Write (N, H, W, 3) as half floats times a scale per panorama (suns exceed 65504); atomic."""
    scale = (panoramas.amax((1, 2, 3)) / _HALF_LIMIT).clamp_min(1.0)
    tensors = {"radiance": (panoramas / scale[:, None, None, None]).half(), "scale": scale,
               "kind": torch.tensor([KINDS.index(kind) for kind in kinds], dtype=torch.int64)}
    shards.save(path, tensors, metadata)


def _metadata(seed: int, settings: PanoramaSettings) -> dict[str, str]:
    return {"format": "dipir panoramas", "version": str(VERSION), "seed": str(seed),
            "settings": json.dumps(asdict(settings))}


def _make_shard(path: Path, indices: range, seed: int, settings: PanoramaSettings) -> None:
    """The work of one process."""
    made = [one(index, seed, settings) for index in indices]
    maps, kinds = torch.stack([panorama for panorama, _ in made]), [kind for _, kind in made]
    save_shard(path, maps, kinds, _metadata(seed, settings))


def generate(count: int, out_dir: str | os.PathLike | None = None, seed: int = 0, workers: int = 1,
             on_event: Callable[[Event], None] | None = None, settings: PanoramaSettings = PanoramaSettings()) -> Path:
    """Make panoramas 0 ... count - 1 of the set ``seed`` in ``out_dir`` (default :func:`default_dir`); those there are
    kept. One thread per worker process. Returns the folder. Raises ConfigError for a folder of another set or numbers
    out of range, RenderError when a worker fails."""
    metadata = _metadata(seed, settings)
    return shards.generate(count, Path(out_dir) if out_dir is not None else default_dir(), "panoramas", settings.shard,
                           lambda path, indices: shards.stored(path, metadata, "kind") >= len(indices), _make_shard,
                           (seed, settings), workers, on_event)


def load(out_dir: str | os.PathLike | None = None) -> tuple[Tensor, list[str]]:
    """All panoramas of a folder: radiance (N, H, W, 3) float32 and the kind of each. Raises ConfigError when there are
    none or a shard is broken."""
    folder = Path(out_dir) if out_dir is not None else default_dir()
    paths = sorted(folder.glob("panoramas_*.safetensors"))
    if not paths:
        raise ConfigError(f"{folder}: holds no panoramas; make them with `dipir synth panoramas`")
    maps, kinds = [], []
    for path in paths:
        try:
            shard = load_file(path)
        except (SafetensorError, OSError) as problem:
            raise ConfigError(f"{path}: is not a readable shard ({problem}); delete it and generate again") from problem
        maps.append(shard["radiance"].float() * shard["scale"][:, None, None, None])
        kinds += [KINDS[i] for i in shard["kind"].tolist()]
    return torch.cat(maps), kinds
