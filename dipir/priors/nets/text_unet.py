"""A small U-Net that is told in words what to draw, preconditioned as in EDM. It works at half size; a few layers at
full size add the detail."""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dipir.priors.nets.blocks import Attention, Conv, ResBlock, groups, noise_frequencies, upsample


@dataclass(frozen=True)
class TextUNetConfig:
    """Size of the network."""

    vocabulary: int
    longest: int
    """Words that exist, 0 being padding, and places of a caption."""
    width: int = 96
    layers: int = 2
    """Of the text encoder."""
    channels: tuple[int, ...] = (32, 72, 72)
    """Of the levels of 1/2, 1/4, 1/8 ... of the size."""
    worded: tuple[int, ...] = (1, 2)
    """Levels that attend to the words; selves : levels that attend to themselves; the middle does both."""
    selves: tuple[int, ...] = (2,)
    embedding: int = 96
    """Width of what all blocks are told."""
    detail: int = 6
    fine: int = 20
    """Channels handed to the full-size layers, their width."""
    sigma_data: float = 0.5
    """Standard deviation of pictures in [-1, 1] (EDM's sigma_data)."""


class TextUNet(nn.Module):
    """x0 estimate of a noisy picture, told a caption: D = c_skip x + c_out F(c_in x, sigma, words) (Karras et al. 2022,
    eq. 7). Words reach it by cross-attention, and as one vector that scales and shifts every block."""

    def __init__(self, config: TextUNetConfig) -> None:
        super().__init__()
        self.config = config
        c, e, width = config.channels, config.embedding, config.width
        self.reader = TextEncoder(config)
        self.embed = nn.Sequential(nn.Linear(64, e), nn.SiLU(), nn.Linear(e, e))
        self.describe = nn.Sequential(nn.Linear(2 * width, e), nn.SiLU(), nn.Linear(e, e))
        self.enter = Conv(3 * 4 + 2, c[0])
        self.down, self.shrink, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, channel in enumerate(c):
            self.down.append(self._block(c[max(level - 1, 0)], channel, level))
            if level < len(c) - 1:
                self.shrink.append(Conv(channel, channel, stride=2))
        self.middle = nn.ModuleList([PlainAttention(c[-1]), WordAttention(c[-1], context=width),
                                     ResBlock(c[-1], c[-1], e)])
        for level, channel in reversed(list(enumerate(c))):
            self.up.append(self._block(channel + c[min(level + 1, len(c) - 1)], channel, level))
        self.norm = nn.GroupNorm(groups(c[0]), c[0])
        self.leave = Conv(c[0], 3 * 4)
        self.hand_over = Conv(c[0], 4 * config.detail)
        self.fine = nn.Sequential(Conv(3 + config.detail, config.fine), nn.SiLU(), Conv(config.fine, config.fine),
                                  nn.SiLU(), Conv(config.fine, 3))
        for last in (self.leave, self.fine[-1]):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def _block(self, channels_in: int, channels_out: int, level: int) -> nn.ModuleList:
        layers: list[nn.Module] = [ResBlock(channels_in, channels_out, self.config.embedding)]
        if level in self.config.selves:
            layers.append(PlainAttention(channels_out))
        if level in self.config.worded:
            layers.append(WordAttention(channels_out, context=self.config.width))
        return nn.ModuleList(layers)

    def read(self, numbers: Tensor) -> Tensor:
        """(B, T) numbers of words, T at most ``longest`` -> (B, T, width) what :meth:`forward` is told, 0 for padding.
        Every row needs a word."""
        return self.reader(numbers)

    @property
    def features(self) -> int:
        """Planes of the second output of :meth:`look`."""
        c = self.config.channels
        return c[0] + c[min(1, len(c) - 1)]

    def forward(self, x: Tensor, sigma: Tensor, words: Tensor) -> Tensor:
        """x : (B, 3, H, W) noisy in [-1, 1] space, H and W multiples of 2 to the number of levels;  sigma : (B,)
        words : (B, T, width) of :meth:`read` -> (B, 3, H, W)."""
        return self.look(x, sigma, words)[0]

    def look(self, x: Tensor, sigma: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """As the call, and what the last block at half size is given: (B, ``features``, H / 2, W / 2)."""
        s, d = sigma[:, None, None, None], self.config.sigma_data
        scale = (s**2 + d**2).sqrt()
        out, seen = self._network(x / scale, sigma, words)
        return x * d**2 / scale**2 + out.to(x.dtype) * s * d / scale, seen

    def _network(self, x: Tensor, sigma: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        known = words.abs().amax(-1) > 0
        told = functional.silu(self._told(sigma, words))

        def run(layers: nn.ModuleList, h: Tensor) -> Tensor:
            for layer in layers:
                if isinstance(layer, ResBlock):
                    h = layer(h, told)
                else:
                    h = layer(h, words, known) if isinstance(layer, WordAttention) else layer(h)
            return h

        half = functional.pixel_unshuffle(x, 2)
        h, skips = self.enter(torch.cat([half, places(half)], 1)), []
        for level, block in enumerate(self.down):
            h = run(block, self.shrink[level - 1](h) if level else h)
            skips.append(h)
        h = run(self.middle, h)
        for k, block in enumerate(self.up):
            seen = torch.cat([upsample(h) if k else h, skips.pop()], 1)
            h = run(block, seen)
        h = functional.silu(self.norm(h))
        detail = functional.pixel_shuffle(self.hand_over(h), 2)
        return functional.pixel_shuffle(self.leave(h), 2) + self.fine(torch.cat([x, detail], 1)), seen

    def _told(self, sigma: Tensor, words: Tensor) -> Tensor:
        """(B, embedding): noise level and caption, before the activation."""
        angle = (sigma.log() / 4)[:, None] * noise_frequencies(sigma.device)
        # The sum, unlike the mean, also says how much was said.
        pooled = torch.cat([words[:, 0], words.sum(1) / self.config.longest**0.5], 1)
        return self.embed(torch.cat([angle.sin(), angle.cos()], 1)) + self.describe(pooled)


class TextEncoder(nn.Module):
    """Numbers of words -> vectors, by a small transformer. Padding is heard by nobody and stays 0."""

    def __init__(self, config: TextUNetConfig) -> None:
        super().__init__()
        width = config.width
        self.embed = nn.Embedding(config.vocabulary, width)
        self.place = nn.Parameter(torch.randn(config.longest, width) * 0.1)
        # "Red metal cube": a word's neighbours say most about it, and need not be searched for.
        self.neighbours = nn.Conv1d(width, width, 5, padding=2, groups=4)
        self.layers = nn.ModuleList([_Layer(width) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embed.weight, std=0.5)

    def forward(self, numbers: Tensor) -> Tensor:
        """(B, T) -> (B, T, width), T at most ``longest``."""
        known = numbers > 0
        h = self.embed(numbers) * known[..., None]
        h = h + self.neighbours(h.transpose(1, 2)).transpose(1, 2) + self.place[:numbers.shape[1]]
        for layer in self.layers:
            h = layer(h, known)
        return self.norm(h) * known[..., None]


class _Layer(nn.Module):
    """Attention among the words and a small network for each, both with shortcuts."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, known: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm1(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, known)
        h = h + self.to_out(out.transpose(1, 2).flatten(2))
        return h + self.think(self.norm2(h))


class PlainAttention(Attention):
    """Attention of a feature map to itself, in the plain steps of :func:`attend`."""

    def forward(self, x: Tensor, words: Tensor | None = None, known: Tensor | None = None) -> Tensor:
        """x : (B, C, H, W) -> the same."""
        out = attend(*self._heads(x, words), known)
        return x + self.to_out(out.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)

    def _heads(self, x: Tensor, words: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, heads, places or words, C / heads) queries, keys and values."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        source = tokens if words is None else self.context_norm(words)
        return tuple(layer(t).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                     for layer, t in ((self.to_q, tokens), (self.to_k, source), (self.to_v, source)))


class WordAttention(PlainAttention):
    """Attention of a feature map (B, C, H, W) to ``words`` (B, T, D), those that are ``known``, (B, T) bool, at least
    one a row."""

    def weights(self, x: Tensor, words: Tensor, known: Tensor) -> Tensor:
        """(B, T, H, W): how much every place attends to every word, mean of the heads; sums to 1 over the words."""
        q, k, _ = self._heads(x, words)
        scores = q.float() @ k.float().transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = scores.masked_fill(~known[:, None, None], -math.inf).softmax(-1).mean(1)
        return weights.transpose(1, 2).unflatten(2, x.shape[-2:])


def attend(q: Tensor, k: Tensor, v: Tensor, known: Tensor | None = None) -> Tensor:
    """(B, heads, N, D) queries of (B, heads, T, D) keys and values, (B, T) of which are known, by default all -> (B,
    heads, N, D). In plain steps: for heads this narrow the fused one takes several times as long to train on a CPU."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if known is not None:
        scores = scores.masked_fill(~known[:, None, None], -math.inf)
    return scores.softmax(-1).to(v.dtype) @ v


def places(like: Tensor) -> Tensor:
    """(B, 2, H, W): x to the right and y down of every place, in [-1, 1]."""
    height, width = like.shape[-2:]
    return _places(height, width, like.dtype, like.device).expand(len(like), -1, -1, -1)


@functools.lru_cache(maxsize=32)
def _places(height: int, width: int, dtype: torch.dtype, where: torch.device) -> Tensor:
    rows, columns = (torch.linspace(-1, 1, n, dtype=dtype, device=where) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y])
