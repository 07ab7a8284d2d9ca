"""Building blocks of the small networks: convolution that wraps around in azimuth, residual block, attention."""
from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def groups(channels: int) -> int:
    """The number of normalisation groups: 8, or the largest divisor of ``channels`` below."""
    return next(n for n in range(min(8, channels), 0, -1) if channels % n == 0)


class Conv(nn.Conv2d):
    """Convolution that keeps the size (divided by ``stride``).

    With ``wrap`` the input is a lat-long map: columns wrap around and rows are repeated at the poles, so that
    turning the map by a multiple of the stride turns the output and no seam is learnt at azimuth 180 degrees.
    """

    def __init__(self, channels_in: int, channels_out: int, size: int = 3, stride: int = 1, wrap: bool = False) -> None:
        super().__init__(channels_in, channels_out, size, stride, padding=0 if wrap else size // 2)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H / stride, W / stride)."""
        pad = self.kernel_size[0] // 2
        if self.wrap and pad:
            x = torch.cat([x[..., -pad:], x, x[..., :pad]], -1)
            x = torch.cat([x[..., :1, :]] * pad + [x] + [x[..., -1:, :]] * pad, -2)
        return super().forward(x)


class ResBlock(nn.Module):
    """GroupNorm - SiLU - convolution, twice, with a shortcut; ``embedding`` (B, E) scales and shifts the second norm
    (FiLM). The second convolution starts at zero: a fresh block is its shortcut."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int = 0, wrap: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups(channels_in), channels_in)
        self.conv1 = Conv(channels_in, channels_out, wrap=wrap)
        self.film = nn.Linear(embedding, 2 * channels_out) if embedding else None
        self.norm2 = nn.GroupNorm(groups(channels_out), channels_out)
        self.conv2 = Conv(channels_out, channels_out, wrap=wrap)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """(B, channels_in, H, W), (B, E) -> (B, channels_out, H, W)."""
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.norm2(h)
        if self.film is not None:
            scale, shift = self.film(embedding)[..., None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(functional.silu(h))


class Attention(nn.Module):
    """Multi-head attention with a shortcut: of a feature map to itself, or to ``context`` tokens.

    The linear layers carry the names that low-rank adaptors look for. The last starts at zero.
    """

    def __init__(self, channels: int, heads: int = 4, context: int | None = None) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be split into {heads} heads")
        self.heads = heads
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.context_norm = nn.LayerNorm(context) if context else None
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context or channels, channels, bias=False)
        self.to_v = nn.Linear(context or channels, channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x : (B, C, H, W);  context : (B, T, D) tokens -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        source = tokens if self.context_norm is None else self.context_norm(context)
        q, k, v = (layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for layer, t in ((self.to_q, tokens), (self.to_k, source), (self.to_v, source)))
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.to_out(out).transpose(1, 2).reshape(batch, channels, height, width)


def upsample(x: Tensor) -> Tensor:
    """Twice the size by repetition; the convolution that follows smooths it."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


@functools.lru_cache(maxsize=8)
def noise_frequencies(where: torch.device) -> Tensor:
    """(32,) in which the logarithm of a noise level is told, 1 to 200. Made once for a device; not to be written to."""
    return torch.exp(torch.linspace(0, math.log(200.0), 32, device=where))
