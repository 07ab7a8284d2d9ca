"""A prior with words whose answers are known: every caption is a Gaussian around one flat colour."""
from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from dipir.diffusion.denoiser import AbstractDenoiser, Condition
from dipir.diffusion.toy import GaussianDenoiser
from dipir.priors.captions import COLOURS

GREY = (0.5, 0.5, 0.5)


@final
class ColourToy(AbstractDenoiser):
    """Pixel space, display values 2 x - 1. A caption is N(the colour of its first colour word, grey without one;
    std^2). ``calls`` keeps the batch size of every call. mix : of what is estimated for a pixel so much is the mean of
    the picture's estimates;  device : where it works"""

    sigma_min, sigma_max = 0.02, 40.0
    hash = "toy"

    def __init__(self, std: float = 0.2, size: int = 8, mix: float = 0.0,
                 device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.toy = GaussianDenoiser(torch.zeros(3, size, size, device=device), std)
        self.mix = mix
        self.calls: list[int] = []

    def __call__(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        self.calls.append(len(x))
        own = self.toy(x, sigma, condition)
        return own if self.mix == 0 else torch.lerp(own, own.mean((2, 3), keepdim=True), self.mix)

    def encode(self, image_disp: Tensor) -> Tensor:
        return 2 * image_disp - 1

    def decode(self, latent: Tensor) -> Tensor:
        return ((latent + 1) / 2).clamp(0, 1)

    def encode_text(self, prompts: str | Sequence[str]) -> Condition:
        prompts = [prompts] if isinstance(prompts, str) else prompts
        colours = [next((COLOURS[w] for w in p.split() if w in COLOURS), GREY) for p in prompts]
        return Condition(planes=self.encode(torch.tensor(colours, device=self.device))[:, :, None, None])

    def token_positions(self, prompt: str, phrase: str) -> list[int]:
        words = prompt.split()
        return [k for k, word in enumerate(words) if word in phrase.split()]
