"""Both branches of LDS by one call of the network.

They share all weights but the adapter's, so they are rows of one batch in which the adapter acts on some rows only. On
a GPU that is quicker: a call with a single image takes about as long, since it mostly waits for kernels to be started.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dipir.diffusion.denoiser import AbstractDenoiser, Condition, GuidedDenoiser, joined, on_gpu
from dipir.diffusion.lora import adapter_layers
from dipir.diffusion.personalize import FrozenBase
from dipir.diffusion.pretrained import PretrainedDenoiser


@contextmanager
def adapter_rows(module: nn.Module, rows: Tensor) -> Iterator[None]:
    """Inside, the adapter of ``module`` acts only where ``rows`` (B,) is 1; where it is 0 the answer is the base's.

    peft's own way (``adapter_names``) picks rows by lists of numbers, which waits for the device in every layer.
    """
    def masked(_: nn.Module, __: tuple, out: Tensor) -> Tensor:
        return out * rows.to(out.dtype).reshape(-1, *[1] * (out.ndim - 1))

    handles = [last.register_forward_hook(masked) for layer in adapter_layers(module).values()
               for last in layer.lora_B.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def personalised_and_base(personalised: AbstractDenoiser, base: AbstractDenoiser, x: Tensor, sigma: Tensor,
                          conditions: tuple[Condition, Condition], batched: bool | None = None) -> tuple[
                              Tensor, Tensor]:
    """(answer of ``personalised`` to the first condition, of ``base`` to the second), each like ``x``.

    batched : one call of the network where the two share it; None = on a GPU (on the CPU a larger batch could change
        last bits). Other priors are called one after the other.
    """
    guided = personalised if isinstance(personalised, GuidedDenoiser) and personalised.scale != 1 else None
    inner = personalised.base if isinstance(personalised, GuidedDenoiser) else personalised
    shared = isinstance(base, FrozenBase) and base.denoiser is inner and isinstance(inner, PretrainedDenoiser)
    # A compiled network does not notice hooks that come later.
    if shared and on_gpu(x, batched) and base.module._compiled_call_impl is None:
        asked = [conditions[0], *([guided.negative] if guided else []), conditions[1]]
        condition = joined(asked, len(x))
        if condition is not None:
            n = len(asked)
            rows = torch.cat([x.new_ones((n - 1) * len(x)), x.new_zeros(len(x))])
            with adapter_rows(base.module, rows):
                answers = inner(torch.cat([x] * n), torch.cat([sigma] * n), condition).chunk(n)
            return guided.guided(*answers[:2]) if guided else answers[0], answers[-1]
    return personalised(x, sigma, conditions[0]), base(x, sigma, conditions[1])
