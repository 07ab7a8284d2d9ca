"""The house of the demo yard: wall, door, window, garden wall. Lists of (name, Mesh, surface), as in yard_props."""

from __future__ import annotations

import numpy as np
import yard_surfaces as s
from shapes import Mesh, box, join, place, smooth_curve, sweep

WALL_Z = 6.0  # Face of the house.
CORNER_X = -1.25  # Its right-hand corner; a garden wall runs on from there.


def planar(mesh: Mesh, axes: tuple[int, int], size: tuple[float, float], signs=(1, 1)) -> Mesh:
    """World-planar UVs along two axes."""
    return Mesh(mesh.vertices, mesh.normals, mesh.vertices[:, axes] * signs / np.asarray(size), mesh.faces)


def blocks(seed: int, spans, bevel: float, jitter: float, turn_deg: float = 0.3) -> list[Mesh]:
    """Boxes (centre, size) laid by hand: a little out of place, each with its own part of the texture."""
    rng = np.random.default_rng(seed)
    return [
        box(size, bevel, 1.0, rng.uniform(0, 1, 2)).moved(
            place(
                *(np.asarray(centre) + rng.normal(0, jitter, 3)),
                yaw_deg=rng.normal(0, turn_deg),
                tilt_deg=rng.normal(0, turn_deg),
            )
        )
        for centre, size in spans
    ]


def facade(detail: float) -> list:
    """Rendered wall with a door and a window in it, a plinth, step, sill, downpipe."""

    def piece(x0, x1, y0, y1, depth=0.35):
        return box((x1 - x0, y1 - y0, depth), 0.006).moved(place((x0 + x1) / 2, (y0 + y1) / 2, WALL_Z + depth / 2))

    door, window, top, left = (0.25, 1.20, 2.16), (2.15, 3.05, 1.02, 2.12), 5.2, 7.0
    pieces = [
        piece(CORNER_X, door[0], 0, top),
        piece(door[0], door[1], door[2], top),
        piece(door[1], window[0], 0, top),
        piece(window[0], window[1], 0, window[2]),
        piece(window[0], window[1], window[3], top),
        piece(window[1], left, 0, top),
    ]
    flank = box((0.35, top, 5), 0.006).moved(place(CORNER_X + 0.175, top / 2, WALL_Z + 2.5))
    wall = join([planar(join(pieces), (0, 1), (5, 3), (-1, 1)), planar(flank, (2, 1), (5, 3))])
    wall = Mesh(wall.vertices, wall.normals, wall.uvs + [0.13, 0.0], wall.faces)
    plinth = [
        ((x0 + x1) / 2, x1 - x0)
        for x0, x1 in ((CORNER_X - 0.03, -0.55), (-0.54, door[0]), (door[1], 2.0), (2.01, 2.9), (2.91, 4.2))
    ]
    stones = blocks(
        5,
        [((x, 0.17, WALL_Z + 0.02), (w - 0.006, 0.36, 0.12)) for x, w in plinth]
        + [((0.725, 0.055, WALL_Z - 0.10), (1.25, 0.13, 0.52)), ((2.6, 0.985, WALL_Z + 0.03), (1.08, 0.07, 0.24))],
        0.010,
        0.002,
    )
    lintel = blocks(
        6,
        [((0.725, 2.24, WALL_Z + 0.02), (1.26, 0.17, 0.10)), ((2.6, 2.19, WALL_Z + 0.02), (1.14, 0.15, 0.10))],
        0.008,
        0.001,
    )
    pipe = sweep(np.array([[CORNER_X + 0.12, y, WALL_Z - 0.07] for y in np.linspace(0.08, 3, 30)]), 0.043, 20)
    straps = [
        sweep(np.array([[CORNER_X + 0.12, y + d, WALL_Z - 0.07] for d in (-0.02, 0, 0.02)]), 0.048, 20)
        for y in (0.5, 2.05)
    ]
    return [
        ("render", wall, s.plaster(detail)),
        ("stones", join(stones + lintel), s.speckled(131, "#a49c8e", "#8b8377", dirty=0.55)),
        (
            "pipe",
            join([pipe, *straps]),
            s.speckled(132, "#7d8286", "#949a9d", rough=0.45, dirty=0.25, bump=0.0002) | {"metallic": 0.8},
        ),
        *joinery(door, window),
    ]


def joinery(door, window) -> list:
    """The plank door with its frame and handle; the window with panes, glazing bars and louvred shutters."""
    z, green = WALL_Z + 0.16, []
    planks = blocks(
        7,
        [((door[0] + 0.06 + (k + 0.5) * 0.1186, 1.11, z + 0.03), (0.1166, 2.0, 0.04)) for k in range(7)],
        0.004,
        0.0006,
        0.05,
    )
    frame = blocks(
        8,
        [
            ((door[0] + 0.03, 1.12, z - 0.01), (0.06, 2.0, 0.10)),
            ((door[1] - 0.03, 1.12, z - 0.01), (0.06, 2.0, 0.10)),
            ((0.725, 2.13, z - 0.01), (0.95, 0.06, 0.10)),
        ],
        0.006,
        0.0004,
        0.0,
    )
    ledges = blocks(9, [((0.725, y, z + 0.002), (0.78, 0.11, 0.025)) for y in (0.45, 1.75)], 0.006, 0.001, 0.1)
    handle = [
        sweep(
            smooth_curve(
                [(0.38, 1.14, z), (0.38, 1.14, z - 0.05), (0.39, 1.14, z - 0.062), (0.48, 1.135, z - 0.06)], 16
            ),
            0.008,
            12,
        ),
        box((0.035, 0.19, 0.008), 0.003).moved(place(0.38, 1.11, z + 0.006)),
    ]
    for side in (window[0] - 0.27, window[1] + 0.27):  # Shutters, folded back against the wall.
        green += blocks(
            10,
            [((side + dx, 1.57, WALL_Z - 0.035), (0.055, 1.14, 0.035)) for dx in (-0.215, 0.215)]
            + [((side, y, WALL_Z - 0.035), (0.40, 0.07, 0.033)) for y in (1.035, 1.57, 2.105)],
            0.004,
            0.0006,
            0.05,
        )
        green += [
            box((0.385, 0.046, 0.007), 0.002, 1.0, (0.1 * k, 0)).moved(place(side, y, WALL_Z - 0.035, tilt_deg=-35))
            for k, y in enumerate(np.concatenate([np.linspace(1.09, 1.515, 12), np.linspace(1.625, 2.05, 12)]))
        ]
    x0, x1, y0, y1 = window
    white = blocks(
        11,
        [((x, 1.57, z), (0.055, 1.10, 0.07)) for x in (x0 + 0.028, x1 - 0.028)]
        + [((2.6, y, z), (0.90, 0.055, 0.07)) for y in (y0 + 0.028, y1 - 0.028)]
        + [((2.6, 1.57, z), (0.085, 1.10, 0.06))]
        + [((x, y, z), (0.40, 0.025, 0.04)) for x in (2.375, 2.825) for y in (1.39, 1.75)],
        0.004,
        0.0003,
        0.0,
    )
    glass = box((0.9, 1.1, 0.004)).moved(place(2.6, 1.57, z + 0.005, tilt_deg=0.4))
    curtain_x = np.linspace(x0, x1, 120)
    return [
        ("door", join(planks + ledges), s.wood(141, "#8d8578", "#6a6258", "#46695f", 1.35)),
        ("frames", join(white + frame), s.wood(144, "#97907f", "#746b5c", "#e2ddcf", 1.7)),
        ("shutters", join(green), s.wood(147, "#8d8578", "#6a6258", "#46695f", 1.5)),
        ("brass", join(handle), s.plain("#8f7a48", 0.35, 1.0)),
        ("glass", glass, s.plain("#0c0e10", 0.03)),
        (
            "room",
            box((x1 - x0 + 0.2, 1.3, 0.02)).moved(place(float(curtain_x.mean()), 1.57, WALL_Z + 0.33)),
            s.plain("#2a2622", 0.9),
        ),
    ]


def garden_wall() -> list:
    rng = np.random.default_rng(12)
    spans = [
        ((CORNER_X - 0.12 - (k + 0.5 * (row % 2)) * 0.222, 0.04 + row * 0.077, WALL_Z + 0.15), (0.211, 0.066, 0.10))
        for row in range(14)
        for k in range(24)
    ]
    tones = [("#9a5640", "#b47053"), ("#84462f", "#a35e45"), ("#a8745a", "#8d5540"), ("#6f4234", "#8a5745")]
    group = rng.integers(0, len(tones), len(spans))
    out = [
        (
            f"bricks{g}",
            join(blocks(13 + g, [sp for sp, k in zip(spans, group, strict=True) if k == g], 0.006, 0.0015, 0.4)),
            s.speckled(151 + 3 * g, *tone, dirt="#57483c", dirty=0.5, bump=0.0022),
        )
        for g, tone in enumerate(tones)
    ]
    mortar = box((5.6, 1.08, 0.20), 0.002).moved(place(CORNER_X - 2.8, 0.54, WALL_Z + 0.215))
    caps = blocks(
        18,
        [((CORNER_X - 0.3 - k * 0.605, 1.125, WALL_Z + 0.20), (0.60, 0.065, 0.36)) for k in range(9)],
        0.009,
        0.002,
        0.3,
    )
    return [
        *out,
        ("mortar", mortar, s.speckled(163, "#b3a893", "#978b77")),
        ("caps", join(caps), s.speckled(166, "#a8a091", "#8d8577", dirty=0.6)),
    ]
