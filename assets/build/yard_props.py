"""Geometry of the demo yard: lists of (name, Mesh, surface). +X is left in the picture, +Z away from the camera."""

from __future__ import annotations

import numpy as np
import yard_surfaces as s
from shapes import Mesh, box, bush, disc, join, leaves, place, revolve, smooth_curve, sweep
from yard_house import blocks, planar


def ground(detail: float) -> list:
    rng = np.random.default_rng(1)
    slabs = []
    for row in range(-14, 15):
        for column in range(-12, 12):
            centre = (
                (column + 0.5 - 0.5 * (row % 2)) * s.SLAB[0],
                -0.025 + rng.normal(0, 0.0012),
                (row + 0.5) * s.SLAB[1],
            )
            size = s.SLAB[0] - 0.011 + rng.normal(0, 0.0018), 0.05, s.SLAB[1] - 0.011 + rng.normal(0, 0.0018)
            slabs.append(
                box(size, 0.0045).moved(place(*centre, yaw_deg=rng.normal(0, 0.22), tilt_deg=rng.normal(0, 0.18)))
            )
    top = planar(join(slabs), (0, 2), s.PAVING, (1, -1))
    sand = planar(box((15, 0.1, 12)).moved(place(0, -0.062, 0)), (0, 2), (1, 1), (1, -1))
    lawn = planar(box((300, 0.1, 300)).moved(place(0, -0.12, 0)), (0, 2), (3, 3), (1, -1))
    # Moss and grass in some joints, more of it by the house.
    n = 5200
    row = rng.integers(5, 15, n)
    on_row = rng.uniform(size=n) < 0.6
    x = np.where(on_row, rng.uniform(-4, 4, n), (rng.integers(-7, 7, n) - 0.5 * (row % 2)) * s.SLAB[0])
    z = np.where(on_row, row * s.SLAB[1], (row + rng.uniform(0, 1, n)) * s.SLAB[1])
    clump = np.sin(3.1 * x + 1.7 * z) + np.sin(1.3 * x - 4.1 * z + 1) + 0.35 * (z - 4)
    keep = clump > 1.15
    tuft = leaves(
        np.stack([x, 0 * x + 0.001, z], 1)[keep] + rng.normal(0, 0.003, (keep.sum(), 3)) * [1, 0.6, 1],
        np.tile([0, 0.4, 0], (keep.sum(), 1)),
        0.020,
        2,
        0.25,
    )
    m = 46
    fallen = leaves(
        np.stack([rng.uniform(-3, 3.4, m), np.full(m, 0.008), 6 - rng.gamma(1.6, 1.1, m)], 1),
        np.tile([0, 3.0, 0], (m, 1)),
        0.045,
        4,
        0.5,
    )
    return [
        ("slabs", top, s.paving(detail)),
        ("sand", sand, s.speckled(121, "#6e6252", "#8a7c66")),
        ("lawn", lawn, s.speckled(122, "#56642f", "#6f7a3d", dirty=0.2)),
        ("tufts", tuft, s.foliage(123, "#5f7331", "#7f8a45", "#8d8a55")),
        ("fallen", fallen, s.foliage(124, "#8a5a2b", "#a97f3c", "#6b4a2a", "#98913f", thin=0.4)),
    ]


def planter(name: str, x: float, z: float, length: float, seed: int, plants: list) -> list:
    """A box of boards with corner posts; ``plants`` come with their own places."""
    boards = []
    for k in range(4):
        y = 0.055 + 0.098 * k
        boards += [((x, y, z + d), (length, 0.092, 0.022)) for d in (-0.19, 0.19)] + [
            ((x + e * length / 2, y, z), (0.022, 0.092, 0.37)) for e in (-1, 1)
        ]
    boards += [
        ((x + e * (length / 2 - 0.005), 0.21, z + d), (0.05, 0.42, 0.05)) for e in (-1, 1) for d in (-0.19, 0.19)
    ]
    soil = box((length - 0.03, 0.02, 0.36)).moved(place(x, 0.35, z))
    return [
        (name, join(blocks(seed, boards, 0.004, 0.0012, 0.15)), s.wood(171, "#a08260", "#73593f")),
        (f"{name}_soil", soil, s.speckled(174, "#3b2f25", "#52443a", bump=0.004)),
        *plants,
    ]


def pot(x: float, z: float, height: float) -> Mesh:
    profile = [
        (0.66, 0),
        (0.70, 0.02),
        (0.92, 0.80),
        (0.93, 0.82),
        (1.03, 0.825),
        (1.06, 0.84),
        (1.06, 0.97),
        (1.04, 1.0),
        (0.95, 1.0),
        (0.92, 0.97),
        (0.88, 0.8),
    ]
    mesh = revolve(np.array(profile) * [0.45 * height, height], 48)
    return join([mesh, disc(0.86 * height, 0.41 * height, up=True)]).moved(place(x, 0, z))


def props() -> list:
    lavender_at = [(-1.95 - 0.26 * k, 5.40) for k in range(5)]
    rng = np.random.default_rng(30)
    stalks, blooms = [], []
    for x, z in lavender_at:
        n = 150
        root = np.stack([x + rng.normal(0, 0.05, n), np.full(n, 0.38), z + rng.normal(0, 0.05, n)], 1)
        tip = root + np.stack([rng.normal(0, 0.13, n), rng.uniform(0.25, 0.46, n), rng.normal(0, 0.11, n)], 1)
        stalks.append(join([sweep(np.linspace(a, b, 3), 0.0018, 4) for a, b in zip(root, tip, strict=True)]))
        stalks.append(bush((x, 0.44, z), (0.17, 0.13, 0.15), 900, 0.055, int(rng.integers(1e6)), 0.16))
        heads = np.concatenate([tip + (root - tip) * f + rng.normal(0, 0.004, (n, 3)) for f in np.linspace(0, 0.22, 7)])
        blooms.append(leaves(heads, rng.normal(size=heads.shape), 0.014, 31, 0.8))
    lavender = [
        ("stalks", join(stalks), s.foliage(181, "#7d8c5e", "#93a077", "#6b7a4c")),
        ("blooms", join(blooms), s.foliage(182, "#6f5aa8", "#8b74bd", "#594a8c", "#a08ac9", thin=0.5)),
    ]
    ball = [
        (
            "box_leaves",
            bush((-0.45, 0.68, 5.42), (0.34, 0.34, 0.34), 9000, 0.030, 33, 0.6),
            s.foliage(183, "#4a6327", "#5d7a31", "#35501f", "#7f9446", thin=0.5, rough=0.35),
        ),
        ("box_trunk", sweep(np.array([[-0.45, y, 5.42] for y in (0.33, 0.5, 0.7)]), 0.02, 8), s.plain("#5c4a38", 0.8)),
    ]
    bench = (
        [((2.62, 0.445, 5.42 + 0.105 * k), (1.35, 0.035, 0.095)) for k in range(4)]
        + [((2.62 + e * 0.55, 0.215, 5.40 + d), (0.065, 0.425, 0.065)) for e in (-1, 1) for d in (0.02, 0.33)]
        + [((2.62 + e * 0.55, 0.395, 5.575), (0.06, 0.06, 0.36)) for e in (-1, 1)]
        + [((2.62, 0.15, 5.575), (1.05, 0.05, 0.035))]
    )
    bucket = revolve(
        np.array(
            [
                (0.105, 0.0),
                (0.112, 0.012),
                (0.126, 0.13),
                (0.131, 0.135),
                (0.131, 0.145),
                (0.128, 0.15),
                (0.148, 0.285),
                (0.154, 0.288),
                (0.155, 0.298),
                (0.149, 0.30),
                (0.145, 0.287),
                (0.107, 0.012),
                (1e-4, 0.012),
            ]
        ),
        48,
    )
    bail = sweep(
        smooth_curve(
            [(0.154, 0.275, 0), (0.13, 0.22, 0.13), (0, 0.19, 0.185), (-0.13, 0.22, 0.13), (-0.154, 0.275, 0)], 30
        ),
        0.004,
        8,
    )
    pots = [pot(1.62, 5.45, 0.34), pot(1.95, 4.75, 0.42), pot(1.62, 4.98, 0.24)]
    green = [
        bush((1.62, 0.52, 5.45), (0.24, 0.27, 0.24), 1300, 0.075, 41),
        bush((1.62, 0.30, 4.98), (0.13, 0.12, 0.13), 800, 0.040, 45),
    ]
    tall = leaves(*fronds((1.95, 0.38, 4.75), 900, 42), 0.17, 43, 0.13)
    flowers = bush((1.62, 0.56, 5.45), (0.25, 0.26, 0.25), 240, 0.05, 44, 0.9)
    return [
        *planter("planter_long", -2.47, 5.40, 1.45, 51, lavender),
        *planter("planter_small", -0.45, 5.42, 0.46, 52, ball),
        ("bench", join(blocks(53, bench, 0.006, 0.001, 0.1)), s.wood(191, "#a79a86", "#7c6f5e")),
        (
            "bucket",
            join([bucket, bail]).moved(place(-1.62, 0, 4.72, yaw_deg=35)),
            s.speckled(194, "#8d9397", "#a7adb0", rough=0.38, dirty=0.3, bump=0.0002) | {"metallic": 0.85},
        ),
        ("pots", join(pots), s.speckled(197, "#b06a48", "#c58460", dirt="#d8c8b4", dirty=0.45, bump=0.0006)),
        ("pot_green", join(green), s.foliage(201, "#55752f", "#6f8f3c", "#86a050")),
        ("fronds", tall, s.foliage(202, "#66823d", "#8aa055", "#4f6a2d")),
        ("flowers", flowers, s.foliage(203, "#b8322f", "#d2553c", "#a1213a", thin=0.6)),
    ]


def fronds(centre, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and facings of narrow arching leaves, as of an ornamental grass."""
    rng = np.random.default_rng(seed)
    angle, lean, t = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.05, 0.33, count), rng.uniform(0.05, 1, count)
    out = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
    points = (
        np.asarray(centre) + out * (lean * t**1.5)[:, None] + np.stack([0 * t, 0.62 * t - 0.9 * lean * t**2, 0 * t], 1)
    )
    return points, out * 0.8 + [0, 0.8, 0]


def surroundings(sun: np.ndarray) -> list:
    """What lies beyond the wall, the trees that throw the dappled shade, and the house behind the camera."""
    hedge = join(
        [
            bush(
                (-1.9 - 1.25 * k, 0.75 + 0.10 * np.sin(3 * k), 8.6 + 0.5 * np.sin(2 * k)),
                (0.95, 0.85, 0.7),
                5200,
                0.075,
                60 + k,
            )
            for k in range(4)
        ]
    )
    far = join(
        [
            bush((x, h * 0.55, z), (h * 0.52, h * 0.5, h * 0.52), 4200, 0.34, int(100 + abs(x) * 7), 0.6)
            for x, z, h in (
                (-4.2, 24, 4.4),
                (-7.6, 33, 4.2),
                (-11.5, 34, 3.6),
                (-16.5, 28, 5.2),
                (-9.3, 40, 4.4),
                (-23, 33, 6.0),
            )
        ]
    )

    def canopy(x, z, height, radius, count, seed):
        return bush(np.array([x, 0, z]) + sun * (height / sun[1]), (radius, 0.7 * radius, radius), count, 0.12, seed)

    shade = join(
        [
            canopy(2.3, 4.5, 5.0, 1.0, 1900, 71),
            canopy(1.9, 3.35, 5.4, 0.95, 1500, 72),
            canopy(2.2, 2.5, 4.8, 0.8, 1200, 73),
            canopy(4.6, 6.0, 6.0, 1.7, 4200, 74),
            canopy(3.6, 3.9, 5.6, 1.2, 2600, 75),
        ]
    )
    behind = join(
        [
            bush((x, 1.9, z), (1.9, 1.9, 1.6), 3500, 0.20, int(200 + x), 0.6)
            for x, z in ((6, -7), (2.5, -9.5), (8.5, -2.5))
        ]
    )
    trunk = sweep(
        np.array([[-4.2, y, -0.4 + 0.05 * y] for y in np.linspace(0, 5.5, 8)]), np.linspace(0.17, 0.09, 8), 14
    )
    house = [box((9, 5, 6)).moved(place(-2.5, 2.5, -14.0))]
    return [
        ("hedge", hedge, s.foliage(211, "#4b6a2a", "#5f7f35", "#3a5522", "#7b9245")),
        ("far_trees", far, s.foliage(212, "#6d8250", "#7f9460", "#5d7345")),
        ("canopy", shade, s.foliage(213, "#5f7f35", "#7d9a48")),
        ("behind", behind, s.foliage(214, "#56752f", "#6b8a3c")),
        ("trunk", trunk, s.speckled(215, "#6b5a48", "#85725c", bump=0.006)),
        ("house", join(house), s.plain("#cfc3ad", 0.9)),
    ]
