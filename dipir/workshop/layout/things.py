"""Things of the layout pictures: eight shapes in three materials, each to be told from the others at 20 pixels.

Their upright sides are rounded off and, where they are to mirror something, shaded as if they bulged: a camera that
looks down sees nothing but the floor in upright mirrors, and no highlights.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.assets.mesh import box_uvs, rest_together, split_normals
from dipir.workshop.things import shapes
from dipir.workshop.things.materials import bumps
from dipir.workshop.things.shapes import Shape

BASE = 0.6
"""What everything reflects."""
_TURNS = {"cube": (0.2, 1.37, 4), "cylinder": (-1.0, 1.0, 2), "torus": (-0.8, 0.8, 2), "mug": (-0.75, 0.75, 2),
          "chair": (-2.7, 2.7, 1)}
"""Yaws from which a shape is not taken for another: a range, radians, and how often it recurs in a turn."""
_UPRIGHT = ("cube", "cylinder", "mug", "bottle")


def _cube(rng: np.random.Generator, flat: bool) -> Shape:
    return shapes.rounded_box(np.exp(rng.uniform(-0.06, 0.06, 3)), rng.uniform(0.05, 0.11))


def _sphere(rng: np.random.Generator, flat: bool) -> Shape:
    return shapes.sphere(48)


def _cylinder(rng: np.random.Generator, flat: bool) -> Shape:
    high = rng.uniform(0.8, 1.8)
    vertices, faces, uvs = _turned([[0, 0], [0.5, 0], [0.5, high], [0, high]], rng.uniform(0.04, 0.09))
    return (vertices[:, [1, 2, 0]] if rng.random() < 0.2 else vertices), faces, uvs


def _cone(rng: np.random.Generator, flat: bool) -> Shape:
    return _turned([[0, 0], [0.5, 0], [0, rng.uniform(1.0, 1.7)]], 0.04)


def _torus(rng: np.random.Generator, flat: bool) -> Shape:
    """Lying or, more often where the camera is low, standing."""
    vertices, faces, uvs = shapes.torus(48, rng.uniform(0.26, 0.42))
    return (vertices[:, [2, 0, 1]] if rng.random() < (0.8 if flat else 0.35) else vertices), faces, uvs


def _mug(rng: np.random.Generator, flat: bool) -> Shape:
    """Handle towards +X."""
    wall, radius, high = rng.uniform(0.05, 0.08), rng.uniform(0.4, 0.5), rng.uniform(0.85, 1.2)
    lip = radius * rng.uniform(0.95, 1.1)
    body = _turned([[0, 0], [radius, 0], [lip, high], [lip - wall, high], [radius - wall, wall], [0, wall]], 0.07)
    angle, thick, reach = np.linspace(-np.pi / 2, np.pi / 2, 16), rng.uniform(0.06, 0.09), rng.uniform(0.3, 0.42)
    path = np.stack([reach * np.cos(angle) + radius - 0.5 * wall, high * (0.52 + 0.32 * np.sin(angle)), 0 * angle], -1)
    return shapes.joined([body, shapes.tube(path, thick)])


def _bottle(rng: np.random.Generator, flat: bool) -> Shape:
    """A body, a sloping shoulder, a neck and its lip."""
    high, neck, body = rng.uniform(2.2, 2.9), rng.uniform(0.15, 0.2), rng.uniform(0.5, 0.62)
    shoulder = body + rng.uniform(0.12, 0.22)
    profile = np.array([[0, 0], [0.5, 0], [0.5, body], [neck, shoulder], [neck, 0.93], [neck * 1.3, 0.93],
                        [neck * 1.3, 1], [0, 1]])
    return _turned(profile * [1, high], 0.2)


def _chair(rng: np.random.Generator, flat: bool) -> Shape:
    """Four legs, a seat, a back towards +Z."""
    wide, deep, leg = rng.uniform(0.85, 1.05), rng.uniform(0.8, 1.0), rng.uniform(0.11, 0.15)
    seat, thick, back = rng.uniform(0.65, 0.9), rng.uniform(0.11, 0.15), rng.uniform(0.75, 1.05)

    def board(size: tuple[float, float, float], at: tuple[float, float, float], n: int) -> Shape:
        vertices, faces, uvs = shapes.rounded_box(np.array(size), 0.035, n)
        return vertices + at, faces, uvs

    legs = [board((leg, seat, leg), (x * (wide - leg) / 2, seat / 2, z * (deep - leg) / 2), 4)
            for x in (-1, 1) for z in (-1, 1)]
    return shapes.joined([*legs, board((wide, thick, deep), (0, seat + thick / 2, 0), 8),
                          board((wide, back, thick), (0, seat + thick / 2 + back / 2, (deep - thick) / 2), 8)])


def _turned(profile: Sequence, radius: float) -> Shape:
    """A solid of revolution about +Y whose profile (m, 2) of radius and height has round corners."""
    profile, rounded = np.asarray(profile, float), []
    t = np.linspace(0, 1, 5)[:, None]
    for before, corner, after in zip(profile, profile[1:], profile[2:], strict=False):
        start, end = (corner + (p - corner) * min(radius / np.linalg.norm(p - corner), 0.45) for p in (before, after))
        rounded.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return shapes.revolve(np.concatenate([profile[:1], *rounded, profile[-1:]]), 40)


_MAKERS: dict[str, Callable[[np.random.Generator, bool], Shape]] = {
    "cube": _cube, "sphere": _sphere, "cylinder": _cylinder, "cone": _cone, "torus": _torus, "mug": _mug,
    "bottle": _bottle, "chair": _chair}


def thing(rng: np.random.Generator, shape: str, material: str, flat: bool = False) -> Asset:
    """One of ``SHAPES`` in random proportions and one of ``MATERIALS``;  flat : for a camera near the floor"""
    vertices, faces, uvs = _MAKERS[shape](rng, flat)
    uvs = box_uvs(vertices, faces) if uvs is None else uvs
    part, = rest_together([Part(shape, *split_normals(vertices, faces, uvs), thing_material(rng, material))])
    if material != "matte" and shape in _UPRIGHT:
        part = _bulging(part, rng.uniform(0.25, 0.5))
    return Asset((part,))


def random_yaw(rng: np.random.Generator, shape: str) -> float:
    """A turn about +Y, radians; the camera looks along +Z. Without views that hide what a shape is known by: the
    mug's handle, the ring's hole, the second side of a cube, the seat of a chair, the length of a lying cylinder."""
    low, high, times = _TURNS.get(shape, (-np.pi, np.pi, 1))
    return float(rng.uniform(low, high) + 2 * np.pi / times * rng.integers(times))


def thing_material(rng: np.random.Generator, word: str) -> Material:
    """matte : rough;  shiny : smooth, with highlights;  metal : the colour tints what it mirrors; a little hammered"""
    roughness, specular = {"matte": ((0.7, 0.95), (0.2, 0.5)), "shiny": ((0.08, 0.2), (0.7, 1.0)),
                           "metal": ((0.12, 0.35), (0.4, 0.6))}[word]
    # Never quite 0: the renderer compiles another kernel without metals.
    return Material(word, (BASE,) * 3, roughness=float(rng.uniform(*roughness)),
                    specular=float(rng.uniform(*specular)), metallic=1.0 if word == "metal" else 1e-3,
                    normal_texture=_dents(rng) if word == "metal" else None)


def _dents(rng: np.random.Generator, waves: int = 16) -> np.ndarray:
    """(64, 64, 3) normal map of soft dents, slopes of about 3 to 8 degrees."""
    y, x = np.mgrid[:64, :64] / 64
    height = np.zeros((64, 64))
    for _ in range(waves):
        along, down = rng.integers(-6, 7, 2)
        height += np.cos(2 * np.pi * (along * x + down * y) + rng.uniform(0, 2 * np.pi))
    return bumps(height, rng.uniform(0.2, 0.6))


def _bulging(part: Part, slope: float) -> Part:
    """Upright sides shaded as of a barrel: their normals rise by ``slope`` at the top, fall by it at the bottom."""
    height, normals = part.vertices[:, 1], part.normals.astype(np.float64)
    rise = slope * (2 * height / height.max() - 1) * np.hypot(normals[:, 0], normals[:, 2])
    normals[:, 1] += rise
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return replace(part, normals=normals.astype(np.float32))
