"""Line segments, vanishing points, and the camera that explains them.

The picture of a built place holds three families of parallel edges: vertical ones and two horizontal ones at a right
angle. A camera (focal length, pitch, roll) and the heading of that frame predict where each family vanishes; a segment
supports the camera when it points to one of the three. The support is the mixture likelihood of Coughlan and Yuille,
"Manhattan World" (ICCV 1999), over segments instead of pixels. Hypotheses come from random minimal sets (two vertical
segments and a horizontal one, RANSAC), the best are refined, and the spread of the posterior is the confidence.

Here image points are centred: x to the left, y up, in pixels from the principal point, so that a point p and the focal
length f make the camera direction (p_x, p_y, f) in camera axes +X left, +Y up, +Z forward.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

DETECT_SIDE = 1000        # Segments are found at this size: noise and bricks drop out, edges stay sharp.
LONGEST = 400             # Only the longest segments vote.
WEIGHTS = np.array([0.30, 0.25, 0.25])   # Shares of the vertical and the two horizontal families; the rest is clutter.
EVIDENCE = 60.0           # Segments of one edge are not independent; together they count as at most this many.


@dataclass(frozen=True)
class Lines:
    """Centred segments."""

    middle: np.ndarray  # (N, 2) pixels
    tangent: np.ndarray  # (N, 2) unit
    ends: np.ndarray  # (N, 2, 2) pixels
    length: np.ndarray  # (N,) pixels
    weight: np.ndarray  # (N,) votes
    sigma: np.ndarray  # (N,) radians, standard error of the tangent


@dataclass(frozen=True)
class Prior:
    """What is believed of a photo before its lines are seen; a fixed number has spread 0. Degrees.

    Spreads are those of hand-held photos: level to a few degrees, tilted down a little, 25 to 40 mm lenses.
    """

    fov: tuple[float, float] = (58.0, 16.0)
    pitch: tuple[float, float] = (6.0, 10.0)
    roll: tuple[float, float] = (0.0, 2.5)


@dataclass(frozen=True)
class Fit:
    """A fitted frame. ``spread`` is the posterior spread (one sigma) of (log focal, pitch, roll, heading);
    ``shares`` the length-weighted share of segments on the vertical and the two horizontal families."""

    focal_px: float
    pitch_deg: float
    roll_deg: float
    heading_deg: float
    spread: np.ndarray
    shares: np.ndarray
    count: int


def find_segments(gray: np.ndarray, center: tuple[float, float]) -> Lines:
    """Line segments of a grey image (H, W) uint8, centred on the pixel ``center``; the longest first."""
    height, width = gray.shape
    scale = min(1.0, DETECT_SIDE / max(width, height))
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else gray
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(np.ascontiguousarray(small))[0]
    ends = np.zeros((0, 4)) if found is None else found.reshape(-1, 4).astype(float)
    # The detector counts from pixel centres, we from the corner.
    ends = ((ends + 0.5) / scale).reshape(-1, 2, 2)
    border = 3 / scale
    inside = ((ends > border) & (ends < [width - border, height - border])).all((1, 2))
    return make_lines(np.asarray(center) - ends[inside], math.hypot(width, height))


def make_lines(ends: np.ndarray, diagonal: float) -> Lines:
    """:class:`Lines` of centred end points (N, 2, 2); segments shorter than 2.5 % of the diagonal are left out."""
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    order = np.argsort(-length)[:LONGEST]
    order = order[length[order] > 0.025 * diagonal]
    ends, length = ends[order], length[order]
    weight = np.clip(length / (0.08 * diagonal), 0.3, 2.5)
    weight = weight * min(1.0, EVIDENCE / max(weight.sum(), 1e-9))
    # One degree of lens distortion and model error, plus the localisation of the ends.
    sigma = np.hypot(math.radians(0.8), 1.2 * diagonal / 1250 / np.maximum(length, 1e-9))
    tangent = (ends[:, 1] - ends[:, 0]) / np.maximum(length, 1e-9)[:, None]
    return Lines(ends.mean(1), tangent, ends, length, weight, sigma)


# ---- the model -------------------------------------------------------------------------------------------------------

def frame(theta: np.ndarray) -> np.ndarray:
    """(K, 3, 3) camera-space directions (rows: up, heading, heading + 90 deg) of parameters (K, 4)."""
    p, r, h = np.radians(theta[:, 1:]).T
    zero = np.zeros_like(p)
    # Rows of the camera-to-world rotation rx(pitch) @ rz(roll) are the world axes seen by the camera.
    east = np.stack([np.cos(r), -np.sin(r), zero], -1)
    up = np.stack([np.cos(p) * np.sin(r), np.cos(p) * np.cos(r), -np.sin(p)], -1)
    ahead = np.stack([np.sin(p) * np.sin(r), np.sin(p) * np.cos(r), np.cos(p)], -1)
    first = np.sin(h)[:, None] * east + np.cos(h)[:, None] * ahead
    second = np.cos(h)[:, None] * east - np.sin(h)[:, None] * ahead
    return np.stack([up, first, second], 1)


def angles(theta: np.ndarray, lines: Lines) -> np.ndarray:
    """(K, 3, N) radians in [0, pi/2]: angle between each segment and the direction to each vanishing point."""
    d = frame(theta)
    f = np.exp(theta[:, 0])[:, None, None]
    # The vanishing point f d_xy / d_z, seen from a middle m, lies along f d_xy - d_z m (also when d_z = 0).
    vx = f * d[..., 0:1] - d[..., 2:3] * lines.middle[:, 0]
    vy = f * d[..., 1:2] - d[..., 2:3] * lines.middle[:, 1]
    cross = np.abs(vx * lines.tangent[:, 1] - vy * lines.tangent[:, 0])
    return np.arcsin(np.clip(cross / np.maximum(np.hypot(vx, vy), 1e-9), 0, 1))


def log_posterior(theta: np.ndarray, lines: Lines, prior: Prior, half_width: float, soften: float = 1.0) -> np.ndarray:
    """(K,) log posterior of parameters (K, 4); ``soften`` widens the line noise for a coarse search."""
    sigma = lines.sigma * soften
    density = np.exp(-0.5 * (angles(theta, lines) / sigma) ** 2) * (2 / math.sqrt(2 * math.pi) / sigma)
    # Vertical edges look steep. Without this, a view up a nave may pass for one down a well: there the vanishing point
    # of the level edges lies in the picture with edges all around it. The factor has mean 1 over all directions.
    density[:, 0] *= 2 * lines.tangent[:, 1] ** 2
    clutter = (1 - WEIGHTS.sum()) * 2 / math.pi
    likelihood = np.log(np.einsum("kcn,c->kn", density, WEIGHTS) + clutter) @ lines.weight
    fov = np.degrees(2 * np.arctan(half_width * np.exp(-theta[:, 0])))
    if prior.fov[1] > 0:
        # Lenses have bounds, and near-parallel edges alone would always ask for a longer one.
        likelihood = likelihood - 0.5 * (np.log(fov / prior.fov[0]) * prior.fov[0] / prior.fov[1]) ** 2
    for value, (mean, spread) in ((theta[:, 1], prior.pitch), (theta[:, 2], prior.roll)):
        if spread > 0:
            # Student's t with 4 degrees of freedom: an odd tilt is unlikely, not impossible.
            likelihood = likelihood - 2.5 * np.log1p(((value - mean) / spread) ** 2 / 4)
    return likelihood


# ---- the search ------------------------------------------------------------------------------------------------------

def fit_frame(lines: Lines, prior: Prior, half_width: float, seed: int = 0) -> Fit:
    """The camera frame that explains ``lines`` best. ``half_width`` : half the image width, pixels."""
    rng = np.random.default_rng(seed)
    theta = hypotheses(lines, prior, half_width, rng, 1500)
    score = _scores(theta, lines, prior, half_width, 2.0)
    starts = _distinct(theta[np.argsort(-score)], 8)
    refined = [_refine(t, lines, prior, half_width, rng) for t in starts]
    best, spread = _choose(refined, lines, prior, half_width, rng)
    near = angles(best[None], lines)[0]
    owner = np.where((near < 2.5 * lines.sigma).any(0), near.argmin(0), 3)
    shares = np.array([lines.length[owner == k].sum() for k in range(3)]) / max(lines.length.sum(), 1e-9)
    focal, pitch, roll, heading = best
    return Fit(float(np.exp(focal)), float(pitch), float(roll), float((heading + 45) % 90 - 45), spread, shares,
               len(lines.length))


def hypotheses(lines: Lines, prior: Prior, half_width: float, rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) parameters: two thirds from pairs of near-vertical segments, the rest from the prior; the heading from
    one more segment that is taken to be level."""
    fov = np.clip(rng.normal(*prior.fov, count), 18, 125) if prior.fov[1] else np.full(count, prior.fov[0])
    log_focal = np.log(half_width / np.tan(np.radians(fov) / 2))
    pitch, roll = (rng.normal(m, 1.3 * s, count) if s else np.full(count, m) for m, s in (prior.pitch, prior.roll))
    # ---- pitch and roll, from two upright segments ----
    steep = np.flatnonzero(np.abs(lines.tangent[:, 1]) > math.cos(math.radians(35)))
    use = 2 * count // 3
    if len(steep) >= 2:
        i, j = rng.choice(steep, (2, use), p=lines.weight[steep] / lines.weight[steep].sum())
        up = _up_from_pairs(lines, i, j, np.exp(log_focal[:use]))
        good = np.isfinite(up).all(1) & (up[:, 1] > 0.3)
        found_pitch, found_roll = np.degrees(np.arcsin(-up[:, 2])), np.degrees(np.arctan2(up[:, 0], up[:, 1]))
        good &= (np.abs(found_roll) < 40) & (np.abs(found_pitch) < 70)
        pitch[:use] = np.where(good & (prior.pitch[1] > 0), found_pitch, pitch[:use])
        roll[:use] = np.where(good & (prior.roll[1] > 0), found_roll, roll[:use])
    # ---- the heading, from one level segment ----
    theta = np.stack([log_focal, pitch, roll, np.zeros(count)], -1)
    theta[:, 3] = _heading_from_segment(theta, lines, rng.choice(len(lines.length), count))
    return theta


def _up_from_pairs(lines: Lines, i: np.ndarray, j: np.ndarray, focal: np.ndarray) -> np.ndarray:
    # Two image lines meet in the vertical vanishing point; its ray is the vertical.
    homogeneous = np.concatenate([lines.ends, np.ones((len(lines.ends), 2, 1))], -1)
    line = np.cross(homogeneous[:, 0], homogeneous[:, 1])
    meet = np.cross(line[i], line[j])
    up = meet * np.stack([np.ones_like(focal), np.ones_like(focal), focal], -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return up / np.linalg.norm(up, axis=1, keepdims=True) * np.where(up[:, 1:2] < 0, -1, 1)


def _heading_from_segment(theta: np.ndarray, lines: Lines, pick: np.ndarray) -> np.ndarray:
    # A level edge lies in the plane through the pinhole and its image, and is perpendicular to up.
    focal = np.exp(theta[:, 0])[:, None]
    a, b = (np.concatenate([lines.ends[pick, k], focal], -1) for k in (0, 1))
    axes = frame(theta * [1, 1, 1, 0])
    level = np.cross(np.cross(a, b), axes[:, 0])
    return np.degrees(np.arctan2((level * axes[:, 2]).sum(1), (level * axes[:, 1]).sum(1))) % 90


def _scores(theta: np.ndarray, lines: Lines, prior: Prior, half_width: float, soften: float) -> np.ndarray:
    # In chunks, so that memory stays below a few tens of MB whatever the number of segments.
    return np.concatenate([log_posterior(t, lines, prior, half_width, soften) for t in np.array_split(theta, 10)])


def _distinct(theta: np.ndarray, count: int) -> list[np.ndarray]:
    kept: list[np.ndarray] = []
    for t in theta:
        if all(np.abs((t - k) / [0.15, 3, 3, 6]).max() > 1 for k in kept):
            kept.append(t)
        if len(kept) == count:
            break
    return kept


def _free(prior: Prior) -> np.ndarray:
    return np.array([prior.fov[1] > 0, prior.pitch[1] > 0, prior.roll[1] > 0, True], dtype=float)


def _refine(theta: np.ndarray, lines: Lines, prior: Prior, half_width: float,
            rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Random local search with shrinking steps; the line noise sharpens from 2x to 1x on the way."""
    steps, best = 22, theta
    for k in range(steps):
        soften = 2.0 - min(1.0, 2 * k / steps)
        reach = np.array([0.12, 3.0, 2.0, 4.0]) * 0.8 ** k * _free(prior)
        trial = best + reach * rng.standard_normal((60, 4))
        trial[0] = best
        trial[:, 1] = np.clip(trial[:, 1], -75, 75)
        best = trial[np.argmax(log_posterior(trial, lines, prior, half_width, soften))]
    return best, float(log_posterior(best[None], lines, prior, half_width)[0])


def _choose(refined: list[tuple[np.ndarray, float]], lines: Lines, prior: Prior, half_width: float,
            rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The mode with most posterior mass (a narrow peak that a few lines happen to agree on has little), and the
    (4,) posterior spread about it, other modes included: half of the 68 % interval, by importance samples."""
    top = max(score for _, score in refined)
    likely = [t for t, score in sorted(refined, key=lambda m: -m[1]) if score > top - 12]
    modes = np.stack(_distinct(np.stack(likely), 8))
    reach = np.array([0.15, 3.0, 2.0, 3.0]) * _free(prior)
    scales, free = np.array([0.1, 0.3, 1.0]), int(_free(prior).sum())
    offsets = rng.standard_normal((300, 4)) * scales[np.arange(300) % 3, None]
    squares = (offsets ** 2 * _free(prior)).sum(1)
    proposal = sum(np.exp(-0.5 * squares / s ** 2) / s ** free for s in scales)
    theta = (modes[:, None] + reach * offsets).reshape(-1, 4)
    weight = np.exp(_scores(theta, lines, prior, half_width, 1.0) - top) / np.tile(proposal, len(modes))
    best = modes[weight.reshape(len(modes), -1).sum(1).argmax()]
    away = np.abs(theta - best)
    away[:, 3] = np.abs((theta[:, 3] - best[3] + 45) % 90 - 45)
    return best, np.array([_weighted_quantile(a, weight, 0.68) for a in away.T])


def _weighted_quantile(values: np.ndarray, weight: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])
