"""Settings of ``dipir insert``: dataclass defaults, presets as deltas in ``configs/insert/``, overrides."""
from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dipir import disk
from dipir.diffusion.lora import PersonalizeConfig
from dipir.diffusion.memory import MemorySettings
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import FitConfig
from dipir.render.transport import TransportSettings
from dipir.scene.light import Fusion
from dipir.settings import presets

PRESETS = disk.shipped("configs/insert")
FITTED = ("light", "tone", "material", "emission")
# Counts that must be something; less would fail deep inside, far from the setting that is to blame.
_LEAST = {"checkpoint_every": 1, "light.lobes": 1, "tone.bins": 1, "material.spp": 1, "guidance.samples": 1,
          "guidance.sampler_steps": 1, "guidance.update_every": 1, "guidance.concepts": 0, "guidance.size": 8,
          "transport.env_height": 2, "transport.samples": 1, "transport.bsdf_samples": 0, "transport.light_samples": 1,
          "transport.depth": 1, "fit.steps": 0, "final.spp": 1, "final.depth": 1, "final.size": 0,
          "final.env_height": 2}


@dataclass(frozen=True)
class LightSettings:
    """lobes : spherical Gaussians;  guess : 0 = weigh the light prior's guesses at the dominant light, 1, 2, 3 = choose
    the first, second, third of them;  start : where they begin (the light prior's estimate, the mirrored plate, or a
    constant);  two_maps : separate shadow map, fused by the schedule ``fusion`` (methods 1.5, ``light.fusion_weight``)
    consistency, sparsity : weights of that (methods 1.10);  anchor : weight of the distance to the start, log radiance
    rate : of amplitudes and widths;  axis_rate : of the axes, radians a step"""

    lobes: int = 32
    guess: int = 0
    start: Literal["prior", "mirrored", "ambient"] = "prior"
    two_maps: bool = False
    fusion: Fusion = "linear"
    consistency: float = 0.03
    sparsity: float = 0.01
    anchor: float = 1.0
    rate: float = 0.05
    axis_rate: float = 0.02


@dataclass(frozen=True)
class ToneSettings:
    """bins : of the spline;  per_channel : a curve each for R, G, B;  rate : learning rate;  stiffness : weight of the
    squared distance from the identity (a curve could otherwise explain light away)"""

    bins: int = 5
    per_channel: bool = False
    rate: float = 0.01
    stiffness: float = 0.5


@dataclass(frozen=True)
class MaterialSettings:
    """part : name of the part to fit, empty = all;  rate : learning rate;  spp : samples of the path tracer a step"""

    part: str = ""
    rate: float = 0.02
    spp: int = 16


@dataclass(frozen=True)
class GuidanceSettings:
    """kind : posterior matching, lora distillation (methods 1.8), score distillation, dataset update (methods 1.11),
    or none (keep the start)
    samples, sampler_steps : of posterior matching; the steps also of dataset update;  update_every : fit steps between
    two edits of dataset update;  scale : classifier-free guidance of a text model
    noise_start, noise_end : largest noise time, annealed linearly (of dataset update the noise time itself)
    noise_min : smallest noise time
    weighting : w(sigma);  negative : negative prompt;  personalise : train a LoRA first;  concepts : renders of the
    asset under random light for it, 0 = the plate alone;  size : working resolution of a pretrained prior
    sampled_concepts : images of the concept drawn by the prior itself, as published (methods 1.9)"""

    kind: Literal["posterior", "lds", "sds", "dataset_update", "none"] = "posterior"
    samples: int = 8
    sampler_steps: int = 12
    update_every: int = 10
    scale: float = 1.0
    noise_start: float = 0.6
    noise_end: float = 0.3
    noise_min: float = 0.02
    weighting: Literal["constant", "one_minus_alphabar", "sigma"] = "one_minus_alphabar"
    negative: str = ""
    personalise: bool = False
    concepts: int = 32
    sampled_concepts: int = 0
    size: int = 512


@dataclass(frozen=True)
class FinalSettings:
    """spp : samples a pixel of the final render's shadow and of large objects; small ones have up to four times as many
    denoise : the object's colour and the shadow (not alpha); without a denoiser on the machine four times the samples
    are taken instead
    depth : longest path;  size : longer side in pixels, 0 = the plate's;  env_height : rows of the light map it is lit
    by
    plate : the plate's own pixels in that map where it shows something: always, never, or auto = when something of the
    scene is glass, which is what they are good for (docs/bench-questions.md)"""

    spp: int = 32
    denoise: bool = True
    depth: int = 4
    size: int = 0
    env_height: int = 256
    plate: Literal["auto", "always", "never"] = "auto"


@dataclass(frozen=True)
class InsertConfig:
    """prior : "embedded" or the folder of a pretrained model;  optimize : what is fitted;  seed : of everything;
    checkpoint_every : steps between checkpoints;  memory : what a pretrained prior gives up to save GPU memory; it may
    be another one when a run is resumed"""

    prior: str = "embedded"
    optimize: tuple[str, ...] = ("light", "tone")
    seed: int = 0
    checkpoint_every: int = 25
    light: LightSettings = LightSettings()
    tone: ToneSettings = ToneSettings()
    material: MaterialSettings = MaterialSettings()
    guidance: GuidanceSettings = GuidanceSettings()
    personalise: PersonalizeConfig = PersonalizeConfig(steps=60, batch=4)
    transport: TransportSettings = TransportSettings()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=150))
    final: FinalSettings = FinalSettings()
    memory: MemorySettings = MemorySettings()

    def __post_init__(self) -> None:
        unknown = [o for o in self.optimize if o not in FITTED]
        if unknown or not self.optimize:
            raise ConfigError(f"optimize: {', '.join(unknown) or 'nothing'} given; accepted are {', '.join(FITTED)}."
                              + (nearest(unknown[0], FITTED) if unknown else ""))
        low = [f"{key}: {self._value(key)} given, the least is {least}." for key, least in _LEAST.items()
               if self._value(key) < least]
        if low:
            raise ConfigError(" ".join(low))
        if self.light.guess not in (0, 1, 2, 3) or (self.light.guess and self.light.start != "prior"):
            raise ConfigError(f"light.guess: {self.light.guess} given with light.start: {self.light.start}; accepted "
                              "are 0 (weigh all guesses) and 1, 2, 3 with light.start: prior.")

    def _value(self, key: str) -> int:
        """The setting ``section.name`` (or ``name``)."""
        return functools.reduce(getattr, key.split("."), self)


def load_config(preset: str = "default", extra: Sequence[str | Path] | str | Path | None = None,
                overrides: Sequence[str] = ()) -> InsertConfig:
    """Dataclass defaults, then the preset's file, then ``extra`` YAML files, then ``key=value`` overrides. Raises
    ConfigError with every unknown key and its nearest valid name."""
    extra = [] if extra is None else [extra] if isinstance(extra, (str, Path)) else list(extra)
    return presets.load(InsertConfig(), PRESETS, preset, extra, overrides)
