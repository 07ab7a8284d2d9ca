"""Pairs of a grey drawing and a coloured picture out of recorded sketches, in random colours, lights and styles.

The picture keeps the lines of the drawing and its paper: what the prior learns is colour, light and shadow. Half of the
drawings have the tones that the colours would have in a grey photo, half those of plaster.
"""
from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image, Mask
from dipir.image.color import linear_to_srgb, luminance, srgb_to_linear
from dipir.image.palette import NAMED, palette_vector
from dipir.workshop.colour.data import SIZE, SLOTS, UNIT, WIDTHS

KINDS = ("lines", "shaded", "both", "hatched")
_SHARES = (0.3, 0.2, 0.33, 0.17)


@dataclass(frozen=True)
class Drawings:
    """B drawings with their coloured pictures."""

    drawing: Mask  # (B, 1, 64, 64) display [0, 1]
    picture: Image  # (B, 3, 64, 64), display [0, 1]
    colours: Tensor  # (B, 3, 3) display, by decreasing area
    present: Tensor  # (B, 3) bool, the palette as it is told
    regions: Tensor  # (B, 3, 64, 64) in [0, 1], where each colour is
    shade: Tensor  # (B, 3, 64, 64) linear light there, white = 1
    rest: Tensor
    lines: Tensor
    """rest, lines: (B, 1, 64, 64) linear light that has no colour, and the factor on display values by which lines
    darken."""

    def __len__(self) -> int:
        return len(self.drawing)

    @property
    def vector(self) -> Tensor:
        """(B, 12) of the palettes."""
        return palette_vector(self.colours, self.present)

    def shrunk(self, size: int) -> Drawings:
        """The same pairs at ``size`` pixels, a divisor of 64: means over squares."""
        images = ("drawing", "picture", "regions", "shade", "rest", "lines")
        return replace(self, **{name: functional.avg_pool2d(getattr(self, name), SIZE // size) for name in images})


def draw(rng: np.random.Generator, recorded: Mapping[str, Tensor], rows: np.ndarray, exact: bool = False) -> Drawings:
    """One pair of each of the recordings ``rows`` (:func:`dipir.workshop.colour.data.load`), mirrored half of the time.
    ``exact``: only colours that have a name, to judge by."""
    light = rng.integers(recorded["shade"].shape[1], size=len(rows))
    where = recorded["cover"].device
    rows, light = torch.from_numpy(np.asarray(rows)).to(where), torch.from_numpy(light).to(where)
    layers = {"cover": recorded["cover"][rows] / 255, "lines": recorded["lines"][rows] / 255,
              "shade": recorded["shade"][rows, light] / UNIT, "gloss": recorded["gloss"][rows, light][:, None] / UNIT,
              "shadow": recorded["shadow"][rows, light][:, None] / 255}
    mirrored = torch.from_numpy(rng.random(len(rows)) < 0.5).to(where)[:, None, None, None]
    return compose(rng, {key: torch.where(mirrored, x.flip(-1), x) for key, x in layers.items()}, exact)


def compose(rng: np.random.Generator, layers: Mapping[str, Tensor], exact: bool = False) -> Drawings:
    """Random colours and styles for layers in unit scale: cover, shade (B, 3, 64, 64), lines (B, 6, 64, 64), gloss,
    shadow (B, 1, 64, 64)."""
    batch, where = len(layers["cover"]), layers["cover"].device

    def number(low: float, high: float, *more: int) -> Tensor:
        drawn = rng.uniform(low, high, (batch, *(more or (1, 1, 1)))).astype(np.float32)
        return torch.from_numpy(drawn).to(where)

    def is_kind(name: str) -> Tensor:
        return torch.from_numpy(kind == KINDS.index(name)).to(where)[:, None, None, None]

    def lit(albedo: Tensor) -> Tensor:
        return linear_to_srgb((shade * albedo).sum(1, keepdim=True) + rest).clamp(0, 1)

    # ---- colours and lines ----
    kind = rng.choice(len(KINDS), batch, p=_SHARES)
    cover, shade = merge_slots(rng, layers["cover"], layers["shade"])
    colours, present = random_palettes(rng, cover.mean((2, 3)) > 0, exact)
    alpha = cover.sum(1, keepdim=True).clamp(0, 1)
    strokes = _strokes(rng, layers["lines"], number) * ~is_kind("shaded")
    # ---- the coloured picture ----
    # A drawing of lines alone says little about the light: its picture is lit more evenly.
    even = torch.where(is_kind("lines"), number(0.4, 0.8), number(0.0, 0.3))
    shade = torch.lerp(shade, 0.9 * cover, even)
    gloss = layers["gloss"] * number(0.3, 3.0) * (1 - even)
    paper, shadow = number(0.86, 1.0), layers["shadow"] ** (number(0.3, 1.0) * (1 - even))
    rest = gloss + srgb_to_linear(paper) * shadow * (1 - alpha)
    albedo = srgb_to_linear(colours)[..., None, None]
    picture = torch.cat([lit(albedo[:, :, c]) for c in range(3)], 1)
    # ---- the drawing ----
    photo = luminance(albedo).squeeze(2)
    plaster = torch.where(number(0, 1) < 0.7, number(0.6, 0.95), number(0.35, 0.95, SLOTS, 1, 1))
    tone = lit(torch.where(number(0, 1) < 0.5, photo, plaster))
    contrast = number(0.4, 1.0) * (1 - 0.5 * is_kind("both").float())
    contrast = torch.where(is_kind("shaded"), 0.5 + 0.5 * contrast, contrast)
    tone = paper * (1 + ((tone / paper) ** number(0.8, 1.25) - 1) * contrast)
    hatched = paper * (1 - _hatching(rng, 1 - tone / paper, number))
    base = torch.where(is_kind("lines"), paper, torch.where(is_kind("hatched"), hatched, tone))
    grain = number(0, 0.03) * torch.from_numpy(rng.standard_normal((batch, 1, SIZE, SIZE), np.float32)).to(where)
    drawing = (base * (1 - strokes) + grain).clamp(0, 1)
    lines = 1 - strokes
    return Drawings(drawing, picture * lines, colours, present, cover, shade, rest, lines)


# ---- colours ---------------------------------------------------------------------------------------------------------

def merge_slots(rng: np.random.Generator, cover: Tensor, shade: Tensor) -> tuple[Tensor, Tensor]:
    """Slots of (B, 3, H, W) thrown together in some of the pictures, so that one colour or two serve all of it; again
    by decreasing area."""
    target = np.tile(np.arange(SLOTS), (len(cover), 1))
    fewer = rng.random(len(cover))
    target[fewer < 0.5, 2] = rng.integers(2, size=int((fewer < 0.5).sum()))
    target[fewer < 0.2] = 0
    moves = functional.one_hot(torch.from_numpy(target), SLOTS).to(cover)
    cover, shade = (torch.einsum("bshw,bst->bthw", x, moves) for x in (cover, shade))
    order = cover.mean((2, 3)).argsort(dim=1, descending=True, stable=True)[:, :, None, None].expand_as(cover)
    return cover.gather(1, order), shade.gather(1, order)


def random_palettes(rng: np.random.Generator, used: Tensor, exact: bool = False) -> tuple[Tensor, Tensor]:
    """(B, 3, 3) display colours and (B, 3) which are told: those ``used`` (B, 3), and now and then one more that the
    picture has no area for."""
    colours = np.stack([_distinct(rng, exact) for _ in range(len(used))]).astype(np.float32)
    spare = torch.from_numpy(rng.random(len(used)) < 0.1).to(used.device)
    count = used.sum(1) + spare
    return torch.from_numpy(colours).to(used.device), torch.arange(SLOTS, device=used.device)[None] < count[:, None]


def _distinct(rng: np.random.Generator, exact: bool) -> np.ndarray:
    """Three colours of different names; unless ``exact``, three of four near a named one, perhaps lighter or darker,
    others at random."""
    names = rng.choice(list(NAMED), SLOTS, replace=False)
    if exact:
        return np.array([NAMED[str(name)] for name in names])
    chosen = []
    for name in names:
        colour = np.array(NAMED[str(name)])
        tone = rng.random()
        if tone < 0.12:
            colour = 0.5 * colour + 0.5
        elif tone < 0.25:
            colour = 0.55 * colour
        if rng.random() < 0.25:
            colour = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 1), rng.uniform(0.15, 1)))
        chosen.append(np.clip(colour + rng.normal(0, 0.03, 3), 0.03, 0.98))
    return np.stack(chosen)


# ---- the hand --------------------------------------------------------------------------------------------------------

def _strokes(rng: np.random.Generator, lines: Tensor, number) -> Tensor:
    """(B, 1, 64, 64) how much lines of random width and darkness darken the paper; soft pencils press unevenly."""
    place = number(0, len(WIDTHS) - 1)
    widths = torch.arange(len(WIDTHS), device=lines.device)[None, :, None, None]
    weights = (1 - (place - widths).abs()).clamp_min(0)
    outline, within = ((part * weights).sum(1, keepdim=True) for part in lines.split(len(WIDTHS), 1))
    pressure = number(0, 0.5) * _noise(rng, lines, 16) + number(0, 0.3) * _noise(rng, lines, SIZE)
    dark = number(0.45, 0.97)
    ink = torch.maximum(outline * dark, within * dark * number(0.3, 1.0))
    return (ink * (1 - pressure)).clamp(0, 1)


def _hatching(rng: np.random.Generator, dark: Tensor, number) -> Tensor:
    """Parallel strokes that grow wider where it is ``dark`` (B, 1, 64, 64), a second direction where it is darkest."""
    middle = torch.arange(SIZE, device=dark.device) + 0.5
    row, column = torch.meshgrid(middle, middle, indexing="ij")
    angle, period = number(0, np.pi), number(2.5, 5.0)
    bent = 0.6 * _noise(rng, dark, 8)
    ink = torch.zeros_like(dark)
    for turn, least in ((0.0, 0.0), (1.2, 0.45)):
        across = column * (angle + turn).cos() + row * (angle + turn).sin()
        wave = 0.5 + 0.5 * (2 * np.pi * (across / period + bent)).sin()
        wanted = (1.4 * (dark - least)).clamp(0, 1)
        ink = torch.maximum(ink, ((wanted - wave) * 2.5 + 0.5).clamp(0, 1) * (wanted > 0.02))
    return ink * number(0.35, 0.8)


def _noise(rng: np.random.Generator, like: Tensor, size: int) -> Tensor:
    """(B, 1, 64, 64) in [0, 1], even on ``size`` x ``size`` cells and smooth between."""
    cells = torch.from_numpy(rng.random((len(like), 1, size, size), np.float32)).to(like.device)
    return cells if size == SIZE else functional.interpolate(cells, (SIZE, SIZE), mode="bilinear", align_corners=False)
