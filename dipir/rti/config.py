"""Settings of a fit of IllumiNet to one capture, and how its lights are shared out."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from dipir import disk
from dipir.errors import ConfigError
from dipir.image.metrics import LossWeights
from dipir.priors.nets.illuminet import IllumiNetConfig
from dipir.rti import features as rti_features
from dipir.settings.read import merge, override
from dipir.settings.yaml import load_yaml, to_dict


@dataclass(frozen=True)
class IllumiNetTrainConfig:
    """How to fit a network to a capture."""

    steps: int = 2100  # at most
    minutes: float = 12.0  # wall time after which training ends, with that before a resume
    crop: int = 64  # crop, batch: pixels of a side and crops a step
    batch: int = 4
    rate: float = 3e-3
    last: float = 0.02
    warm_up: int = 50
    first_cycle: int = 300
    cycle_factor: int = 2
    """rate, last, warm_up, first_cycle, cycle_factor: learning rate, the share of it at a cycle's end, steps of linear
    increase, and the lengths of the cosine's cycles (warm restarts, Loshchilov and Hutter 2017)."""
    decay: float = 0.01  # of the weights
    clip: float = 1.0  # largest gradient norm
    validate_every: int = 200  # steps
    patience: int = 10  # validations without a better one before training stops
    checkpoint_minutes: float = 1.0  # between saves
    held_out: float = 0.2  # share of the lights that are only judged
    validation: float = 0.08  # share of the others that only decide when to stop
    channels: tuple[int, int, int, int] = (24, 32, 48, 64)
    embedding: int = 64
    stem: int = 2
    """channels, embedding, stem: of the network (``priors/nets/illuminet.py``)."""
    views: int = 1  # of the eight symmetries of the picture, how many are averaged in a relit picture
    loss: LossWeights = field(default_factory=LossWeights)
    seed: int = 0  # of this run

    def __post_init__(self) -> None:
        wrong = [f"{name} is {getattr(self, name):g}, at least {least} is needed" for name, least in {
            "steps": 1, "crop": 16, "batch": 2, "first_cycle": 1, "cycle_factor": 1, "validate_every": 1, "patience": 1,
            "embedding": 1, "stem": 1, "views": 1, "warm_up": 0, "decay": 0, "seed": 0}.items()
            if getattr(self, name) < least]
        wrong += [f"{name} is {getattr(self, name):g}, it must lie above 0" for name in (
            "minutes", "rate", "clip", "checkpoint_minutes") if not getattr(self, name) > 0]
        wrong += [f"{name} is {getattr(self, name):g}, it must lie in [0, 0.5]" for name in ("held_out", "validation")
                  if not 0 <= getattr(self, name) <= 0.5]
        wrong += [] if 0 <= self.last <= 1 else [f"last is {self.last:g}, it must lie in [0, 1]"]
        wrong += [] if self.views <= rti_features.SYMMETRIES else [f"views is {self.views}, at most 8 exist"]
        wrong += [] if min(self.channels) > 0 else [f"channels are {self.channels}, all must lie above 0"]
        terms = to_dict(self.loss).values()
        wrong += [] if min(terms) >= 0 and 0 < sum(terms) < math.inf else ["loss needs weights of 0 or more, not all 0"]
        if wrong:
            raise ConfigError("; ".join(wrong) + ".")

    def network(self) -> IllumiNetConfig:
        """The settings of the network."""
        return IllumiNetConfig(rti_features.PLANES, rti_features.NUMBERS, self.channels, self.embedding, self.stem)


def load_config(extra: Path | None = None, overrides: list[str] | tuple[str, ...] = ()) -> IllumiNetTrainConfig:
    """Dataclass defaults, then configs/illuminet/default.yaml (where the source tree has it), then ``extra``, then
    ``key=value`` overrides. Raises ConfigError with every problem."""
    config = IllumiNetTrainConfig()
    preset = disk.shipped("configs/illuminet/default.yaml")
    for path in (preset if preset.is_file() else None, extra):
        if path is not None:
            config = merge(config, load_yaml(path), str(path))
    return override(config, overrides)


@dataclass(frozen=True)
class Split:
    """Numbers of the lights: ``fitted`` for gradients, ``validation`` for stopping (both are the training lights, whose
    photos make the planes), ``held_out`` for the report alone."""

    fitted: tuple[int, ...]
    validation: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def training(self) -> tuple[int, ...]:
        """``fitted`` and ``validation``, in order."""
        return tuple(sorted(self.fitted + self.validation))
