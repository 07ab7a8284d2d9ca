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
STARTS = ("prior", "mirrored", "ambient")
"""What a light may start from, beside a file."""
_LIGHT_FILES = (".json", ".exr", ".hdr")
FITTED = ("light", "tone", "material", "emission")
# Counts that must be something; less would fail deep inside, far from the setting that is to blame.
_LEAST = {"checkpoint_every": 1, "light.lobes": 1, "tone.bins": 1, "material.spp": 1, "guidance.samples": 1,
          "guidance.sampler_steps": 1, "guidance.update_every": 1, "guidance.concepts": 0, "guidance.size": 8,
          "transport.env_height": 2, "transport.samples": 1, "transport.bsdf_samples": 0, "transport.light_samples": 1,
          "transport.depth": 1, "fit.steps": 0, "final.spp": 1, "final.depth": 1, "final.size": 0,
          "final.env_height": 2, "final.sun_rows": 2}


@dataclass(frozen=True)
class LightSettings:
    """The unknown light and where its fit starts."""

    lobes: int = 32
    """Spherical Gaussians."""
    guess: int = 0
    """0 = decide by the light prior's guesses at the dominant light, 1, 2, 3 = choose the first, second, third."""
    commit: bool = True
    """One sun or lamp and the rest, where a hard light is likelier than none or a guess was chosen; false = the
    dominant light spread over the directions that it may come from."""
    shadows: bool = True
    """The plate's own cast shadows, where they are sure, set how strong that sun is."""
    start: str = "prior"
    """Where they begin: prior (the light prior's estimate), mirrored (the mirrored plate), ambient (a constant), or a
    file: a light.json, taken as it is, or a latlong .exr or .hdr, taken as bright as the plate's ground."""
    two_maps: bool = False
    """A map of its own for the shadow, fused by the schedule ``fusion`` (docs/method.md 1.5)."""
    fusion: Fusion = "linear"
    consistency: float = 0.03
    sparsity: float = 0.01
    """Weights of the two maps' consistency and of the shadow map's sparsity (docs/method.md 1.10)."""
    anchor: float = 1.0
    """Weight of the distance to the start, log radiance of the rest and log irradiance of the source."""
    rate: float = 0.05
    """Of amplitudes and widths."""
    axis_rate: float = 0.02
    """Of the axes, radians a step."""
    source_rate: float = 0.02
    """Of the source's strength and colour, logarithms; its direction and size stay as they were decided."""


@dataclass(frozen=True)
class ToneSettings:
    """The tone curves of object and shadow."""

    bins: int = 5
    """Of the spline."""
    contrast: float = 0.0
    """Of the object's curve where it starts, -1 (flat) to 1 (hard), 0 = the identity."""
    per_channel: bool = False
    """A curve each for R, G, B."""
    rate: float = 0.01
    """Learning rate."""
    stiffness: float = 0.5
    """Weight of the squared distance from the identity (a curve could otherwise explain light away)."""


@dataclass(frozen=True)
class MaterialSettings:
    """Which materials are fitted, and how."""

    part: str = ""
    """Name of the part to fit, empty = all."""
    rate: float = 0.02
    """Learning rate."""
    spp: int = 16
    """Samples of the path tracer a step."""


@dataclass(frozen=True)
class GuidanceSettings:
    """What is asked of the prior, and how the fit follows it."""

    kind: Literal["posterior", "lds", "sds", "dataset_update", "none"] = "posterior"
    """Posterior matching, lora distillation (docs/method.md 1.8), score distillation, dataset update (docs/method.md
    1.11), or none (keep the start)."""
    samples: int = 8
    sampler_steps: int = 12
    """Of posterior matching; the steps also of dataset update."""
    update_every: int = 10
    """Fit steps between two edits of dataset update."""
    scale: float = 1.0
    """Classifier-free guidance of a text model."""
    noise_start: float = 0.6
    noise_end: float = 0.3
    """Largest noise time, annealed linearly (of dataset update the noise time itself)."""
    noise_min: float = 0.02
    """Smallest noise time."""
    weighting: Literal["constant", "one_minus_alphabar", "sigma"] = "one_minus_alphabar"
    """The weight w(sigma) of score distillation."""
    negative: str = ""
    """Negative prompt."""
    personalise: bool = False
    """Train a LoRA first."""
    concepts: int = 32
    """Renders of the asset under random light for it, 0 = the plate alone."""
    sampled_concepts: int = 0
    """Images of the concept drawn by the prior itself, as published (docs/method.md 1.9)."""
    size: int = 512
    """Working resolution of a pretrained prior."""


@dataclass(frozen=True)
class FinalSettings:
    """The final render."""

    spp: int = 32
    """Samples a pixel of the final render's shadow and of large objects; small ones have up to four times as many."""
    denoise: bool = True
    """The object's colour and the shadow (not alpha); without a denoiser on the machine four times the samples are
    taken instead."""
    depth: int = 4
    """Longest path."""
    size: int = 0
    """Longer side in pixels, 0 = the plate's."""
    env_height: int = 256
    """Rows of the light map it is lit by."""
    sun_rows: int = 1536
    """Rows of that map, at least, where a light is sharper than its texels: 1536 are 0.12 degrees, and the edge of a
    sun's shadow is then 1.2 times as wide as the sun makes it (1024: 1.4 times)."""
    plate: Literal["auto", "always", "never"] = "auto"
    """The plate's own pixels in that map where it shows something: always, never, or auto = when something of the scene
    is glass, which is what they are good for (docs/bench-questions.md)."""


@dataclass(frozen=True)
class InsertConfig:
    """All settings of an insertion."""

    prior: str = "embedded"
    """The word "embedded", weights (.safetensors), the folder of a pretrained model, or its checkpoint in one file."""
    prior_config: str = ""
    """Folder of the configurations of a checkpoint in a single file, "" = beside it."""
    optimize: tuple[str, ...] = ("light", "tone")
    """What is fitted."""
    seed: int = 0
    """Of everything."""
    checkpoint_every: int = 25
    """Steps between checkpoints."""
    light: LightSettings = LightSettings()
    tone: ToneSettings = ToneSettings()
    material: MaterialSettings = MaterialSettings()
    guidance: GuidanceSettings = GuidanceSettings()
    personalise: PersonalizeConfig = PersonalizeConfig(steps=60, batch=4)
    transport: TransportSettings = TransportSettings()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=150))
    final: FinalSettings = FinalSettings()
    memory: MemorySettings = MemorySettings()
    """What a pretrained prior gives up to save GPU memory; it may be another one when a run is resumed."""

    def __post_init__(self) -> None:
        unknown = [o for o in self.optimize if o not in FITTED]
        if unknown or not self.optimize:
            raise ConfigError(f"optimize: {', '.join(unknown) or 'nothing'} given; accepted are {', '.join(FITTED)}."
                              + (nearest(unknown[0], FITTED) if unknown else ""))
        low = [f"{key}: {self._value(key)} given, the least is {least}." for key, least in _LEAST.items()
               if self._value(key) < least]
        if low:
            raise ConfigError(" ".join(low))
        start = self.light.start
        if start not in STARTS and Path(start).suffix.lower() not in _LIGHT_FILES:
            raise ConfigError(f"light.start: '{start}' given; accepted are {', '.join(STARTS)}, or a file: a "
                              f"light.json, or a latlong .exr or .hdr.{nearest(start, STARTS)}")
        if self.light.guess not in (0, 1, 2, 3) or (self.light.guess and self.light.start != "prior"):
            raise ConfigError(f"light.guess: {self.light.guess} given with light.start: {self.light.start}; accepted "
                              "are 0 (decide by all guesses) and 1, 2, 3 with light.start: prior.")

    def _value(self, key: str) -> int:
        """The setting ``section.name`` (or ``name``)."""
        return functools.reduce(getattr, key.split("."), self)


def load_config(preset: str = "default", extra: Sequence[str | Path] | str | Path | None = None,
                overrides: Sequence[str] = ()) -> InsertConfig:
    """Dataclass defaults, then the preset's file, then ``extra`` YAML files, then ``key=value`` overrides. Raises
    ConfigError with every unknown key and its nearest valid name."""
    extra = [] if extra is None else [extra] if isinstance(extra, (str, Path)) else list(extra)
    return presets.load(InsertConfig(), PRESETS, preset, extra, overrides)
