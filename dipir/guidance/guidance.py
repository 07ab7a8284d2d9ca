"""The guidance seam: what pulls an image towards what a prior finds likely. One file a kind; the table of all kinds is
``guidance/kinds.py``."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image, Mask
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, GuidedDenoiser
from dipir.event import Event
from dipir.fit.parameters import Parameters


class KindSettings(Protocol):
    """The settings that kinds of guidance read: the section ``guidance`` of an insertion or a relighting."""

    kind: str
    samples: int
    """Images drawn for posterior matching."""
    sampler_steps: int
    """Of the sampler, for each of them."""
    scale: float
    """Of classifier-free guidance, where there is a negative prompt; 1 = none."""
    noise_start: float
    noise_end: float
    noise_min: float
    """Largest noise time at first and at last, smallest one, as shares of the whole range."""
    weighting: str
    """w(sigma) of score distillation."""


@dataclass(frozen=True)
class Asked:
    """What a kind of guidance is made of."""

    prior: AbstractDenoiser
    """Personalised, if it has been."""
    condition: Condition
    settings: KindSettings
    seed: int
    start: Image
    """(1, 3, H, W) display, the image before anything is fitted, at the size that the prior sees."""
    negative: Condition | None = None
    """Of the negative prompt, for a prior that is told words."""
    empty: Condition = Condition()
    """Of no prompt, for the base of LDS."""
    base: AbstractDenoiser | None = None
    """The prior as it was before it was personalised; None = the same."""
    mask: Mask | None = None
    """(1, 1, H, W) weights >= 0 of pixels; None = all alike."""
    on_event: Callable[[Event], None] = lambda event: None

    @property
    def guided(self) -> AbstractDenoiser:
        """The prior with classifier-free guidance, if that is wanted."""
        if self.negative is None or self.settings.scale == 1:
            return self.prior
        return GuidedDenoiser(self.prior, self.settings.scale, self.negative)

    def weights(self, latent: Tensor) -> Mask | None:
        """The mask at the size of ``latent``."""
        if self.mask is None or latent.shape[-1] == self.mask.shape[-1]:
            return self.mask
        return functional.interpolate(self.mask, latent.shape[-2:], mode="bilinear", antialias=True)


class Guidance(ABC):
    """Made once a run, asked at every step. Subclasses are final."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    @classmethod
    def check(cls, prior: AbstractDenoiser) -> None:
        """ConfigError for a prior that this kind cannot use, before any work is done."""
        return None

    def keep(self, parameters: Parameters) -> None:
        """Put what a resumed run needs among the ``parameters`` that checkpoints hold, at rate 0."""
        return None

    @abstractmethod
    def pull(self, image: Image, progress: float, step: int) -> tuple[Tensor, Mapping[str, float | Tensor]]:
        """(scalar whose gradient with respect to the image is the pull, numbers to log).

        image : (1, 3, H, W) display at the size that the prior sees, with gradient;  progress : in [0, 1]
        """
