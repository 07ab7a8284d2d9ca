"""The small text-conditioned prior of ``dipir layout``: pictures of 64 x 64 pixels told in the language of
``dipir/priors/captions.py``. Pixel space; weights in ``assets/priors``."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from dipir.diffusion.attention import Record
from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.phrases import positions
from dipir.errors import PriorError
from dipir.priors import captions
from dipir.priors.nets.text_unet import TextUNet, TextUNetConfig, WordAttention
from dipir.priors.weights import PRIORS, read_network, write_weights

DEFAULT_PATH = PRIORS / "layout.safetensors"
ARCHITECTURE = "dipir.text_unet.1"
COMMAND = "dipir prior train layout"
SIZE = 64
LAYOUT_NET = TextUNetConfig(vocabulary=len(captions.VOCABULARY), longest=captions.LONGEST)


@final
class LayoutPrior(AbstractDenoiser):
    """Denoiser of 64 x 64 pictures in [-1, 1]; ``hash`` names the weights in a result. Make one by :meth:`load`."""

    sigma_min, sigma_max = 0.02, 40.0
    working_size = SIZE
    language = "captions"

    def __init__(self, net: TextUNet, hash: str = "untrained") -> None:
        self.net = self.adaptable = net.eval().requires_grad_(False)
        self.hash = hash

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 2 ** len(self.net.config.channels)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @staticmethod
    def load(path: str | Path | None = None) -> LayoutPrior:
        """Weights from a .safetensors file, by default the ones that ship. PriorError when they cannot be used, also
        when they were trained on another vocabulary."""
        path = Path(path or DEFAULT_PATH)
        net, meta = read_network(path, ARCHITECTURE, COMMAND, lambda settings: TextUNet(TextUNetConfig(**settings)))
        if meta.get("words") != _words():
            raise PriorError(f"{path}: its vocabulary is not that of this version ({str(meta.get('words'))[:200]!r}); "
                             f"use weights made by `{COMMAND}` of this version.")
        return LayoutPrior(net, meta["hash"])

    @staticmethod
    def untrained() -> LayoutPrior:
        """A prior of the default architecture that hears nothing: the best linear estimate (its last layers are 0)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return LayoutPrior(TextUNet(LAYOUT_NET))

    def save(self, path: str | Path, notes: Mapping[str, str] | None = None) -> str:
        """Write the weights as float16; returns their hash."""
        return write_weights(path, self.net.state_dict(), ARCHITECTURE, json.dumps(asdict(self.net.config)),
                             {**(notes or {}), "words": _words()})

    @torch.no_grad()
    def encode_text(self, prompts: str | Sequence[str]) -> Condition:
        """One caption or B of them, "" for none -> text (B, LONGEST, D), rows of padding 0. ConfigError for words
        outside the vocabulary, which it lists, and for captions that are too long."""
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        tokens = torch.tensor([captions.tokens(p) for p in prompts], device=self.device)
        return Condition(text=self.net.read(tokens))

    def token_positions(self, prompt: str, phrase: str) -> list[int]:
        """Rows of ``encode_text(prompt).text`` where the words of ``phrase`` stand, the first time that they do.
        ConfigError when they do not stand there one after the other."""
        said = captions.tokens(phrase)[1:len(captions.words(phrase)) + 1]
        return positions(prompt, phrase, captions.tokens(prompt), said)

    def encode_pair(self, prompt: str, negative: str = "") -> tuple[Condition, Condition]:
        return self.encode_text(prompt), self.encode_text(negative)

    def word_layers(self, record: Record) -> list[RemovableHandle]:
        def watch(name: str, layer: WordAttention) -> RemovableHandle:
            @torch.no_grad()
            def weigh(layer: WordAttention, given: tuple) -> None:
                record(name, layer.weights(*given))

            return layer.register_forward_pre_hook(weigh)

        return [watch(name, layer) for name, layer in self.net.named_modules() if isinstance(layer, WordAttention)]

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        """PriorError when the condition has no text, text of another prior, or when sizes do not fit."""
        text, wanted = condition.text, (captions.LONGEST, self.net.config.width)
        if text is None or tuple(text.shape[1:]) != wanted or len(text) not in (1, len(x)):
            given = "no text" if text is None else f"text of shape {tuple(text.shape)}"
            raise PriorError(f"the layout prior was given {given} for {len(x)} pictures; accepted is one row or one "
                             f"for each, of {wanted[0]} x {wanted[1]} numbers. Make it with encode_text('...'), '' for "
                             "none.")
        if x.shape[1] != 3 or any(n % self.multiple for n in x.shape[-2:]):
            raise PriorError(f"the layout prior was given a picture of shape {tuple(x.shape)}; accepted are "
                             f"(B, 3, {SIZE}, {SIZE}) and other multiples of {self.multiple} pixels. Resize it.")
        return self.net(x, sigma, text.expand(len(x), -1, -1))

    def encode(self, image_disp: Tensor) -> Tensor:
        return image_disp * 2 - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)


def _words() -> str:
    """The vocabulary in one line: weights know words by their numbers alone."""
    return " ".join(captions.VOCABULARY)
