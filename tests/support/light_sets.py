"""Small panoramas and pairs for the light prior's tests."""
from __future__ import annotations

import numpy as np
import torch

from dipir.priors.nets.light_unet import LightUNetConfig
from dipir.workshop import crops
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import train as prior_light
from dipir.workshop.light.batches import Framed
from dipir.workshop.light.pairs import PairSet
from dipir.workshop.light.sources import LightPriorConfig
from dipir.workshop.trainer import TrainConfig

NET = LightUNetConfig(widths=(8, 8, 16), plate_widths=(8, 8, 8, 8), plate_blocks=(0, 1, 1, 1), heads=2, embedding=8,
                      dropout=0.0)
CONFIG = LightPriorConfig(TrainConfig(steps=3, rate=1e-3, warmup=1, validate_every=3, log_every=1), NET, batch=4)


def drawn_panoramas() -> list[crops.Panorama]:
    rng = np.random.default_rng(1)
    return [crops.prepare(prior_light._drawn_panorama(rng, 64)) for _ in range(2)]


def framed_pairs(panoramas: list[crops.Panorama]) -> PairSet:
    where = torch.device("cpu")
    framed = Framed(panoramas, where)
    plate, env, camera = framed.plates(light_batches.ship(framed.columns(np.random.default_rng(3), 6), where))
    return PairSet(plate.half(), env, camera, torch.ones(6))
