"""What a detector without faults says of things that a test places by hand, and the request that it answers."""
from __future__ import annotations

import numpy as np

from benchmarks.layout.cases import Case, box_of
from benchmarks.layout.detector import Found, Seen, parts
from dipir.priors.captions import COLOURS, MATERIALS, SHAPES, Thing

HUES = list(COLOURS)
FAST = ("sampler.steps=2", "layers.share=0.5", "guidance.delta=dynamic", "guidance.strength=0.3")


def square(x: int, y: int, side: int = 16) -> np.ndarray:
    mask = np.zeros((64, 64), bool)
    mask[y:y + side, x:x + side] = True
    return mask


def seen_of(*things: tuple[str, str, np.ndarray], score: float = 0.9, material: str = "matte") -> Seen:
    """What a detector without faults says of things (shape, colour, mask), later ones in front."""
    shape, colour = np.full((64, 64), -1), np.zeros((64, 64), int)
    stuff = np.full((64, 64), MATERIALS.index(material))
    for name, hue, mask in things:
        shape[mask], colour[mask] = SHAPES.index(name), HUES.index(hue)
    found = tuple(Found(SHAPES.index(n), HUES.index(h), MATERIALS.index(material), score, m) for n, h, m in things)
    return Seen(shape, colour, stuff, found, tuple(parts(shape >= 0)))


def case_of(*things: tuple[str, str, np.ndarray], material: str | None = None, masks: bool = False) -> Case:
    """The request that :func:`seen_of` the same things answers."""
    return Case(0, tuple(Thing(n, h, material) for n, h, _ in things),
                tuple(box_of(m) for *_, m in things), None,
                np.stack([m for *_, m in things]) if masks else None)


CUBE, MUG = ("cube", "red", square(4, 8)), ("mug", "blue", square(36, 40))
