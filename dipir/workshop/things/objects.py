"""Procedural objects with random materials for training data, and a few plain ones for tests.

Everything follows from the seed: the same seed gives the same bytes.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dipir.arrays import split_seed
from dipir.errors import AssetError, nearest
from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.assets.mesh import box_uvs, rest_together, split_normals
from dipir.workshop.things import shapes
from dipir.workshop.things.materials import random_material
from dipir.workshop.things.shapes import Shape

Builder = Callable[[np.random.Generator, float], list[Shape]]


def random_asset(seed: int, detail: float = 1.0) -> Asset:
    """A random object: 1 m high, resting on y = 0, centred, every part with a random material.

    detail : scale of the segment counts (triangles grow with its square; <= 4000 triangles at 1)
    """
    rng = np.random.default_rng(split_seed(seed, "object"))
    kind = list(KINDS)[int(rng.integers(len(KINDS)))]
    return random_of_kind(kind, seed, detail)


def random_of_kind(kind: str, seed: int, detail: float = 1.0) -> Asset:
    """As :func:`random_asset`, of one kind out of ``KINDS``. Raises AssetError for an unknown kind."""
    if kind not in KINDS:
        raise AssetError(f"object kind '{kind}' is unknown; choose one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    rng = np.random.default_rng(split_seed(seed, kind))
    pieces = _proportioned(KINDS[kind](rng, detail), rng, stretch=kind in STRETCHED, turn=kind in TURNED)
    shared = random_material(rng) if rng.random() < 0.35 else None
    parts = [_part(f"{kind}_{i}", piece, shared or random_material(rng, f"{kind}_{i}"))
             for i, piece in enumerate(pieces)]
    return Asset(rest_together(parts), notes=(f"procedural {kind}, seed {seed}",))


def simple_asset(kind: str, material: Material | None = None) -> Asset:
    """A plain object 1 m high, resting on y = 0: 'sphere', 'box', 'torus' (standing ring), or 'plane_card', an upright
    1 m x 1 m card in z = 0 whose normal is -Z, towards a camera that looks along +Z. Raises AssetError otherwise."""
    material = material or Material()
    if kind == "plane_card":
        corners = np.array([[0.5, 0, 0], [-0.5, 0, 0], [-0.5, 1, 0], [0.5, 1, 0]], np.float32)
        return rectangle(kind, corners, (0, 0, -1), (1, 1), material)
    plain = {"sphere": lambda: shapes.sphere(64), "box": shapes.box, "torus": lambda: _rotated(shapes.torus(64), 0)}
    if kind not in plain:
        valid = [*plain, "plane_card"]
        raise AssetError(f"simple object '{kind}' is unknown; choose one of {', '.join(valid)}.{nearest(kind, valid)}")
    vertices, faces, uvs = plain[kind]()
    return Asset(rest_together([_part(kind, (vertices / np.ptp(vertices[:, 1]), faces, uvs), material)]))


def rectangle(name: str, corners: np.ndarray, normal: Sequence[float], tiles: Sequence[float],
              material: Material) -> Asset:
    """Four corners (4, 3); its texture is laid ``tiles`` times along the first and along the last edge."""
    u, v = tiles
    part = Part(name, corners.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.uint32),
                np.tile(np.array([normal], np.float32), (4, 1)), np.array([[0, 0], [u, 0], [u, v], [0, v]], np.float32),
                material)
    return Asset((part,))


# --- geometry --------------------------------------------------------------------------------------------------

def _part(name: str, shape: Shape, material: Material) -> Part:
    vertices, faces, uvs = shape
    uvs = box_uvs(vertices, faces) if uvs is None else uvs
    vertices, faces, normals, uvs = split_normals(vertices, faces, uvs)
    return Part(name, vertices, faces, normals, uvs, material)


def _segments(base: int, detail: float) -> int:
    return max(8, 4 * round(base * detail / 4))


def _scaled(shape: Shape, scale, shift=(0, 0, 0)) -> Shape:
    return shape[0] * np.asarray(scale, float) + shift, shape[1], shape[2]


def _rotated(shape: Shape, axis: int) -> Shape:
    """Turned by 90 degrees about x (0) or z (2): determinant +1, so faces keep their side."""
    x, y, z = shape[0].T
    return np.stack([x, -z, y] if axis == 0 else [-y, x, z], -1), shape[1], shape[2]


def _proportioned(pieces: list[Shape], rng: np.random.Generator, stretch: bool, turn: bool) -> list[Shape]:
    """All pieces laid on a side (sometimes), stretched to random proportions and scaled together to a height of 1 m."""
    if turn and rng.random() < 0.3:
        axis = int(rng.choice([0, 2]))
        pieces = [_rotated(p, axis) for p in pieces]
    extent = np.ptp(np.concatenate([p[0] for p in pieces]), axis=0)
    target = extent / extent[1]
    if stretch:
        target = np.exp(rng.uniform(np.log(0.3), np.log(3.0))) * np.exp(rng.uniform(-0.4, 0.0, 3))
    wide = np.clip(max(target[0], target[2]), 0.3, 3.0) / max(target[0], target[2])
    scale = np.array([target[0] * wide / extent[0], 1 / extent[1], target[2] * wide / extent[2]])
    return [_scaled(p, scale) for p in pieces]


def _rounded_box(rng: np.random.Generator, detail: float) -> list[Shape]:
    size = np.exp(rng.uniform(-1.0, 1.0, 3))
    return [shapes.rounded_box(size, rng.uniform(0.08, 0.45) * size.min(), _segments(12, detail))]


def _stack(rng: np.random.Generator, detail: float) -> list[Shape]:
    n, y, pieces = _segments(20, detail), 0.0, []
    for _ in range(int(rng.integers(2, 6))):
        makers = [shapes.box, lambda: shapes.sphere(n), lambda: shapes.cylinder(n), lambda: shapes.cylinder(n, 0.5),
                  lambda: shapes.torus(n), lambda: shapes.prism(shapes.star(rng)), lambda: shapes.capsule(n, 0.4)]
        piece = makers[int(rng.integers(len(makers)))]()
        size = np.array([rng.uniform(0.3, 1.0), rng.uniform(0.15, 0.7), 0.0])
        size[2] = size[0] * rng.uniform(0.7, 1.3)
        low, extent = piece[0].min(0), np.ptp(piece[0], axis=0)
        piece = _scaled((piece[0] - low - extent * [0.5, 0, 0.5], *piece[1:]), size / extent)
        shift = np.array([rng.uniform(-0.1, 0.1), y - 0.02, rng.uniform(-0.1, 0.1)])
        pieces.append(_scaled(piece, 1.0, shift))
        y += size[1] - 0.02
    return pieces


def _furniture(rng: np.random.Generator, detail: float) -> list[Shape]:
    """Table, stool or chair out of boxes (legs may be turned); legs are one part, seat and back another each."""
    width, depth, leg = rng.uniform(0.5, 1.8), rng.uniform(0.5, 1.2), rng.uniform(0.03, 0.12)
    thick, height = rng.uniform(0.03, 0.12), rng.uniform(0.4, 1.0)
    legs = []
    for sx in (-1, 1):
        for sz in (-1, 1):
            at = (sx * (width - leg) / 2, height / 2, sz * (depth - leg) / 2)
            legs.append(shapes.box((leg, height, leg), at))
    pieces = [shapes.joined(legs), shapes.box((width, thick, depth), (0, height + thick / 2, 0))]
    if rng.random() < 0.5:
        back = rng.uniform(0.4, 1.0)
        pieces.append(shapes.box((width, back, thick), (0, height + thick + back / 2, (thick - depth) / 2)))
    return pieces


def _mug(rng: np.random.Generator, detail: float) -> list[Shape]:
    n, wall, radius = _segments(36, detail), rng.uniform(0.03, 0.08), rng.uniform(0.3, 0.6)
    lip = radius * rng.uniform(0.8, 1.3)
    outer = np.stack([np.linspace(radius, lip, 10), np.linspace(0, 1, 10)], -1)
    inner = outer[::-1] - [wall, 0]
    inner[-1, 1] = wall
    body = shapes.revolve(np.concatenate([[[0, 0]], outer, inner, [[0, wall]]]), n)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 20)
    path = np.stack([(radius + lip) / 2 - 0.3 * wall + 0.3 * np.cos(angle), 0.5 + 0.28 * np.sin(angle), 0 * angle], -1)
    return [body, shapes.tube(path, rng.uniform(0.04, 0.07), _segments(12, detail))]


def _spring(rng: np.random.Generator, detail: float) -> list[Shape]:
    t = np.linspace(0, 1, _segments(120, detail))
    turns, radius = rng.uniform(1.5, 4.0), 0.4 * (1 + (rng.uniform(0.3, 1.2) - 1) * t)
    angle = 2 * np.pi * turns * t
    path = np.stack([radius * np.cos(angle), t, radius * np.sin(angle)], -1)
    return [shapes.tube(path, rng.uniform(0.04, 0.1), _segments(12, detail))]


def _rock(rng: np.random.Generator, detail: float) -> list[Shape]:
    """Boulder: a sphere cut by random planes, its faces flat or a little rounded."""
    vertices, faces, uvs = shapes.sphere(_segments(56, detail))
    direction = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    normals = rng.normal(size=(int(rng.integers(9, 26)), 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    reach = rng.uniform(0.55, 1.0, len(normals)) / np.maximum(direction @ normals.T, 1e-3)
    sharp = rng.uniform(8, 60)
    radius = (np.minimum(reach, 4.0) ** -sharp).sum(1) ** (-1 / sharp)
    return [(direction * np.minimum(radius, 1.2)[:, None], faces, uvs)]


def _ridged(rng: np.random.Generator, detail: float) -> list[Shape]:
    """Fluted column, pumpkin or screw: a turned profile with waves around and along it."""
    vertices, faces, uvs = shapes.cylinder(_segments(64, detail)) if rng.random() < 0.5 else shapes.sphere(
        _segments(60, detail))
    low, extent = vertices[:, 1].min(), np.ptp(vertices[:, 1])
    angle, height = np.arctan2(vertices[:, 2], vertices[:, 0]), (vertices[:, 1] - low) / extent
    turns = int(rng.integers(0, 13))
    phase = turns * angle + 2 * np.pi * rng.uniform(-1.5, 1.5) * height
    wave = rng.uniform(0.03, 0.15) * np.cos(phase)
    wave += rng.uniform(0, 0.1) * np.cos(2 * np.pi * rng.uniform(1, 4) * height)
    return [(vertices * np.stack([1 + wave, np.ones_like(wave), 1 + wave], -1), faces, uvs)]


def _group(rng: np.random.Generator, detail: float) -> list[Shape]:
    """Two to four simple things of different size that stand beside each other and shade each other."""
    n, pieces, x = _segments(20, detail), [], 0.0
    makers = [shapes.box, lambda: shapes.sphere(n), lambda: shapes.cylinder(n), lambda: shapes.cylinder(n, 0.4),
              lambda: shapes.vase(rng, n), lambda: shapes.bumpy(rng, n), lambda: shapes.prism(shapes.star(rng))]
    for _ in range(int(rng.integers(2, 5))):
        piece = makers[int(rng.integers(len(makers)))]()
        size = rng.uniform(0.25, 0.7) * np.array([1.0, rng.uniform(0.5, 2.0), 1.0])
        low, extent = piece[0].min(0), np.ptp(piece[0], axis=0)
        turn = rng.uniform(0, 2 * np.pi)
        upright = (piece[0] - low) / extent - [0.5, 0, 0.5]
        c, s = np.cos(turn), np.sin(turn)
        turned = np.stack([c * upright[:, 0] + s * upright[:, 2], upright[:, 1], c * upright[:, 2] - s * upright[:, 0]],
                          -1) * size
        x += 0.75 * size[0]
        pieces.append((turned + [x, 0, rng.uniform(-0.3, 0.3)], *piece[1:]))
        x += 0.75 * size[0]
    return pieces


KINDS: dict[str, Builder] = {
    "box": lambda rng, d: [shapes.box()],
    "rounded_box": _rounded_box,
    "sphere": lambda rng, d: [shapes.sphere(_segments(52, d))],
    "ellipsoid": lambda rng, d: [shapes.sphere(_segments(52, d))],
    "cylinder": lambda rng, d: [shapes.cylinder(_segments(48, d))],
    "cone": lambda rng, d: [shapes.cylinder(_segments(48, d), rng.choice([0.0, rng.uniform(0.1, 0.8)]))],
    "torus": lambda rng, d: [shapes.torus(_segments(52, d), rng.uniform(0.12, 0.6))],
    "capsule": lambda rng, d: [shapes.capsule(_segments(44, d), rng.uniform(0.2, 3.0))],
    "vase": lambda rng, d: [shapes.vase(rng, _segments(48, d))],
    "lathe": lambda rng, d: [shapes.lathe(rng, _segments(48, d))],
    "stack": _stack,
    "bumpy": lambda rng, d: [shapes.bumpy(rng, _segments(60, d))],
    "extrusion": lambda rng, d: [shapes.prism(shapes.star(rng))],
    "furniture": _furniture,
    "twisted": lambda rng, d: [shapes.prism(shapes.star(rng), rng.uniform(0.5, 3.0), rng.uniform(0.3, 1.2),
                                            _segments(20, d))],
    "mug": _mug,
    "spring": _spring,
    "rock": _rock,
    "ridged": _ridged,
    "group": _group,
}
STRETCHED = {"box", "rounded_box", "ellipsoid", "cylinder", "cone", "vase", "lathe", "bumpy", "extrusion", "twisted",
             "rock", "ridged"}
TURNED = {"cylinder", "cone", "torus", "capsule", "extrusion", "rounded_box", "ridged"}
