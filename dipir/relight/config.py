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
class RelightLayers:
    """The editing layers (docs/method.md 2.2)."""

    kind: Literal["multiply_divide", "gain", "luminosity", "additive"] = "multiply_divide"
    """How they act on the picture: multiply_divide (y = x M / D), gain (one factor in [0, 2]), luminosity (the same on
    the channels' mean), additive (y = x + l)."""
    size: int = 64  # longer side in pixels at which they are fitted
    rate: float = 3e-3  # Adam's
    keep: float = 0.003  # weight of mean |layer - 1|


@dataclass(frozen=True)
class RelightGuidance:
    """What pulls the picture towards the light (docs/method.md 2.3)."""

    kind: Literal["auto", "none", "posterior", "sds"] = "auto"
    """none (the first guess, from surfaces and physics, as layers), posterior (layers fitted to pictures that the prior
    draws), sds (score distillation at every step); auto = none where no other prior is named and a guess will do."""
    samples: int = 4  # pictures drawn for posterior
    sampler_steps: int = 1  # of each: one gives the mean of all likely pictures, more give single ones
    size: int = 64  # longer side of what the prior sees
    weighting: Literal["constant", "one_minus_alphabar", "sigma"] = "one_minus_alphabar"  # of sds
    noise_start: float = 0.98  # upper end of the noise range of sds at first, as a share of all of it
    noise_end: float = 0.5  # and at last
    noise_min: float = 0.02  # its lower end
    scale: float = 13.0  # of classifier-free guidance by a pretrained model
    negative: str = ""  # its negative prompt


@dataclass(frozen=True)
class RelightConfig:
    """All settings of ``dipir relight``."""

    engine: Literal["layers", "net"] = "layers"  # Lasagna or IllumiNet
    prior: str = "embedded"  # or the folder of a pretrained model, or a .safetensors file
    prior_config: str = ""  # folder of the configurations of a checkpoint in a single file, "" = beside it
    controlnet: str = ""  # folder of the ControlNet of a pretrained model
    seed: int = 0  # of everything
    checkpoint_every: int = 50  # steps between checkpoints
    net_size: int = 128  # longer side at which surfaces are guessed, and that the net sees
    fill: float | None = None
    """Radiance of the fill where a white wall that faces the key light has 1; None: as a whole light has it, or 0.2."""
    strength: float = 1.0  # part of the light that is the new one; the rest is the old one
    layers: RelightLayers = RelightLayers()
    guidance: RelightGuidance = RelightGuidance()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=150, final_rate=0.05))

    def __post_init__(self) -> None:
        low = {"layers.size": (self.layers.size, 32), "guidance.size": (self.guidance.size, 32),
               "guidance.samples": (self.guidance.samples, 1), "net_size": (self.net_size, 32),
               "guidance.sampler_steps": (self.guidance.sampler_steps, 1),
               "checkpoint_every": (self.checkpoint_every, 1), "fit.steps": (self.fit.steps, 1)}
        between = {"strength": (self.strength, 0.0, 1.0)}
        if self.fill is not None:
            between["fill (1 over --key-to-fill)"] = (self.fill, 0.01, 10.0)
        wrong = [f"{key}: {value} given; accepted are {least} to {most}."
                 for key, (value, least, most) in between.items() if not least <= value <= most]
        wrong += [f"{key}: {value} given, the least is {least}." for key, (value, least) in low.items()
                  if value < least]
        if wrong:
            raise ConfigError(" ".join(wrong))

    def guided_by(self, colours: bool) -> str:
        """The kind of guidance, for light or for ``colours`` of a drawing."""
        if self.guidance.kind != "auto":
            return self.guidance.kind
        return "none" if self.prior == "embedded" and self.layers.kind != "additive" and not colours else "posterior"


def load_config(preset: str = "default", extra: Sequence[str | Path] = (),
                overrides: Sequence[str] = ()) -> RelightConfig:
    """Dataclass defaults, then the preset's file, then ``extra`` YAML files, then ``key=value`` overrides. Raises
    ConfigError with every unknown key and its nearest valid name."""
    return presets.load(RelightConfig(), PRESETS, preset, extra, overrides)
