"""Training and judging the light prior: ``python -m dipir.workshop.light.train --help``."""
from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dipir import device
from dipir.arrays import EnvMap, split_seed
from dipir.event import Notify
from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.light import CONE_DEG, DEFAULT_PATH, LightPrior, features, predict
from dipir.priors.nets.light_unet import LightUNet
from dipir.scene.camera import Camera
from dipir.scene.light import dominant_direction
from dipir.workshop import crops
from dipir.workshop import trainer as training
from dipir.workshop.data import real_panoramas
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import pairs as light_pairs
from dipir.workshop.light.loss import light_loss
from dipir.workshop.light.measures import functionals, score, summary, table
from dipir.workshop.light.pairs import PairSet
from dipir.workshop.light.sources import Assembled, Batches, LightPriorConfig, Prefetched
from dipir.workshop.runner import choose_device, reporter
from dipir.workshop.trainer import BatchLoss, TrainConfig, Trained, train
from dipir.workshop.worlds import views


def procedural_pairs(folder: Path | None = None) -> PairSet:
    """The views that ``worlds.views.generate`` has made; ConfigError when there are none."""
    stored = views.load(folder)
    return PairSet(stored["plate"], stored["env"], stored["camera"], torch.ones(len(stored["plate"])))


def train_light_prior(config: LightPriorConfig, procedural: PairSet | None = None, *, name: str = "light",
                      on_event: Notify = None, start: LightUNet | None = None) -> tuple[LightPrior, Trained]:
    """Trains on the 26 training environments and ``procedural`` pairs; keeps the weights best on ``val``.

    Resumes the run ``name`` if it was begun before; ``start`` gives the first weights otherwise.
    """
    panoramas = [crops.prepare(p) for p in real_panoramas("train")]
    return train_on(config, panoramas, procedural, validation_cases(), name=name, on_event=on_event, start=start)


def train_on(config: LightPriorConfig, panoramas: Sequence[crops.Panorama], procedural: PairSet | None,
             cases: Sequence[Case], *, name: str = "light", on_event: Notify = None,
             start: LightUNet | None = None) -> tuple[LightPrior, Trained]:
    """:func:`train_light_prior` on given panoramas, judged on given cases. On a GPU the batches are assembled there."""
    torch.manual_seed(config.seed)
    where = device.current().torch
    # In float32 channels last makes convolutions a fifth faster on CPUs, in bfloat16 slower; a GPU's group norm undoes
    # it in every block.
    plain = config.train.bf16 or where.type != "cpu"
    net = (start or LightUNet(config.net)).to(where, memory_format=torch.contiguous_format if plain else
                                              torch.channels_last)
    if where.type == "cpu":
        real = light_pairs.frame_panoramas(panoramas)
        batches = Prefetched(Batches(config, real, None if procedural is None else light_pairs.like(procedural, real)))
    else:
        batches = Assembled.of(config, panoramas, procedural, where)
    trained = train(net, step_loss(config, batches, where), config.train, on_event=on_event, name=name,
                    validate=lambda model: validation(LightPrior(model), cases, where))
    best = LightUNet(config.net)
    best.load_state_dict(trained.best)
    return LightPrior(best), trained


def step_loss(config: LightPriorConfig, batches: Assembled | Prefetched, where: torch.device) -> BatchLoss:
    """What ``training.train`` calls at every step."""
    rows = functionals(where=where)

    def batch_loss(model: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, env = batches[step]
        estimate = predict(model, inputs)
        with device.single_precision(where):
            terms = light_loss(estimate, env, rows)
        return sum(config.weights[k] * v for k, v in terms.items()), {k: v.detach() for k, v in terms.items()}

    return batch_loss


def validation(prior: LightPrior, cases: Sequence[Case], where: torch.device) -> dict[str, float]:
    """Summary of the errors on the cases; on a GPU all plates are estimated at once."""
    if where.type == "cpu":
        maps = [prior.estimate_ahead(c.plate_disp, c.directions)[0] for c in cases]
    else:
        plates, rays = (torch.cat([getattr(c, key) for c in cases]).to(where) for key in ("plate_disp", "directions"))
        maps = torch.cat([prior.estimate_ahead(p, d) for p, d in zip(plates.split(128), rays.split(128), strict=True)])
    return summary([score(env, c.env, functionals()) for env, c in zip(device.moved(maps, torch.device("cpu")), cases,
                                                                       strict=True)])


def training_speed(steps: int = 100, batch: int = 96, where: torch.device | None = None,
                   config: LightPriorConfig = LightPriorConfig()) -> float:
    """Steps a second of this training on a GPU (default: the run's device) with batches of so many plates, batches made
    and weights updated, from panoramas made here: no files needed. The first tenth, at least 5 more, are not timed."""
    where = where or device.current().torch
    rng = np.random.default_rng(0)
    panoramas = [crops.prepare(_drawn_panorama(rng)) for _ in range(8)]
    framed = light_batches.Framed(panoramas, where)
    plate, env, camera = framed.plates(light_batches.ship(framed.columns(rng, 64), where))
    stored = light_batches.Stored(PairSet(plate.half(), env, camera, torch.ones(len(plate))), where)
    config = replace(config, batch=batch)
    real = round(batch * config.real)
    batches = Assembled(config, [(real, framed), (batch - real, stored)])
    torch.manual_seed(0)
    net = LightUNet(config.net).to(where)
    return training.speed(net, step_loss(config, batches, where), config.train, steps, warm=max(5, steps // 10))


def _drawn_panorama(rng: np.random.Generator, height: int = 512) -> EnvMap:
    """(height, 2 height, 3): sky, ground with a pattern, a sun."""
    rays = latlong.directions(height, 2 * height)
    sun = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=3) + [0, 1, 0]).float(), dim=0)
    pattern = ((rays[..., :1] * 9).sin() * (rays[..., 2:] * 7).sin()).abs()
    tint = torch.from_numpy(rng.uniform(0.3, 1.0, (2, 3)).astype(np.float32))
    base = torch.where(rays[..., 1:2] > 0, 0.5 + 0.5 * rays[..., 1:2], 0.1 + 0.3 * pattern)
    base = torch.where(rays[..., 1:2] > 0, base * tint[0], base * tint[1])
    return base + 2e3 * (3e3 * ((rays @ sun)[..., None] - 1)).exp()


@dataclass(frozen=True)
class Case:
    """One validation plate: (1, 3, H, W) display, (1, H, W, 3) directions, (16, 32, 3) true light."""

    plate_disp: Tensor
    directions: Tensor
    env: EnvMap


def validation_cases(split: str = "val", yaws: int = 8, seed: int = 7) -> list[Case]:
    """``yaws`` seeded plates of each environment of ``split``: 4:3, field of view 50-70 degrees, pitch 0-20 degrees
    down, automatic exposure, sRGB, 8 bits, no jitter."""
    cases = []
    for index, envmap in enumerate(real_panoramas(split)):
        light = crops.prepare(envmap).env
        for k in range(yaws):
            rng = np.random.default_rng(split_seed(seed, "val", index, k))
            turn = int(rng.integers(128))
            camera = Camera.looking(192, 144, rng.uniform(50, 70), pitch_deg=rng.uniform(0, 20))
            plate = crops.perspective_crop(torch.roll(envmap, turn * envmap.shape[1] // 128, 1), camera)
            gain = crops.auto_exposure(plate)
            directions = torch.from_numpy(camera.directions().astype(np.float32))
            env = latlong.resize(torch.roll(light, turn, 1), 16, 32) * gain
            cases.append(Case(crops.quantise(linear_to_srgb((plate * gain).clamp(0, 1)))[None], directions[None], env))
    return cases


def evaluate_light_prior(prior: LightPrior, split: str = "val", yaws: int = 8,
                         seed: int = 7) -> dict[str, dict[str, float]]:
    """Summaries on the plates of :func:`validation_cases` of the prior, of constant ambient light (the plate's mean
    linear colour everywhere) and of the plate projected to the sphere and mirrored."""
    rows, scores = functionals(), {"light prior": [], "ambient": [], "projected, mirrored": []}
    for case in validation_cases(split, yaws, seed):
        inputs = features(case.plate_disp, case.directions)
        mirrored = inputs.base[0].permute(1, 2, 0)
        ambient = srgb_to_linear(case.plate_disp).mean((0, 2, 3)).expand(16, 32, 3)
        ours = prior.estimate_ahead(case.plate_disp, case.directions)[0]
        for name, env in zip(scores, (ours, ambient, mirrored), strict=True):
            scores[name].append(score(env, case.env, rows))
    return {name: summary(values) for name, values in scores.items()}


def guess_calibration(prior: LightPrior, split: str = "val", yaws: int = 8, seed: int = 7) -> tuple[float, float]:
    """(mean chance that the prior gives its first guess at the dominant direction, share of plates where that is within
    ``CONE_DEG`` of the truth): alike when the chances can be believed."""
    stated, hits = [], []
    for case in validation_cases(split, yaws, seed):
        guess = prior.hypotheses(case.plate_disp, case.directions[0], 1)[0]
        stated.append(guess.chance)
        hits.append(float(guess.direction @ dominant_direction(case.env)) > math.cos(math.radians(CONE_DEG)))
    return float(np.mean(stated)), float(np.mean(hits))


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, exports and evaluates; or, with --evaluate, only evaluates."""
    # ---- options ----
    parser = argparse.ArgumentParser(prog="python -m dipir.workshop.light.train", description=__doc__)
    parser.add_argument("--minutes", type=float, default=40.0, help="wall time of this call")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the whole run")
    parser.add_argument("--rate", type=float, default=TrainConfig().rate)
    parser.add_argument("--name", default="light", help="name of the run; the same name resumes")
    parser.add_argument("--start", type=Path, help="weights to begin a new run from")
    parser.add_argument("--real", type=float, default=0.4, help="share of crops from photographed panoramas")
    parser.add_argument("--views", type=Path, help="folder of the procedural views (default: the cache)")
    parser.add_argument("--no-procedural", action="store_true")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=None,
                        help="bfloat16 (default: on a GPU; for processors that have it, avx512_bf16 or amx)")
    device.add_option(parser)
    parser.add_argument("--export", type=Path, help="write the best weights here")
    parser.add_argument("--sharpness", type=float, default=1.0, help="exponent on the chance of each direction of the "
                                                                     "dominant light, kept with the weights")
    parser.add_argument("--focus", type=float, default=0.0, help="part of the dominant light in a lobe at the first "
                                                                 "guess, kept with the weights")
    parser.add_argument("--trust", type=float, default=1.0, help="factor on the chances of guesses, kept with the "
                                                                 "weights")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    parser.add_argument("--evaluate", type=Path, nargs="?", const=DEFAULT_PATH, help="only judge these weights")
    parser.add_argument("--split", default="val", choices=("train", "val"))
    parser.add_argument("--yaws", type=int, default=8, help="plates of each environment when judging")
    parser.add_argument("--seed", type=int, default=7, help="of the plates when judging; 7 is what training watches")
    args = parser.parse_args(arguments)
    # ---- work ----
    choose_device(args)
    if args.evaluate:
        prior = LightPrior.load(args.evaluate)
        results = evaluate_light_prior(prior, args.split, args.yaws, args.seed)
        stated, hits = guess_calibration(prior, args.split, args.yaws, args.seed)
        sys.stdout.write(f"{table(results)}\nfirst guess within {CONE_DEG:.0f} degrees: chance given {stated:.2f}, "
                         f"true share {hits:.2f}\n")
        return
    schedule = TrainConfig(steps=args.steps, rate=args.rate, minutes=args.minutes, decay=0.05, ema=0.998,
                           validate_every=250, bf16=args.bf16)
    config = LightPriorConfig(schedule, batch=args.batch, real=args.real)
    start = LightPrior.load(args.start).net.requires_grad_(True) if args.start else None
    prior, trained = train_light_prior(config, None if args.no_procedural else procedural_pairs(args.views),
                                       name=args.name, on_event=reporter(args.tensorboard), start=start)
    prior.sharpness, prior.focus, prior.trust = args.sharpness, args.focus, args.trust
    if args.export:
        prior.save(args.export, {"steps": str(trained.step)})
    sys.stdout.write(table(evaluate_light_prior(prior, args.split, args.yaws, args.seed)) + "\n")


if __name__ == "__main__":
    main()
