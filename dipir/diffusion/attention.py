"""What a text-conditioned prior attends to: maps of its cross-attention, recorded while it works. Nothing of the prior
is replaced; forward hooks look at what goes into its layers and are taken away again."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.errors import PriorError

Record = Callable[[str, Tensor], None]
_CROSS = re.compile(r"((?:down_blocks\.\d+|mid_block)\.attentions\.0)\.transformer_blocks\.\d+\.attn2")


class AttentionMaps:
    """Cross-attention of one recording. Every layer is summed up as calls come in."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}

    def add(self, layer: str, weights: Tensor) -> None:
        """weights : (B, T, h, w) of one call. PriorError when an earlier call had other sizes."""
        weights, before = weights.detach().float(), self._sums.get(layer)
        if before is not None and before.shape != weights.shape:
            raise PriorError(f"attention of {tuple(weights.shape)} (pictures, words, rows, columns) after one of "
                             f"{tuple(before.shape)}; accepted are calls of one size in a recording. Record each in "
                             "one of its own.")
        self._sums[layer] = weights if before is None else before + weights
        self._calls[layer] = self._calls.get(layer, 0) + 1

    def mean(self, height: int, width: int) -> Tensor:
        """(B, T, height, width) average over layers and calls, resized; over the words it sums to 1 everywhere, words
        of padding included. PriorError when the prior was not called."""
        if not self._sums:
            raise PriorError("no attention was recorded; call the prior inside `with recording(prior) as maps:`.")
        maps = [functional.interpolate(total / self._calls[layer], (height, width), mode="bilinear", antialias=True)
                for layer, total in self._sums.items()]
        return torch.stack(maps).mean(0)


@contextmanager
def recording(prior: AbstractDenoiser) -> Iterator[AttentionMaps]:
    """Record the cross-attention of all calls of ``prior`` inside the block; their results are the same as without.

    Of the embedded prior all layers, of a pretrained one the first cross-attention block after the down-sampling of
    each stage (docs/method.md 3.1). Guided sampling calls its prior with the negative prompt too: record one call
    of the prior itself. PriorError for a prior without cross-attention.
    """
    maps = AttentionMaps()
    handles: list[RemovableHandle] = []
    try:
        handles += prior.word_layers(maps.add)
        if not handles:
            raise PriorError(f"{type(prior).__name__} has no cross-attention to record; accepted are the layout prior "
                             "and pretrained models, not wrapped by guidance. Give the prior itself, or use a constant "
                             "delta, which needs no attention.")
        yield maps
    finally:
        for handle in handles:
            handle.remove()


# ---- diffusers -------------------------------------------------------------------------------------------------------

def layers_after_downsampling(unet: nn.Module) -> dict[str, list[str]]:
    """Names of the cross-attention layers by their transformer block: the first block after each down-sampling."""
    names = [name for name, _ in unet.named_modules()]
    blocks: dict[str, list[str]] = {}
    for match in filter(None, map(_CROSS.fullmatch, names)):
        blocks.setdefault(match[1], []).append(match[0])
    shrinking = [k for k in range(len(names)) if f"down_blocks.{k}.downsamplers" in names]
    chosen: dict[int, str] = {}
    for block in sorted(blocks):  # The middle comes after the way down in the alphabet too.
        index = len(names) if block.startswith("mid") else int(block.split(".")[1])
        if level := sum(k < index for k in shrinking):
            chosen.setdefault(level, block)
    return {block: blocks[block] for block in chosen.values()}


def watch_unet(unet: nn.Module, record: Record) -> list[RemovableHandle]:
    """Hooks on the cross-attention of a U-Net of diffusers that hand its weights to ``record``. PriorError for a
    compiled network."""
    if unet._compiled_call_impl is not None:
        raise PriorError("attention cannot be recorded in a compiled network, which does not notice hooks; "
                         "load the prior with memory.compile: false.")
    modules, handles = dict(unet.named_modules()), []
    for block, names in layers_after_downsampling(unet).items():
        size: dict[str, torch.Size] = {}

        def look(_: nn.Module, given: tuple, size: dict = size) -> None:
            size["now"] = given[0].shape[-2:]

        handles.append(modules[block].register_forward_pre_hook(look))
        for name in names:
            @torch.no_grad()
            def weigh(layer: nn.Module, given: tuple, named: dict, name: str = name, size: dict = size) -> None:
                record(name, _weights(layer, given[0], named["encoder_hidden_states"], size["now"]))

            handles.append(modules[name].register_forward_pre_hook(weigh, with_kwargs=True))
    return handles


def _weights(layer: nn.Module, tokens: Tensor, text: Tensor, size: torch.Size) -> Tensor:
    """(B, T, h, w) of an ``Attention`` of diffusers, mean of its heads. tokens : (B, h w, C);  text : (B, T, D)."""
    q, k = (x.unflatten(-1, (layer.heads, -1)).transpose(1, 2).float() for x in (layer.to_q(tokens), layer.to_k(text)))
    weights = (q @ k.transpose(-1, -2) * layer.scale).softmax(-1).mean(1)
    return weights.transpose(1, 2).unflatten(2, size)
