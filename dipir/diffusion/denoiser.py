"""The prior seam: a denoiser maps (noisy image, sigma, condition) to an estimate of the clean image."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dipir.diffusion.schedule import karras, sigma_to_t
from dipir.errors import PriorError


@dataclass(frozen=True)
class Condition:
    """What a prior may be told; each prior reads what it knows."""

    text: Tensor | None = None
    """(B, T, D) token embeddings."""
    text_pooled: Tensor | None = None
    """(B, P) pooled embedding of SD XL."""
    size: Tensor | None = None
    """(B, 6) size conditioning of SD XL."""
    planes: Tensor | None = None
    """(B, C, h, w) image-shaped conditions of our own priors: plate, G-buffers."""
    vector: Tensor | None = None
    """(B, V) numbers of our own priors: light direction, palette."""
    control: Tensor | None = None
    """(B, 3, H, W) ControlNet image."""


class AbstractDenoiser(ABC):
    """x_sigma = x0 + sigma * noise; ``__call__`` returns the estimate of x0. Subclasses are final.

    What differs from prior to prior is said here, so that nobody has to ask for its class.
    """

    sigma_min: float
    sigma_max: float
    """Range of noise levels that it was trained on."""
    hash: str = ""
    """Checksum of its weights, where it has weights of its own."""
    working_size: int | None = None
    """Side in pixels of the only pictures that it works on; None = any size."""
    usual_size: int = 64
    """Side in pixels of a picture when no size is asked for."""
    channels: int = 3
    factor: int = 1
    """Its states have ``channels`` channels and 1 / ``factor`` of a picture's height and width."""
    device: torch.device = torch.device("cpu")
    """Where its weights are, and what it is given must be."""
    language: Literal["", "captions", "text"] = ""
    """What it is told in words: nothing, captions of the small language (``priors/captions.py``), any text."""
    reads_planes: bool = False
    """Whether it is told pictures (``Condition.planes``) of an insertion."""
    takes_control: bool = False
    """Whether it has a ControlNet (``Condition.control``)."""
    adaptable: nn.Module | None = None
    """The network that personalisation puts an adapter on."""

    @property
    def fingerprint(self) -> str:
        """Names the weights in a result."""
        return self.hash or type(self).__name__

    def to(self, where: torch.device) -> AbstractDenoiser:
        """Itself, moved there if it is small; a large model stays where it was loaded."""
        return self

    def encode_pair(self, prompt: str, negative: str = "") -> tuple[Condition, Condition | None]:
        """(condition of the prompt, of the negative prompt); a prior that is not told words has no negative."""
        return Condition(), None

    def ladder(self, steps: int) -> Tensor:
        """(steps + 1,) noise levels from its largest down to 0, on the CPU."""
        return karras(steps, self.sigma_min, self.sigma_max)

    def word_layers(self, record: Callable[[str, Tensor], None]) -> list[RemovableHandle]:
        """Hooks that hand (layer, (B, T, h, w) weights) of its cross-attention to ``record``; none without it."""
        return []

    @abstractmethod
    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """x : (B, C, h, w) noisy, variance exploding;  sigma : (B,) > 0  ->  (B, C, h, w) estimate of x0."""

    @abstractmethod
    def encode(self, image_disp: Tensor) -> Tensor:
        """(B, 3, H, W) display [0, 1] -> the space the prior works in; differentiable (VAE in float32, or 2x - 1)."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Inverse of :meth:`encode`, clamped to [0, 1]."""


# ---------------------------------------------------------------------------------------------- batches of conditions
def select(condition: Condition, rows: Tensor | Sequence[int]) -> Condition:
    """The condition of some rows of the batch, in that order; a field with one row serves every row."""
    whole = rows if isinstance(rows, range) else range(0)
    rows = torch.as_tensor(list(rows) if isinstance(rows, range) else rows, dtype=torch.long, device="cpu")

    def pick(value: Tensor) -> Tensor:
        if len(value) == 1:
            return value.expand(len(rows), *value.shape[1:])
        if whole == range(len(value)):
            return value  # As it is; picking its rows would make a copy, and send their numbers to the device.
        if len(rows) and int(rows.max()) >= len(value):
            raise PriorError(f"a condition of {len(value)} rows was asked for row {int(rows.max())}: "
                             "give one row for all images, or one row for each.")
        return value[rows.to(value.device, non_blocking=True)]

    values = {f.name: getattr(condition, f.name) for f in fields(Condition)}
    return replace(condition, **{name: pick(v) for name, v in values.items() if v is not None})


def joined(conditions: Sequence[Condition], each: int) -> Condition | None:
    """One condition for a batch in which every one of ``conditions`` has ``each`` rows, one after the other; None when
    they cannot be put together (one has what another has not, or of another size)."""
    rows = [select(condition, range(each)) for condition in conditions]
    values = {}
    for name in (f.name for f in fields(Condition)):
        column = [getattr(row, name) for row in rows]
        if all(v is None for v in column):
            continue
        if any(v is None or v.shape != column[0].shape or v.dtype != column[0].dtype for v in column):
            return None
        values[name] = torch.cat(column)
    return Condition(**values)


def per_image(sigma: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1) in the type and on the device of ``like``."""
    return sigma.to(like).reshape(-1, *[1] * (like.ndim - 1))


# -------------------------------------------------------------- adapters: networks of a discrete DDPM -> x0 and sigma
Network = Callable[[Tensor, Tensor], Tensor]  # (z_t variance preserving, fractional t (B,)) -> prediction like z_t


def denoise_epsilon(network: Network, x: Tensor, sigma: Tensor, table: Tensor) -> Tensor:
    """x0 from a network that predicts the noise.

    z_t = sqrt(alphabar) x0 + sqrt(1 - alphabar) eps is x / sqrt(sigma^2 + 1), hence x0 = x - sigma eps.
    """
    s = per_image(sigma, x)
    return x - s * network(x * (s**2 + 1).rsqrt(), sigma_to_t(sigma, table))


def denoise_v(network: Network, x: Tensor, sigma: Tensor, table: Tensor) -> Tensor:
    """x0 from a network that predicts v = sqrt(alphabar) eps - sqrt(1 - alphabar) x0 (Salimans and Ho 2022).

    x0 = sqrt(alphabar) z - sqrt(1 - alphabar) v with sqrt(alphabar) = 1 / sqrt(sigma^2 + 1).
    """
    s = per_image(sigma, x)
    root = (s**2 + 1).rsqrt()
    return x * root**2 - s * root * network(x * root, sigma_to_t(sigma, table))


def on_gpu(x: Tensor, chosen: bool | None) -> bool:
    """``chosen``, or whether ``x`` is on a GPU."""
    return x.is_cuda if chosen is None else chosen


class GuidedDenoiser(AbstractDenoiser):
    """Classifier-free guidance: negative + scale * (positive - negative), in x0. Equal to guiding epsilon or v.

    base : the prior;  scale : 1 = the prior itself (called once), larger = closer to the condition
    negative : what the image should not look like, usually the empty or the negative prompt
    batched : both answers by one call of ``base``; None = on a GPU, where that is quicker (on the CPU a larger batch
        could change last bits)
    """

    def __init__(self, base: AbstractDenoiser, scale: float, negative: Condition, batched: bool | None = None) -> None:
        self.base, self.scale, self.negative, self.batched = base, float(scale), negative, batched
        self.sigma_min, self.sigma_max = base.sigma_min, base.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        if self.scale == 1.0:
            return self.base(x, sigma, condition)
        both = joined([condition, self.negative], len(x)) if on_gpu(x, self.batched) else None
        if both is not None:
            return self.guided(*self.base(torch.cat([x, x]), torch.cat([sigma, sigma]), both).chunk(2))
        positive = self.base(x, sigma, condition)
        return self.guided(positive, self.base(x, sigma, select(self.negative, range(len(x)))))

    def guided(self, positive: Tensor, negative: Tensor) -> Tensor:
        """The two answers in one."""
        return negative + self.scale * (positive - negative)

    def encode(self, image_disp: Tensor) -> Tensor:
        return self.base.encode(image_disp)

    def decode(self, latent: Tensor) -> Tensor:
        return self.base.decode(latent)
