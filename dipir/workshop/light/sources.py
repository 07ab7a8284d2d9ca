"""Settings of the light prior's training, and its batches: made ahead by a process of their own on a CPU, or assembled
on the GPU."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dipir import device
from dipir.arrays import split_seed
from dipir.priors.light import Features, features
from dipir.priors.nets.light_unet import LightUNetConfig
from dipir.workshop import crops
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import pairs as light_pairs
from dipir.workshop.light.batches import AbstractSource
from dipir.workshop.light.pairs import PairSet
from dipir.workshop.trainer import TrainConfig


@dataclass(frozen=True)
class LightPriorConfig:
    """How the light prior is trained."""

    train: TrainConfig = TrainConfig()
    net: LightUNetConfig = LightUNetConfig()
    crop: crops.CropConfig = crops.CropConfig()
    batch: int = 24  # plates a step
    real: float = 0.4  # share of them from photographed panoramas
    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: {
        "log": 0.5, "exposure": 0.5, "absolute": 0.7, "diffuse": 1.0, "glossy8": 0.5, "glossy64": 0.3,
        "energy": 0.7, "peak": 0.5, "quarter": 0.5, "toned": 1.0})
    """Of the terms of ``light_loss``."""


@dataclass(frozen=True)
class Batches:
    """``batches[step]`` -> (inputs of the network, true light (B, 16, 32, 3)), the same for a step on every call."""

    config: LightPriorConfig
    real: PairSet
    procedural: PairSet | None

    def __len__(self) -> int:
        return self.config.train.steps

    def __getitem__(self, step: int) -> tuple[Features, Tensor]:
        config = self.config
        rng = np.random.default_rng(split_seed(config.seed, "light", step))
        count = config.batch if self.procedural is None else round(config.batch * config.real)
        parts = [light_pairs.draw(rng, self.real, count, config.crop)]
        if self.procedural is not None:
            parts.append(light_pairs.draw(rng, self.procedural, config.batch - count, config.crop))
        plate, directions, env = (torch.cat([getattr(p, key) for p in parts])
                                  for key in ("plate_disp", "directions", "env"))
        return features(plate, directions), env


class Prefetched:
    """Items of a sequence read in order, made ahead of time by a process of their own."""

    def __init__(self, items: Batches, ahead: int = 4) -> None:
        self.items, self.ahead, self.following, self.next = items, ahead, None, -1

    def __getitem__(self, step: int) -> tuple[Features, Tensor]:
        if self.following is None or step != self.next:
            self.following = iter(DataLoader(self.items, batch_size=None, sampler=range(step, len(self.items)),
                                             num_workers=1, prefetch_factor=self.ahead))
        self.next = step + 1
        return next(self.following)


class Assembled:
    """The same on the device of its sources, the batch at once; the numbers of a step are others than those of
    :class:`Batches`. Photographed panoramas are framed anew every time."""

    def __init__(self, config: LightPriorConfig, sources: Sequence[tuple[int, AbstractSource]]) -> None:
        self.config, self.sources = config, sources

    @staticmethod
    def of(config: LightPriorConfig, panoramas: Sequence[crops.Panorama], procedural: PairSet | None,
           where: torch.device) -> Assembled:
        """From photographed panoramas and stored pairs, both brought to ``where``. Stored pairs are weighted as
        ``light_pairs.like`` does."""
        real = light_batches.Framed(panoramas, where)
        if procedural is None:
            return Assembled(config, [(config.batch, real)])
        count = round(config.batch * config.real)
        env = real.lights(np.random.default_rng(0), 100 * len(panoramas))
        model = PairSet(env, env, env, torch.ones(len(env)))  # Only the light is looked at.
        stored = light_batches.Stored(light_pairs.like(procedural, model), where)
        return Assembled(config, [(count, real), (config.batch - count, stored)])

    def __getitem__(self, step: int) -> tuple[Features, Tensor]:
        rng = np.random.default_rng(split_seed(self.config.seed, "light", step))
        with device.single_precision(self.sources[0][1].where):
            batch = light_batches.draw(rng, self.sources, self.config.crop)
            return features(batch.plate_disp, batch.directions), batch.env
