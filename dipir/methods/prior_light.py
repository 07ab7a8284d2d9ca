"""Training and judging the light prior on crops of panoramas: ``python -m dipir.methods.prior_light --help``."""
from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dipir.arrays import EnvMap, split_seed
from dipir.diffusion.light_prior import DEFAULT_PATH, FLOOR, Features, LightPrior, features, radiance
from dipir.errors import AssetError, ConfigError
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.methods.training import TrainConfig, Trained, train
from dipir.nets.light_unet import LightUNet, LightUNetConfig
from dipir.scene.camera import Camera
from dipir.scene.light import dominant_direction
from dipir.synth import crops, panoramas

_LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])
HIGH = 0.9
"""Height of a unit direction, 64 degrees of elevation, above which azimuth is not judged."""
DATA = Path(os.environ.get("DIPIR_DATA") or Path(__file__).resolve().parents[2] / ".." / "shared" / "data")


@dataclass(frozen=True)
class LightPriorConfig:
    """batch : crops a step;  real : share of crops from photographed panoramas;  weights of the loss terms, see
    :func:`light_loss`."""

    train: TrainConfig = TrainConfig()
    net: LightUNetConfig = LightUNetConfig()
    crop: crops.CropConfig = crops.CropConfig()
    batch: int = 24
    real: float = 0.4
    seed: int = 0
    weights: Mapping[str, float] = field(default_factory=lambda: {
        "log": 0.5, "exposure": 0.2, "absolute": 1.0, "diffuse": 1.0, "glossy8": 0.5, "glossy64": 0.2,
        "direction": 0.3})


@dataclass(frozen=True)
class Functionals:
    """Rows that turn a map, flattened to (512, 3), into what a surface sees, each scaled so that a map of 1 gives 1.

    weights : (512,) solid angle share of each texel;  diffuse : (64, 512) irradiance / pi over 64 normals
    glossy8, glossy64 : (64, 512), (128, 512) Phong lobes cos^n over as many directions
    """

    weights: Tensor
    diffuse: Tensor
    glossy8: Tensor
    glossy64: Tensor


def functionals(height: int = 16, width: int = 32) -> Functionals:
    """The fixed linear functionals of loss and evaluation."""
    direction = latlong.directions(height, width).reshape(-1, 3)
    share = latlong.solid_angles(height, width).expand(height, width).reshape(-1) / (4 * math.pi)

    def lobes(count: int, exponent: float) -> Tensor:
        k = torch.arange(count) + 0.5
        y, azimuth = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
        r = (1 - y * y).sqrt()
        rows = (torch.stack([r * azimuth.cos(), y, r * azimuth.sin()], -1) @ direction.T).clamp_min(0) ** exponent
        return rows * share / (rows * share).sum(1, keepdim=True)

    return Functionals(share, lobes(64, 1), lobes(64, 8), lobes(128, 64))


def light_loss(predicted: Tensor, true: Tensor, rows: Functionals) -> dict[str, Tensor]:
    """The terms of the loss of maps (B, 16, 32, 3), each a mean over the batch.

    log : solid-angle weighted L1 of log radiance;  exposure : of the log of the mean radiance
    diffuse, glossy8, glossy64 : of the functionals after each map is divided by its mean luminance, so that exposure
    is judged once and a sun cannot outweigh a batch;  absolute : of irradiance without that, over the true mean;
    it asks for the cautious side where exposure is unsure, and flattens out at six times the truth, because a plate of
    a dark corner cannot tell how bright the rest is
    direction : Kullback-Leibler divergence of the distributions of luminance over the sphere; its minimum under
    uncertainty is the expected distribution, which is also what a squared error of the rendered object wants
    """
    p, t = predicted.flatten(1, 2), true.flatten(1, 2)
    share = rows.weights[:, None]
    mean_p, mean_t = (p * share).sum(1), (t * share).sum(1)
    level_p, level_t = ((m @ _LUMINANCE).clamp_min(1e-4)[:, None, None] for m in (mean_p, mean_t))
    out = {"log": (((p + FLOOR).log() - (t + FLOOR).log()).abs() * share).sum(1).mean(),
           "exposure": ((mean_p + FLOOR).log() - (mean_t + FLOOR).log()).abs().mean()}
    for name, matrix in (("diffuse", rows.diffuse), ("glossy8", rows.glossy8), ("glossy64", rows.glossy64)):
        a, b = matrix @ (p / level_p), matrix @ (t / level_t)
        out[name] = ((a - b).abs() / (1 + 0.25 * (a + b))).mean()
    error = (rows.diffuse @ (p - t)).abs() / (level_t + 0.05)
    out["absolute"] = (error / (1 + error / 6)).mean()
    q, r = ((x @ _LUMINANCE) * rows.weights + 1e-7 for x in (p, t))
    q, r = q / q.sum(1, keepdim=True), r / r.sum(1, keepdim=True)
    out["direction"] = (r * (r.log() - q.log())).sum(1).mean()
    return out


def real_panoramas(split: str, data: Path = DATA) -> list[EnvMap]:
    """The photographed environments of ``split`` ("train" or "val") of splits.json, full resolution."""
    listing = data / "splits.json"
    if not listing.is_file():
        raise AssetError(f"{listing}: not found; set DIPIR_DATA to the folder that holds splits.json and hdri/")
    names = json.loads(listing.read_text())["hdri"][split]
    return [crops.load_panorama(data / "hdri" / name) for name in names]


def train_light_prior(config: LightPriorConfig, procedural: Sequence[EnvMap] = (), *, name: str = "light",
                      on_event: Callable[[Event], None] | None = None,
                      start: LightUNet | None = None) -> tuple[LightPrior, Trained]:
    """Trains on the 26 training environments and ``procedural`` panoramas; keeps the weights best on ``val``.

    Resumes the run ``name`` if it was begun before; ``start`` gives the first weights otherwise.
    """
    torch.manual_seed(config.seed)
    net = start or LightUNet(config.net)
    real = [crops.prepare(p) for p in real_panoramas("train")]
    made = [crops.prepare(p) for p in procedural]
    rows, cases = functionals(), validation_cases()

    def batch_loss(model: nn.Module, step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(split_seed(config.seed, "light", step))
        count = config.batch if not made else round(config.batch * config.real)
        parts = [crops.random_pairs(rng, real, count, config.crop)]
        if made:
            parts.append(crops.random_pairs(rng, made, config.batch - count, config.crop))
        inputs = join([features(p.plate_disp, p.directions) for p in parts])
        terms = light_loss(radiance(model, inputs), torch.cat([p.env for p in parts]), rows)
        return sum(config.weights[k] * v for k, v in terms.items()), {k: float(v.detach()) for k, v in terms.items()}

    def validate(model: nn.Module) -> dict[str, float]:
        prior = LightPrior(model)
        return summary([score(prior.estimate_ahead(c.plate_disp, c.directions)[0], c.env, rows) for c in cases])

    trained = train(net, batch_loss, config.train, validate=validate, on_event=on_event, name=name)
    best = LightUNet(config.net)
    best.load_state_dict(trained.best)
    return LightPrior(best), trained


def join(parts: Sequence[Features]) -> Features:
    """One batch of several."""
    return Features(*(torch.cat([getattr(p, key) for p in parts]) for key in ("sphere", "plate", "base")))


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


def score(predicted: EnvMap, true: EnvMap, rows: Functionals) -> dict[str, float]:
    """Errors of one map (16, 32, 3).

    diffuse : RMSE of irradiance over normals and channels, divided by the RMS of the truth;  si : the same after the
    best scale;  glossy, glossy_si : of the Phong lobes of exponent 64;  exposure : |log of the ratio of mean
    luminance|;  angle_deg, azimuth_deg : of the dominant direction, the azimuth NaN where the true one is so high that
    it says nothing
    """
    p, t = predicted.reshape(-1, 3), true.reshape(-1, 3)
    out = {}
    for name, si, matrix in (("diffuse", "si", rows.diffuse), ("glossy", "glossy_si", rows.glossy64)):
        a, b = matrix @ p, matrix @ t
        scale = (a * b).sum() / a.square().sum().clamp_min(1e-12)
        out[name] = float((a - b).norm() / b.norm())
        out[si] = float((scale * a - b).norm() / b.norm())
    level_p, level_t = (float((rows.weights @ x) @ _LUMINANCE) for x in (p, t))
    out["exposure"] = abs(math.log(level_p / level_t))
    a, b = dominant_direction(predicted), dominant_direction(true)
    out["angle_deg"] = math.degrees(math.acos(float((a * b).sum().clamp(-1, 1))))
    turn = math.degrees(math.atan2(float(a[0]), float(a[2])) - math.atan2(float(b[0]), float(b[2])))
    out["azimuth_deg"] = abs((turn + 180) % 360 - 180) if float(b[1]) < HIGH else math.nan
    return out


def summary(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means of the errors (exposure, angles: medians), and ``score`` that training minimises: what counts is how
    near rendered objects come, so diffuse and glossy errors, capped so that one impossible plate cannot decide."""
    columns = {key: np.array([s[key] for s in scores]) for key in scores[0]}
    out = {key: float(np.nanmedian(v) if key in ("exposure", "angle_deg", "azimuth_deg") else v.mean())
           for key, v in columns.items()}
    out["diffuse_median"] = float(np.median(columns["diffuse"]))
    capped = {key: float(np.minimum(columns[key], 2.0).mean()) for key in ("diffuse", "glossy")}
    out["score"] = capped["diffuse"] + 1.5 * out["si"] + 0.25 * capped["glossy"] + 0.5 * out["glossy_si"]
    return out


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


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The results as a Markdown table."""
    columns = {"diffuse": "irradiance RMSE / RMS", "diffuse_median": "(median)", "si": "scale-invariant",
               "glossy": "Phong 64 RMSE / RMS", "glossy_si": "scale-invariant", "exposure": "log exposure (median)",
               "angle_deg": "direction, deg (median)", "azimuth_deg": "azimuth, deg (median, light below 64 deg)"}
    lines = ["| light | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in results.items():
        cells = (f"{values[k]:.0f}" if k.endswith("_deg") else f"{values[k]:.3f}" for k in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, exports and evaluates; or, with --evaluate, only evaluates."""
    parser = argparse.ArgumentParser(prog="python -m dipir.methods.prior_light", description=__doc__)
    parser.add_argument("--minutes", type=float, default=40.0, help="wall time of this call")
    parser.add_argument("--steps", type=int, default=10_000, help="steps of the whole run")
    parser.add_argument("--rate", type=float, default=TrainConfig().rate)
    parser.add_argument("--name", default="light", help="name of the run; the same name resumes")
    parser.add_argument("--start", type=Path, help="weights to begin a new run from")
    parser.add_argument("--real", type=float, default=0.4, help="share of crops from photographed panoramas")
    parser.add_argument("--no-procedural", action="store_true")
    parser.add_argument("--export", type=Path, help="write the best weights here")
    parser.add_argument("--evaluate", type=Path, nargs="?", const=DEFAULT_PATH, help="only judge these weights")
    parser.add_argument("--split", default="val", choices=("train", "val"))
    parser.add_argument("--yaws", type=int, default=8, help="plates of each environment when judging")
    parser.add_argument("--seed", type=int, default=7, help="of the plates when judging; 7 is what training watches")
    args = parser.parse_args(arguments)
    if args.evaluate:
        results = evaluate_light_prior(LightPrior.load(args.evaluate), args.split, args.yaws, args.seed)
        sys.stdout.write(table(results) + "\n")
        return
    schedule = TrainConfig(steps=args.steps, rate=args.rate, minutes=args.minutes, decay=0.05, ema=0.998,
                           validate_every=250)
    config = LightPriorConfig(schedule, real=args.real)
    start = LightPrior.load(args.start).net.requires_grad_(True) if args.start else None
    prior, trained = train_light_prior(config, () if args.no_procedural else _procedural(), name=args.name,
                                       on_event=_report, start=start)
    if args.export:
        prior.save(args.export, {"steps": str(trained.step)})
    sys.stdout.write(table(evaluate_light_prior(prior, args.split, args.yaws, args.seed)) + "\n")


def _procedural() -> Sequence[EnvMap]:
    """The panoramas that ``synth.panoramas.generate`` has made so far; none when there are none."""
    try:
        return panoramas.load()[0]
    except ConfigError:
        return ()


def _report(event: Event) -> None:
    numbers = "  ".join(f"{key} {value:.4g}" for key, value in event.scalars.items())
    sys.stdout.write(f"{event.stage} {event.step}/{event.steps}  {numbers}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
