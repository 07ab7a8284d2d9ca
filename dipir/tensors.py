"""Files of tensors (safetensors) from anywhere: looked at before they are read, and never a surprise afterwards."""
from __future__ import annotations

import json
from pathlib import Path

import safetensors
from torch import Tensor

_MOST_HEADER = 100_000_000
"""Bytes; the format's own limit."""
_TYPES = {"BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64"}


def read_tensors(path: str | Path, starting: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, on the CPU, those whose name starts so; the header's metadata). Raises ValueError for a file
    that is damaged, cut short or holds types that are no numbers of ours, FileNotFoundError and other OSError for one
    that cannot be read."""
    path = Path(path)
    _look(path)
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(starting)]
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (safetensors.SafetensorError, LookupError, AttributeError, TypeError, RuntimeError,
            OverflowError) as problem:
        raise ValueError(" ".join(str(problem).split())[:200] or type(problem).__name__) from problem


def read_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(shape of every tensor by name; the metadata), without reading a tensor. Raises as :func:`read_tensors`."""
    header = _look(Path(path))
    metadata = header.pop("__metadata__", None)
    try:
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in header.items()}
    except (LookupError, TypeError, ValueError, OverflowError) as problem:
        raise ValueError("a tensor has no shape") from problem
    return shapes, {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}


def _look(path: Path) -> dict:
    """The header. ValueError unless it fits the file."""
    with open(path, "rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_HEADER, size - 8):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length))
        except RecursionError:
            raise ValueError("its header is nested too deep") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no mapping")
    for name, entry in header.items():
        if name != "__metadata__" and (not isinstance(entry, dict) or str(entry.get("dtype")) not in _TYPES):
            raise ValueError(f"tensor '{name[:60]}' has a type that is not among {', '.join(sorted(_TYPES))}")
    return header
