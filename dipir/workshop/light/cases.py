"""Plates with known light that the light prior's training and its calibration watch."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.image.color import BT709, linear_to_srgb
from dipir.priors.light import CONE_DEG, LightPrior, Look
from dipir.priors.light_input import usual_place
from dipir.workshop.crops import quantise
from dipir.workshop.light.batches import HEIGHT, WIDTH, Raw, Truth, directions, quantile
from dipir.workshop.light.dressing import pooled
from dipir.workshop.light.framed import about, crops, rolled
from dipir.workshop.light.measures import functionals, score, summary
from dipir.workshop.light.places import Places, hardness
from dipir.workshop.stored import part, tall


@dataclass(frozen=True)
class Cases:
    """N plates with their light."""

    plate_disp: Tensor
    """(N, 3, 192, 256) display [0, 1], 8 bits."""
    directions: Tensor
    """(N, 192, 256, 3)."""
    place: Tensor
    """(N, 3)."""
    truth: Truth
    """Plate white = 1."""


def validation_cases(places: Places, yaws: int = 8, seed: int = 7) -> Cases:
    """``yaws`` seeded plates of each environment: 4:3, field of view 50-70 degrees, pitch 0-20 degrees down, automatic
    exposure, sRGB, 8 bits, no jitter."""
    turns, cameras = [], []
    for index in range(len(places)):
        for k in range(yaws):
            rng = np.random.default_rng(split_seed(seed, "val", index, k))
            turns.append(int(rng.integers(128)))
            cameras.append([rng.uniform(50, 70), rng.uniform(0, 20), 0.0])
    where = places.sigma.device
    index = torch.arange(len(places), device=where).repeat_interleave(yaws)
    turn, camera = torch.tensor(turns, device=where).float(), torch.tensor(cameras, device=where)
    plate = torch.cat([crops(places.padded, i, c, t, 2) for i, c, t in zip(index.split(32), camera.split(32),
                                                                         turn.split(32), strict=True)])
    rays = directions(camera, WIDTH, HEIGHT)
    rest = pooled(rolled(places.rest[index], turn), 16, 32)
    return photographed(Raw(plate, rest, about(places.direction[index], turn), places.irradiance[index],
                            places.sigma[index], camera, usual_place(rays)))


def photographed(raw: Raw) -> Cases:
    """Exposed automatically (``crops.auto_exposure``), clipped, sRGB, 8 bits."""
    raw = Raw(*(v.float() for v in vars(raw).values()))
    luminance = torch.einsum("bchw,c->bhw", raw.plate, raw.plate.new_tensor(BT709)).clamp_min(1e-8).flatten(1)
    gain = torch.minimum(0.16 / luminance.log().mean(1).exp(), 1 / quantile(luminance.sort(1).values, 0.9))
    photo = quantise(linear_to_srgb((raw.plate * tall(gain)).clamp(0, 1)))
    return Cases(photo, directions(raw.camera, WIDTH, HEIGHT), raw.place,
                 Truth(raw.rest * tall(gain), raw.direction, raw.irradiance * gain[:, None], raw.sigma))


def looks(prior: LightPrior, cases: Cases, batch: int = 64) -> list[Look]:
    """What the prior says of each case, on the CPU."""
    out = []
    for rows in torch.arange(len(cases.place)).split(batch):
        chosen = rows.to(cases.place.device)
        said = device.moved(prior.say(cases.plate_disp[chosen], cases.directions[chosen], cases.place[chosen]),
                            torch.device("cpu"))
        out += [prior.look_of({key: value[k] for key, value in vars(said).items()}, said.chance[k])
                for k in range(len(rows))]
    return out


def judged(found: Sequence[Look], cases: Cases) -> dict[str, float]:
    """Means over the cases: ``measures.summary`` of the maps, and what counts for shadows.

    sun_deg : median error of the first guess in degrees where there is a hard source;  within, three : share of these
    whose first guess, or one of three, lies within 30 degrees;  auc : of the decision between hard light and none;
    share_log2 : median of |log2| of what is left in the shadow;  stated : mean chance of the first guess there;
    score : what training minimises
    """
    truth = device.moved(cases.truth, torch.device("cpu"))
    total, share = truth.total(), truth.share()
    out = summary([score(look.envmap(), env, functionals()) for look, env in zip(found, total, strict=True)])
    sunny = (hardness(share) > 0.5).tolist()
    angles = [[math.degrees(math.acos(float((g.direction @ truth.direction[k]).clamp(-1, 1))))
               for g in found[k].guesses] for k in range(len(found)) if sunny[k]]
    chances = [look.hard for look in found]
    out["auc"] = auc(chances, sunny)
    if angles:
        out |= {"sun_deg": float(np.median([a[0] for a in angles])),
                "within": float(np.mean([a[0] < CONE_DEG for a in angles])),
                "three": float(np.mean([min(a) < CONE_DEG for a in angles])),
                "share_log2": float(np.median([abs(math.log2((1 - _share(look) + 0.01) / (1 - float(s) + 0.01)))
                                               for look, s, sun in zip(found, share, sunny, strict=True) if sun])),
                "stated": float(np.mean([look.guesses[0].chance for look, sun in zip(found, sunny, strict=True)
                                         if sun]))}
        # Where all places are sunny there is nothing to decide.
        undecided = 0.0 if math.isnan(out["auc"]) else 1 - out["auc"]
        out["score"] += 1 - out["within"] + 0.5 * undecided + 0.3 * out["share_log2"]
    return out


def _share(look: Look) -> float:
    return look.sources[0].ground_share(look.rest)


def auc(values: Sequence[float], positive: Sequence[bool]) -> float:
    """Chance that a positive case has a higher value than another one, ties counting half; NaN without both."""
    high = np.array([v for v, p in zip(values, positive, strict=True) if p])
    low = np.array([v for v, p in zip(values, positive, strict=True) if not p])
    if not len(high) or not len(low):
        return math.nan
    return float((high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean())


def rows(cases: Cases, chosen: Tensor) -> Cases:
    """Some of the cases."""
    return Cases(cases.plate_disp[chosen], cases.directions[chosen], cases.place[chosen], part(cases.truth, chosen))
