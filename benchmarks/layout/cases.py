"""Cases of the layout benchmark: captions with one to four regions that no network has seen, and rendered truth to
compare with. Boxes are as large, and stand where, things do in rendered scenes of a held-out seed."""
from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.layout.method import LayoutRequest
from dipir.layout.regions import Box, Region
from dipir.priors import captions
from dipir.priors.captions import COLOURS, GROUNDS, MATERIALS, SHAPES, Thing
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout.data import DrawConfig, LayoutPictures, LayoutSet

SEED = layouts.VALIDATION_SEED
MOST, SIZE = layouts.MOST, layouts.SIZE
KINDS = ("box", "mask")
MATERIAL_SAID, GROUND_SAID = 0.5, 0.5
"""Chances that a caption names a thing's material, the floor's colour."""
OVERLAP = 0.15
"""Largest part of the smaller of two boxes that may lie in the other."""
_RESIZED, _MOVED, _EDGE = 0.1, 0.03, 0.01
_TRIES, _TURNS = 40, 400


@dataclass(frozen=True, eq=False)
class Case:
    """A picture to be made and where what shall be in it."""

    number: int  # from 0
    things: tuple[Thing, ...]  # what shall be seen, colours all different
    boxes: tuple[Box, ...]  # a region for each thing
    ground: str | None = None  # colour of the floor, or not said
    masks: np.ndarray | None = None  # (n, 64, 64) bool in their place, or None
    seed: int = 0  # of the noise

    @property
    def caption(self) -> str:
        """Of the whole picture."""
        return captions.caption(self.things, self.ground)

    @cached_property
    def covers(self) -> np.ndarray:
        """(n, 64, 64) bool: the pixels of each region."""
        return np.stack([r.cover(SIZE, SIZE)[0, 0].numpy() > 0.5 for r in self.regions])

    @property
    def regions(self) -> tuple[Region, ...]:
        """What `dipir layout` is asked for."""
        said = [captions.caption([t]) for t in self.things]
        if self.masks is None:
            return tuple(Region(text, box) for text, box in zip(said, self.boxes, strict=True))
        return tuple(Region(text, mask=torch.from_numpy(mask).float()[None, None])
                     for text, mask in zip(said, self.masks, strict=True))

    def request(self) -> LayoutRequest:
        """The whole of it."""
        return LayoutRequest(self.caption, self.regions, name=f"{self.number:04d}", seed=self.seed)

    def facts(self) -> dict:
        """All that a picture depends on, as plain values."""
        masks = None if self.masks is None else hashlib.sha256(np.packbits(self.masks).tobytes()).hexdigest()
        return {"caption": self.caption, "boxes": self.boxes, "masks": masks, "seed": self.seed}


def digest(all_cases: list[Case]) -> str:
    """Hex hash of cases."""
    return hashlib.sha256(json.dumps([c.facts() for c in all_cases]).encode()).hexdigest()[:16]


# --------------------------------------------------------------------------------------------------------- held out
def held_out(scenes: int, workers: int = 1) -> LayoutSet:
    """Rendered scenes of the held-out seed, from the cache; those it lacks are made."""
    return layouts.load(layouts.generate(scenes, layouts.validation_folder(), SEED, workers)).part(slice(0, scenes))


def training_scenes(scenes: int, workers: int = 1) -> LayoutSet:
    """Rendered scenes that priors and detector are trained on, likewise."""
    return layouts.load(layouts.generate(scenes, None, 0, workers)).part(slice(0, scenes))


def counts(data: LayoutSet) -> Tensor:
    """(S,) how many things each scene has."""
    return (data.shape != layouts.NONE).sum(1)


# ------------------------------------------------------------------------------------------------------------- cases
def cases(count: int, data: LayoutSet, kind: str = "box", seed: int = SEED) -> list[Case]:
    """Cases 0 ... count - 1, with 1, 2, 3, 4, 1, ... regions. Each depends on its number and the other arguments.

    Of a ``box`` case shapes are drawn at random; each box has the size of a thing of that shape and the place of a
    thing, both of held-out scenes with as many things, changed by up to 10 % and 3 % of the picture. A ``mask`` case
    has the shapes and the visible parts of a held-out scene. Mirrored by chance. ConfigError for unusable numbers.
    """
    if count < 1 or kind not in KINDS:
        raise ConfigError(f"{count} cases of kind '{kind}' were asked for; accepted are 1 or more, of {KINDS}.")
    pools = [pool_of(data, n) for n in range(1, MOST + 1)]
    made = []
    for number in range(count):
        n = number % MOST + 1
        rng = np.random.default_rng(split_seed(seed, "layout case", kind, number))
        shapes, boxes, masks = (_boxes(rng, pools[n - 1]) if kind == "box" else _masks(rng, data, pools[n - 1]))
        colours = rng.permutation(list(COLOURS))
        grounds = [g for g in GROUNDS if g not in colours[:n]]
        ground = str(rng.choice(grounds)) if rng.random() < GROUND_SAID else None
        words = [str(rng.choice(MATERIALS)) if rng.random() < MATERIAL_SAID else None for _ in range(n)]
        things = tuple(Thing(SHAPES[s], str(c), m) for s, c, m in zip(shapes, colours, words, strict=False))
        made.append(Case(number, things, boxes, ground, masks, split_seed(seed, "layout noise", number)))
    return made


@dataclass(frozen=True)
class _Pool:
    """Things of all scenes with ``count`` things."""

    count: int
    scene: np.ndarray  # scene, shape: (N,)
    shape: np.ndarray
    box: np.ndarray  # (N, 4) in [0, 1]


def pool_of(data: LayoutSet, count: int) -> _Pool:
    """All things of the scenes that have ``count`` of them. ConfigError when there are no such scenes."""
    scenes = (counts(data) == count).nonzero()[:, 0]
    if not len(scenes):
        raise ConfigError(f"none of the {len(data)} held-out scenes has {count} things; use more of them.")
    box = (data.boxes[scenes, :count].reshape(-1, 4).float() + torch.tensor([0.0, 0, 1, 1])) / 256
    return _Pool(count, scenes.repeat_interleave(count).numpy(), data.shape[scenes, :count].flatten().numpy(),
                 box.numpy().astype(float))


def _boxes(rng: np.random.Generator, pool: _Pool) -> tuple[list[int], tuple[Box, ...], None]:
    for _ in range(_TURNS):
        shapes, boxes = [int(s) for s in rng.integers(len(SHAPES), size=pool.count)], []
        for shape in shapes:
            for _ in range(_TRIES):
                box = placed(rng, pool, shape)
                if box is not None and all(shared(box, other) <= OVERLAP for other in boxes):
                    boxes.append(box)
                    break
            else:
                break
        if len(boxes) == pool.count:
            return shapes, tuple(boxes), None
    raise ConfigError(f"found no places for {pool.count} boxes; use more held-out scenes.")


def placed(rng: np.random.Generator, pool: _Pool, shape: int) -> Box | None:
    """A box of about the size of one of the pool's things of that shape that stands, by the middle of its lower edge,
    about where one of its things does; None when it leaves the picture."""
    like, every = np.flatnonzero(pool.shape == shape), np.arange(len(pool.shape))
    of_size, of_place = (pool.box[rng.choice(which)] for which in (like if len(like) else every, every))
    wide, high = (of_size[2:] - of_size[:2]) * (1 + rng.uniform(-_RESIZED, _RESIZED, 2))
    x, bottom = (of_place[0] + of_place[2]) / 2 + rng.uniform(-_MOVED, _MOVED), of_place[3] + rng.uniform(
        -_MOVED, _MOVED)
    x = 1 - x if rng.random() < 0.5 else x
    box = tuple(round(float(v), 4) for v in (x - wide / 2, bottom - high, x + wide / 2, bottom))
    return box if min(box) >= _EDGE and max(box) <= 1 - _EDGE else None


def shared(a: Box, b: Box) -> float:
    """Part of the smaller box that lies in the other."""
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))


def _masks(rng: np.random.Generator, data: LayoutSet, pool: _Pool) -> tuple[list[int], tuple[Box, ...], np.ndarray]:
    scene = int(rng.choice(pool.scene))
    masks = data.cover[scene, :pool.count].numpy() > 127
    masks = np.ascontiguousarray(masks[..., ::-1]) if rng.random() < 0.5 else masks
    return [int(s) for s in data.shape[scene, :pool.count]], tuple(box_of(m) for m in masks), masks


def box_of(mask: np.ndarray) -> Box:
    """The tight box around (H, W) bool that is not empty."""
    (y0, y1), (x0, x1) = ((int(w[0]), int(w[-1]) + 1) for w in (np.flatnonzero(mask.any(axis)) for axis in (1, 0)))
    return x0 / mask.shape[1], y0 / mask.shape[0], x1 / mask.shape[1], y1 / mask.shape[0]


# ------------------------------------------------------------------------------------------------------------- truth
def truth(count: int, data: LayoutSet, kind: str = "box", seed: int = SEED) -> tuple[Tensor, list[Case]]:
    """((N, 3, 64, 64) display, cases) of rendered pictures with 1, 2, 3, 4, 1, ... things in different colours, as the
    captions of :func:`cases` ask for, each with its true caption and regions."""
    images, made = [None] * count, [None] * count
    for n in range(1, MOST + 1):
        part, numbers = data.part(counts(data) == n), range(n - 1, count, MOST)
        if numbers and not len(part):
            raise ConfigError(f"none of the {len(data)} scenes has {n} things; use more of them.")
        found, rng = 0, np.random.default_rng(split_seed(seed, "layout truth", n))
        while found < len(numbers):
            drawn = layouts.draw(rng, part, 64, DrawConfig())
            for k in range(len(drawn.things)):
                if found < len(numbers) and len({t.colour for t in drawn.things[k]}) == n:
                    number = numbers[found]
                    images[number], made[number] = drawn.image[k], _true_case(number, drawn, k, kind)
                    found += 1
    return torch.stack(images), made


def _true_case(number: int, drawn: LayoutPictures, k: int, kind: str) -> Case:
    boxes = tuple(tuple(float(v) for v in box) for box in drawn.boxes[k])
    masks = drawn.masks[k, :len(boxes)].numpy() > 0.5 if kind == "mask" else None
    return Case(number, tuple(drawn.things[k]), boxes, drawn.grounds[k], masks)
