"""Weights of our own priors on disk: safetensors, float16, with architecture, configuration and checksum."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dipir import device, disk
from dipir.errors import PriorError

PRIORS = disk.shipped("assets/priors")


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
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
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
        net = build({key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})
        net.load_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise PriorError(f"{path}: weights and configuration do not fit together; use the unchanged file "
                         f"or remake it with `{command}`.") from error
    return net.to(device.current().torch), meta


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
