"""Training of the general relighting network (engine ``net``) on the pairs of the relighting prior; resumable."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.event import Notify
from dipir.image.metrics import LossWeights, psnr, rmse
from dipir.priors.geometry import Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.net import DEFAULT_PATH, NET, load_net, net_planes, save_net
from dipir.workshop import trainer as training
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import PairConfig, Pairs
from dipir.workshop.relight.train import seen, training_scenes, validation_pairs, validation_scenes
from dipir.workshop.runner import Outcome, Recipe, initial, outcome


@dataclass(frozen=True)
class GeneralNetConfig:
    """How the general relighting network is trained."""

    batch: int = 32  # pairs a step
    scenes: int = 1200  # of the training set
    val_pairs: int = 96  # of the validation set
    seed: int = 0
    loss: LossWeights = LossWeights()
    pairs: PairConfig = PairConfig(targets=4)
    net: IllumiNetConfig = NET
    train: training.TrainConfig = training.TrainConfig(steps=8000, rate=1e-3, decay=0.01, ema=0.998, validate_every=300)


def train_general(config: GeneralNetConfig, data: RelitSet, held_out: Pairs, geometry: Geometry, *,
                  name: str = "illuminet", start: IllumiNet | None = None, on_event: Notify = None) -> training.Trained:
    """Train on pairs of ``data``; keep the weights that are best on ``held_out``. A new run begins with the weights of
    ``start`` if given."""
    model = initial(lambda: IllumiNet(config.net), config.seed, start)
    where = device.current().torch
    geometry.nets.to(where)
    model, data, held_out = model.to(where), training.keep_on(data, where), device.moved(held_out, where)
    told = net_planes(seen(held_out, geometry))

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "batch", step))
        batch = device.sent(relit_pairs.draw(rng, data, config.batch, config.pairs), where)
        planes = net_planes(seen(batch, geometry, config.pairs.targets))
        return config.loss(net(planes, batch.light), batch.target), {}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, held_out, told, config),
                          on_event=on_event, name=name)


@torch.no_grad()
def validation(net: IllumiNet, held_out: Pairs, planes: Tensor, config: GeneralNetConfig) -> dict[str, float]:
    """Loss, RMSE and PSNR on held-out pairs, and the RMSE of the first guess and of the input itself."""
    rows = torch.arange(len(held_out)).split(16)
    made = torch.cat([net(planes[r], held_out.light[r]).float() for r in rows])
    return {"score": float(config.loss(made, held_out.target)), "rmse": float(rmse(made, held_out.target).mean()),
            "guess_rmse": float(rmse(planes[:, :3], held_out.target).mean()),
            "input_rmse": float(rmse(held_out.image, held_out.target).mean()),
            "psnr": float(psnr(made, held_out.target).mean())}


def _train(config: GeneralNetConfig, start: IllumiNet | None, name: str, workers: int, on_event) -> Outcome:
    held_out = validation_pairs(validation_scenes(workers, on_event), config.pairs, config.val_pairs)
    geometry = Geometry.load()
    data = training_scenes(config.scenes, workers, on_event)
    return outcome(train_general(config, data, held_out, geometry, name=name, start=start, on_event=on_event),
                   config.train)


def _judge(weights: Path, workers: int) -> dict[str, float]:
    config = RECIPE.config
    held_out = validation_pairs(validation_scenes(workers), config.pairs, config.val_pairs)
    return validation(load_net(weights)[0], held_out, net_planes(seen(held_out, Geometry.load())), config)


RECIPE = Recipe("illuminet", "scenes", GeneralNetConfig(), DEFAULT_PATH, train=_train, judge=_judge, write=save_net,
                build=lambda config: IllumiNet(config.net), read=lambda path: load_net(path)[0],
                options={"scenes": ("--scenes", {"help": "of the training set, made where missing"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
