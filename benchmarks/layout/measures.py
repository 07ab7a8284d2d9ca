"""Measures of the layout benchmark: what the detector sees in a picture against what was asked for.

All are in [0, 1] but for the Frechet distance. Of boxes, overlaps are those of boxes; of masks, those of pixels.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.layout.cases import Case, box_of
from benchmarks.layout.detector import Found, Seen
from dipir.layout.regions import Box
from dipir.priors.captions import COLOURS, MATERIALS, SHAPES

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps at which COCO counts a hit; AP50 is the first."""
RECALLS = np.linspace(0, 1, 101)
FOUND = 0.15
"""Share of a region that must show a thing for something to be found there: chairs and rings fill little of a box."""
MEANS = ("iou", "iou_any", "class_right", "colour_right", "attributes", "material_right", "leakage", "leakage_things",
         "text")
FIGURES = (*MEANS, "ap", "ap50", "frechet", "quality", "image_score", "align_score")
DRAWS = 200


# ---- overlaps --------------------------------------------------------------------------------------------------------

def box_iou(a: Box, b: Box) -> float:
    """Area of the intersection of two boxes over that of their union."""
    sides = [max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)]

    def area(box):
        return (box[2] - box[0]) * (box[3] - box[1])

    both = sides[0] * sides[1]
    return both / (area(a) + area(b) - both)


def overlap(case: Case, region: int, mask: np.ndarray) -> float:
    """IoU of a region with a thing's mask (H, W): of the boxes when a box was asked for, of the pixels when a mask."""
    if case.masks is None:
        return box_iou(case.boxes[region], box_of(mask))
    return float((case.masks[region] & mask).sum() / (case.masks[region] | mask).sum())


def own(case: Case) -> np.ndarray:
    """(n, H, W) bool: each region without the smaller ones, which lie above it."""
    covers, free = case.covers, np.ones(case.covers.shape[1:], bool)
    out = np.zeros_like(covers)
    for k in sorted(range(len(covers)), key=lambda k: int(covers[k].sum())):
        out[k] = covers[k] & free
        free &= ~covers[k]
    return out


# ---- one picture -----------------------------------------------------------------------------------------------------

def judged_case(case: Case, seen: Seen) -> dict[str, list[float]]:
    """Measures of one picture, a value a region; NaN where a measure says nothing.

    iou : of the region with the best thing of the asked shape, 0 without one;  iou_any : with the best of anything
    class_right, colour_right : whether the shape and the colour that most thing pixels in the region (without smaller
    regions) show are the asked ones, no where nothing is found (``FOUND``);  attributes : both
    material_right : the same of the material where one was asked
    leakage : share of the region's thing pixels in a colour that was asked for another thing; says nothing where
    nothing is found, and with one thing
    leakage_things : the same of the pixels of the best thing of the asked shape wherever it stands (of those that meet
    the region the best overlap, otherwise the largest); colours of other things of that shape do not count
    text : whether a thing of that shape and colour is seen anywhere
    """
    rows: dict[str, list[float]] = {name: [] for name in MEANS}
    colours = [list(COLOURS).index(t.colour) for t in case.things]
    for k, (thing, region) in enumerate(zip(case.things, own(case), strict=True)):
        shape, colour = SHAPES.index(thing.shape), colours[k]
        alike = [t for t in seen.things if t.shape == shape]
        rows["iou"].append(max((overlap(case, k, t.mask) for t in alike), default=0.0))
        anything = [*(t.mask for t in seen.things), *seen.blobs]
        rows["iou_any"].append(max((overlap(case, k, mask) for mask in anything), default=0.0))
        rows["text"].append(float(any(t.colour == colour for t in alike)))
        shown = region & (seen.shape >= 0)
        there = bool(shown.sum() >= max(1, FOUND * region.sum()))

        def most(values, shown=shown):
            return int(np.bincount(values[shown]).argmax())

        right = [there and most(values) == wanted for values, wanted in ((seen.shape, shape), (seen.colour, colour))]
        rows["class_right"].append(float(right[0]))
        rows["colour_right"].append(float(right[1]))
        rows["attributes"].append(float(all(right)))
        rows["material_right"].append(np.nan if thing.material is None else float(
            there and most(seen.material) == MATERIALS.index(thing.material)))
        others = [c for j, c in enumerate(colours) if j != k]
        rows["leakage"].append(float(np.isin(seen.colour[shown], others).mean()) if there and others else np.nan)
        foreign = [c for j, c in enumerate(colours) if case.things[j].shape != thing.shape]
        rows["leakage_things"].append(_leaked(case, k, seen, alike, foreign))
    return rows


def _leaked(case: Case, region: int, seen: Seen, alike: Sequence[Found], foreign: Sequence[int]) -> float:
    if not alike or not foreign:
        return np.nan
    best = max(alike, key=lambda t: (overlap(case, region, t.mask), int(t.mask.sum())))
    return float(np.isin(seen.colour[best.mask], foreign).mean())


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections of one picture."""

    shape: np.ndarray  # shape, score: (D,)
    score: np.ndarray
    hit: np.ndarray  # (10, D) bool, whether each is right at each threshold
    wanted: np.ndarray  # (8,) regions of each shape


def matched(case: Case, seen: Seen) -> Matches:
    """As COCO does: likelier detections first, each takes the free region of its shape that it overlaps best, if that
    is at least the threshold."""
    shapes = np.array([SHAPES.index(t.shape) for t in case.things])
    things = sorted(seen.things, key=lambda t: -t.score)
    hit, free = np.zeros((len(THRESHOLDS), len(things)), bool), np.ones((len(THRESHOLDS), len(shapes)), bool)
    for d, thing in enumerate(things):
        overlaps = np.array([overlap(case, k, thing.mask) if shapes[k] == thing.shape else -1.0
                             for k in range(len(shapes))])
        for t, threshold in enumerate(THRESHOLDS):
            best = int(np.where(free[t], overlaps, -1.0).argmax())
            if free[t, best] and overlaps[best] >= threshold:
                hit[t, d], free[t, best] = True, False
    return Matches(np.array([t.shape for t in things], int), np.array([t.score for t in things], float), hit,
                   np.bincount(shapes, minlength=len(SHAPES)))


# ---- many pictures ---------------------------------------------------------------------------------------------------

class Precision:
    """AP of a set of pictures, for any weights of them."""

    def __init__(self, matches: Sequence[Matches]) -> None:
        def join(name):
            return np.concatenate([getattr(m, name) for m in matches], -1)

        order = np.argsort(-join("score"), kind="stable")
        self._shape, self._hit = join("shape")[order], join("hit")[:, order].astype(float)
        self._picture = np.repeat(np.arange(len(matches)), [len(m.score) for m in matches])[order]
        self._wanted = np.stack([m.wanted for m in matches])

    def __call__(self, weights: np.ndarray) -> tuple[float, float]:
        """(AP, AP50), means over the shapes that were asked for: the precision, made monotone, at 101 recalls (COCO);
        AP also over the thresholds. weights : (N,) how often each picture counts."""
        wanted, found = weights @ self._wanted, []
        for shape in np.flatnonzero(wanted):
            which = self._shape == shape
            times = weights[self._picture[which]]
            right = np.cumsum(self._hit[:, which] * times, 1)
            recall, precision = right / wanted[shape], right / np.maximum(np.cumsum(times), 1e-12)
            precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            found.append([_interpolated(r, p) for r, p in zip(recall, precision, strict=True)])
        figures = np.mean(found, 0)
        return float(figures.mean()), float(figures[0])


def _interpolated(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean over ``RECALLS`` of the precision at the first detection that reaches them; 0 for those never reached."""
    at = np.searchsorted(recall, RECALLS - 1e-9)
    return float(np.append(precision, 0.0)[at].mean())


@dataclass(frozen=True, eq=False)
class Cloud:
    """A normal distribution of feature vectors."""

    mean: np.ndarray  # (F,)
    cov: np.ndarray  # (F, F)

    @staticmethod
    def of(features: np.ndarray, weights: np.ndarray | None = None) -> Cloud:
        """Of (N, F) vectors, each counted ``weights`` times."""
        weights = np.ones(len(features)) if weights is None else weights
        mean = weights @ features / weights.sum()
        apart = features - mean
        return Cloud(mean, (apart * weights[:, None]).T @ apart / max(weights.sum() - 1, 1))

    @property
    def spread(self) -> float:
        """The sum of the variances: the Frechet distance of one picture in all places, the average one, to this."""
        return float(np.trace(self.cov))


def frechet(a: Cloud, b: Cloud) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) (Dowson and Landau 1982; FID of Heusel et al. 2017)."""
    values, vectors = np.linalg.eigh(a.cov)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.cov @ root).clip(0)).sum()
    return float(max(((a.mean - b.mean) ** 2).sum() + a.spread + b.spread - 2 * cross, 0.0))


def quality(distance: float, truth: Cloud) -> float:
    """1 / (1 + Frechet distance / spread of the truth): 1 = as rendered, 1/2 = as far as one average picture for all
    captions would be."""
    return 1 / (1 + distance / truth.spread)


def image_score(quality: float, text: float) -> float:
    """Quality and text in one: the mean of :func:`quality` and of text alignment."""
    return (quality + text) / 2


def align_score(iou: float, ap50: float, attributes: float, leakage: float) -> float:
    """How well the layout was followed: the mean of IoU, AP50, attribute accuracy and 1 - leakage; NaN leakage (nothing
    found anywhere) counts as 1."""
    return (iou + ap50 + attributes + 1 - (1.0 if np.isnan(leakage) else leakage)) / 4


class Judged:
    """All that a method's pictures are judged by; figures for any weights of the pictures."""

    def __init__(self, all_cases: Sequence[Case], seen: Sequence[Seen], features: np.ndarray) -> None:
        self.rows = [judged_case(c, s) for c, s in zip(all_cases, seen, strict=True)]
        self._sums = np.array([[np.nansum(r[name]) for name in MEANS] for r in self.rows])
        self._counts = np.array([[np.isfinite(r[name]).sum() for name in MEANS] for r in self.rows])
        self._precision = Precision([matched(c, s) for c, s in zip(all_cases, seen, strict=True)])
        self._features = features

    def __len__(self) -> int:
        return len(self.rows)

    def figures(self, truth: Cloud, weights: np.ndarray | None = None) -> dict[str, float]:
        """``FIGURES``: means over regions, AP over shapes, the distance to ``truth``, the two scores."""
        weights = np.ones(len(self)) if weights is None else weights
        counts = weights @ self._counts
        means = np.where(counts > 0, weights @ self._sums / np.maximum(counts, 1e-12), np.nan)
        out = dict(zip(MEANS, means.tolist(), strict=True))
        out["ap"], out["ap50"] = self._precision(weights)
        out["frechet"] = frechet(Cloud.of(self._features, weights), truth)
        out["quality"] = quality(out["frechet"], truth)
        out["image_score"] = image_score(out["quality"], out["text"])
        out["align_score"] = align_score(out["iou"], out["ap50"], out["attributes"], out["leakage"])
        return out


def resampled(judged: Judged, truth: Cloud, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """(draws,) of every figure over bootstrap samples of the cases, the same samples for every method."""
    rng, n = np.random.default_rng(seed), len(judged)
    found = [judged.figures(truth, np.bincount(rng.integers(n, size=n), minlength=n).astype(float))
             for _ in range(draws)]
    return {name: np.array([f[name] for f in found]) for name in FIGURES}


def halves(samples: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Half of the 95 % interval of every figure: 1.96 standard deviations of its bootstrap samples."""
    return {name: float(1.96 * np.std(values)) for name, values in samples.items()}
