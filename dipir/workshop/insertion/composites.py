"""Correctly lit composites for training the insertion prior, made while it trains: a recorded stage, lit by one matrix
product under random surroundings and photographed by a random camera."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.composite import over_shadowed
from dipir.scene.framing import wide_view
from dipir.workshop.crops import quantise
from dipir.workshop.insertion.photo import PhotoConfig, grade, random_gains, random_shooting
from dipir.workshop.insertion.stages import SIZE, Stage
from dipir.workshop.insertion.surroundings import AbstractSurroundings, Shot, Sight
from dipir.workshop.stored import join

_BRIGHTEST = 6e4


@dataclass(frozen=True)
class CompositeConfig:
    """How stages are photographed."""

    lights: int = 4  # composites of one stage in a batch
    photo: PhotoConfig = PhotoConfig()  # cameras


@dataclass(frozen=True)
class Composites:
    """B composites, float32."""

    target: Tensor
    plate: Tensor
    hint: Tensor
    """target, plate, hint: (B, 3, 64, 64) display: with and without the object, and under the mirrored plate's
    light."""
    wide: Tensor  # (B, 3, 64, 64) display, the whole plate
    gbuffers: Tensor  # (B, 12, 64, 64), ``gbuffer_planes``
    env: Tensor  # (B, 16, 32, 3) radiance, plate white = 1
    ratio: Tensor  # (B, 3, 64, 64) shadow ratio

    def __len__(self) -> int:
        return len(self.target)

    def mirrored(self, chosen: Tensor) -> Composites:
        """Those where ``chosen`` (B,) bool is set turned left to right, light and normals (world x) too."""
        out = {}
        for field in fields(self):
            value = getattr(self, field.name)
            turned = value.flip(2 if field.name == "env" else -1)
            if field.name == "gbuffers":
                turned = torch.cat([turned[:, :2], -turned[:, 2:3], turned[:, 3:]], 1)
            out[field.name] = torch.where(chosen[:, None, None, None], turned, value)
        return Composites(**out)

Sources = Sequence[tuple[float, AbstractSurroundings]]
"""Surroundings with the share of each in training."""


@torch.no_grad()
def draw(rng: np.random.Generator, stages: Sequence[Stage], sources: Sources, count: int,
         config: CompositeConfig = CompositeConfig()) -> Composites:
    """``count`` composites of random stages, ``config.lights`` of each; half mirrored, half with exchanged colours.

    Everything follows from ``rng``. In single precision, whatever autocast says around it.
    """
    parts, made = [], 0
    with torch.autocast("cpu", enabled=False):
        while made < count:
            stage = stages[rng.integers(len(stages))]
            if rng.random() < 0.5:
                stage = stage.recoloured(rng.permutation(3).tolist())
            parts.append(of_stage(rng, stage, sources, min(config.lights, count - made), config))
            made += len(parts[-1])
        return join(parts).mirrored(torch.from_numpy(rng.random(count) < 0.5))


def of_stage(rng: np.random.Generator, stage: Stage, sources: Sources, count: int,
             config: CompositeConfig = CompositeConfig()) -> Composites:
    """``count`` composites of one stage."""
    sight = Sight(stage)
    shares = np.array([share for share, _ in sources])
    shots: list[Shot] = []
    for number, (_, source) in zip(rng.multinomial(count, shares / shares.sum()), sources, strict=True):
        shots += source.shots(rng, sight, int(number))
    # Views that fit a camera can be too few: the first source stands in.
    shots += sources[0][1].shots(rng, sight, count - len(shots))
    return photograph(rng, stage, sight, shots, config.photo)


def photograph(rng: np.random.Generator, stage: Stage, sight: Sight, shots: Sequence[Shot],
               config: PhotoConfig = PhotoConfig()) -> Composites:
    """Expose, light and develop one stage under each of ``shots``.

    Exposure and white balance act on plate and light alike. Shadows fall on what the sensor kept of the plate, as they
    do in any composite. Plate and composite share response curve, noise and JPEG artefacts; the object has no noise,
    and neither has the whole plate, whose pixels stand for many.
    """
    # ---- plates ----
    cameras, wides, closes, plates, envs = [], [], [], [], []
    for shot in shots:
        amount = 1.0 + rng.uniform(-1.0, 0.6) * config.saturation
        gains = random_gains(rng, grade(shot.wide, amount), config)
        camera = random_shooting(rng, config)
        close = grade(shot.close, amount, gains).clamp_max(camera.response.white)
        cameras.append(camera)
        wides.append(quantise(camera.response(grade(shot.wide, amount, gains))))
        closes.append(close)
        plates.append(camera.photo(close, rng))
        envs.append(grade(shot.env.permute(2, 0, 1), amount, gains).permute(1, 2, 0).clamp_max(_BRIGHTEST))
    # ---- light, then composites ----
    wide, plate, env = torch.stack(wides), torch.stack(plates), torch.stack(envs)
    (shown, guessed), (ratio, faded) = (
        x.chunk(2) for x in stage.light(torch.cat([env, sight.mirrored_light(wide)])))
    clear = 1 - stage.alpha
    target = []
    for k, camera in enumerate(cameras):
        artefacts = plate[k] - camera.response(closes[k])
        lit = over_shadowed(shown[k], stage.alpha, closes[k], ratio[k])
        target.append(camera.response(lit) + clear * artefacts)
    hint = linear_to_srgb(over_shadowed(guessed, stage.alpha, srgb_to_linear(plate), faded).clamp(0, 1))
    gbuffers = stage.gbuffers.float().expand(len(wide), -1, -1, -1)
    return Composites(torch.stack(target).clamp(0, 1), plate, hint, wide_view(wide, SIZE), gbuffers, env, ratio)
