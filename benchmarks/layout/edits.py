"""Editing in the layout benchmark: one thing put into rendered held-out pictures, where nothing stands or in place of
another thing, judged by the detector."""
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from benchmarks.layout import run as runs
from benchmarks.layout.cases import MOST, SEED, SIZE, Case, counts, placed, pool_of, shared
from benchmarks.layout.detector import Seen
from benchmarks.layout.measures import judged_case
from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.layout.method import LayoutRequest
from dipir.priors import captions
from dipir.priors.captions import COLOURS, SHAPES, Thing
from dipir.workshop.layout import data as layouts
from dipir.workshop.layout.data import DrawConfig, LayoutSet

METHODS: dict[str, tuple[str, ...]] = {
    "none": ("guidance.kind=none",), "constant": ("guidance.kind=vision", "guidance.delta=constant"),
    "dynamic": ("guidance.kind=vision", "guidance.delta=dynamic"),
    "constant, new noise": ("guidance.kind=vision", "guidance.delta=constant", "edit.noise=fresh")}
"""``none`` samples the region with the caption of the whole alone, the outside held: plain inpainting."""
MEANS = ("iou", "placed", "class_right", "colour_right", "attributes", "text", "old_colour", "kept")
KINDS = ("insert", "replace")
_TRIES = 400
_APART = 0.02  # Part of the new thing's box that may lie in another's.


@dataclass(frozen=True, eq=False)
class EditCase(Case):
    """things, boxes : of the new thing alone"""

    before: Tensor | None = None  # (1, 3, 64, 64) display, what is edited
    shown: tuple[Thing, ...] = ()  # the things in it
    replaced: int | None = None  # which of them goes, or None

    @property
    def caption(self) -> str:
        """Of the whole picture after the edit."""
        left = [t for k, t in enumerate(self.shown) if k != self.replaced]
        return captions.caption([*left, *self.things], self.ground)

    @cached_property
    def source(self) -> str:
        """Of the picture before."""
        return captions.caption(self.shown, self.ground)

    @property
    def kind(self) -> str:
        return KINDS[self.replaced is not None]

    def request(self) -> LayoutRequest:
        return LayoutRequest(self.caption, self.regions, image=self.before, source=self.source,
                             name=f"{self.number:04d}", seed=self.seed)

    def facts(self) -> dict:
        return {**super().facts(), "source": self.source,
                "before": hashlib.sha256(self.before.numpy().tobytes()).hexdigest()}


def edit_cases(count: int, data: LayoutSet, seed: int = SEED) -> list[EditCase]:
    """Cases 0 ... count - 1 by turns of either kind, with one to three other things (``insert``: no more fit the
    captions) or none to three. Each depends on its number, ``data`` and ``seed``. ConfigError for unusable numbers."""
    if count < 1:
        raise ConfigError(f"{count} edits were asked for; accepted are 1 or more.")
    pools = [pool_of(data, n) for n in range(1, MOST + 1)]
    return [_case(number, data, pools, seed) for number in range(count)]


def _case(number: int, data: LayoutSet, pools: Sequence, seed: int) -> EditCase:
    rng = np.random.default_rng(split_seed(seed, "layout edit", number))
    replace = number % 2 == 1
    n = number // 2 % (MOST if replace else MOST - 1) + 1
    part, pool = data.part(counts(data) == n), pools[n - 1 if replace else n]
    for _ in range(_TRIES):
        drawn = layouts.draw(rng, part, 1, DrawConfig())
        shown = tuple(Thing(t.shape, t.colour) for t in drawn.things[0])
        boxes = [tuple(float(v) for v in box) for box in drawn.boxes[0]]
        free = [c for c in COLOURS if c != drawn.grounds[0] and c not in {t.colour for t in shown}]
        gone = int(rng.integers(n)) if replace else None
        shape = str(rng.choice([s for s in SHAPES if gone is None or s != shown[gone].shape]))
        others = [box for k, box in enumerate(boxes) if k != gone]
        box = boxes[gone] if replace else placed(rng, pool, SHAPES.index(shape))
        if box is None or any(shared(box, other) > _APART for other in others):
            continue
        thing = Thing(shape, str(rng.choice(free)))
        # What a file would hold.
        before = (drawn.image * 255).round() / 255
        return EditCase(number, (thing,), (box,), drawn.grounds[0], None, split_seed(seed, "layout edit noise", number),
                        before, shown, gone)
    raise ConfigError(f"found no place for edit {number}; use more held-out scenes.")


def edit_methods() -> list[runs.Method]:
    """One of each of ``METHODS``, of the part ``edit``."""
    return [runs.Method(name, "edit", settings) for name, settings in METHODS.items()]


def judged(case: EditCase, seen: Seen, image: Tensor) -> dict[str, float]:
    """Measures of one edited picture (3, 64, 64), NaN where one says nothing.

    iou, class_right, colour_right, attributes, text : of the new thing, as in the other parts
    placed : whether that overlap is at least 1/2
    old_colour : share of the region's thing pixels in the colour of what was replaced
    kept : whether all pixels further than two from the region are as they were
    """
    rows = judged_case(case, seen)
    out = {name: rows[name][0] for name in ("iou", "class_right", "colour_right", "attributes", "text")}
    out["placed"] = float(out["iou"] >= 0.5)
    out["old_colour"] = np.nan
    shown = case.covers[0] & (seen.shape >= 0)
    if case.replaced is not None and shown.any():
        old = list(COLOURS).index(case.shown[case.replaced].colour)
        out["old_colour"] = float((seen.colour[shown] == old).mean())
    x0, y0, x1, y1 = (v * SIZE for v in case.boxes[0])
    far = torch.ones(SIZE, SIZE, dtype=torch.bool)
    far[max(int(y0) - 2, 0):int(np.ceil(y1)) + 2, max(int(x0) - 2, 0):int(np.ceil(x1)) + 2] = False
    out["kept"] = float(torch.equal(image[:, far], case.before[0][:, far]))
    return out


def figures(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Means and half of their 95 % intervals."""
    values = {name: np.array([r[name] for r in rows], float) for name in MEANS}
    values = {name: v[np.isfinite(v)] for name, v in values.items()}
    return {"figures": {k: float(v.mean()) if len(v) else np.nan for k, v in values.items()},
            "error": {k: float(1.96 * v.std() / len(v) ** 0.5) if len(v) else np.nan for k, v in values.items()}}
