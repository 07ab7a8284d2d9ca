"""Training of the networks that guess surfaces and a first relit picture, on the relighting data; resumable. In three
parts: surfaces alone, then light on what they see, then both together."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir import device
from dipir.arrays import Image, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.image.metrics import rmse
from dipir.priors.geometry import DEFAULT_PATH, Geometry, GeometryNets
from dipir.workshop import trainer as training
from dipir.workshop.relight import pairs as relit_pairs
from dipir.workshop.relight.data import RelitSet
from dipir.workshop.relight.pairs import PairConfig, Pairs
from dipir.workshop.relight.train import training_scenes, validation_pairs, validation_scenes
from dipir.workshop.runner import Outcome, Recipe, initial

PARTS = {"surfaces": 0.5, "light": 0.2, "both": 0.3}
"""What is trained one after the other, and its share of the time."""


@dataclass(frozen=True)
class GeometryTraining:
    """How the networks are trained."""

    part: str = "all"  # of PARTS, or all one after the other
    batch: int = 32  # pairs a step, of surfaces as many pictures
    lights: int = 4  # wanted for each picture where light is trained
    scenes: int = 1200  # of the training set
    val_pairs: int = 144  # of the validation set
    keep: float = 0.2  # weight of the surfaces' error while both are trained
    seed: int = 0
    pairs: PairConfig = PairConfig()
    train: training.TrainConfig = field(default_factory=lambda: training.TrainConfig(
        steps=8000, rate=1.5e-3, warmup=50, ema=0.998, validate_every=200))


def train_geometry(part: str, config: GeometryTraining, data: RelitSet, held_out: Pairs, *, name: str = "geometry",
                   start: GeometryNets | None = None, on_event: Notify = None) -> training.Trained:
    """Train one of ``PARTS`` on ``data``; keep the weights that are best on ``held_out``. ConfigError for another."""
    if part not in PARTS:
        raise ConfigError(f"'{part}' is no part of this training; accepted are {', '.join(PARTS)}.")
    model = initial(GeometryNets, config.seed, start)
    model.surfaces.requires_grad_(part != "light")
    model.light.requires_grad_(part != "surfaces")
    where = device.current().torch
    model, data, held_out = model.to(where), training.keep_on(data, where), device.moved(held_out, where)
    pairs = replace(config.pairs, targets=1 if part == "surfaces" else config.lights)

    def batch_loss(net, step):
        rng = np.random.default_rng(split_seed(config.seed, part, step))
        batch = device.sent(relit_pairs.draw(rng, data, config.batch, pairs), where)
        return loss(net, batch, part, pairs.targets, config.keep)

    return training.train(model, batch_loss, config.train, on_event=on_event, name=f"{name}_{part}",
                          validate=lambda net: validation(net, held_out, part))


def loss(net: GeometryNets, batch: Pairs, part: str, each: int, keep: float) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, its parts) of pairs, ``each`` for one picture."""
    inputs = batch[slice(None, None, each)]
    surface = net.surface(inputs.image)
    seen = surface_error(surface, inputs.surface, inputs.subject)
    if part == "surfaces":
        return seen, {}
    surface = surface.repeat_interleave(each, 0)
    lit = lit_error(relit(net, batch.image, surface if part == "both" else surface.detach(), batch.light), batch.target)
    numbers = {"lit": lit.detach(), "seen": seen.detach()}
    return (lit + keep * seen if part == "both" else lit), numbers


def relit(net: GeometryNets, image: Image, surface: Tensor, light: Tensor) -> Image:
    """The first guess, not cut off at white."""
    return image * torch.exp2(net.gain(image, surface, light))


def surface_error(made: Tensor, true: Tensor, subject: Tensor) -> Tensor:
    """Mean length of the normals' difference plus mean difference of shading, four times as heavy on the objects.
    made, true : (B, 4, S, S)."""
    normal = ((made - true)[:, :3].square().sum(1, keepdim=True) + 1e-6).sqrt()
    weight = 1 + 3 * subject
    return ((normal + 2 * (made - true)[:, 3:].abs()) * weight).sum() / weight.sum()


def lit_error(made: Image, true: Image) -> Tensor:
    """Mean of the pictures' RMSE, and half the mean difference."""
    return ((made - true).square().mean((1, 2, 3)) + 1e-6).sqrt().mean() + 0.5 * functional.l1_loss(made, true)


@torch.no_grad()
def validation(net: GeometryNets, held_out: Pairs, part: str = "both") -> dict[str, float]:
    """``score``, of the surfaces or the first guess, whichever is trained; on the objects the mean angle in degrees of
    the guess, and of surfaces that all face the camera; the mean error of shading in stops, and that of even light;
    RMSE of the first guess and of the input."""
    made = torch.cat([net.surface(x) for x in held_out.image.split(48)])
    true, inside = held_out.surface, held_out.subject > 0.9
    inside = inside & (true[:, :3].norm(dim=1, keepdim=True) > 0.8)

    def angle(guess: Tensor) -> float:
        cosine = functional.cosine_similarity(guess, true[:, :3], dim=1)[:, None].clamp(-1, 1)
        return float(torch.rad2deg(torch.acos(cosine))[inside].mean())

    facing = made.new_tensor([0.0, 0.0, 1.0])[:, None, None].expand(len(made), 3, *made.shape[2:])

    def stops(guess: Tensor) -> float:
        return float(2 * (guess - true[:, 3:]).abs()[inside].mean())

    lit = torch.cat([relit(net, held_out.image[r], made[r], held_out.light[r]).clamp(0, 1)
                     for r in torch.arange(len(held_out)).split(48)])
    figures = {"angle_deg": angle(made[:, :3]), "facing_deg": angle(facing), "shading_stops": stops(made[:, 3:]),
               "even_stops": stops(0 * made[:, 3:]), "rmse": float(rmse(lit, held_out.target).mean()),
               "input_rmse": float(rmse(held_out.image, held_out.target).mean())}
    score = surface_error(made, true, held_out.subject) if part == "surfaces" else lit_error(lit, held_out.target)
    return {"score": float(score), **figures}


def _train(config: GeometryTraining, start: GeometryNets | None, name: str, workers: int, on_event) -> Outcome:
    held_out = validation_pairs(validation_scenes(workers, on_event), config.pairs, config.val_pairs)
    data, nets, notes = training_scenes(config.scenes, workers, on_event), start, {}
    for part in PARTS if config.part == "all" else [config.part]:
        minutes = config.train.minutes * (PARTS[part] if config.part == "all" else 1)
        trained = train_geometry(part, replace(config, train=replace(config.train, minutes=minutes)), data, held_out,
                                 name=name, start=nets, on_event=on_event)
        nets = GeometryNets()
        nets.load_state_dict(trained.best)
        notes |= {f"steps_{part}": str(trained.step), "score": f"{trained.best_score:.4f}"}
    return trained.best, notes


def _judge(weights: Path, workers: int) -> dict[str, float]:
    held_out = validation_pairs(validation_scenes(workers), RECIPE.config.pairs, RECIPE.config.val_pairs)
    return validation(Geometry.load(weights).nets, held_out)


def _adjust(config: GeometryTraining, start: Path | None) -> GeometryTraining:
    if config.part in ("light", "both") and not start:
        raise ConfigError(f"--part {config.part} goes on with weights; name their file with --start, or leave --part "
                          "out.")
    return config


RECIPE = Recipe(
    "geometry", "scenes", GeometryTraining(), DEFAULT_PATH, train=_train, judge=_judge, adjust=_adjust,
    build=lambda config: GeometryNets(), read=lambda path: Geometry.load(path).nets,
    write=lambda nets, path, notes: Geometry(nets).save(path, notes),
    options={"scenes": ("--scenes", {"help": "of the training set, made where missing"}),
             "lights": ("--lights", {"help": "wanted for each picture, of the last parts"}),
             "part": ("--part", {"type": str, "choices": [*PARTS, "all"], "help": "the last two need weights to "
                                                                                  "--start"})})
run, main = RECIPE.run, RECIPE.main

if __name__ == "__main__":
    main()
