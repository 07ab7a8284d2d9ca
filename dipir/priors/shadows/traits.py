"""What tells a shadow from paint, stains and things: numbers, and the chance that follows from them."""
from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import ndimage

from dipir.priors.shadows.edges import BESIDE, NEAR, Edges
from dipir.priors.shadows.ground import WEIGHTS, WorkingPlate

_BASE = -3.87
_PULLS = {"stops": 0.85, "faint": -1.55, "blue": 7.35, "red": -0.95, "bluest": -6.0, "green": -7.08, "scatter": -4.45,
          "rougher": -0.68, "smoother": -0.78, "greyer": -0.38, "open": -0.78, "length": 0.19, "area": -0.07,
          "ground": 0.13, "alike": -0.24, "high": -0.82, "inward": -1.31, "brighter": -0.95}
# Logistic regression with the signs that physics asks for, on 6,681 candidates: crops of photographed panoramas with
# painted shadows, painted patches and tiles, or nothing; and dressed crops, whose things throw true shadows. Set by
# hand: "bluest", blue that falls hardly at all (jeans, ballpoints), and "faded" taking the credit from blue.


def traits(view: WorkingPlate, region: np.ndarray, part: np.ndarray, rim: Edges, region_is_lit: bool
           ) -> dict[str, float]:
    """Numbers of a part (h, w) bool that meets a region (h, w) bool at the edges ``rim``. In stops unless said.

    stops, blue, green : fall of luminance; how much less blue falls than red; how far green is off their middle
    scatter : median deviation of the fall along the edge;  faded : share of the bright side's warm colour that the dark
    side lacks, 0 unless the bright side has much of it (dark grey things on a wooden floor)
    texture, texture_hue : strength of the dark side's texture over the bright one's, log2; the same of its colours
    closed : share of the part's outline that lies at the region or at the picture's frame
    length, area, ground : log2 of edge pixels, of the part's and the region's thousandths of the picture
    high : 0 where the nearest ground is, 1 where the farthest;  inward : brightening from the edge to the part's
    middle, share of ``stops``;  brighter : 1 if the part is the lit one, 0 if the region is
    """
    step, each = np.median(rim.steps, 0), rim.steps @ WEIGHTS
    stops = float(step @ WEIGHTS)
    rows = np.nonzero(view.ground.any(1))[0]
    per_mille = 1000 / part.size
    return {"stops": stops, "blue": float(step[0] - step[2]), "green": float(step[1] - (step[0] + step[2]) / 2),
            "scatter": float(np.median(np.abs(each - stops))), "faded": _faded(rim),
            **_textures(view, region, part, rim, region_is_lit),
            "closed": _closed(region, part), "length": math.log2(len(rim.rows)),
            "area": math.log2(np.count_nonzero(part) * per_mille + 0.5),
            "ground": math.log2(np.count_nonzero(region) * per_mille + 1),
            "high": float((rows[-1] - np.nonzero(part)[0].mean()) / max(rows[-1] - rows[0], 1)),
            "inward": _inward(view, part, rim, region_is_lit) / stops, "brighter": float(not region_is_lit)}


def _faded(rim: Edges) -> float:
    bright, dark = (float(side[0] - side[2]) for side in
                    (np.median(colours[:, NEAR].reshape(-1, 3), 0) for colours in (rim.bright, rim.dark)))
    return float(np.clip(bright - 1.5, 0, 1) * np.clip(1 - dark / max(bright, 1.5), 0, 1))


def _textures(view: WorkingPlate, region: np.ndarray, part: np.ndarray, rim: Edges, region_is_lit: bool
              ) -> dict[str, float]:
    spots = np.zeros(part.shape, np.float32)
    spots[rim.rows, rim.columns] = 1
    near = cv2.blur(spots, (41, 41)) > 1e-6
    both = [view.detail[_core(mask, near, least)] for mask, least in ((region, 50), (part, 20))]
    bright, dark = both if region_is_lit else both[::-1]
    grain = [_strength(side @ WEIGHTS) + 0.02 for side in (bright, dark)]
    hues = [_strength(side[:, 0] - side[:, 2]) + 0.03 for side in (bright, dark)]
    return {"texture": math.log2(grain[1] / grain[0]), "texture_hue": math.log2(hues[1] / hues[0])}


def _core(region: np.ndarray, near: np.ndarray, least: int) -> np.ndarray:
    """The region without its rim, near the edge if there is enough of it."""
    inner = ndimage.binary_erosion(region, iterations=2)
    for core in (inner & near, inner):
        if np.count_nonzero(core) >= least:
            return core
    return region


def _strength(detail: np.ndarray) -> float:
    """Root mean square, of bounded values."""
    return float(np.sqrt(np.square(detail.clip(-1, 1)).mean()))


def _closed(region: np.ndarray, part: np.ndarray) -> float:
    outline = part & ~ndimage.binary_erosion(part)
    at = cv2.dilate(region.astype(np.uint8), np.ones((13, 13))) > 0
    at[:4] = at[-4:] = at[:, :4] = at[:, -4:] = True
    return float(np.count_nonzero(outline & at) / max(np.count_nonzero(outline), 1))


def _inward(view: WorkingPlate, part: np.ndarray, rim: Edges, region_is_lit: bool) -> float:
    """Stops by which a dark part is brighter inside than at its edge; a bright one, darker."""
    inner = ndimage.binary_erosion(part, iterations=2)
    inside = np.median(view.plain[inner if np.count_nonzero(inner) >= 20 else part], 0)
    beside = np.median((rim.dark if region_is_lit else rim.bright)[:, BESIDE].reshape(-1, 3), 0)
    return float((inside - beside) @ WEIGHTS) * (1 if region_is_lit else -1)


def chance_of(found: dict[str, float]) -> float:
    """Chance in [0, 1] that a part is a cast shadow: :func:`traits`, and ``alike``, log2 of how many like it there are
    (tiles have many). A shadow of a lamp in a room whose other light has the lamp's colour is not told from paint."""
    size = max(found["stops"], 0.7)
    told = {"stops": min(found["stops"], 2.5), "faint": max(1 - found["stops"], 0),
            "blue": float(np.clip(found["blue"] / size, 0, 0.3)) * (1 - found["faded"]),
            "red": float(np.clip(-found["blue"] / size, 0, 1)),
            "bluest": float(np.clip(found["blue"] / size - 1, 0, 1)), "green": min(abs(found["green"]) / size, 0.4),
            "scatter": min(found["scatter"] / size, 0.4), "rougher": float(np.clip(found["texture"], 0, 2)),
            "smoother": float(np.clip(-found["texture"], 0, 2)), "greyer": float(np.clip(-found["texture_hue"], 0, 2)),
            "open": float(np.clip(0.4 - found["closed"], 0, 0.4)), "length": float(np.clip(found["length"], 3, 8)),
            "area": float(np.clip(found["area"], -1, 6)), "ground": float(np.clip(found["ground"], 3, 8.5)),
            "alike": float(np.clip(found["alike"], 0, 3)), "high": found["high"],
            "inward": float(np.clip(found["inward"], 0, 1)), "brighter": found["brighter"]}
    return 1 / (1 + math.exp(-_BASE - sum(_PULLS[name] * value for name, value in told.items())))
