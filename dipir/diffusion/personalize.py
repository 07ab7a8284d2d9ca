"""Personalisation: LoRA on the attention layers, trained on the plate and on images of the concept (DiPIR).

One set of base weights serves both branches of LDS: with the adapter on it is the personalised model, inside
``lora.disable_lora`` (or through :class:`FrozenBase`) it is the frozen base, bit for bit.
"""
from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from dipir.arrays import split_seed
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, per_image, select
from dipir.diffusion.lora import (
    FORMAT,
    PersonalizeConfig,
    add_lora,
    cast_adapter,
    disable_lora,
    load_lora,
    lora_state,
    save_lora,
)
from dipir.diffusion.sampler import Sampler, heun, sample
from dipir.diffusion.schedule import sigma_to_t, stable_diffusion_table, t_to_sigma
from dipir.errors import ConfigError, FitError, PriorError
from dipir.fit.checks import Checks
from dipir.fit.loop import Event

READ_EVERY = 20  # Steps between two looks at a device; on the CPU every step is looked at.
LOSS_SCALE = 1024.0  # Keeps the gradient of a mean above the underflow of float16; a power of two, so exact elsewhere.


@dataclass(frozen=True)
class Examples:
    """Training images."""

    images: Tensor
    """(N, 3, H, W) display-referred [0, 1]."""
    condition: Condition
    """1 or N rows."""

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[0] == 0 or not bool(torch.isfinite(self.images).all()):
            raise PriorError(f"training images of shape {shape}; accepted are (N, 3, H, W), N >= 1, finite, in [0, 1].")
        low, high = float(self.images.min()), float(self.images.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise PriorError(f"training images lie in [{low:.3g}, {high:.3g}]; accepted is display-referred [0, 1]. "
                             "Tone-map linear renders first.")


class FrozenBase(AbstractDenoiser):
    """The same denoiser with its adapter switched off during the call: the base of LDS."""

    def __init__(self, denoiser: AbstractDenoiser, module: nn.Module) -> None:
        self.denoiser, self.module = denoiser, module
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        with disable_lora(self.module):
            return self.denoiser(x, sigma, condition)

    def encode(self, image_disp: Tensor) -> Tensor:
        return self.denoiser.encode(image_disp)

    def decode(self, latent: Tensor) -> Tensor:
        return self.denoiser.decode(latent)


# ----------------------------------------------------------------------------------------------------------- training
def train_lora(denoiser: AbstractDenoiser, module: nn.Module, sets: Sequence[Examples], config: PersonalizeConfig,
               on_event: Callable[[Event], None] | None = None,
               draw_sigma: Callable[[int, Generator], Tensor] | None = None) -> list[float]:
    """Train the adapter of ``module`` (a part of ``denoiser``) by ||eps - eps_hat||^2; returns the loss of every step.

    sets : the plate's examples and, if wanted, the concept's; the loss of the second and later sets is weighted with
        ``config.prior_weight``. Without concept images the model forgets what the object is (docs/method.md 1.11).
    draw_sigma : (n, generator) -> (n,) noise levels; None = uniform in the time of Stable Diffusion's schedule within
        the denoiser's range
    The network computes in the type of its weights (bfloat16 on a GPU), the adapter in float32.
    Raises FitError when the loss is not finite.
    """
    weights = list(lora_state(module).values())
    if not weights or not sets:
        raise PriorError(f"train_lora: {len(weights)} adapter weights and {len(sets)} example sets; call add_lora "
                         "first and give at least the plate.")
    draw_sigma = draw_sigma or (lambda n, generator: _uniform_sigma(denoiser, n, generator))
    generator = Generator().manual_seed(split_seed(config.seed, "personalise"))
    latents = [_encode(denoiser, examples.images) for examples in sets]
    optimizer = _adamw(weights, config.learning_rate)
    log = _Log(config.steps, latents[0].device.type != "cpu", on_event)
    for _ in range(config.steps):
        losses = [_loss(denoiser, z, examples.condition, config.batch, generator, draw_sigma)
                  for z, examples in zip(latents, sets, strict=True)]
        loss = losses[0] + config.prior_weight * sum(losses[1:])
        log.loss(loss.detach())
        optimizer.zero_grad(set_to_none=True)
        (loss * LOSS_SCALE).backward()
        torch._foreach_div_([weight.grad for weight in weights if weight.grad is not None], LOSS_SCALE)
        log.gradient(torch.nn.utils.clip_grad_norm_(weights, 1.0))
        optimizer.step()
        log.done()
    return log.history


def _adamw(weights: list[Tensor], rate: float) -> torch.optim.AdamW:
    """On a GPU one kernel for all weights instead of a dozen for each."""
    fused = {"fused": True} if all(weight.is_cuda for weight in weights) else {}
    return torch.optim.AdamW(weights, lr=rate, **fused)


class _Log:
    """Losses, their checks and events. On the CPU a step is checked before it is taken; a device is asked every
    ``READ_EVERY`` steps, so that up to that many may be taken in vain: nothing is kept of a training that fails."""

    def __init__(self, steps: int, distant: bool, on_event: Callable[[Event], None] | None) -> None:
        self.history: list[float] = []
        self._steps, self._every, self._on_event = steps, READ_EVERY if distant else 1, on_event
        self._began, self._waiting = time.monotonic(), []
        self._checks = Checks()

    def loss(self, loss: Tensor) -> None:
        """Of the step that begins."""
        step = len(self.history) + len(self._waiting)
        self._check(torch.isfinite(loss), lambda: FitError(
            f"personalisation: the loss is {float(loss)} at step {step}. Lower the learning rate, or use float32 or "
            "bfloat16 weights."))
        self._waiting.append(loss)

    def gradient(self, norm: Tensor) -> None:
        """Before it is followed."""
        step = len(self.history) + len(self._waiting) - 1
        self._check(torch.isfinite(norm), lambda: FitError(
            f"personalisation: the gradient is {float(norm)} at step {step}. Use float32 or bfloat16 weights, or lower "
            "the learning rate."))

    def done(self) -> None:
        """The step is taken."""
        step = len(self.history) + len(self._waiting)
        if step % self._every and step < self._steps:
            return
        self.history += self._checks.read(*self._waiting)
        self._waiting.clear()
        if self._on_event is not None:
            left = (time.monotonic() - self._began) / step * (self._steps - step)
            self._on_event(Event("personalise", step, self._steps, left, {"loss": self.history[-1]}))

    def _check(self, fine: Tensor, problem: Callable[[], FitError]) -> None:
        self._checks.add(fine, problem)
        if self._every == 1:
            self._checks.read()


def _loss(denoiser: AbstractDenoiser, latents: Tensor, condition: Condition, batch: int, generator: Generator,
          draw_sigma: Callable[[int, Generator], Tensor]) -> Tensor:
    # Drawn on the CPU, so that a seed means the same everywhere; nobody waits for the way to the device.
    rows = torch.randint(len(latents), (batch,), generator=generator, device="cpu")
    clean = latents[rows.to(latents.device, non_blocking=True)]
    noise = torch.randn(clean.shape, generator=generator, device="cpu").to(clean, non_blocking=True)
    sigma = draw_sigma(batch, generator).to(clean, non_blocking=True)
    noisy = clean + per_image(sigma, clean) * noise
    guess = (noisy - denoiser(noisy, sigma, select(condition, rows))) / per_image(sigma, clean)
    return (guess - noise).square().mean()


@torch.no_grad()
def _encode(denoiser: AbstractDenoiser, images: Tensor) -> Tensor:
    return torch.cat([denoiser.encode(image) for image in images.split(1)])


def _uniform_sigma(denoiser: AbstractDenoiser, n: int, generator: Generator) -> Tensor:
    table = stable_diffusion_table()
    ends = sigma_to_t(torch.tensor([denoiser.sigma_min, denoiser.sigma_max], dtype=torch.float64, device="cpu"), table)
    part = torch.rand(n, generator=generator, dtype=torch.float64, device="cpu")
    return t_to_sigma(ends[0] + part * (ends[1] - ends[0]), table).float()


def concept_images(denoiser: AbstractDenoiser, condition: Condition, n: int, start: Tensor, sigmas: Tensor, *,
                   sampler: Sampler = heun, seed: int = 0) -> Tensor:
    """(n, 3, H, W) display images of the concept, sampled from the prior itself (~30-40 indoors, ~200 outdoors).

    start : (1, C, h, w) zeros in the prior's space: gives size and device;  condition : 1 or n rows (varied prompts)
    """
    if n < 1:
        raise ConfigError(f"concept_images: n = {n}; accepted is 1 or more.")
    seeds = [Generator().manual_seed(split_seed(seed, "concept", i)) for i in range(n)]
    noise = torch.cat([torch.randn(start.shape, generator=g, device="cpu") for g in seeds]).to(start)
    latents = sample(denoiser, start + noise * float(sigmas[0]), sigmas, condition, sampler, batch=4)
    with torch.no_grad():
        return torch.cat([denoiser.decode(z) for z in latents.split(1)])


# ---------------------------------------------------------------------------------------------------- files and reuse
def adapter_key(module: nn.Module, sets: Sequence[Examples], config: PersonalizeConfig) -> str:
    """Hex hash of all that the adapter depends on: images, conditions, settings and the base weights.

    Of every base tensor name, shape and 64 evenly spaced values are hashed; reading gigabytes whole would cost seconds.
    """
    digest = hashlib.sha256(repr((FORMAT, astuple(config))).encode())
    for name, parameter in module.named_parameters():
        if "lora_" not in name:
            flat = parameter.detach().flatten()
            digest.update(repr((name.replace(".base_layer", ""), tuple(parameter.shape))).encode())
            digest.update(_bytes(flat[:: max(1, len(flat) // 64)]))
    for examples in sets:
        conditions = [getattr(examples.condition, f.name) for f in fields(Condition)]
        for value in (examples.images, *conditions):
            digest.update(b"-" if value is None else repr(tuple(value.shape)).encode() + _bytes(value))
    return digest.hexdigest()


def personalise(denoiser: AbstractDenoiser, module: nn.Module, sets: Sequence[Examples], config: PersonalizeConfig,
                folder: str | Path, on_event: Callable[[Event], None] | None = None) -> Path:
    """:func:`add_lora`, then load an adapter of equal inputs from ``folder``, or train and save it. The file has it in
    float32; in the network it then gets the type of the base, so that nothing is converted in every call."""
    key = adapter_key(module, sets, config)
    path = Path(folder) / f"lora-{key[:16]}.safetensors"
    add_lora(module, config)
    if path.exists():
        load_lora(path, module, key)
    else:
        train_lora(denoiser, module, sets, config, on_event)
        save_lora(path, module, key)
    cast_adapter(module)
    return path


def _bytes(value: Tensor) -> bytes:
    return value.detach().float().contiguous().cpu().numpy().tobytes()
