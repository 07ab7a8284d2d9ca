"""Settings of ``dipir relight``: dataclass defaults, presets as deltas in ``configs/relight/``, overrides."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dipir import disk
from dipir.errors import ConfigError
from dipir.fit.loop import FitConfig
from dipir.settings import presets

PRESETS = disk.shipped("configs/relight")


@dataclass(frozen=True)
class LayerSettings:
    """kind : how layers act on the picture: multiply_divide (y = x M / D), gain (one factor in [0, 2]), luminosity (the
    same on the channels' mean), additive (y = x + l)
    size : longer side in pixels at which layers are fitted;  rate : Adam's rate;  keep : weight of mean |layer - 1|"""

    kind: Literal["multiply_divide", "gain", "luminosity", "additive"] = "multiply_divide"
    size: int = 64
    rate: float = 3e-3
    keep: float = 0.003


@dataclass(frozen=True)
class RelightGuidance:
    """kind : posterior (fit to pictures that the prior draws) or sds (score distillation at every step)
    samples, sampler_steps : pictures drawn for posterior, steps for each; one step gives the mean of all likely
    pictures, more give single ones;  size : longer side of what the prior sees
    weighting : of sds;  noise_start, noise_end : share of the noise range at first and at last (sds), noise_min : its
    lower end;  scale : classifier-free guidance of a pretrained model, negative : its prompt"""

    kind: Literal["posterior", "sds"] = "posterior"
    samples: int = 4
    sampler_steps: int = 1
    size: int = 64
    weighting: Literal["constant", "one_minus_alphabar", "sigma"] = "one_minus_alphabar"
    noise_start: float = 0.98
    noise_end: float = 0.5
    noise_min: float = 0.02
    scale: float = 13.0
    negative: str = ""


@dataclass(frozen=True)
class RelightConfig:
    """engine : "layers" (Lasagna) or "net" (IllumiNet);  prior : "embedded", the folder of a pretrained model or a
    .safetensors file;  controlnet : folder of the ControlNet of a pretrained model;  seed : of everything
    checkpoint_every : steps between checkpoints;  net_size : longer side that the net sees"""

    engine: Literal["layers", "net"] = "layers"
    prior: str = "embedded"
    controlnet: str = ""
    seed: int = 0
    checkpoint_every: int = 50
    net_size: int = 64
    layers: LayerSettings = LayerSettings()
    guidance: RelightGuidance = RelightGuidance()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=150, final_rate=0.05))

    def __post_init__(self) -> None:
        low = {"layers.size": (self.layers.size, 32), "guidance.size": (self.guidance.size, 32),
               "guidance.samples": (self.guidance.samples, 1), "net_size": (self.net_size, 32),
               "guidance.sampler_steps": (self.guidance.sampler_steps, 1),
               "checkpoint_every": (self.checkpoint_every, 1), "fit.steps": (self.fit.steps, 1)}
        wrong = [f"{key}: {value} given, the least is {least}." for key, (value, least) in low.items() if value < least]
        if wrong:
            raise ConfigError(" ".join(wrong))


def load_config(preset: str = "default", extra: Sequence[str | Path] = (),
                overrides: Sequence[str] = ()) -> RelightConfig:
    """Dataclass defaults, then the preset's file, then ``extra`` YAML files, then ``key=value`` overrides. Raises
    ConfigError with every unknown key and its nearest valid name."""
    return presets.load(RelightConfig(), PRESETS, preset, extra, overrides)
