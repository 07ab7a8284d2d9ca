"""Procedural rooms for panoramas: textured walls, furniture, windows as bright panes with sun patches, lamps."""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dipir.workshop.worlds import meshes, textures
from dipir.workshop.worlds.meshes import Builder
from dipir.workshop.worlds.scenes import Described, lamp_color
from dipir.workshop.worlds.skies import direction

Rng = np.random.Generator
_BANDS = 6
_PATCH_CELL_M = 0.06


@dataclass
class Room:
    """A box room in the making."""

    half: tuple[float, float]  # (x, z) half extents
    height: float  # of the ceiling
    eye: np.ndarray  # camera position
    world: Builder = field(default_factory=Builder)
    panes: list[meshes.Piece] = field(default_factory=list)  # window quads
    solids: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # boxes (low, high) that furniture fills
    albedo: dict[str, np.ndarray] = field(default_factory=dict)  # mean (3,) per inner face


def _walls(half: tuple[float, float]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """For each wall: lower corner, unit vector along it, unit normal into the room, length."""
    x, z = half
    return [(np.array([-x, 0, -z]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), 2 * x),
            (np.array([x, 0, z]), np.array([-1.0, 0, 0]), np.array([0, 0, -1.0]), 2 * x),
            (np.array([x, 0, -z]), np.array([0, 0, 1.0]), np.array([-1.0, 0, 0]), 2 * z),
            (np.array([-x, 0, z]), np.array([0, 0, -1.0]), np.array([1.0, 0, 0]), 2 * z)]


def _floor_texture(rng: Rng) -> tuple[np.ndarray, float, float | None]:
    """(texture, metres per tile, roughness): wood, tiles, carpet, concrete."""
    kind = rng.choice(["wood", "tiles", "carpet", "concrete"], p=[0.45, 0.25, 0.2, 0.1])
    if kind == "wood":
        color = textures.jittered(rng, (0.32, 0.2, 0.11), 0.2)
        return textures.planks(rng, color, int(rng.integers(6, 12))), rng.uniform(0.9, 1.8), rng.uniform(0.35, 0.6)
    if kind == "tiles":
        color = textures.random_color(rng, 0.12, 0.15, 0.7)
        count = int(rng.integers(3, 7))
        texture = textures.tiled(rng, color, color * 0.6, textures.Tiling(count, count, 0.03, 0, 0.06))
        return texture, 1.8, rng.uniform(0.3, 0.6)
    color = textures.random_color(rng, 0.35, 0.05, 0.5)
    if kind == "carpet":
        return textures.rough_ground(rng, color, color * 0.85, 0.12, 256), 2.0, None
    return textures.rough_ground(rng, (0.4, 0.39, 0.37), (0.3, 0.29, 0.28), 0.1, 256), 4.0, 0.6


def _wall_texture(rng: Rng, dark: bool) -> np.ndarray:
    kind = rng.random()
    color = textures.random_color(rng, 0.15, 0.4, 0.85) if kind < 0.75 else textures.random_color(rng, 0.6, 0.08, 0.45)
    color = textures.random_color(rng, 0.1, 0.02, 0.06) if dark else color
    if kind > 0.85:
        return textures.tiled(rng, color, color * 1.2, textures.Tiling(10, 30, 0.08, 0.5, 0.2))
    return textures.rough_ground(rng, color, color * rng.uniform(0.85, 1), 0.04 if kind < 0.6 else 0.15, 256)


def _shell(rng: Rng, room: Room, dark: bool) -> None:
    """Floor, four walls (one perhaps of another colour), ceiling, skirting and perhaps beams."""
    x, z = room.half
    floor, tile_m, gloss = _floor_texture(rng)
    room.world.material("floor", floor, tile_m, gloss)
    room.world.add("floor", meshes.quad([-x, 0, -z], [2 * x, 0, 0], [0, 0, 2 * z]))
    room.albedo["floor"] = floor.mean((0, 1))
    white = textures.jittered(rng, (0.75, 0.74, 0.72), 0.08) if not dark else np.full(3, 0.03)
    room.world.material("ceiling", textures.rough_ground(rng, white, white * 0.95, 0.03, 64), 3.0)
    room.world.add("ceiling", meshes.quad([-x, room.height, -z], [2 * x, 0, 0], [0, 0, 2 * z]))
    main = _wall_texture(rng, dark)
    for index, (corner, along, _, length) in enumerate(_walls(room.half)):
        texture = _wall_texture(rng, dark) if rng.random() < 0.2 else main
        room.world.material(f"wall{index}", texture, 3.0)
        room.world.add(f"wall{index}", meshes.quad(corner, along * length, [0, room.height, 0]))
        room.albedo[f"wall{index}"] = texture.mean((0, 1))
    room.world.material("trim", textures.jittered(rng, (0.7, 0.7, 0.68), 0.15))
    for corner, along, normal, length in _walls(room.half):
        room.world.add("trim", meshes.quad(corner + normal * 0.015, along * length, [0, 0.1, 0]))
    if rng.random() < 0.25:
        for at in np.arange(-z + 1, z, rng.uniform(1, 2.5)):
            room.world.add("trim", meshes.place(meshes.box((2 * x, 0.2, 0.16), room.height - 0.2), (0, 0, at)))


def _window(room: Room, wall: int, start: float, size: tuple[float, float], sill: float) -> None:
    """A pane just in front of its wall, in bands from ground to sky, with a frame and bars."""
    corner, along, normal, _ = _walls(room.half)[wall]
    width, height = size
    low = corner + along * start + [0, sill, 0] + normal * 0.01
    room.panes.append(meshes.quad(low, along * width, [0, height, 0]))
    for band in range(_BANDS):
        y = np.array([0, height * band / _BANDS, 0])
        room.world.add(f"pane{band}", meshes.quad(low + y, along * width, [0, height / _BANDS, 0]))

    def bar(a: float, b: float, bottom: float, top: float) -> None:
        size = np.abs(along) * (b - a) + np.abs(normal) * 0.05 + [0, top - bottom, 0]
        middle = corner + along * (start + (a + b) / 2) + normal * 0.03
        room.world.add("trim", meshes.place(meshes.box(size, sill + bottom), middle * [1, 0, 1]))
    for across in np.linspace(0, width, 2 + round(width / 0.9)):
        bar(across - 0.035, across + 0.035, 0, height)
    for upward in (0.0, height * 0.65, height):
        bar(0, width, upward - 0.03, upward + 0.03)


def _add_windows(rng: Rng, room: Room) -> None:
    """One to three walls with windows that show a sky (bright, perhaps overcast) over some ground."""
    sky = textures.tinted(rng, (0.8, 0.95, 1.15) if rng.random() < 0.6 else (1, 1, 1), 0.05)
    sky = sky * math.exp(rng.uniform(-0.7, 1.8))
    ground = textures.random_color(rng, 0.5, 0.05, 0.35) * sky.mean()
    horizon = rng.uniform(0.1, 0.6)
    for band in range(_BANDS):
        t = np.clip((band + 0.5) / _BANDS * 1.6 - horizon * 1.6 + 0.5, 0, 1)
        shade = (ground * (1 - t) + sky * t) * np.exp(rng.normal(0, 0.12))
        room.world.material(f"pane{band}", np.full(3, 0.05), radiance=shade)
    height = min(rng.uniform(0.8, 2.6), room.height - 0.5)
    sill = rng.uniform(0.05, max(0.06, min(1.1, room.height - height - 0.2)))
    for wall in rng.permutation(4)[:int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))]:
        length = _walls(room.half)[wall][3]
        width = min(rng.uniform(0.7, 3.5), length - 0.6)
        gap = rng.uniform(0.3, 2.0)
        count = max(1, min(int(rng.integers(1, 6)), int((length - 0.3) / (width + gap))))
        first = rng.uniform(0.15, length - count * (width + gap) + gap - 0.1)
        for index in range(count):
            _window(room, wall, first + index * (width + gap), (width, height), sill)


def _cells(corner: np.ndarray, along: np.ndarray, up: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(N, 4, 3) corners of the cells of a rectangle (along x up = normal, the side that emits), lifted off it."""
    n, m = (max(1, round(np.linalg.norm(edge) / _PATCH_CELL_M)) for edge in (along, up))
    i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
    base = corner + normal * 0.006 + i.reshape(-1, 1) * along / n + j.reshape(-1, 1) * up / m
    return np.stack([base, base + along / n, base + along / n + up / m, base + up / m], 1)


def _sun_patches(rng: Rng, room: Room) -> tuple[np.ndarray, np.ndarray]:
    """Where the sun falls through the windows: a sunlit diffuse surface is a lamp of radiance albedo E cos / pi, so it
    is made one (no noise). Returns direction and irradiance of the sun."""
    # ---- the sun outside the first window ----
    inward = -np.cross(room.panes[0][0][1] - room.panes[0][0][0], [0, 1.0, 0])
    azimuth = math.atan2(-inward[0], inward[2])
    sun = direction(azimuth + rng.uniform(-1.0, 1.0), rng.uniform(8, 55))
    center = room.panes[0][0].mean(0)
    if float(sun[[0, 2]] @ center[[0, 2]]) < 0:
        sun = sun * [-1, 1, -1]
    irradiance = np.array([1.08, 1.0, 0.85]) * rng.uniform(4, 15)
    # ---- faces that it may reach ----
    x, z = room.half
    faces = [("floor", np.array([-x, 0, -z]), np.array([0, 0, 2 * z]), np.array([2 * x, 0, 0]), np.array([0, 1.0, 0]))]
    for index, (corner, along, normal, length) in enumerate(_walls(room.half)):
        faces.append((f"wall{index}", corner, along * length, np.array([0, room.height, 0]), normal))
    for low, high in room.solids:
        size = high - low
        top = np.array([low[0], high[1], low[2]])
        faces.append(("top", top, size * [0, 0, 1], size * [1, 0, 0], np.array([0, 1.0, 0])))
    room.albedo["top"] = np.array([0.35, 0.3, 0.25])
    # ---- cells that it does reach ----
    for index, (name, corner, along, up, normal) in enumerate(faces):
        cosine = float(sun @ normal)
        if cosine < 0.02:
            continue
        cells = _cells(corner, along, up, normal)
        cells = cells[meshes.sunlit(cells.mean(1), sun, room.panes, room.solids)]
        if 0 < len(cells) < 8000:
            albedo = room.albedo[name]
            patch = room.world.material(f"patch{index}", albedo, radiance=albedo * irradiance * cosine / math.pi)
            start = np.arange(len(cells))[:, None] * 4
            vertices, halves = cells.reshape(-1, 3), np.concatenate([start + [0, 1, 2], start + [0, 2, 3]])
            room.world.add(patch, (vertices, halves, vertices[:, [0, 2]]))
    return sun, irradiance


def _add_lamps(rng: Rng, room: Room, flux: float) -> None:
    """Ceiling panels, pendant balls, bare bulbs or standing lamps; together they give ``flux`` times the power of one
    square metre of radiance 1 per square metre of floor."""
    x, z = room.half
    style = rng.choice(["panels", "strips", "pendants", "spots", "standing"], p=[0.22, 0.18, 0.24, 0.24, 0.12])
    pieces: list[meshes.Piece] = []
    if style in ("panels", "strips", "spots"):
        width, depth = {"panels": (0.6, 0.6), "strips": (0.15, 1.4), "spots": (0.12, 0.12)}[str(style)]
        step = rng.uniform(1.2, 3.0)
        for px in np.arange(-x + step / 2, x, step):
            for pz in np.arange(-z + step / 2, z, step * 1.3):
                pieces.append(meshes.quad([px, room.height - 0.02, pz], [width, 0, 0], [0, 0, depth]))
        pieces = pieces[:40]
    else:
        for _ in range(int(rng.integers(1, 6))):
            at = np.array([rng.uniform(-x, x) * 0.85, room.height * rng.uniform(0.65, 0.92), rng.uniform(-z, z) * 0.85])
            at[1] = rng.uniform(1.3, 1.8) if style == "standing" else at[1]
            if np.hypot(*(at - room.eye)[[0, 2]]) > 0.8:
                pieces.append(meshes.place(meshes.ball(rng.uniform(0.05, 0.2), rings=7), at))
                stem = at[1] if style == "standing" else room.height - at[1]
                room.world.add("trim", meshes.place(meshes.cylinder(0.015, stem, 5), at * [1, style != "standing", 1]))
    if not pieces:
        return
    # ---- radiance by their area ----
    vertices, faces, _ = meshes.merge(pieces)
    corner = vertices[faces]
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum()
    room.world.material("lamp", np.full(3, 0.5), radiance=lamp_color(rng) * flux * 4 * x * z / area)
    for piece in pieces:
        room.world.add("lamp", piece)


def _furniture(rng: Rng) -> list[tuple[tuple[float, float, float], float, float, float]]:
    """Boxes (size, bottom, shift x, shift z) of one piece of furniture: table, shelf, sofa, bed, cabinet, crate."""
    kind = rng.choice(["table", "shelf", "sofa", "cabinet", "bed", "chair"])
    w, d = rng.uniform(0.8, 2.0), rng.uniform(0.5, 0.9)
    if kind == "table":
        h = rng.uniform(0.45, 0.8)
        top = [((w, 0.04, d), h, 0, 0)]
        return top + [((0.06, h, 0.06), 0, sx * (w / 2 - 0.06), sz * (d / 2 - 0.06))
                      for sx in (-1, 1) for sz in (-1, 1)]
    if kind == "shelf":
        h, n = rng.uniform(1.2, 2.2), int(rng.integers(3, 6))
        boards = [((w, 0.03, 0.32), h * i / n, 0, 0) for i in range(n + 1)]
        return boards + [((0.03, h, 0.32), 0, side * w / 2, 0) for side in (-1, 1)] + [((w, h, 0.02), 0, 0, 0.15)]
    if kind == "sofa":
        return [((w + 0.6, 0.42, 0.9), 0, 0, 0), ((w + 0.6, 0.8, 0.22), 0, 0, 0.34),
                ((0.2, 0.6, 0.9), 0, -w / 2 - 0.2, 0), ((0.2, 0.6, 0.9), 0, w / 2 + 0.2, 0)]
    if kind == "chair":
        return [((0.45, 0.05, 0.45), 0.43, 0, 0), ((0.45, 0.5, 0.04), 0.45, 0, 0.2)] + [
            ((0.04, 0.43, 0.04), 0, sx * 0.2, sz * 0.2) for sx in (-1, 1) for sz in (-1, 1)]
    if kind == "bed":
        return [((1.5, 0.5, 2.0), 0, 0, 0), ((1.5, 1.0, 0.08), 0, 0, 1.0)]
    return [((w, rng.uniform(0.5, 1.9), d), 0, 0, 0)]


def _furnish(rng: Rng, room: Room) -> None:
    """Furniture along the walls and in the middle, never over the camera; balls and pots on the floor; pictures and a
    door on the walls."""
    x, z = room.half
    for index in range(5):
        if rng.random() < 0.5:
            color = textures.planks(rng, textures.jittered(rng, (0.3, 0.19, 0.11), 0.3), size=64)
        else:
            color = textures.random_color(rng, 0.7, 0.04, 0.7)
        room.world.material(f"stuff{index}", color, 1.0, 0.45 if rng.random() < 0.3 else None)
    # ---- furniture ----
    for _ in range(int(rng.integers(3, 8 + int(x * z / 4)))):
        at = np.array([rng.uniform(-x, x), 0, rng.uniform(-z, z)])
        wall = rng.random() < 0.6
        axis = int(rng.integers(2)) * 2
        if wall:
            at[axis] = math.copysign((x, 0, z)[axis] - 0.5, at[axis])
        if np.hypot(*(at - room.eye)[[0, 2]]) < 1.5:
            continue
        name = f"stuff{rng.integers(5)}"
        quarter = bool(rng.integers(2))
        for size, bottom, dx, dz in _furniture(rng):
            size, shift = np.asarray(size, float), np.array([dx, 0, dz], float)
            if quarter:
                size, shift = size[[2, 1, 0]], shift[[2, 1, 0]]
            room.world.add(name, meshes.place(meshes.box(size, bottom), at + shift))
            low = at + shift + [-size[0] / 2, bottom, -size[2] / 2]
            room.solids.append((low, low + size))
    # ---- balls and pots ----
    for _ in range(int(rng.integers(0, 14))):
        at, size = np.array([rng.uniform(-x, x), 0, rng.uniform(-z, z)]), rng.uniform(0.05, 0.25)
        if np.hypot(*(at - room.eye)[[0, 2]]) > 0.6:
            round_ = rng.random() < 0.5
            piece = meshes.ball((size, size, size), rings=8) if round_ else meshes.cylinder(size * 0.6, 2.5 * size, 10)
            room.world.add(f"stuff{rng.integers(5)}", meshes.place(piece, at + [0, size * round_, 0]))
    # ---- pictures and doors ----
    for _ in range(int(rng.integers(0, 10))):
        corner, along, normal, length = _walls(room.half)[rng.integers(4)]
        size = (rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.2), 0.03) if rng.random() < 0.8 else (0.9, 2.05, 0.05)
        bottom = 0.0 if size[1] > 2 else rng.uniform(0.9, max(1.0, room.height - 1.5))
        box = np.abs(along) * size[0] + np.abs(normal) * size[2] + [0, size[1], 0]
        middle = corner + along * rng.uniform(0.2, 0.8) * length
        room.world.add(f"stuff{rng.integers(5)}", meshes.place(meshes.box(box, bottom), middle))


def studio(rng: Rng) -> Described:
    """A dark photo studio: black walls, a bright backdrop, one to four soft boxes or bare heads."""
    room = _empty_room(rng, 3, 6, (2.8, 4.5))
    _shell(rng, room, dark=rng.random() < 0.7)
    room.world.material("backdrop", np.full(3, rng.uniform(0.1, 0.8)))
    x, z = room.half
    room.world.add("backdrop", meshes.quad([-x * 0.5, 0.005, -z], [x, 0, 0], [0, 0, 1.5 * z]))
    room.world.add("backdrop", meshes.quad([-x * 0.5, 0, -z + 0.02], [x, 0, 0], [0, 2.6, 0]))
    for index in range(int(rng.integers(1, 5))):
        angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(1.5, min(x, z) * 0.9)
        at = np.array([math.cos(angle) * distance, rng.uniform(1.2, 2.7), math.sin(angle) * distance])
        size = rng.uniform(0.3, 1.2)
        radiance = lamp_color(rng) ** 0.3 * rng.uniform(5, 60) / size
        lamp = room.world.material(f"lamp{index}", np.full(3, 0.5), radiance=radiance)
        piece = meshes.ball(size * 0.2, rings=6) if rng.random() < 0.3 else meshes.box((size, size, 0.04), -size / 2)
        room.world.add(lamp, meshes.place(piece, at, angle + math.pi / 2))
        room.world.add("trim", meshes.place(meshes.cylinder(0.02, at[1] - size / 2, 5), at * [1.03, 0, 1.03]))
    return {"parts": room.world.parts(), "sky": None, "sun": None}, (0.0, float(room.eye[1]), 0.0)


def _empty_room(rng: Rng, low: float, high: float, height: tuple[float, float]) -> Room:
    half = (rng.uniform(low, high) / 2 + 0.5, rng.uniform(low, high) / 2 + 0.5)
    eye = np.array([rng.uniform(-0.6, 0.6) * (half[0] - 0.8), rng.uniform(1.2, 1.8),
                    rng.uniform(-0.6, 0.6) * (half[1] - 0.8)])
    return Room(half, rng.uniform(*height), eye)


def indoor(rng: Rng) -> Described:
    """A furnished room by daylight, lamp light or both; sometimes a hall or a studio. In the dictionary, ``window_sun``
    (direction, irradiance) shines through the windows; ``seen_sun``, the same, is set when the camera sees it."""
    if rng.random() < 0.12:
        return studio(rng)
    hall = rng.random() < 0.2
    room = _empty_room(rng, 8, 22, (3.5, 9)) if hall else _empty_room(rng, 3, 9, (2.3, 3.6))
    _shell(rng, room, dark=False)
    _furnish(rng, room)
    windows = rng.random() < 0.78
    out: dict[str, Any] = {"sky": None, "sun": None}
    if windows:
        _add_windows(rng, room)
        if rng.random() < 0.45:
            sun, irradiance = _sun_patches(rng, room)
            out["window_sun"] = {"direction": sun, "irradiance": irradiance}
            if meshes.sunlit(room.eye[None], sun, room.panes, room.solids)[0]:
                out["seen_sun"] = {"direction": sun, "irradiance": irradiance}
    if not windows or rng.random() < 0.6:
        _add_lamps(rng, room, math.exp(rng.uniform(math.log(0.02), math.log(0.5))) * (1.0 if windows else 2.0))
    return {**out, "parts": room.world.parts()}, tuple(map(float, room.eye))
