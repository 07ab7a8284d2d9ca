"""Random things made of ellipsoids, boxes and upright cylinders, for thousands of dressed plates at a time.

A thing is one of ``TEMPLATES``, each up to six solids in a box of height 1, stretched, turned about the vertical and
put on the ground. Everything is an array with a row for each plate, so that a whole batch is traced at once.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

NONE, ELLIPSOID, BOX, CYLINDER = range(4)
PARTS = 6
_Part = tuple[int, tuple[float, float, float], tuple[float, float, float]]


def _legs(kind: int, x: float, z: float, height: float, thick: float) -> list[_Part]:
    return [(kind, (a * x, height / 2, b * z), (thick, height / 2, thick)) for a in (-1, 1) for b in (-1, 1)]


TEMPLATES: dict[str, list[_Part]] = {
    "crate": [(BOX, (0, 0.5, 0), (0.5, 0.5, 0.5))],
    "ball": [(ELLIPSOID, (0, 0.5, 0), (0.5, 0.5, 0.5))],
    "bucket": [(CYLINDER, (0, 0.5, 0), (0.42, 0.5, 0.42))],
    "vase": [(CYLINDER, (0, 0.06, 0), (0.2, 0.06, 0.2)), (ELLIPSOID, (0, 0.42, 0), (0.36, 0.38, 0.36)),
             (CYLINDER, (0, 0.85, 0), (0.13, 0.15, 0.13)), (CYLINDER, (0, 0.97, 0), (0.2, 0.03, 0.2))],
    "table": [(BOX, (0, 0.95, 0), (0.7, 0.05, 0.5)), *_legs(BOX, 0.6, 0.4, 0.9, 0.05)],
    "chair": [(BOX, (0, 0.45, 0), (0.27, 0.04, 0.27)), (BOX, (0, 0.73, -0.24), (0.27, 0.27, 0.03)),
              *_legs(CYLINDER, 0.23, 0.23, 0.42, 0.03)],
    "post": [(CYLINDER, (0, 0.45, 0), (0.05, 0.45, 0.05)), (ELLIPSOID, (0, 0.92, 0), (0.1, 0.08, 0.1))],
    "bench": [(BOX, (0, 0.92, 0), (1.4, 0.08, 0.4)), (BOX, (-1.1, 0.42, 0), (0.08, 0.42, 0.36)),
              (BOX, (1.1, 0.42, 0), (0.08, 0.42, 0.36))],
    "figure": [(CYLINDER, (-0.06, 0.24, 0), (0.05, 0.24, 0.05)), (CYLINDER, (0.06, 0.24, 0), (0.05, 0.24, 0.05)),
               (ELLIPSOID, (0, 0.64, 0), (0.13, 0.22, 0.09)), (ELLIPSOID, (0, 0.92, 0), (0.06, 0.08, 0.07)),
               (ELLIPSOID, (-0.16, 0.6, 0), (0.04, 0.2, 0.05)), (ELLIPSOID, (0.16, 0.6, 0), (0.04, 0.2, 0.05))],
    "pot": [(CYLINDER, (0, 0.2, 0), (0.2, 0.2, 0.2)), (ELLIPSOID, (0, 0.68, 0), (0.16, 0.32, 0.16)),
            (ELLIPSOID, (0.2, 0.6, 0.05), (0.18, 0.2, 0.12)), (ELLIPSOID, (-0.15, 0.55, 0.12), (0.16, 0.18, 0.14)),
            (ELLIPSOID, (-0.02, 0.62, -0.2), (0.12, 0.24, 0.16))],
    "tree": [(CYLINDER, (0, 0.25, 0), (0.03, 0.25, 0.03)), (ELLIPSOID, (0, 0.7, 0), (0.24, 0.3, 0.24)),
             (ELLIPSOID, (0.15, 0.58, 0.05), (0.2, 0.16, 0.18)), (ELLIPSOID, (-0.12, 0.62, -0.1), (0.2, 0.18, 0.2))],
    "sign": [(CYLINDER, (0, 0.4, 0), (0.02, 0.4, 0.02)), (BOX, (0, 0.82, 0.02), (0.22, 0.18, 0.015))],
    "stack": [(BOX, (0, 0.17, 0), (0.4, 0.17, 0.3)), (BOX, (0.05, 0.5, 0.02), (0.34, 0.16, 0.27)),
              (BOX, (-0.06, 0.83, 0), (0.25, 0.17, 0.2))],
    "rail": [(BOX, (0, 0.9, 0), (1.6, 0.05, 0.04)), (BOX, (0, 0.5, 0), (1.6, 0.04, 0.03)),
             *((CYLINDER, (x, 0.45, 0), (0.05, 0.45, 0.05)) for x in (-1.5, -0.5, 0.5, 1.5))],
    "slab": [(BOX, (0, 0.5, 0), (1.2, 0.5, 0.12))],
    "house": [(BOX, (0, 0.5, 0), (0.9, 0.5, 0.7)), (BOX, (0.5, 0.62, 0.4), (0.3, 0.62, 0.3))],
}
LARGE = ("tree", "slab", "house", "rail")
"""What may stand far off or out of view and still throw its shadow into the picture."""
_NAMES = list(TEMPLATES)


def _table() -> np.ndarray:
    """(templates, PARTS, 7): kind, middle, half sizes."""
    table = np.zeros((len(TEMPLATES), PARTS, 7))
    for row, parts in enumerate(TEMPLATES.values()):
        for k, (kind, middle, half) in enumerate(parts):
            table[row, k] = (kind, *middle, *half)
    return table


_TABLE = _table()


@dataclass(frozen=True)
class Props:
    """Solids of B plates, K each, metres; the ground is y = 0."""

    kind: Tensor
    """(B, K) NONE, ELLIPSOID, BOX or CYLINDER."""
    middle: Tensor
    """(B, K, 3)."""
    half: Tensor
    """(B, K, 3) half sizes along its own axes."""
    yaw: Tensor
    """(B, K) radians about +Y."""
    colour: Tensor
    """(B, K, 2, 3) albedo and that of its pattern's other half."""
    pattern: Tensor
    """(B, K, 3) repetitions of the pattern along each axis, 0 = plain."""
    gloss: Tensor
    """(B, K) share of mirror reflection."""

    def within(self, point: Tensor, margin: float = 1.2) -> Tensor:
        """(B,) whether a point (B, 3) lies in the footprint of a solid, made ``margin`` times as wide."""
        local = turned(point[:, None] - self.middle, -self.yaw)[..., [0, 2]] / self.half[..., [0, 2]]
        return ((local.abs().amax(-1) < margin) & (self.kind != NONE)).any(1)


def turned(vectors: Tensor, yaw: Tensor) -> Tensor:
    """(..., 3) turned about +Y by ``yaw`` (...), +Z towards +X."""
    x, y, z = vectors.unbind(-1)
    c, s = yaw.cos(), yaw.sin()
    return torch.stack([c * x + s * z, y, c * z - s * x], -1)


def compact(props: Props, most: int = 24) -> Props:
    """The same solids without the empty places between them, at most ``most`` a plate."""
    order = (props.kind == NONE).long().sort(dim=1, stable=True).indices
    kept = max(1, min(most, int((props.kind != NONE).sum(1).max())))
    order = order[:, :kept]

    def taken(values: Tensor) -> Tensor:
        return values.gather(1, order.reshape(*order.shape, *[1] * (values.ndim - 2)).expand(*order.shape,
                                                                                            *values.shape[2:]))
    return Props(*(taken(v) for v in vars(props).values()))


def random_things(rng: np.random.Generator, count: int, view: np.ndarray, height: np.ndarray,
                  each: int = 7) -> Props:
    """Things on the ground before cameras at the origin, ``height`` (B,) metres high, that look to +Z.

    view : (B, 2) horizontal field of view and pitch down, degrees.  Of ``each`` things the last two are large ones
    anywhere around, the others in view or just outside, a part of them left out, so that plates have none to five.
    """
    # ---- where ----
    shape = (count, each)
    half_fov = np.radians(view[:, :1]) / 2
    large = np.arange(each) >= each - 2
    below = np.radians(rng.uniform(3.0, 34.0, shape) * rng.uniform(0.3, 1, shape))
    distance = np.clip(height[:, None] / np.tan(below), 0.9 * height[:, None], 14 * height[:, None])
    azimuth = rng.uniform(-1.25, 1.25, shape) * half_fov
    distance = np.where(large, height[:, None] * rng.uniform(2.5, 9.0, shape), distance)
    azimuth = np.where(large, rng.uniform(-math.pi, math.pi, shape), azimuth)
    used = rng.random(shape) < np.where(large, 0.3, rng.choice([0.35, 0.7, 0.95], (count, 1)))
    # ---- what ----
    small = [k for k, name in enumerate(_NAMES) if name not in LARGE]
    big = [k for k, name in enumerate(_NAMES) if name in LARGE]
    template = np.where(large, rng.choice(big, shape), rng.choice(small, shape))
    tall = np.where(large, height[:, None] * rng.uniform(1.0, 5.0, shape), distance * rng.uniform(0.06, 0.42, shape))
    stretch = tall[..., None] * np.exp(rng.normal(size=(*shape, 3)) * [0.25, 0.0, 0.25])
    parts = _TABLE[template]
    yaw = rng.uniform(-math.pi, math.pi, shape)
    local = parts[..., 1:4] * stretch[:, :, None]
    c, s = np.cos(yaw)[..., None], np.sin(yaw)[..., None]
    foot = np.stack([distance * np.sin(azimuth), np.zeros(shape), distance * np.cos(azimuth)], -1)
    middle = foot[:, :, None] + np.stack([c * local[..., 0] + s * local[..., 2], local[..., 1],
                                          c * local[..., 2] - s * local[..., 0]], -1)
    # ---- looks ----
    level = np.exp(rng.uniform(math.log(0.06), math.log(0.85), (*shape, 2, 1)))
    hue = 1 + rng.normal(size=(*shape, 2, 3)) * rng.choice([0.03, 0.25, 0.6], (*shape, 1, 1))
    colour = np.clip(level * hue, 0.02, 0.9)
    alike = rng.random(shape) < 0.55
    pattern = np.where(alike[..., None], 0, rng.choice([0, 0.5, 1, 2, 3.5, 6], (*shape, 3)))
    gloss = np.where(rng.random(shape) < 0.7, 0, rng.uniform(0.03, 0.6, shape))

    def flat(x: np.ndarray) -> Tensor:
        wide = np.broadcast_to(x[:, :, None], (*shape, PARTS, *x.shape[2:]))
        return torch.from_numpy(wide.reshape(count, each * PARTS, *x.shape[2:]).astype(np.float32))

    kind = np.where(used[..., None], parts[..., 0], NONE).reshape(count, -1)
    return Props(torch.from_numpy(kind).long(), torch.from_numpy(middle.reshape(count, -1, 3)).float(),
                 torch.from_numpy((parts[..., 4:] * stretch[:, :, None]).reshape(count, -1, 3)).float().clamp_min(1e-4),
                 flat(yaw), flat(colour), flat(pattern), flat(gloss))


def first_hit(props: Props, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest solids along rays (B, N, 3) from ``origin`` (B, N or 1, 3): distance (B, N), inf where there is none,
    and the solid's number (B, N)."""
    nearest = torch.full(ray.shape[:2], torch.inf, device=ray.device)
    which = torch.zeros(ray.shape[:2], dtype=torch.long, device=ray.device)
    origin, step = origin.expand_as(ray), _fused(_nearer, ray.device)
    for k in range(props.kind.shape[1]):
        number = torch.full((1, 1), k, device=ray.device)
        nearest, which = step(nearest, which, number, _solid(props, k), origin, ray)
    return nearest, which


def blocked(props: Props, origin: Tensor, ray: Tensor) -> Tensor:
    """Whether a solid lies on rays (B, N, 3) from points (B, N, 3): (B, N) boolean."""
    found = torch.zeros(ray.shape[:2], dtype=torch.bool, device=ray.device)
    origin, ray, step = origin.expand_as(ray), ray.contiguous(), _fused(_hidden, ray.device)
    for k in range(props.kind.shape[1]):
        found = step(found, _solid(props, k), origin, ray)
    return found


_Solid = tuple[Tensor, Tensor, Tensor, Tensor]


def _solid(props: Props, k: int) -> _Solid:
    """Number k of every plate: kind (B, 1), middle and half sizes (B, 1, 3), yaw (B, 1)."""
    one = slice(k, k + 1)
    return props.kind[:, one], props.middle[:, one], props.half[:, one], props.yaw[:, one]


@functools.lru_cache(maxsize=8)
def _fused(function: Callable[..., Any], where: torch.device) -> Callable[..., Any]:
    """On a GPU compiled into one kernel: run operation by operation, tracing is a hundred passes over memory."""
    return torch.compile(function, dynamic=True) if where.type == "cuda" else function


def _nearer(nearest: Tensor, which: Tensor, number: Tensor, solid: _Solid, origin: Tensor,
            ray: Tensor) -> tuple[Tensor, Tensor]:
    near, far = _interval(solid, origin, ray)
    better = (near < far) & (near > 0) & (near < nearest)
    return torch.where(better, near, nearest), torch.where(better, number, which)


def _hidden(found: Tensor, solid: _Solid, origin: Tensor, ray: Tensor) -> Tensor:
    near, far = _interval(solid, origin, ray)
    return found | ((near < far) & (far > 1e-4))


def _interval(solid: _Solid, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the solid of their plate; entered after it is left = missed."""
    kind, middle, half, yaw = solid
    o = turned(origin - middle, -yaw) / half
    d = turned(ray, -yaw) / half
    d = torch.where(d.abs() < 1e-6, 1e-6, d)
    one, two = (-1 - o) / d, (1 - o) / d
    low, high = torch.minimum(one, two), torch.maximum(one, two)

    def round_(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = q.square().sum(-1), (p * q).sum(-1), p.square().sum(-1) - 1
        root = b * b - a * c
        missed = root < 0
        root = root.clamp_min(0).sqrt()
        return torch.where(missed, torch.inf, (-b - root) / a), torch.where(missed, -torch.inf, (-b + root) / a)

    ball, tube = round_(o, d), round_(o[..., ::2], d[..., ::2])
    box = low.amax(-1), high.amin(-1)
    can = torch.maximum(tube[0], low[..., 1]), torch.minimum(tube[1], high[..., 1])
    near, far = (torch.where(kind == ELLIPSOID, a, torch.where(kind == BOX, b, c))
                 for a, b, c in zip(ball, box, can, strict=True))
    return torch.where(kind == NONE, torch.inf, near), torch.where(kind == NONE, -torch.inf, far)


def surface(props: Props, which: Tensor, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the solids ``which`` (B, N) at points (B, N, 3) on them: normal (B, N, 3), albedo (B, N, 3), gloss (B, N)."""
    def of(values: Tensor) -> Tensor:
        index = which.reshape(*which.shape, *[1] * (values.ndim - 2)).expand(*which.shape, *values.shape[2:])
        return values.gather(1, index)

    yaw, half, kind = of(props.yaw), of(props.half), of(props.kind)[..., None]
    p = turned(point - of(props.middle), -yaw) / half
    flat = functional.one_hot(p.abs().argmax(-1), 3) * p.sign()
    up = torch.zeros_like(p)
    up[..., 1] = p[..., 1].sign()
    side = p * p.new_tensor([1.0, 0.0, 1.0]) / half
    lid = p[..., 1:2].abs() > 0.998
    normal = torch.where(kind == ELLIPSOID, p / half, torch.where(kind == BOX, flat, torch.where(lid, up, side)))
    normal = functional.normalize(turned(normal, yaw), dim=-1)
    waves = (p * of(props.pattern) * math.pi + 0.4).sin()
    other = (waves.sign().prod(-1) < 0)[..., None]
    colour = of(props.colour)
    return normal, torch.where(other, colour[..., 1, :], colour[..., 0, :]), of(props.gloss)
