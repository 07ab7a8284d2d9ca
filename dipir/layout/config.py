"""Settings of ``dipir layout``: dataclass defaults, presets as deltas in ``configs/layout/``, overrides."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipir import disk
from dipir.diffusion.single_file.kinds import is_foreign
from dipir.errors import ConfigError
from dipir.layout.regions import colour_named
from dipir.settings import presets

PRESETS = disk.shipped("configs/layout")


def _check(good: bool, text: str) -> None:
    if not good:
        raise ConfigError(f"accepted is {text}")


@dataclass(frozen=True)
class LayoutGuidance:
    """How things are made to form in their regions (docs/method.md 3.1, 3.4)."""

    kind: Literal["vision", "none", "multidiffusion", "paste"] = "vision"
    """vision (LRDiff), none (the caption of the whole alone), multidiffusion (captions of the regions at all steps,
    averaged, no shift) or paste (layers from noises of their own, put together at t0, no shift)."""
    delta: Literal["constant", "dynamic", "dynamic_colour"] = "constant"
    """Of vision: constant (a colour), dynamic (mean of the noisy state where attention is highest) or dynamic_colour
    (the same of the decoded state, as the authors' code)."""
    colour: str = "words"
    """Of the constant delta, for example "#ffffff", "dark blue", or "words" = the colour that the region's caption
    names, and any by the seed when it names none."""
    strength: float = 0.04  # lambda, inside the region
    outside: float | None = None  # the same outside of it; None = alike
    steps: int = 6  # how many of the layered steps begin with the shift, from the first; 0 = every one
    top: int = 20  # K, cells of the highest attention
    within: bool = True  # these are looked for in the region only
    bootstrap: float = 0.2  # of multidiffusion: share of the steps in which layers see a flat colour outside themselves

    def __post_init__(self) -> None:
        _check(self.strength >= 0 and (self.outside is None or self.outside >= 0), "strength and outside: 0 or more.")
        _check(self.steps >= 0, "steps: 0 (every layered step) or more.")
        _check(self.top >= 1, "top: 1 or more.")
        _check(0 <= self.bootstrap <= 1, "bootstrap: a share from 0 to 1.")
        if self.colour != "words":
            colour_named(self.colour)


@dataclass(frozen=True)
class LayoutLayers:
    """Which steps are layered, and how the layers are put together (docs/method.md 3.2)."""

    share: float = 0.5  # of the steps, from the first; t0 lies behind them
    stage: int | None = None  # the same as a number of steps, in its place
    composition: Literal["per_step", "at_t0"] = "at_t0"
    """per_step (after every layered step, as the paper; multidiffusion always does) or at_t0 (once, as the authors'
    code; paste always does)."""
    edge: int = 0  # cells over which a layer fades into the next ones, to either side
    avoid: bool = True  # the background's negative prompt names the objects

    def __post_init__(self) -> None:
        _check(0 <= self.share <= 1, "share: from 0 (no layers) to 1 (layers to the end).")
        _check(self.stage is None or self.stage >= 0, "stage: 0 or more steps, or null.")
        _check(self.edge >= 0, "edge: 0 or more cells.")


@dataclass(frozen=True)
class LayoutSampler:
    """The walk from noise to the picture."""

    kind: Literal["ddim", "euler", "heun"] = "ddim"  # heun calls the prior twice a step
    steps: int = 25
    eta: float = 0.0  # noise that ddim adds, 0 to 1
    scale: float = 6.0  # of classifier-free guidance, 1 = none
    negative: str = ""  # what no layer and no picture shall look like

    def __post_init__(self) -> None:
        _check(self.steps >= 1, "steps: 1 or more.")
        _check(0 <= self.eta <= 1, "eta: 0 to 1.")
        _check(self.eta == 0 or self.kind == "ddim", "eta: only ddim adds noise.")


@dataclass(frozen=True)
class EditSettings:
    """How a region of a given picture is made anew (docs/method.md 3.5)."""

    noise: Literal["inverted", "fresh"] = "inverted"
    """The region starts from the picture's own inverted noise, which may bring back something of what was there, or
    from new noise."""
    strength: float = 0.5  # factor on the strengths of ``guidance``: what is kept already says where things stand
    iterations: int = 3  # of every step of the inversion
    context: float = 2.0  # side of the square that the prior sees, in sizes of the region; 0 = the whole picture
    feather: int = 1  # pixels of the prior's picture over which the finished region fades out, beyond its edge

    def __post_init__(self) -> None:
        _check(self.strength >= 0, "strength: 0 or more.")
        _check(self.iterations >= 1, "iterations: 1 or more.")
        _check(self.context == 0 or self.context >= 1, "context: 0 (everything), or 1 and more.")
        _check(self.feather >= 0, "feather: 0 or more pixels.")


@dataclass(frozen=True)
class LayoutConfig:
    """All settings of ``dipir layout``."""

    prior: str = "embedded"  # or a .safetensors file, or the folder of a pretrained model
    prior_config: str = ""  # folder of the configurations of a checkpoint in a single file, "" = beside it
    seed: int = 0  # of the noise
    width: int = 0  # of a new picture in pixels; 0 = what the prior is made for
    height: int = 0
    attention: bool = True  # record the maps of the regions' words at the first step
    guidance: LayoutGuidance = LayoutGuidance()
    layers: LayoutLayers = LayoutLayers()
    sampler: LayoutSampler = LayoutSampler()
    edit: EditSettings = EditSettings()

    def __post_init__(self) -> None:
        _check(self.width >= 0 and self.height >= 0, "width and height: 0 or more pixels.")
        stage = self.layers.stage
        _check(stage is None or stage <= self.sampler.steps,
               f"layers.stage: {stage} of {self.sampler.steps} steps; accepted are at most all of them.")

    @property
    def grammar(self) -> bool:
        """Whether the prior is one of our own, whose words are those of ``priors.captions``."""
        return self.prior == "embedded" or self.prior.endswith(".safetensors") and not is_foreign(self.prior)

    @property
    def layered_steps(self) -> int:
        """How many steps are layered."""
        kind, steps = self.guidance.kind, self.sampler.steps
        if kind == "none":
            return 0
        if kind == "multidiffusion":
            return steps
        return round(self.layers.share * steps) if self.layers.stage is None else self.layers.stage


def load_config(preset: str = "default", extra: Sequence[str | Path] = (),
                overrides: Sequence[str] = ()) -> LayoutConfig:
    """Dataclass defaults, then the preset's file, then ``extra`` YAML files, then ``key=value`` overrides. Raises
    ConfigError with every unknown key and its nearest valid name."""
    return presets.load(LayoutConfig(), PRESETS, preset, extra, overrides)
