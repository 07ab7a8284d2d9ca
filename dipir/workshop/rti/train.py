"""Training of the general relighting network (engine ``net``) on the pairs of the relighting prior; resumable."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.fit.loop import Event
from dipir.image.losses import LossWeights
from dipir.image.metrics import psnr, rmse
from dipir.priors.geometry import Geometry
from dipir.priors.nets.illuminet import IllumiNet, IllumiNetConfig
from dipir.relight.net import DEFAULT_PATH, NET, load_net, net_planes, save_net
from dipir.workshop import trainer as training
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import PairConfig, Pairs
from dipir.workshop.relight.train import seen, training_scenes, validation_pairs, validation_scenes


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
                  name: str = "illuminet", start: IllumiNet | None = None,
                  on_event: Callable[[Event], None] | None = None) -> training.Trained:
    """Train on pairs of ``data``; keep the weights that are best on ``held_out``. A new run begins with the weights of
    ``start`` if given."""
    torch.manual_seed(split_seed(config.seed, "weights"))
    model = IllumiNet(config.net)
    if start is not None:
        model.load_state_dict(start.state_dict())
    where = device.current().torch
    geometry.nets.to(where)
    model, data, held_out = model.to(where), training.kept_there(data, where), device.moved(held_out, where)
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


def run(minutes: float, config: GeneralNetConfig = GeneralNetConfig(), out: Path | None = None,
        name: str = "illuminet", on_event: Callable[[Event], None] | None = None, start: Path | None = None,
        workers: int = 1) -> Path:
    """Data, training (resumed if begun) for at most ``minutes``, weights written to ``out``."""
    config = replace(config, train=replace(config.train, minutes=minutes))
    first = load_net(start)[0] if start else None
    if first is not None:
        config = replace(config, net=first.config)
    held_out = validation_pairs(validation_scenes(workers, on_event), config.pairs, config.val_pairs)
    geometry = Geometry.load()
    data = training_scenes(config.scenes, workers, on_event)
    trained = train_general(config, data, held_out, geometry, name=name, start=first, on_event=on_event)
    net = IllumiNet(config.net)
    net.load_state_dict(trained.best)
    path = out or DEFAULT_PATH
    save_net(net, path, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}",
                         "training": json.dumps(asdict(config.train))})
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """``dipir prior train illuminet``: scenes, training, weights; log lines on stdout. With --evaluate, only judges."""
    parser = argparse.ArgumentParser(prog="dipir prior train illuminet", description=main.__doc__)
    default = GeneralNetConfig()
    training.add_options(parser, default.train, default.batch, "illuminet", DEFAULT_PATH)
    parser.add_argument("--scenes", type=int, default=default.scenes, help="of the training set, made where missing")
    a = parser.parse_args(arguments)
    training.choose_device(a)
    if a.evaluate:
        held_out = validation_pairs(validation_scenes(a.workers), default.pairs, default.val_pairs)
        told = net_planes(seen(held_out, Geometry.load()))
        figures = validation(load_net(a.evaluate)[0], held_out, told, default)
        sys.stdout.write("".join(f"{k:12s} {v:.4f}\n" for k, v in figures.items()))
        return
    config = replace(default, batch=a.batch, scenes=a.scenes, train=training.with_options(default.train, a))
    sys.stdout.write(f"{run(a.minutes, config, a.out, a.name, training.reporter(a.tensorboard), a.start, a.workers)}\n")


if __name__ == "__main__":
    main()
