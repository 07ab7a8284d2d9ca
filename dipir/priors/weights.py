"""Weights of our own priors on disk: safetensors, float16, with architecture, configuration and checksum."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dipir import device, disk
from dipir.errors import PriorError
from dipir.tensors import read_tensors

PRIORS = disk.shipped("assets/priors")
_LARGEST = 4096
"""Number in the settings of a network."""


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Checksum of names, shapes and float16 values."""
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(f"{key}{tuple(state[key].shape)}".encode())
        digest.update(state[key].half().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def read_weights(path: Path, architecture: str, command: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(state as float32, metadata). PriorError when the file is missing, truncated, damaged or of another
    ``architecture``; ``command`` remakes such a file."""
    if not path.is_file():
        raise PriorError(f"{path}: no such file; give a .safetensors file made by `{command}`, "
                         "or restore the one that ships.")
    try:
        state, meta = read_tensors(path)
        state = {key: value.float() for key, value in state.items()}
    except (OSError, ValueError) as error:
        raise PriorError(f"{path}: not a complete safetensors file ({error}); "
                         f"fetch it again or remake it with `{command}`.") from error
    if meta.get("architecture") != architecture:
        raise PriorError(f"{path}: architecture {meta.get('architecture')!r}; expected {architecture!r}; "
                         f"use weights made by `{command}` of this version.")
    if state_hash(state) != meta.get("hash"):
        raise PriorError(f"{path}: the weights do not agree with their checksum; "
                         f"fetch the file again or remake it with `{command}`.")
    return state, meta


def read_network(path: Path, architecture: str, command: str,
                 build: Callable[[dict], nn.Module]) -> tuple[nn.Module, dict[str, str]]:
    """(network with its weights, metadata). ``build`` makes the network from the stored configuration, whose lists
    become tuples; it is on the run's device. PriorError as of :func:`read_weights`, and when weights and configuration
    do not fit together."""
    state, meta = read_weights(path, architecture, command)
    try:
        settings = json.loads(meta["config"])
        settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        _check_sizes(settings, state, build)
        net = build(settings)
        net.load_state_dict(state)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError, RecursionError, ArithmeticError) as error:
        raise PriorError(f"{path}: weights and configuration do not fit together; use the unchanged file "
                         f"or remake it with `{command}`.") from error
    return net.to(device.current().torch), meta


def _check_sizes(settings: Mapping[str, object], state: Mapping[str, Tensor],
                 build: Callable[[dict], nn.Module]) -> None:
    """ValueError when a network of these settings has other weights than the file; found without memory for them."""
    for value in settings.values():
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > 64 or any(isinstance(n, (int, float)) and not abs(n) <= _LARGEST for n in numbers):
            raise ValueError("settings of a network that these weights cannot be of")
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in build(dict(settings)).state_dict().items()}
    if wanted != {name: value.shape for name, value in state.items()}:
        raise ValueError("names or shapes of weights differ")


def write_weights(path: str | Path, state: Mapping[str, Tensor], architecture: str, config_json: str,
                  notes: Mapping[str, str] | None = None) -> str:
    """Write ``state`` as float16, atomically; returns the checksum."""
    half = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in state.items()}
    digest = state_hash(half)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.atomic_path(path, PriorError) as temporary:
        save_file(half, temporary,
                  {**(notes or {}), "architecture": architecture, "config": config_json, "hash": digest})
    return digest
