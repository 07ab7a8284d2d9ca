"""Save and resume exactly: parameters, Adam moments, step and history in one safetensors file.

Everything is in one file (the JSON part is the file's header) so that one rename makes a save atomic: a reader sees the
old state or the new one, never a mixture.
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from torch import Tensor

from dipir import disk
from dipir.errors import FitError
from dipir.tensors import read_tensors

_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is saved and what it must agree with."""

    path: Path
    """File."""
    run_hash: str
    """See :func:`run_hash`."""
    every: int = 25
    """Steps between saves."""
    resume: bool = False
    """Continue from the file when it is there (a missing file then means a run that was stopped before its first save,
    which starts anew)."""


@dataclass(frozen=True)
class State:
    """What an optimisation is between two steps."""

    step: int
    """Number of finished steps."""
    raw: dict[str, Tensor]
    """Unconstrained parameters."""
    moments: dict[str, Tensor] = field(default_factory=dict)
    """Adam's state, ``name/key`` -> tensor."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One dict of scalars per step."""


def run_hash(*parts: object) -> str:
    """Identity of a run: sha256 over everything that decides its numbers (resolved config, file hashes, seed)."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, state: State, run_hash: str) -> None:
    """Write ``state`` atomically. Raises FitError when the file cannot be written (disk full, no permission)."""
    path = Path(path)
    tensors = {f"raw/{name}": t.detach().contiguous().cpu() for name, t in state.raw.items()}
    tensors |= {f"adam/{name}": t.detach().contiguous().cpu() for name, t in state.moments.items()}
    header = {"format": _FORMAT, "step": state.step, "run_hash": run_hash, "history": state.history}
    data = safetensors.torch.save(tensors, {"dipir_checkpoint": json.dumps(header)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise FitError(f"{path}: checkpoint cannot be written ({problem.strerror}). Free some space or choose another "
                       "folder with --out.") from problem
    disk.write_bytes(path, data, FitError, flush=True)


def load(path: Path, run_hash: str) -> State:
    """Read what :func:`save` wrote. Raises FitError when the file is missing, damaged or of another run."""
    path = Path(path)
    remedy = "Run without --resume to start anew"
    try:
        tensors, about = read_tensors(path)
        header = json.loads(about.get("dipir_checkpoint", "{}"))
        if not isinstance(header, dict):
            raise ValueError("its header is no mapping")
    except FileNotFoundError:
        raise FitError(f"{path}: no checkpoint there. {remedy}.") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise FitError(f"{path}: checkpoint is damaged or truncated ({problem}). {remedy}.") from problem
    if header.get("format") != _FORMAT:
        raise FitError(f"{path}: not a checkpoint of this version of dipir (format {_FORMAT}). {remedy}.")
    step, history = header.get("step"), header.get("history")
    if type(step) is not int or not 0 <= step < 2**31 or not isinstance(history, list) \
            or not all(isinstance(row, dict) for row in history):
        raise FitError(f"{path}: checkpoint is damaged (no step and history in its header). {remedy}.")
    if header.get("run_hash") != run_hash:
        raise FitError(f"{path}: checkpoint of another run (scene, settings, seed or inputs differ). Repeat the "
                       f"settings of that run (config.yaml beside it), or choose another --out. {remedy}.")
    return State(step, _below("raw/", tensors), _below("adam/", tensors), history)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix):]: t for name, t in tensors.items() if name.startswith(prefix)}


@contextlib.contextmanager
def graceful_stop() -> Iterator[list[int]]:
    """Inside, the first SIGTERM or SIGINT is only noted in the yielded list (so that the step in progress can be
    finished and saved); a second one acts at once. Handlers can be set in the main thread only; elsewhere this does
    nothing."""
    caught: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            # A handler that was not set from Python (None) could not be put back.
            if handler is not None and handler != signal.SIG_IGN:
                before[number] = handler
                signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
