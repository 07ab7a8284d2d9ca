"""Procedural HDR panoramas with unclipped suns: environments for training composites. Deterministic per panorama (its
own seed), resumable per shard."""
from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import EnvMap, split_seed
from dipir.event import Notify
from dipir.image.color import BT709
from dipir.workshop import shards

SET = shards.DataSet("panoramas", 2, "kind", "panoramas")
default_dir = SET.default_dir
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


def expose(panorama: EnvMap, kind: str, rng: np.random.Generator) -> EnvMap:
    """Scale so that the median luminance is in 0.08-0.5, at night 0.02-0.15 (log-uniform)."""
    low, high = (0.02, 0.15) if kind == "night" else (0.08, 0.5)
    luminance = panorama @ panorama.new_tensor(BT709)
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


def pack(panoramas: Tensor, kinds: Iterable[str]) -> dict[str, Tensor]:
    """(N, H, W, 3) as it is stored: half floats times a scale per panorama (suns exceed 65504)."""
    scale = (panoramas.amax((1, 2, 3)) / _HALF_LIMIT).clamp_min(1.0)
    return {"radiance": (panoramas / scale[:, None, None, None]).half(), "scale": scale,
            "kind": torch.tensor([KINDS.index(kind) for kind in kinds], dtype=torch.int64)}


def _make(indices: range, seed: int, settings: PanoramaSettings) -> dict[str, Tensor]:
    maps, kinds = zip(*(one(index, seed, settings) for index in indices), strict=True)
    return pack(torch.stack(maps), kinds)


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: PanoramaSettings = PanoramaSettings()) -> Path:
    """Make the panoramas 0 ... count - 1 of the set ``seed``; see :meth:`shards.DataSet.generate`."""
    return SET.generate(count, out_dir, _make, (seed, settings), SET.metadata(seed, settings), shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None) -> tuple[Tensor, list[str]]:
    """All panoramas of a folder: radiance (N, H, W, 3) float32 and the kind of each. Raises ConfigError when there are
    none or a shard is broken."""
    parts = SET.load(out_dir, lambda shard: (shard["radiance"].float() * shard["scale"][:, None, None, None],
                                             shard["kind"].tolist()))
    return torch.cat([maps for maps, _ in parts]), [KINDS[i] for _, kinds in parts for i in kinds]
