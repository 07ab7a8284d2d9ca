"""The adapter: LoRA on a network's attention layers, put on, taken off, switched, saved and loaded."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dipir import disk
from dipir.arrays import split_seed
from dipir.errors import ConfigError, PriorError
from dipir.tensors import read_tensors

ATTENTION = ("to_q", "to_k", "to_v", "to_out")
FORMAT = "dipir-lora-1"


@dataclass(frozen=True)
class PersonalizeConfig:
    """How the adapter is trained. Rank, rate and steps are not in the published text; these are customary."""

    rank: int = 4
    """Of the update B A, its scale is 1."""
    learning_rate: float = 1e-4
    """AdamW."""
    steps: int = 1000
    """Optimiser steps."""
    batch: int = 1
    """Images of each set a step."""
    seed: int = 0
    """Of everything."""
    prior_weight: float = 1.0
    """Weight of the concept images' loss."""
    layers: Literal["attention", "all"] = "attention"
    """Either "attention" as published, or "all" plain linear layers and convolutions; in the embedded prior these
    scale and
    shift every block, while its one small attention layer has hardly a say."""

    def __post_init__(self) -> None:
        if min(self.rank, self.steps, self.batch) < 1 or not 0 < self.learning_rate < 1 or not self.prior_weight >= 0:
            raise ConfigError(f"{self}: needs rank, steps and batch >= 1, 0 < learning_rate < 1 and prior_weight >= 0.")


def add_lora(module: nn.Module, config: PersonalizeConfig) -> list[str]:
    """Put a fresh adapter (h = W0 x + B A x, B = 0) on every attention projection of ``module``, in place; with
    ``config.layers`` = "all" on every ``nn.Linear`` and ``nn.Conv2d`` (not on subclasses, which peft cannot copy).

    Freezes all other weights. Attention is found by name: to_q, to_k, to_v, to_out or to_out.0.
    Returns their names; raises PriorError when there is none, or an adapter already.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if adapter_layers(module):
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
    cast_adapter(module, torch.float32)  # peft gives it the type of the base, in which small steps would be lost.
    return names


def cast_adapter(module: nn.Module, dtype: torch.dtype | None = None) -> None:
    """Bring the adapter's weights to ``dtype``, or to that of the layer under each."""
    for layer in adapter_layers(module).values():
        chosen = dtype or layer.get_base_layer().weight.dtype
        for part in (layer.lora_A, layer.lora_B):
            part.to(chosen)


def _adapted(name: str, layer: nn.Module, layers: str) -> bool:
    if layers == "all":
        return type(layer) in (nn.Linear, nn.Conv2d)
    return isinstance(layer, (nn.Linear, nn.Conv2d)) and name.removesuffix(".0").rpartition(".")[2] in ATTENTION


def remove_lora(module: nn.Module) -> None:
    """Take the adapter off again; the base layers were never changed."""
    for name, layer in adapter_layers(module).items():
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, layer.get_base_layer())


@contextmanager
def disable_lora(module: nn.Module) -> Iterator[None]:
    """The base model within the block; afterwards everything is as it was, also when the block raises."""
    layers = list(adapter_layers(module).values())
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


def adapter_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Layers with an adapter, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)}


# --------------------------------------------------------------------------------------------------------------- files

def save_lora(path: str | Path, module: nn.Module, key: str) -> None:
    """Write the adapter as safetensors, atomically; ``key`` goes into the header."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    state = {name: p.detach().float().cpu().contiguous() for name, p in lora_state(module).items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.atomic_path(path, PriorError) as temporary:
            save_file(state, temporary, metadata={"format": FORMAT, "key": key})
    except (OSError, SafetensorError) as error:
        raise PriorError(f"adapter {path} cannot be written ({error}); free space or choose another folder.") from error


def load_lora(path: str | Path, module: nn.Module, key: str | None = None) -> None:
    """Read an adapter into ``module`` (after :func:`add_lora`); ``key``, when given, must be the file's.

    Raises PriorError for a missing, truncated or foreign file; the module is then unchanged.
    """
    path, state = Path(path), lora_state(module)
    again = "Delete the file, and it will be trained again."
    try:
        loaded, header = read_tensors(path)
    except (OSError, ValueError) as error:
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
