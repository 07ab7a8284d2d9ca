"""What a pretrained prior gives up to save GPU memory, and in which precision it computes."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dipir.errors import ConfigError

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class MemorySettings:
    """How a pretrained prior (Stable Diffusion) uses the GPU; most change no result but by rounding."""

    attention_slicing: bool = False
    """Attention one slice at a time (slower, less memory)."""
    vae_slicing: bool = True
    """Encode and decode batches one image at a time."""
    gradient_checkpointing: bool = False
    """Recompute activations of U-Net and VAE in the backward pass (slower, much less memory)."""
    vae_tiling: bool = False
    """Encode and decode large images tile by tile; tiles are blended, so that results change a little."""
    offload: Literal["none", "model"] = "none"
    """None, or model = text encoders, U-Net and VAE wait on the CPU and only the one in use is on the GPU (much slower,
    least memory); nothing changes on the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of U-Net and text encoders; auto = bfloat16 on a GPU, float32 on the CPU."""
    vae_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the VAE; auto = float32 weights, on a GPU with TF32 products; float32 = no TF32; bfloat16 is quicker than
    auto, but moves the image's gradient by more than 1 % (figures in ``docs/architecture.md``, section 8)."""
    compile: bool = False
    """Whether torch.compile is used for U-Net and encoder (needs a C compiler; minutes once, then quicker)."""


@dataclass(frozen=True)
class MemoryOptions(MemorySettings):
    """The same for :func:`~dipir.diffusion.pretrained.load_pretrained`."""

    controlnet: str | None = None
    """Local folder of a ControlNet for this model, fed by ``Condition.control``, or None."""


def precisions(device: torch.device, dtype: torch.dtype | None, options: MemorySettings) -> tuple[
        torch.dtype, torch.dtype]:
    """(of U-Net and text encoders, of the VAE). ``dtype``, when given, is the first. ConfigError for half floats on the
    CPU."""
    cpu = device.type == "cpu"
    if dtype is None:
        auto = torch.float32 if cpu else torch.bfloat16
        dtype = auto if options.dtype == "auto" else getattr(torch, options.dtype)
    vae = torch.float32 if options.vae_dtype == "auto" else getattr(torch, options.vae_dtype)
    for name, chosen in (("dtype", dtype), ("vae_dtype", vae)):
        if cpu and chosen in HALF:
            raise ConfigError(f"{name} {chosen} on the CPU; half floats are for a GPU. Use torch.float32 (or device "
                              f"'cuda'); in settings memory.{name}: auto.")
    return dtype, vae


class PartPlaces:
    """Where the networks are: all on ``device``, or with ``offload`` only the last one used, the others on the CPU."""

    def __init__(self, device: torch.device, offload: bool) -> None:
        self.device, self.offload = device, offload and device.type != "cpu"
        self._here: tuple[nn.Module, ...] = ()

    def bring(self, *modules: nn.Module) -> None:
        """Before ``modules`` are called. Without offload nothing is to be done."""
        if not self.offload or all(any(m is h for h in self._here) for m in modules):
            return
        for module in self._here:
            module.to("cpu")
        for module in modules:
            module.to(self.device)
        self._here = modules


# ---------------------------------------------------------------------------------------------------------- precision
def full_precision(device: torch.device) -> AbstractContextManager:
    """No autocast inside: it would lower even a float32 VAE."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Float32 convolutions and matrix products of the GPU with 10 bits of mantissa (on) or with all 23 (off)."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = on
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def within(context: Callable[[], AbstractContextManager], run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``run(x)`` inside ``context()``, and its backward pass, which comes later, inside another one. Gradients go to
    ``x`` only."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _Within.apply(x, run, context)
    with context():
        return run(x)


class _Within(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Callable[[Tensor], Tensor],
                context: Callable[[], AbstractContextManager]) -> Tensor:
        with context(), torch.enable_grad():
            given = x.detach().requires_grad_()
            out = run(given)
        ctx.graph, ctx.context = (given, out), context
        return out.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if ctx.graph is None:
            raise RuntimeError("a second backward pass through the VAE; encode again, its activations are freed")
        (given, out), ctx.graph = ctx.graph, None
        with ctx.context():
            (back,) = torch.autograd.grad(out, given, gradient)
        return back, None, None


# ------------------------------------------------------------------------------------------------------------ set up
def set_up(unet: nn.Module, vae: nn.Module, device: torch.device, options: MemorySettings) -> None:
    """What is done to the loaded networks, once."""
    if options.attention_slicing:
        unet.set_attention_slice("auto")
    if options.vae_slicing:
        vae.enable_slicing()
    if options.vae_tiling:
        vae.enable_tiling()
    if options.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        vae.enable_gradient_checkpointing()
    if device.type == "cuda":
        # Convolutions on tensor cores want channels last; on the CPU it would change last bits.
        for module in (unet, vae):
            module.to(memory_format=torch.channels_last)
    if options.compile:
        unet.compile()
        vae.encoder.compile()
