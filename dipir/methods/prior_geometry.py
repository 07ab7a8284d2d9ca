"""Training of the network that guesses normals, on the pictures of the relighting data; resumable."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.diffusion.geometry import DEFAULT_PATH, LAYERS, Geometry, surface_of
from dipir.fit.loop import Event
from dipir.methods import training
from dipir.methods.prior_relight import training_scenes, validation_pairs, validation_scenes
from dipir.nets.shading import LayerUNet
from dipir.synth import relit_pairs
from dipir.synth.relit import RelitSet
from dipir.synth.relit_pairs import PairConfig, Pairs


@dataclass(frozen=True)
class GeometryConfig:
    """batch : pictures a step;  scenes : of the training set;  val_pairs : of the validation set"""

    batch: int = 32
    scenes: int = 2400
    val_pairs: int = 144
    seed: int = 0
    pairs: PairConfig = PairConfig(size=64)
    train: training.TrainConfig = training.TrainConfig(steps=4000, rate=2e-3, ema=0.995, validate_every=250)


def train_geometry(config: GeometryConfig, data: RelitSet, held_out: Pairs, *, name: str = "geometry",
                   start: LayerUNet | None = None,
                   on_event: Callable[[Event], None] | None = None) -> training.Trained:
    """Train on inputs of ``data``; keep the weights that are best on ``held_out``."""
    torch.manual_seed(split_seed(config.seed, "weights"))
    model = LayerUNet(LAYERS)
    if start is not None:
        model.load_state_dict(start.state_dict())

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, "geometry", step))
        batch = relit_pairs.draw(rng, data, config.batch, config.pairs)
        return surface_error(surface_of(net(batch.image)), batch.surface, batch.subject), {}

    return training.train(model, batch_loss, config.train, validate=lambda net: validation(net, held_out),
                          on_event=on_event, name=name)


def surface_error(made: Tensor, true: Tensor, subject: Tensor) -> Tensor:
    """Mean length of the normals' difference plus mean difference of shading, four times as heavy on the objects.
    made, true : (B, 4, S, S)."""
    normal = ((made - true)[:, :3].square().sum(1, keepdim=True) + 1e-6).sqrt()
    weight = 1 + 3 * subject
    return ((normal + 2 * (made - true)[:, 3:].abs()) * weight).sum() / weight.sum()


@torch.no_grad()
def validation(net: LayerUNet, held_out: Pairs) -> dict[str, float]:
    """The error; on the objects the mean angle in degrees of the guess, and of surfaces that all face the camera; the
    mean error of shading in stops, and that of even light."""
    made = torch.cat([surface_of(net(x)) for x in held_out.image.split(48)])
    true, inside = held_out.surface, held_out.subject > 0.9
    inside = inside & (true[:, :3].norm(dim=1, keepdim=True) > 0.8)

    def angle(guess: Tensor) -> float:
        cosine = torch.nn.functional.cosine_similarity(guess, true[:, :3], dim=1)[:, None].clamp(-1, 1)
        return float(torch.rad2deg(torch.acos(cosine))[inside].mean())

    facing = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(len(made), 3, *made.shape[2:])
    stops = lambda guess: float(2 * (guess - true[:, 3:]).abs()[inside].mean())
    return {"score": float(surface_error(made, true, held_out.subject)), "angle_deg": angle(made[:, :3]),
            "facing_deg": angle(facing), "shading_stops": stops(made[:, 3:]), "even_stops": stops(0 * made[:, 3:])}


def main(arguments: Sequence[str] | None = None) -> None:
    """``dipir prior train geometry``: scenes, training, weights; log lines on stdout. With --evaluate, only judges."""
    parser = argparse.ArgumentParser(prog="dipir prior train geometry", description=main.__doc__)
    default = GeometryConfig()
    training.add_options(parser, default.train, default.batch, "geometry", DEFAULT_PATH)
    parser.add_argument("--scenes", type=int, default=default.scenes, help="of the training set, made where missing")
    a = parser.parse_args(arguments)
    held_out = validation_pairs(validation_scenes(a.workers), default.pairs, default.val_pairs)
    if a.evaluate:
        figures = validation(Geometry.load(a.evaluate).net, held_out)
        sys.stdout.write("".join(f"{k:12s} {v:.4f}\n" for k, v in figures.items()))
        return
    config = replace(default, batch=a.batch, scenes=a.scenes, train=replace(
        training.with_options(default.train, a), minutes=a.minutes))
    start = Geometry.load(a.start).net if a.start else None
    data = training_scenes(config.scenes, a.workers, training.report)
    trained = train_geometry(config, data, held_out, name=a.name, start=start, on_event=training.report)
    net = LayerUNet(LAYERS)
    net.load_state_dict(trained.best)
    path: Path = a.out or DEFAULT_PATH
    Geometry(net).save(path, {"steps": str(trained.step), "score": f"{trained.best_score:.4f}"})
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
