"""Captioned pictures of coloured things with their boxes and masks, for the layout prior and its detector.

A scene is rendered twice in grey, once with everything reflecting 0.6 (R1) and once with everything black (R0, what
gloss alone shows). Light is linear, so that ``sum_k cover_k colour_k D + S`` with D = (R1 - R0) / 0.6 and S = R0 shows
it in any colours, but for the light that coloured surfaces send each other, which stays grey. Metals tint what they
mirror, hence are all D.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Image, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.image.color import linear_to_srgb
from dipir.priors.captions import COLOURS, GROUNDS, MATERIALS, SHAPES, Thing, caption
from dipir.render.gbuffer import record_gbuffers
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.workshop import shards
from dipir.workshop.layout.colours import coloured, wall_colours
from dipir.workshop.layout.scenes import MOST, SIZE, random_scene
from dipir.workshop.layout.things import BASE
from dipir.workshop.stored import decode, encode, join, part

SET = shards.DataSet("layouts", 1, "diffuse", "layouts")
VERSION, default_dir = SET.version, SET.default_dir
NONE = 255
"""Shape and material of a thing that is not there."""
_FINE = 256
_ALIKE = 0.15  # Noise of 64 samples is about 0.05.
_GREY = 2.0  # Grey floors are this much more frequent than others.


@dataclass(frozen=True)
class LayoutSettings:
    """How layout scenes are rendered."""

    spp: int = 64  # spp, depth: of both renders
    depth: int = 3
    shard: int = 50  # scenes a file

    def __post_init__(self) -> None:
        if min(self.spp, self.depth, self.shard) < 1:
            raise ConfigError(f"layouts: spp {self.spp}, depth {self.depth} and shard {self.shard} were given; all "
                              "must be at least 1")


@dataclass(frozen=True)
class LayoutSet:
    """S scenes of 64 x 64 pixels, all uint8."""

    diffuse: Tensor  # (S, 64, 64) D, light that surfaces colour, :func:`decode` gives it
    gloss: Tensor  # (S, 64, 64) S, the same
    cover: Tensor
    """(S, MOST + 1, 64, 64) visible part of each thing and of the floor, 255 = the whole pixel; the rest is wall."""
    boxes: Tensor  # (S, MOST, 4) x0, y0, x1, y1 of what is visible, the first and the last 256th of the picture in it
    shape: Tensor  # shape, material: (S, MOST) index in ``SHAPES``, ``MATERIALS``, ``NONE`` where there is no thing
    material: Tensor

    def __len__(self) -> int:
        return len(self.diffuse)

    def part(self, rows: slice | Tensor) -> LayoutSet:
        """Some of the scenes."""
        return part(self, rows)


def record(seed: int, settings: LayoutSettings = LayoutSettings()) -> LayoutSet:
    """The one scene of a seed, exposed so that of ten visible points of matte white nine show less than 1."""
    made = random_scene(seed)
    camera, things = made.scene.camera, len(made.shapes)
    tracer = PathTracer(made.scene, camera, RenderSettings(settings.spp, settings.depth), gbuffer_samples=1)
    # One ray for each of 4 x 4 places in a pixel.
    owner = record_gbuffers(tracer.built, camera.resized(_FINE, _FINE), 1).object_id[0, 0].cpu()
    names = [name for name in tracer.material_names() if name.kind == "base_color"]
    black = {name.key: torch.zeros_like(tracer.material_start(name)) for name in names}
    with torch.no_grad():
        full, gloss = (tracer.object_pass(made.light, seed=seed & 0xFFFF, spp=settings.spp, **more)[0][0, 0].cpu()
                       for more in ({}, {"materials": black}))
    slots = [*range(1, things + 1), *[-1] * (MOST - things), things + 1]
    cover = torch.stack([_pooled(owner == k) for k in slots])
    # ---- light that surfaces colour, and gloss ----
    full, gloss = (calm(light, cover) for light in (full, gloss))
    sky = torch.linspace(made.sky[1], made.sky[0], SIZE)[:, None]
    diffuse = ((full - gloss) / BASE).clamp_min(0)
    plain = cover[MOST] + sum((c for c, m in zip(cover, made.materials, strict=False) if m != "metal"))
    unit = diffuse[plain > 0.9].quantile(0.9).clamp_min(1e-3)
    diffuse = diffuse / unit + sky * _pooled(owner == 0)
    shape, material = (torch.tensor([[*map(known.index, words), *[NONE] * (MOST - things)]]).byte()
                       for words, known in ((made.shapes, SHAPES), (made.materials, MATERIALS)))
    boxes = torch.stack([_box(owner == k) for k in slots[:MOST]])
    return LayoutSet(encode(diffuse)[None], encode(gloss / unit)[None], (cover * 255).round().byte()[None],
                     boxes[None], shape, material)


def calm(light: Tensor, cover: Tensor) -> Tensor:
    """Light (H, W) with less noise, given the visible part of each thing and, last, of the floor (K, H, W). Pixels
    brighter than all around them are cut, on floor and wall those far brighter than most; then each is the mean of
    those among its 5 x 5 that show the same about as bright."""
    light = torch.minimum(light, 1.1 * _around(light[None], 3)[0].topk(2, -1).values[..., 1])
    backdrop = cover[:-1].sum(0) < 0.01
    usual = 1.5 * _around(light[None], 5)[0].median(-1).values
    light = torch.where(backdrop, torch.minimum(light, usual), light)
    near = _around(light[None], 5)[0]
    apart = (near + 0.01).log() - (light[..., None] + 0.01).log()
    same = (_around(cover, 5) - cover[..., None]).abs().amax(0) < 0.1
    weight = (-0.5 * (apart / _ALIKE) ** 2).exp() * same
    return (near * weight).sum(-1) / weight.sum(-1)


def _around(x: Tensor, n: int) -> Tensor:
    """(K, H, W) -> (K, H, W, n^2) the n x n pixels around each."""
    wide = functional.pad(x[None], (n // 2,) * 4, mode="replicate")
    return wide.unfold(2, n, 1).unfold(3, n, 1).flatten(4)[0]


def _pooled(fine: Tensor) -> Tensor:
    """(256, 256) bool -> (64, 64) [0, 1]."""
    return fine.float().reshape(SIZE, _FINE // SIZE, SIZE, _FINE // SIZE).mean((1, 3))


def _box(fine: Tensor) -> Tensor:
    """(4,) uint8 first column, first row, last column, last row of a mask; zeros when it is empty."""
    rows, columns = (torch.nonzero(fine.any(axis))[:, 0] for axis in (1, 0))
    if not len(rows):
        return torch.zeros(4, dtype=torch.uint8)
    return torch.stack([columns[0], rows[0], columns[-1], rows[-1]]).byte()


# ---- on disk ---------------------------------------------------------------------------------------------------------

def validation_folder() -> Path:
    """``layouts/val_vN`` in the cache folder, for a set of :data:`VALIDATION_SEED`."""
    return default_dir().with_name(f"val_v{VERSION}")


VALIDATION_SEED = 1000


def _make(indices: range, seed: int, settings: LayoutSettings) -> dict[str, Tensor]:
    return vars(join([record(split_seed(seed, "layout", i), settings) for i in indices]))


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: LayoutSettings = LayoutSettings()) -> Path:
    """Make the scenes 0 ... count - 1 of the set ``seed``; see :meth:`shards.DataSet.generate`."""
    return SET.generate(count, out_dir, _make, (seed, settings), SET.metadata(seed, settings), shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> LayoutSet:
    """All scenes of a folder, or those of its first ``limit`` shards. ConfigError when there are none or a shard is
    broken."""
    return join(SET.load(out_dir, lambda tensors: LayoutSet(**tensors), limit))


# ---- pictures --------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class DrawConfig:
    """How pictures are drawn from recorded scenes."""

    augment: bool = True
    """Mirror half of the pictures, vary colours within their words, exposure (factor e^+-0.25) and white balance."""
    said: float = 0.7
    ground: float = 0.5
    """said, ground: chance that a colour or a material, that the floor's colour is named in the caption."""

    def __post_init__(self) -> None:
        if not (0 <= self.said <= 1 and 0 <= self.ground <= 1):
            raise ConfigError(f"layouts: chances said {self.said:g} and ground {self.ground:g} were given; both must "
                              "be from 0 to 1")


@dataclass(frozen=True)
class LayoutPictures:
    """B pictures."""

    image: Tensor  # (B, 3, 64, 64) display [0, 1]
    captions: list[str]  # what a prior is told
    things: list[list[Thing]]  # the truth about each thing, in the caption's order
    grounds: list[str]  # colour word of each floor
    boxes: list[Tensor]  # B x (n, 4) x0, y0, x1, y1 in [0, 1] of what is visible, same order
    masks: Tensor  # (B, MOST, 64, 64) visible part [0, 1] of each thing, same order, zeros for those that are not there


def draw(rng: np.random.Generator, data: LayoutSet, count: int, config: DrawConfig = DrawConfig()) -> LayoutPictures:
    """``count`` pictures of random scenes in random colours. Floors have another colour than all things, and things of
    one shape have different ones. What is large, cover and light, may lie on another device than the rest of the set;
    image and masks come out there. ConfigError for a count below 1."""
    if count < 1 or not len(data):
        raise ConfigError(f"layouts: {count} pictures of {len(data)} scenes were asked for; both must be at least 1")
    where = data.cover.device
    chosen = data.part(torch.from_numpy(rng.integers(len(data), size=count)))
    shape, material = chosen.shape.numpy(), chosen.material.numpy()
    # ---- pictures ----
    grounds, colours = _words(rng, shape)
    boxes = chosen.boxes.float() + torch.tensor([0.0, 0, 1, 1])
    image, masks = _image(rng, chosen, grounds, colours, config.augment), chosen.cover[:, :MOST].float() / 255
    mirrored = torch.from_numpy((rng.random(count) < 0.5) & config.augment)
    flipped = mirrored.to(where)[:, None, None, None]
    image, masks = torch.where(flipped, image.flip(-1), image), torch.where(flipped, masks.flip(-1), masks)
    boxes[mirrored] = boxes[mirrored][..., [2, 1, 0, 3]] * torch.tensor([-1.0, 1, -1, 1]) + torch.tensor(
        [_FINE, 0.0, _FINE, 0])
    # ---- captions ----
    # Those that are there, shuffled, before those that are not.
    order = np.argsort(rng.random(shape.shape) + (shape == NONE), 1)
    told, names = rng.random((count, MOST, 2)) < config.said, rng.random(count) < config.ground
    captions, things = [], []
    for k in range(count):
        true = [Thing(SHAPES[shape[k, j]], list(COLOURS)[colours[k, j]], MATERIALS[material[k, j]])
                for j in order[k] if shape[k, j] != NONE]
        things.append(true)
        captions.append(caption([Thing(t.shape, t.colour if a else None, t.material if b else None)
                                 for t, (a, b) in zip(true, told[k], strict=False)],
                                list(GROUNDS)[grounds[k]] if names[k] else None))
    row, order = torch.arange(count)[:, None], torch.from_numpy(order)
    boxes = boxes[row, order] / _FINE
    return LayoutPictures(image, captions, things, [list(GROUNDS)[g] for g in grounds],
                          [boxes[k, :len(t)] for k, t in enumerate(things)], masks[row.to(where), order.to(where)])


def _words(rng: np.random.Generator, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B,) index of each floor's colour in ``GROUNDS`` and (B, MOST) of each thing's in ``COLOURS``, from the shapes
    (B, MOST)."""
    count, likely = len(shape), np.array([_GREY if word == "grey" else 1.0 for word in GROUNDS])
    grounds = rng.choice(len(GROUNDS), size=count, p=likely / likely.sum())
    chance = rng.random((count, MOST, len(COLOURS)))
    taken = np.array([list(COLOURS).index(word) if word in COLOURS else -1 for word in GROUNDS])[grounds]
    chance[np.arange(len(COLOURS)) == taken[:, None, None].repeat(MOST, 1)] = -1
    colours = np.zeros((count, MOST), int)
    for k in range(MOST):
        for j in range(k):
            alike = np.flatnonzero((shape[:, j] == shape[:, k]) & (shape[:, k] != NONE))
            chance[alike, k, colours[alike, j]] = -1
        colours[:, k] = chance[:, k].argmax(-1)
    return grounds, colours


def _image(rng: np.random.Generator, chosen: LayoutSet, grounds: np.ndarray, colours: np.ndarray, vary: bool) -> Image:
    """(B, 3, 64, 64) display [0, 1]."""
    count = len(grounds)
    of_things = coloured(rng, np.array(list(COLOURS.values()))[colours], vary)
    of_floor = coloured(rng, np.array(list(GROUNDS.values()))[grounds], vary)
    there = chosen.shape.numpy() != NONE
    of_wall = wall_colours(rng, of_things, there)
    cover = chosen.cover.float() / 255
    cover = torch.cat([cover, (1 - cover.sum(1, keepdim=True)).clamp_min(0)], 1)
    palette = torch.from_numpy(np.concatenate([of_things, of_floor[:, None], of_wall[:, None]], 1).astype(np.float32))
    albedo = torch.einsum("bkhw,bkc->bchw", cover, palette.to(cover.device))
    light = albedo * decode(chosen.diffuse)[:, None] + decode(chosen.gloss)[:, None]
    if vary:
        gain = np.exp(np.clip(rng.normal(-0.05, 0.1, (count, 1)), -0.25, 0.25) + np.clip(
            rng.normal(0, 0.03, (count, 3)), -0.06, 0.06))
        light = light * torch.from_numpy(gain.astype(np.float32)).to(light.device)[..., None, None]
    return linear_to_srgb(light.clamp(0, 1))
