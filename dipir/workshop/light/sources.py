"""Settings of the light prior's training, and its batches."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from dipir import device
from dipir.arrays import split_seed
from dipir.priors.light import predict
from dipir.priors.light_input import features
from dipir.priors.nets.light_unet import LightUNetConfig
from dipir.workshop import crops
from dipir.workshop.captured import Staged
from dipir.workshop.light.batches import (
    AbstractSource,
    Numbers,
    Raw,
    Sources,
    assembled,
    draw_columns,
    ship,
)
from dipir.workshop.light.framed import Framed
from dipir.workshop.light.loss import light_loss
from dipir.workshop.light.measures import functionals
from dipir.workshop.light.places import Places
from dipir.workshop.light.pool import Pool
from dipir.workshop.stored import part
from dipir.workshop.trainer import TrainConfig


@dataclass(frozen=True)
class LightPriorConfig:
    """How the light prior is trained."""

    train: TrainConfig = TrainConfig(rate=6e-4, decay=0.05, ema=0.998, slow=(("plate.backbone", 0.25),))
    net: LightUNetConfig = LightUNetConfig()
    crop: crops.CropConfig = crops.CropConfig()
    batch: int = 24
    """Plates a step."""
    bare: float = 0.35
    """Share of them from panoramas as they are."""
    placed: float = 0.1
    """Share of them with rendered meshes, where there are any; the rest are dressed with solids."""
    pool: int = 2048
    """Plates dressed with solids that are kept."""
    renew: int = 24
    """Steps between two parts of them that are made anew."""
    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: {
        "log": 0.5, "exposure": 0.5, "absolute": 0.7, "diffuse": 1.0, "glossy8": 0.5, "glossy64": 0.3,
        "energy": 0.7, "peak": 0.8, "quarter": 0.5, "toned": 1.0, "hard": 0.8, "share": 0.8, "width": 0.15})
    """Of the terms of ``light_loss``."""


@final
class Stored(AbstractSource):
    """Plates that lie on a device, all as frequent."""

    def __init__(self, data: Raw) -> None:
        self.data, self.where = data, data.sigma.device

    def columns(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        return {"row": rng.integers(len(self.data.sigma), size=count)}

    def plates(self, numbers: Numbers) -> Raw:
        return Raw(*(v.float() for v in vars(part(self.data, numbers["row"].long())).values()))


def sources_of(config: LightPriorConfig, places: Places, placed: Raw | None = None) -> Sources:
    """How many plates a step of each kind, on the device of ``places``."""
    bare = round(config.batch * config.bare)
    meshes = round(config.batch * config.placed) if placed is not None else 0
    pool = config.batch - bare - meshes
    made: list[tuple[int, AbstractSource]] = [(bare, Framed(places))] if bare else []
    if pool:
        made.append((pool, Pool(places, config.pool, config.renew, seed=config.seed)))
    return [*made, (meshes, Stored(placed))] if placed is not None and meshes else made


def staged(config: LightPriorConfig, sources: Sources) -> Staged:
    """What ``trainer.train`` calls at every step."""
    where = sources[0][1].where
    rows = functionals(where=where)
    weights: Sequence[tuple[str, float]] = tuple(config.weights.items())

    def loss(model: nn.Module, numbers: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        batch = assembled(numbers, sources, config.crop)
        with torch.no_grad(), device.single_precision(where):
            inputs = features(batch.plate_disp, batch.directions, batch.place)
        estimate = predict(model, inputs)
        with device.single_precision(where):
            terms = light_loss(estimate, batch.truth, rows)
        return sum(w * terms[k] for k, w in weights), {k: v.detach() for k, v in terms.items()}

    def before(step: int) -> None:
        for _, source in sources:
            source.renewed(step)

    def numbers(step: int) -> dict[str, np.ndarray]:
        return draw_columns(np.random.default_rng(split_seed(config.seed, "light", step)), sources, config.crop)

    return Staged(numbers, loss, lambda columns: ship(columns, where), before)


def timed(config: LightPriorConfig, minutes: float) -> LightPriorConfig:
    """The same for a run of so many minutes, however many steps they hold."""
    return replace(config, train=replace(config.train, by_time=True, minutes=minutes, steps=10**9))
