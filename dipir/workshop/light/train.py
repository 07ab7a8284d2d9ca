"""Training and judging the light prior: ``python -m dipir.workshop.light.train --help``."""
from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dipir import device, disk
from dipir.arrays import EnvMap, split_seed
from dipir.errors import AssetError
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.light import CONE_DEG, DEFAULT_PATH, FLOOR, LightPrior, compose, features, predict
from dipir.priors.nets.light_unet import LightEstimate, LightUNet
from dipir.scene.camera import Camera
from dipir.scene.light import dominant_direction
from dipir.workshop import crops
from dipir.workshop import trainer as training
from dipir.workshop.light import batches as light_batches
from dipir.workshop.light import pairs as light_pairs
from dipir.workshop.light.measures import Functionals, functionals, luminance_weights, score, summary, table
from dipir.workshop.light.pairs import PairSet
from dipir.workshop.light.sources import Assembled, Batches, LightPriorConfig, Prefetched
from dipir.workshop.trainer import BatchLoss, TrainConfig, Trained, reporter, train
from dipir.workshop.worlds import views

DATA = disk.data_dir()


def light_loss(estimate: LightEstimate, true: Tensor, rows: Functionals) -> dict[str, Tensor]:
    """The terms of the loss of an estimate against maps (B, 16, 32, 3), each a mean over the batch.

    The map is composed with the *true* distribution of the dominant light, as far as there is one: its energy and what
    is around it are learned as if its direction were known, and its direction by itself. Composed with the estimated
    one, a sun that may be here or there costs least where it is left out, and objects would throw no shadows.

    log : solid-angle weighted L1 of log radiance;  exposure : of the log of the mean radiance
    diffuse, glossy8, glossy64 : of the functionals after each map is divided by its mean luminance, so that exposure
    is judged once and a sun cannot outweigh a batch;  absolute : of irradiance without that, over the true mean;
    it asks for the cautious side where exposure is unsure, and flattens out at six times the truth, because a plate of
    a dark corner cannot tell how bright the rest is
    peak : cross-entropy of the distribution of the dominant light's direction, for plates that have one;  quarter : the
    same over fields of 45 degrees, in which being nearly right counts
    toned : RMSE of map and functionals after gamma 2.4, which is what large surfaces, not lamps, decide
    energy : of the log of the dominant light's part of the mean radiance
    """
    target, weight, energy = dominant_distribution(true)
    p, t = compose(estimate, target, weight).flatten(1, 2), true.flatten(1, 2)
    share = rows.weights[:, None]
    mean_p, mean_t = (p * share).sum(1), (t * share).sum(1)
    level_p, level_t = ((m @ luminance_weights(m.device)).clamp_min(1e-4)[:, None, None] for m in (mean_p, mean_t))
    out = {"log": (((p + FLOOR).log() - (t + FLOOR).log()).abs() * share).sum(1).mean(),
           "exposure": ((mean_p + FLOOR).log() - (mean_t + FLOOR).log()).abs().mean()}
    for name, matrix in (("diffuse", rows.diffuse), ("glossy8", rows.glossy8), ("glossy64", rows.glossy64)):
        a, b = matrix @ (p / level_p), matrix @ (t / level_t)
        out[name] = ((a - b).abs() / (1 + 0.25 * (a + b))).mean()
    error = (rows.diffuse @ (p - t)).abs() / (level_t + 0.05)
    out["absolute"] = (error / (1 + error / 6)).mean()
    a, b = toned(p, share), toned(t, share)
    out["toned"] = sum(_rmse(matrix, a, b) for matrix in (rows.diffuse, rows.glossy8, None))
    least = 0.03 * level_t[:, :, 0]
    out["energy"] = ((estimate.energy.clamp(-9, 9).exp() + least).log() - (energy + least).log()).abs().mean()
    chance = torch.log_softmax(estimate.direction.flatten(1), 1).reshape(target.shape)
    out["peak"] = (weight * -(target * chance).sum((1, 2))).mean()
    fields = target.unflatten(2, (8, 4)).unflatten(1, (4, 4)).sum((2, 4))
    likely = chance.unflatten(2, (8, 4)).unflatten(1, (4, 4)).logsumexp((2, 4))
    out["quarter"] = (weight * -(fields * likely).sum((1, 2))).mean()
    return out


def toned(radiance: Tensor, share: Tensor) -> Tensor:
    """(B, N, 3) radiance as the three-sphere protocol looks at it: gamma 2.4, then scaled to a mean of 1 (there: by the
    median) with ``share`` (N, 1) of the sphere to each value."""
    compressed = (radiance + 1e-4) ** (1 / 2.4)
    return compressed / (compressed * share).sum((1, 2), keepdim=True) * 3


def _rmse(matrix: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Mean over the batch of the root of the mean squared difference, seen through ``matrix``."""
    difference = a - b if matrix is None else matrix @ (a - b)
    return (difference.square().mean((1, 2)) + 1e-8).sqrt().mean()


def dominant_distribution(env: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the light that stands out comes from: (B, 16, 32, 3) -> (distribution (B, 16, 32), weight (B,) in [0, 1],
    its part of the mean radiance (B, 3)).

    What exceeds four times the mean luminance, as energy, a fifth of it spread over the neighbours; the weight is twice
    its share of all energy, at most 1, so that an even sky has no say in the direction.
    """
    height, width = env.shape[1:3]
    share = (latlong.solid_angles(height, width, device=env.device) / (4 * math.pi)).expand(height, width)
    luminance = env @ luminance_weights(env.device)
    mean = (luminance * share).sum((1, 2))
    above = (1 - 4 * mean[:, None, None] / luminance.clamp_min(1e-12)).clamp_min(0)
    excess = above * luminance * share
    total = excess.sum((1, 2))
    chance = excess / total.clamp_min(1e-12)[:, None, None]
    wide = torch.nn.functional.pad(torch.cat([chance[..., -1:], chance, chance[..., :1]], -1)[:, None], (0, 0, 1, 1),
                                   mode="replicate")
    chance = 0.8 * chance + 0.2 * torch.nn.functional.avg_pool2d(wide, 3, 1)[:, 0]
    chance = chance / chance.sum((1, 2), keepdim=True).clamp_min(1e-12)
    return chance, (2 * total / mean.clamp_min(1e-12)).clamp_max(1), (env * (above * share)[..., None]).sum((1, 2))


def real_panoramas(split: str, data: Path = DATA) -> list[EnvMap]:
    """The photographed environments of ``split`` ("train" or "val") of splits.json, full resolution."""
    listing = data / "splits.json"
    if not listing.is_file():
        raise AssetError(f"{listing}: not found; set DIPIR_DATA to the folder that holds splits.json and hdri/")
    names = json.loads(listing.read_text())["hdri"][split]
    return [crops.load_panorama(data / "hdri" / name) for name in names]


def procedural_pairs(folder: Path | None = None) -> PairSet:
    """The views that ``synth.views.generate`` has made; ConfigError when there are none."""
    stored = views.load(folder)
    return PairSet(stored["plate"], stored["env"], stored["camera"], torch.ones(len(stored["plate"])))


def train_light_prior(config: LightPriorConfig, procedural: PairSet | None = None, *, name: str = "light",
                      on_event: Callable[[Event], None] | None = None,
                      start: LightUNet | None = None) -> tuple[LightPrior, Trained]:
    """Trains on the 26 training environments and ``procedural`` pairs; keeps the weights best on ``val``.

    Resumes the run ``name`` if it was begun before; ``start`` gives the first weights otherwise.
    """
    panoramas = [crops.prepare(p) for p in real_panoramas("train")]
    return train_on(config, panoramas, procedural, validation_cases(), name=name, on_event=on_event, start=start)


def train_on(config: LightPriorConfig, panoramas: Sequence[crops.Panorama], procedural: PairSet | None,
             cases: Sequence[Case], *, name: str = "light", on_event: Callable[[Event], None] | None = None,
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
        real = light_pairs.photographed(panoramas)
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
    plate, env, camera = framed.plates(light_batches.shipped(framed.columns(rng, 64), where))
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
    training.choose_device(args)
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
