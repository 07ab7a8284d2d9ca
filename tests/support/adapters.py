"""Tiny networks with attention that can take an adapter."""
from __future__ import annotations

import torch
from torch import nn

from dipir.diffusion.denoiser import AbstractDenoiser
from dipir.diffusion.lora import (
    PersonalizeConfig,
    lora_state,
)


class Attention(nn.Module):
    """Self-attention with the layer names of the embedded U-Net: ``to_out`` is a linear layer itself."""

    def __init__(self, width):
        super().__init__()
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        weights = (self.to_q(x) @ self.to_k(x).transpose(1, 2) / x.shape[-1] ** 0.5).softmax(-1)
        return x + self.to_out(weights @ self.to_v(x))


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.attention, self.outer = nn.Conv2d(3, 8, 1), Attention(8), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        tokens = self.attention(self.inner(x).flatten(2).transpose(1, 2))
        return self.outer(tokens.transpose(1, 2).reshape(len(x), 8, *x.shape[2:]))


class PixelPrior(AbstractDenoiser):
    sigma_min, sigma_max = 0.03, 14.0

    def __init__(self):
        self.network = Body().requires_grad_(False)

    def __call__(self, x, sigma, condition):
        s = sigma.reshape(-1, 1, 1, 1)
        return x / (1 + s**2) + s / (1 + s**2).sqrt() * self.network(x / (1 + s**2).sqrt())

    def encode(self, image_disp):
        return 2 * image_disp - 1

    def decode(self, latent):
        return ((latent + 1) / 2).clamp(0, 1)


def images(n=2, size=16):
    ramp = torch.linspace(0.1, 0.9, size)
    picture = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size), torch.full((size, size), 0.3)])
    return picture.expand(n, 3, size, size).contiguous()


def move(module, size=0.3):
    """Give the adapter a value as training would: B is not zero any more."""
    gen = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in lora_state(module).values():
            tensor.add_(torch.randn(tensor.shape, generator=gen) * size)


SMALL = PersonalizeConfig(rank=2, learning_rate=1e-2, steps=5, batch=2)
