"""Where a run computes: torch's device and Mitsuba's variant, decided once a process.

``auto`` takes the GPU when torch *and* OptiX can use it, else the CPU. ``cuda`` takes it for torch in any case; where
OptiX is missing the renderer stays on the CPU (LLVM), and every crossing is a copy. ``cuda:N`` is the N-th of the
visible GPUs: ``CUDA_VISIBLE_DEVICES`` is narrowed to it before torch and Dr.Jit are loaded (choosing a device later
crashes in Dr.Jit 1.5), so that both see one GPU, number 0.

Noise is drawn on the CPU from the seed whatever the device (``randn``, ``rand``), so that a seed means the same on
both. Nothing heavy is imported here before a device is asked for.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dipir.errors import ConfigError, DeviceMemoryError

if TYPE_CHECKING:
    import torch
    from torch import Generator, Tensor

ACCEPTED = "auto, cpu, cuda or cuda:N (N = 0, 1, ...)"
LLVM, CUDA = "llvm_ad_rgb", "cuda_ad_rgb"
_MIN_DRIVER = 535  # Mitsuba 3.9's OptiX needs it.
T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """Where this process computes, and why."""

    kind: str  # torch's device type, "cpu" or "cuda"
    variant: str  # Mitsuba's variant, "llvm_ad_rgb" or "cuda_ad_rgb"
    asked: str = "auto"  # what the user asked for, "auto", "cpu", "cuda" or "cuda:N"
    why: str | None = None  # one line on why a half is on the CPU, or None when both are on the GPU

    @property
    def torch(self) -> torch.device:
        """For ``device=`` and ``.to()``."""
        import torch

        return torch.device(self.kind)

    @property
    def gpu(self) -> bool:
        """Whether torch computes on a GPU."""
        return self.kind != "cpu"

    def describe(self) -> str:
        """One line for the terminal, e.g. ``cpu (no NVIDIA driver on this machine)``."""
        halves = self.kind if self.gpu == (self.variant == CUDA) else f"{self.kind}, renderer on the CPU"
        return f"{halves} ({self.why})" if self.why else halves

    def record(self) -> dict[str, str]:
        """For ``result.json``: names of both halves."""
        return {"torch": _torch_name(self.kind), "renderer": self.variant, "asked": self.asked}


# ------------------------------------------------------------------------------------------------------- choosing
def request(text: str) -> None:
    """Note what is asked for, before torch and Dr.Jit are loaded; ``current`` decides. ConfigError for anything else
    than ``auto``, ``cpu``, ``cuda``, ``cuda:N``, or when this process has decided otherwise already."""
    text = _parse(text, "--device")
    if current.cache_info().currsize and current().asked != text:
        raise ConfigError(f"--device {text}: this process computes on {current().describe()} already. Start another "
                          "process for another device.")
    os.environ["DIPIR_DEVICE"] = text
    number = _number(text)
    if number is not None:
        _narrow(number)


@functools.lru_cache(maxsize=1)
def current() -> Device:
    """The device of this process, decided at the first call. ConfigError as :func:`decide`."""
    return decide()


def decide() -> Device:
    """The device that the environment asks for: DIPIR_DEVICE (set by ``--device``), or auto; DIPIR_VARIANT overrides
    the renderer's half. ConfigError for what is not accepted, and when a GPU is asked for and torch has none."""
    asked = _parse(os.environ.get("DIPIR_DEVICE") or "auto", "DIPIR_DEVICE")
    number = _number(asked)
    if number is not None:
        _narrow(number)
    variant = os.environ.get("DIPIR_VARIANT")
    if variant and variant not in (LLVM, CUDA):
        raise ConfigError(f"DIPIR_VARIANT={variant}: accepted are {LLVM} and {CUDA}; unset it to let --device choose.")
    if asked == "cpu":
        return Device("cpu", variant or LLVM, asked, "as asked")
    no_torch = why_not_torch()
    if no_torch is not None and asked != "auto":
        raise ConfigError(f"device {asked}: torch has no GPU here ({no_torch}). Use --device cpu, or mend that; "
                          "`dipir doctor` shows both halves.")
    no_optix = no_torch or why_not_optix()
    if asked == "auto" and no_optix is not None and variant != LLVM:
        hint = "" if no_torch else "; --device cuda puts all but the renderer on the GPU"
        return Device("cpu", variant or LLVM, asked, no_optix + hint)
    return Device("cpu" if no_torch else "cuda", variant or (LLVM if no_optix else CUDA), asked, no_optix)


def why_not_torch() -> str | None:
    """Why torch cannot use a GPU, or None when it can."""
    if not _has_driver():
        return "no NVIDIA driver on this machine"
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is the CPU build; install the one for CUDA"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} for CUDA {torch.version.cuda} sees no usable GPU"
    return None


def why_not_optix() -> str | None:
    """Why the renderer cannot use the GPU, or None: OptiX is a part of the driver that containers often lack."""
    driver = driver_version()
    if driver is not None and driver < _MIN_DRIVER:
        return f"NVIDIA driver {driver} is older than {_MIN_DRIVER}, which the renderer's OptiX needs"
    if not _loads("libnvoptix.so.1"):
        return "OptiX (libnvoptix.so.1 of the NVIDIA driver) is missing; in a container ask for the graphics capability"
    return None


def driver_version() -> int | None:
    """Major version of the NVIDIA driver, or None."""
    try:
        found = re.search(r"\s(\d{3})\.\d+", Path("/proc/driver/nvidia/version").read_text())
    except OSError:
        return None
    return int(found[1]) if found else None


def _has_driver() -> bool:
    return _loads("libcuda.so.1") or _loads("nvcuda.dll")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _parse(text: str, where: str) -> str:
    text = str(text).strip().lower()
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise ConfigError(f"{where} {text}: accepted are {ACCEPTED}.")
    return text


def _number(text: str) -> int | None:
    return int(text.split(":")[1]) if ":" in text else None


def _narrow(number: int) -> None:
    """Leave one GPU visible. DIPIR_GPU remembers it, so that child processes do not narrow twice."""
    if os.environ.get("DIPIR_GPU") == str(number):
        return
    visible = [v for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    if visible and number >= len(visible):
        raise ConfigError(f"device cuda:{number}: CUDA_VISIBLE_DEVICES={','.join(visible)} shows {len(visible)} of "
                          f"them, so the largest N is {len(visible) - 1}.")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise ConfigError(f"device cuda:{number}: torch uses a GPU in this process already. Choose the device first "
                          "(dipir.device.request), or set DIPIR_DEVICE.")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
    os.environ["DIPIR_GPU"] = str(number)


def _torch_name(kind: str) -> str:
    import torch

    return torch.cuda.get_device_name(0) if kind == "cuda" and torch.cuda.is_available() else kind


# --------------------------------------------------------------------------------------------------- command line
def add_option(parser: argparse._ActionsContainer) -> None:
    """``--device`` for a parser or a group of one; argparse leaves with code 2 for what is not accepted."""
    parser.add_argument("--device", type=_argument, metavar="DEVICE",
                        help=f"where to compute: {ACCEPTED}; auto (default, or what DIPIR_DEVICE says) takes the GPU "
                             "when torch and the renderer can use it, else the CPU")


def use_option(args: argparse.Namespace) -> None:
    """:func:`request` what ``--device`` says; nothing when it was not given. To be called before torch and Dr.Jit are
    loaded where that is possible, at the latest before either uses a GPU. ConfigError as :func:`request`."""
    if getattr(args, "device", None):
        request(args.device)


def _argument(text: str) -> str:
    try:
        return _parse(text, "--device")
    except ConfigError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device: accepted are {ACCEPTED}.") from None


# --------------------------------------------------------------------------------------------------------- moving
def moved(value: T, device: torch.device | None = None) -> T:
    """``value`` with every tensor in it on ``device`` (default: the run's). Goes through dataclasses, tuples, lists and
    dicts; anything else stays the very object, and so does what has nothing to move."""
    target = device or current().torch
    return mapped(value, lambda tensor: tensor.to(target))


def sent(batch: T, where: torch.device) -> T:
    """A batch made on the CPU, on ``where``: to a GPU through pinned memory, without waiting; else as :func:`moved`."""
    if where.type != "cuda":
        return moved(batch, where)
    # torch's allocator keeps a pinned block until the copy from it has ended.
    return mapped(batch, lambda x: x if x.is_cuda else x.pin_memory().to(where, non_blocking=True))


def mapped(value: T, change: Callable[[Tensor], Tensor]) -> T:
    """``value`` with ``change`` done to every tensor in it; see :func:`moved`."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: mapped(getattr(value, f.name), change) for f in fields(value) if f.init}
        same = all(changed[name] is getattr(value, name) for name in changed)
        return value if same else replace(value, **changed)
    if isinstance(value, (tuple, list)):
        items = [mapped(v, change) for v in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, dict):
        table = {k: mapped(v, change) for k, v in value.items()}
        return value if all(table[k] is value[k] for k in table) else table
    return value


def randn(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """Standard normal numbers of a CPU generator, on ``device``: a seed means the same everywhere. Nobody waits for the
    way there."""
    import torch

    return torch.randn(shape, generator=generator, device="cpu").to(device, non_blocking=True)


def rand(shape: tuple[int, ...], generator: Generator, device: torch.device) -> Tensor:
    """As :func:`randn`, uniform in [0, 1)."""
    import torch

    return torch.rand(shape, generator=generator, device="cpu").to(device, non_blocking=True)


def single_precision(where: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A block in which autocast does nothing to tensors of ``where``, whatever is said around it."""
    import torch

    known = torch.amp.is_autocast_available(where.type)
    return torch.autocast(where.type, enabled=False) if known else contextlib.nullcontext()


def free_memory() -> None:
    """Give the caches of torch and Dr.Jit back, between phases: neither hands its own to the other."""
    if not current().gpu:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    drjit = sys.modules.get("drjit")
    if drjit is not None:
        drjit.flush_malloc_cache()


@contextlib.contextmanager
def guarded(remedy: str) -> Iterator[None]:
    """Inside, running out of GPU memory becomes one DeviceMemoryError that says what was asked, what is free, and
    ``remedy``."""
    try:
        yield
    except Exception as problem:
        text = memory_text(problem)
        if text is None:
            raise
        raise DeviceMemoryError(f"{text} {remedy}") from problem


def memory_text(problem: BaseException) -> str | None:
    """What torch or Dr.Jit said when GPU memory ran out, in one line; None for any other problem."""
    said = " ".join(str(problem).split())
    short = re.search(r"out of memory", said, re.I) and re.search(r"cuda|drjit|jit_", said, re.I)
    if type(problem).__name__ != "OutOfMemoryError" and not short:
        return None
    asked = re.search(r"(?:tried to|could not) allocate\s+([\d.]+\s*\w+)", said, re.I)
    facts = [f"{asked[1]} were asked for"] if asked else []
    facts += _free_text()
    inside = f" ({', '.join(facts)})" if facts else ""
    return f"out of GPU memory{inside}."


def _free_text() -> list[str]:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    free, total = torch.cuda.mem_get_info()
    return [f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"]
