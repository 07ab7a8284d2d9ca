"""Personalisation: LoRA on the attention layers, trained on the plate and on images of the concept (DiPIR).

One set of base weights serves both branches of LDS: with the adapter on it is the personalised model, inside
:func:`disable_lora` (or through :class:`FrozenBase`) it is the frozen base, bit for bit.
"""
from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from dipir.arrays import split_seed
from dipir.diffusion.denoiser import AbstractDenoiser, Condition, per_image, select
from dipir.diffusion.sampler import Sampler, heun, sample
from dipir.diffusion.schedule import scaled_linear_alphas, sigma_to_t, sigmas_from_alphas, t_to_sigma
from dipir.errors import ConfigError, FitError, PriorError
from dipir.fit.loop import Event

ATTENTION = ("to_q", "to_k", "to_v", "to_out")
FORMAT = "dipir-lora-1"
LOSS_SCALE = 1024.0  # Keeps the gradient of a mean above the underflow of float16; a power of two, so exact elsewhere.


@dataclass(frozen=True)
class PersonalizeConfig:
    """How the adapter is trained. Rank, rate and steps are not in the published text; these are customary.

    layers : "attention" as published, or "all" plain linear layers and convolutions; in the embedded prior these scale
    and shift every block, while its one small attention layer has hardly a say
    rank : of the update B A, its scale is 1;  learning_rate : AdamW;  steps : optimiser steps
    batch : images of each set a step;  seed : of everything;  prior_weight : weight of the concept images' loss
    """

    rank: int = 4
    learning_rate: float = 1e-4
    steps: int = 1000
    batch: int = 1
    seed: int = 0
    prior_weight: float = 1.0
    layers: Literal["attention", "all"] = "attention"

    def __post_init__(self) -> None:
        if min(self.rank, self.steps, self.batch) < 1 or not 0 < self.learning_rate < 1 or not self.prior_weight >= 0:
            raise ConfigError(f"{self}: needs rank, steps and batch >= 1, 0 < learning_rate < 1 and prior_weight >= 0.")


@dataclass(frozen=True)
class Examples:
    """Training images. images : (N, 3, H, W) display-referred [0, 1];  condition : 1 or N rows."""

    images: Tensor
    condition: Condition

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


# -------------------------------------------------------------------------------------------------------- the adapter
def add_lora(module: nn.Module, config: PersonalizeConfig) -> list[str]:
    """Put a fresh adapter (h = W0 x + B A x, B = 0) on every attention projection of ``module``, in place; with
    ``config.layers`` = "all" on every ``nn.Linear`` and ``nn.Conv2d`` (not on subclasses, which peft cannot copy).

    Freezes all other weights. Attention is found by name: to_q, to_k, to_v, to_out or to_out.0.
    Returns their names; raises PriorError when there is none, or an adapter already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if _layers(module):
        raise PriorError("the network has an adapter already; call remove_lora first or load the weights again.")
    names = [name for name, layer in module.named_modules() if _adapted(name, layer, config.layers)]
    if not names:
        raise PriorError(f"{type(module).__name__} has no attention layer named {', '.join(ATTENTION)}; it cannot be "
                         "personalised. Use a prior with attention.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(split_seed(config.seed, "lora"))
        inject_adapter_in_model(LoraConfig(r=config.rank, lora_alpha=config.rank, target_modules=names), module)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return names


def _adapted(name: str, layer: nn.Module, layers: str) -> bool:
    if layers == "all":
        return type(layer) in (nn.Linear, nn.Conv2d)
    return isinstance(layer, (nn.Linear, nn.Conv2d)) and name.removesuffix(".0").rpartition(".")[2] in ATTENTION


def remove_lora(module: nn.Module) -> None:
    """Take the adapter off again; the base layers were never changed."""
    for name, layer in _layers(module).items():
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, layer.get_base_layer())


@contextmanager
def disable_lora(module: nn.Module) -> Iterator[None]:
    """The base model within the block; afterwards everything is as it was, also when the block raises."""
    layers = list(_layers(module).values())
    before = [(p, p.requires_grad) for layer in layers for p in layer.parameters()]
    was_on = [not layer.disable_adapters for layer in layers]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer, on in zip(layers, was_on, strict=True):
            layer.enable_adapters(on)
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def lora_state(module: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors by name (live, not copies)."""
    return {name: p for name, p in module.named_parameters() if "lora_" in name}


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}


# ----------------------------------------------------------------------------------------------------------- training
def train_lora(denoiser: AbstractDenoiser, module: nn.Module, sets: Sequence[Examples], config: PersonalizeConfig,
               on_event: Callable[[Event], None] | None = None,
               draw_sigma: Callable[[int, Generator], Tensor] | None = None) -> list[float]:
    """Train the adapter of ``module`` (a part of ``denoiser``) by ||eps - eps_hat||^2; returns the loss of every step.

    sets : the plate's examples and, if wanted, the concept's; the loss of the second and later sets is weighted with
        ``config.prior_weight``. Without concept images the model forgets what the object is (methods 1.11).
    draw_sigma : (n, generator) -> (n,) noise levels; None = uniform in the time of Stable Diffusion's schedule within
        the denoiser's range
    Raises FitError when the loss is not finite.
    """
    weights = list(lora_state(module).values())
    if not weights or not sets:
        raise PriorError(f"train_lora: {len(weights)} adapter weights and {len(sets)} example sets; call add_lora "
                         "first and give at least the plate.")
    draw_sigma = draw_sigma or (lambda n, generator: _uniform_sigma(denoiser, n, generator))
    generator = Generator().manual_seed(split_seed(config.seed, "personalise"))
    latents = [_encode(denoiser, examples.images) for examples in sets]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate)
    history, began = [], time.monotonic()
    for step in range(config.steps):
        losses = [_loss(denoiser, z, examples.condition, config.batch, generator, draw_sigma)
                  for z, examples in zip(latents, sets, strict=True)]
        loss = losses[0] + config.prior_weight * sum(losses[1:])
        history.append(_descend(loss, weights, optimizer, step))
        if on_event is not None:
            left = (time.monotonic() - began) / (step + 1) * (config.steps - step - 1)
            on_event(Event("personalise", step + 1, config.steps, left, {"loss": history[-1]}))
    return history


def _descend(loss: Tensor, weights: list[Tensor], optimizer: torch.optim.Optimizer, step: int) -> float:
    value = float(loss.detach())
    if not torch.isfinite(loss.detach()):
        raise FitError(f"personalisation: the loss is {value} at step {step}. Lower the learning rate, or use float32 "
                       "or bfloat16 weights.")
    optimizer.zero_grad(set_to_none=True)
    (loss * LOSS_SCALE).backward()
    for weight in weights:
        if weight.grad is not None:
            weight.grad /= LOSS_SCALE
    norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
    if not torch.isfinite(norm):
        raise FitError(f"personalisation: the gradient is {float(norm)} at step {step}. Use float32 or bfloat16 "
                       "weights, or lower the learning rate.")
    optimizer.step()
    return value


def _loss(denoiser: AbstractDenoiser, latents: Tensor, condition: Condition, batch: int, generator: Generator,
          draw_sigma: Callable[[int, Generator], Tensor]) -> Tensor:
    rows = torch.randint(len(latents), (batch,), generator=generator)
    clean = latents[rows.to(latents.device)]
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    sigma = draw_sigma(batch, generator).to(clean)
    noisy = clean + per_image(sigma, clean) * noise
    guess = (noisy - denoiser(noisy, sigma, select(condition, rows))) / per_image(sigma, clean)
    return (guess - noise).square().mean()


@torch.no_grad()
def _encode(denoiser: AbstractDenoiser, images: Tensor) -> Tensor:
    return torch.cat([denoiser.encode(image) for image in images.split(1)])


def _uniform_sigma(denoiser: AbstractDenoiser, n: int, generator: Generator) -> Tensor:
    table = sigmas_from_alphas(scaled_linear_alphas())
    ends = sigma_to_t(torch.tensor([denoiser.sigma_min, denoiser.sigma_max], dtype=torch.float64), table)
    part = torch.rand(n, generator=generator, dtype=torch.float64)
    return t_to_sigma(ends[0] + part * (ends[1] - ends[0]), table).float()


def concept_images(denoiser: AbstractDenoiser, condition: Condition, n: int, start: Tensor, sigmas: Tensor,
                   sampler: Sampler = heun, seed: int = 0) -> Tensor:
    """(n, 3, H, W) display images of the concept, sampled from the prior itself (~30-40 indoors, ~200 outdoors).

    start : (1, C, h, w) zeros in the prior's space: gives size and device;  condition : 1 or n rows (varied prompts)
    """
    if n < 1:
        raise ConfigError(f"concept_images: n = {n}; accepted is 1 or more.")
    seeds = [Generator().manual_seed(split_seed(seed, "concept", i)) for i in range(n)]
    noise = torch.cat([torch.randn(start.shape, generator=g) for g in seeds]).to(start)
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


def save_lora(path: str | Path, module: nn.Module, key: str) -> None:
    """Write the adapter as safetensors, atomically; ``key`` goes into the header."""
    from safetensors.torch import save_file

    path = Path(path)
    state = {name: p.detach().float().cpu().contiguous() for name, p in lora_state(module).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        raise PriorError(f"adapter {path} cannot be written ({error.strerror}); choose another folder.") from error
    os.close(handle)
    try:
        save_file(state, temporary, metadata={"format": FORMAT, "key": key})
        os.replace(temporary, path)
    except Exception as error:
        raise PriorError(f"adapter {path} cannot be written ({error}); free space or choose another folder.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def load_lora(path: str | Path, module: nn.Module, key: str | None = None) -> None:
    """Read an adapter into ``module`` (after :func:`add_lora`); ``key``, when given, must be the file's.

    Raises PriorError for a missing, truncated or foreign file; the module is then unchanged.
    """
    from safetensors import SafetensorError, safe_open

    path, state = Path(path), lora_state(module)
    again = "Delete the file, and it will be trained again."
    try:
        with safe_open(path, framework="pt") as file:
            header, loaded = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise PriorError(f"adapter {path} cannot be read ({error}). {again}") from error
    if header.get("format") != FORMAT or (key is not None and header.get("key") != key):
        raise PriorError(f"adapter {path} was made from other images, settings or weights (or elsewhere). {again}")
    if {n: tuple(t.shape) for n, t in loaded.items()} != {n: tuple(t.shape) for n, t in state.items()}:
        raise PriorError(f"adapter {path} holds {len(loaded)} tensors that do not fit the {len(state)} of this network "
                         f"and rank. {again}")
    if not all(bool(torch.isfinite(t).all()) for t in loaded.values()):
        raise PriorError(f"adapter {path} holds NaN or infinity. {again}")
    with torch.no_grad():
        for name, tensor in loaded.items():
            state[name].copy_(tensor)


def personalise(denoiser: AbstractDenoiser, module: nn.Module, sets: Sequence[Examples], config: PersonalizeConfig,
                folder: str | Path, on_event: Callable[[Event], None] | None = None) -> Path:
    """:func:`add_lora`, then load an adapter of equal inputs from ``folder``, or train and save it."""
    key = adapter_key(module, sets, config)
    path = Path(folder) / f"lora-{key[:16]}.safetensors"
    add_lora(module, config)
    if path.exists():
        load_lora(path, module, key)
    else:
        train_lora(denoiser, module, sets, config, on_event)
        save_lora(path, module, key)
    return path


def _bytes(value: Tensor) -> bytes:
    return value.detach().float().contiguous().cpu().numpy().tobytes()
