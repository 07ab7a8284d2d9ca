"""Procedural objects with random materials for training data, and a few plain ones for tests.

Everything follows from the seed: the same seed gives the same bytes.
"""
from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from dipir.arrays import split_seed
from dipir.errors import AssetError, nearest
from dipir.scene.asset import Asset, Material, Part
from dipir.scene.asset_mesh import box_uvs, rested, split_normals
from dipir.synth import shapes
from dipir.synth.shapes import Shape

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
    return Asset(rested(parts), notes=(f"procedural {kind}, seed {seed}",))


def simple_asset(kind: str, material: Material | None = None) -> Asset:
    """A plain object 1 m high, resting on y = 0: 'sphere', 'box', 'torus' (standing ring), or 'plane_card', an upright
    1 m x 1 m card in z = 0 whose normal is -Z, towards a camera that looks along +Z. Raises AssetError otherwise."""
    material = material or Material()
    if kind == "plane_card":
        corners = np.array([[0.5, 0, 0], [-0.5, 0, 0], [-0.5, 1, 0], [0.5, 1, 0]], np.float32)
        uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        faces = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
        normals = np.tile(np.array([[0, 0, -1]], np.float32), (4, 1))
        return Asset((Part(kind, corners, faces, normals, uvs, material),))
    plain = {"sphere": lambda: shapes.sphere(64), "box": shapes.box, "torus": lambda: _rotated(shapes.torus(64), 0)}
    if kind not in plain:
        valid = [*plain, "plane_card"]
        raise AssetError(f"simple object '{kind}' is unknown; choose one of {', '.join(valid)}.{nearest(kind, valid)}")
    vertices, faces, uvs = plain[kind]()
    return Asset(rested([_part(kind, (vertices / np.ptp(vertices[:, 1]), faces, uvs), material)]))


# --- materials -------------------------------------------------------------------------------------------------

def random_color(rng: np.random.Generator) -> np.ndarray:
    """(3,) linear BT.709 colour: near-white, near-black or grey in 12 % each, else random in hue, saturation, value."""
    kind = rng.random()
    if kind < 0.36:
        low, high = ((0.85, 0.95), (0.01, 0.12), (0.15, 0.8))[int(kind / 0.12)]
        display = rng.uniform(low, high) + rng.uniform(-0.03, 0.03, 3)
    else:
        display = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 1.0), rng.uniform(0.15, 1.0)))
    return np.clip(_linear(np.clip(display, 0, 1)), 0.003, 0.95)


def random_material(rng: np.random.Generator, name: str = "random") -> Material:
    """Material over the whole principled range; metal in 25 %, mixed in 5 %, textured base colour in 40 %."""
    kind = rng.random()
    metallic = 0.0 if kind < 0.7 else 1.0 if kind < 0.95 else float(rng.uniform(0.05, 0.95))
    color = random_color(rng)
    texture = None
    if rng.random() < 0.4:
        texture = random_texture(rng, color, random_color(rng))
        color = texture.reshape(-1, 3).mean(0)
    return Material(name, tuple(float(c) for c in color), roughness=float(rng.uniform(0.08, 1.0)), metallic=metallic,
                    specular=float(rng.uniform(0.2, 0.8)), base_color_texture=texture)


def random_texture(rng: np.random.Generator, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, N, 3) float32 linear, N in 64..128: checker, stripes, soft noise or spots of two colours; seamless."""
    size, kind = int(rng.choice([64, 96, 128])), int(rng.integers(4))
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
    if kind == 0:
        count = 2 * int(rng.integers(1, 5))
        mix = (np.floor(x * count) + np.floor(y * count)) % 2
    elif kind == 1:
        a, b = ((1, 0), (0, 1), (1, 1), (1, -1))[int(rng.integers(4))]
        wave = np.sin(2 * np.pi * int(rng.integers(2, 10)) * (a * x + b * y))
        mix = np.clip(0.5 + wave * rng.choice([0.5, 8.0]), 0, 1)
    elif kind == 2:
        mix = _tile_noise(rng, size)
    else:
        mix = _spots(rng, x, y)
    return (first + mix[..., None] * (second - first)).astype(np.float32)


def _tile_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise with a falling spectrum, periodic because it is filtered by the Fourier transform; stretched to [0, 1]."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(size) * size] * 2)) + 1.0
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / frequency ** rng.uniform(1.0, 2.2)
    noise = np.fft.ifft2(spectrum).real
    return np.clip(0.5 + (noise - noise.mean()) / (4 * noise.std()), 0, 1)


def _spots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    mix = np.zeros_like(x)
    for cx, cy, radius in zip(rng.random(24), rng.random(24), rng.uniform(0.03, 0.12, 24), strict=True):
        dx, dy = (np.abs(d - c) for d, c in ((x, cx), (y, cy)))
        distance = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
        mix = np.maximum(mix, np.clip((radius - distance) * 40 + 0.5, 0, 1))
    return mix


def _linear(display: np.ndarray) -> np.ndarray:
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


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
    pieces = [_joined(legs), shapes.box((width, thick, depth), (0, height + thick / 2, 0))]
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


def _joined(pieces: list[Shape]) -> Shape:
    offsets = np.cumsum([0, *[len(p[0]) for p in pieces[:-1]]])
    return (np.concatenate([p[0] for p in pieces]),
            np.concatenate([p[1] + o for p, o in zip(pieces, offsets, strict=True)]), None)


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
}
STRETCHED = {"box", "rounded_box", "ellipsoid", "cylinder", "cone", "vase", "lathe", "bumpy", "extrusion", "twisted"}
TURNED = {"cylinder", "cone", "torus", "capsule", "extrusion", "rounded_box"}
