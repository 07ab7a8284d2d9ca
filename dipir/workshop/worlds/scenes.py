"""Procedural outdoor scenes for panoramas: skies with suns, textured ground, and things whose shadows tell where
the sun is. Camera over the origin."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from dipir.workshop.worlds import meshes, textures
from dipir.workshop.worlds.meshes import Builder
from dipir.workshop.worlds.skies import SkyStyle, daylight, direction, sky

Rng = np.random.Generator
Described = tuple[dict[str, Any], tuple[float, float, float]]
GROUNDS = {
    "grass": ((0.10, 0.16, 0.035), (0.16, 0.17, 0.06), 0.28), "dry grass": ((0.28, 0.24, 0.12), (0.2, 0.19, 0.08), 0.3),
    "asphalt": ((0.09, 0.09, 0.095), (0.14, 0.135, 0.13), 0.18), "sand": ((0.5, 0.42, 0.3), (0.42, 0.34, 0.24), 0.1),
    "dirt": ((0.2, 0.14, 0.09), (0.12, 0.09, 0.06), 0.3), "gravel": ((0.32, 0.3, 0.27), (0.24, 0.22, 0.2), 0.3),
    "concrete": ((0.4, 0.39, 0.37), (0.32, 0.31, 0.29), 0.1), "snow": ((0.75, 0.77, 0.8), (0.7, 0.72, 0.76), 0.05),
    "leaves": ((0.32, 0.2, 0.05), (0.2, 0.2, 0.06), 0.4),
}
PAVING = ((0.4, 0.38, 0.35), (0.3, 0.28, 0.26), (0.42, 0.26, 0.2), (0.3, 0.3, 0.32), (0.5, 0.45, 0.38))


def polar(rng: Rng, near: float, far: float) -> tuple[np.ndarray, float]:
    """A point on the ground (3,) between two distances, denser near, and its azimuth."""
    distance, angle = math.exp(rng.uniform(math.log(near), math.log(far))), rng.uniform(0, 2 * math.pi)
    return np.array([math.cos(angle) * distance, 0, math.sin(angle) * distance]), angle


def ground_texture(rng: Rng, name: str) -> np.ndarray:
    """(512, 512, 3) texture of one of GROUNDS, colours varied."""
    first, second, contrast = GROUNDS[name]
    return textures.rough_ground(rng, textures.jittered(rng, first, 0.1), textures.jittered(rng, second, 0.1), contrast)


def paving_texture(rng: Rng) -> np.ndarray:
    """Slabs, bricks or cobbles."""
    color = textures.jittered(rng, PAVING[rng.integers(len(PAVING))], 0.1)
    count = int(rng.integers(4, 14))
    tiling = textures.Tiling(count, count * int(rng.integers(1, 3)), rng.uniform(0.03, 0.1),
                             float(rng.choice([0, 0.5])), rng.uniform(0.05, 0.25))
    return textures.tiled(rng, color, color * rng.uniform(0.3, 0.7), tiling, 512)


def lay_ground(rng: Rng, world: Builder, name: str, tile_m: float = 12.0) -> None:
    """The ground plane, 900 m across, and what covers it near the camera (tufts, stones)."""
    texture = paving_texture(rng) if name == "paving" else ground_texture(rng, name)
    wet = float(rng.uniform(0.35, 0.6)) if name in ("asphalt", "paving", "concrete") and rng.random() < 0.4 else None
    world.material("ground", texture, tile_m * (0.4 if name == "paving" else 1), wet)
    world.add("ground", meshes.quad([-450, 0, -450], [900, 0, 0], [0, 0, 900]))
    if name in ("grass", "dry grass", "leaves"):
        world.material("tufts", texture[::4, ::4], 3.0)
        world.add("tufts", meshes.leaves(rng, (9, 0.05, 9), int(rng.integers(500, 4000)), 0.05))
    if name in ("dirt", "gravel", "sand", "dry grass") and rng.random() < 0.7:
        world.material("stones", ground_texture(rng, "gravel")[::4, ::4], 1.0)
        for _ in range(int(rng.integers(5, 40))):
            at, _ = polar(rng, 1.5, 15)
            size = rng.uniform(0.05, 0.35) * rng.uniform(0.6, 1.2, 3)
            world.add("stones", meshes.place(meshes.ball(size, rng, 0.12, 5), at))


def add_trees(rng: Rng, world: Builder, count: int, near: float, far: float) -> None:
    """Trees of one or two kinds: trunk, and a crown of blobs and loose leaves, or a cone of needles."""
    green = textures.jittered(rng, (0.09, 0.14, 0.03) if rng.random() < 0.8 else (0.35, 0.22, 0.04), 0.15)
    world.material("leaves", textures.rough_ground(rng, green, green * [1.3, 1.2, 0.8], 0.45, 128), 2.0)
    world.material("bark", textures.rough_ground(rng, (0.16, 0.11, 0.08), (0.1, 0.08, 0.06), 0.3, 64), 1.0)
    needles = rng.random() < 0.3
    for _ in range(count):
        at, _ = polar(rng, near, far)
        distance = float(np.linalg.norm(at))
        height = rng.uniform(4, 16)
        trunk = height * (rng.uniform(0.1, 0.3) if needles else rng.uniform(0.2, 0.5))
        girth = min(height * rng.uniform(0.012, 0.03), 0.06 * distance)
        world.add("bark", meshes.place(meshes.cylinder(girth, height * 0.8, 8, 0.5), at))
        width = min(height * rng.uniform(0.12, 0.22 if needles else 0.38), max(distance * 0.9, 0.8))
        size = np.array([width, (height - trunk) / 2, width])
        middle = at + [0, trunk + size[1], 0]
        # Nearer trees are worth more leaves; the far ones are mostly blobs.
        amount = int(np.clip(18000 / distance, 300, 2500))
        foliage = meshes.leaves(rng, size, amount, float(np.clip(distance * 0.015, 0.1, 0.45)))
        if needles:
            share = np.clip((height - trunk - foliage[0][:, 1] - size[1]) / (height - trunk), 0.03, 1)
            foliage = (foliage[0] * np.stack([share, 0 * share + 1, share], 1) * [1.5, 1, 1.5], foliage[1], foliage[2])
        world.add("leaves", meshes.place(foliage, middle))
        for _ in range(0 if needles else int(rng.integers(1, 5))):
            shift = rng.uniform(-0.45, 0.45, 3) * size
            world.add("leaves", meshes.place(meshes.ball(size * rng.uniform(0.3, 0.6), rng, 0.15, 7), middle + shift))


def add_bushes(rng: Rng, world: Builder, count: int, near: float, far: float) -> None:
    """Bushes: low ellipsoids of leaves around a blob."""
    green = textures.jittered(rng, (0.1, 0.13, 0.04), 0.25)
    world.material("bush", textures.rough_ground(rng, green, green * [1.4, 1.1, 0.8], 0.45, 128), 1.5)
    for _ in range(count):
        at, _ = polar(rng, near, far)
        size = rng.uniform(0.3, min(1.8, 0.45 * float(np.linalg.norm(at)))) * rng.uniform(0.6, 1.2, 3)
        world.add("bush", meshes.place(meshes.ball(size * 0.75, rng, 0.12, 7), at + [0, size[1] * 0.6, 0]))
        world.add("bush", meshes.place(meshes.leaves(rng, size, 250, 0.15), at + [0, size[1] * 0.7, 0]))


def add_buildings(rng: Rng, world: Builder, count: int, near: float, far: float) -> None:
    """Houses with roofs and blocks with flat tops, around the camera, facing it roughly."""
    styles = []
    for index in range(int(rng.integers(1, 4))):
        color = textures.jittered(rng, PAVING[rng.integers(len(PAVING))], 0.2)
        brick = textures.tiled(rng, color, color * 1.3, textures.Tiling(24, 64, 0.08, 0.5))
        plain = textures.rough_ground(rng, color, color * 0.9, 0.06, textures.TILE_PX)
        wall = brick if rng.random() < 0.4 else plain
        styles.append(world.material(f"facade{index}", textures.facade(rng, wall), rng.uniform(10, 14),
                                     0.5 if rng.random() < 0.2 else None))
    world.material("roof", textures.tiled(rng, textures.random_color(rng, 0.4, 0.06, 0.3), (0.05, 0.04, 0.04),
                                          textures.Tiling(12, 12)), 4.0)
    for _ in range(count):
        at, angle = polar(rng, near, far)
        size = np.array([rng.uniform(7, 22), rng.uniform(3, 9) if rng.random() < 0.5 else rng.uniform(9, 32),
                         rng.uniform(6, 14)])
        at = at * (1 + 0.75 * max(size[0], size[2]) / np.linalg.norm(at))
        yaw = angle + math.pi / 2 + rng.normal(0, 0.25)
        world.add(str(rng.choice(styles)), meshes.place(meshes.box(size), at, yaw))
        if size[1] < 12 and rng.random() < 0.7:
            world.add("roof", meshes.place(meshes.gable(size, rng.uniform(1.5, 4)), at, yaw))


def add_cars(rng: Rng, world: Builder, count: int, near: float, far: float) -> None:
    """Box-like cars of glossy paint with dark glass and wheels."""
    world.material("glass", np.array([0.03, 0.035, 0.04]), roughness=0.3)
    world.material("rubber", np.array([0.03, 0.03, 0.03]))
    for index in range(count):
        paint = world.material(f"paint{index % 3}", textures.random_color(rng, 0.6, 0.03, 0.7), roughness=0.35)
        at, yaw = polar(rng, near, far)
        yaw += rng.uniform(0, 6)
        pieces = [(paint, meshes.box((4.3, 0.62, 1.75), 0.3)), ("glass", meshes.box((2.3, 0.5, 1.5), 0.92)),
                  (paint, meshes.box((2.1, 0.06, 1.45), 1.42))]
        for x in (-1.35, 1.35):
            for z in (-0.8, 0.8):
                pieces.append(("rubber", meshes.place(meshes.ball((0.32, 0.32, 0.12), rings=6), [x, 0.32, z])))
        for name, piece in pieces:
            world.add(name, meshes.place(piece, at, yaw))


def add_poles(rng: Rng, world: Builder, count: int, near: float, far: float) -> list[np.ndarray]:
    """Lamp posts, signs and bollards; returns the tops (3,) of the lamp posts."""
    world.material("metal", textures.random_color(rng, 0.15, 0.05, 0.4), roughness=0.5)
    world.material("sign", textures.random_color(rng, 0.9, 0.2, 0.6))
    tops = []
    for _ in range(count):
        at, angle = polar(rng, near, far)
        height = rng.uniform(3.5, 8) if rng.random() < 0.7 else rng.uniform(0.8, 2.6)
        world.add("metal", meshes.place(meshes.cylinder(rng.uniform(0.04, 0.1), height, 8), at))
        if height > 3:
            tops.append(at + [0, height, 0])
        elif height > 1.8:
            world.add("sign", meshes.place(meshes.box((0.6, 0.6, 0.03), height - 0.6), at, angle + math.pi / 2))
    return tops


def add_fence(rng: Rng, world: Builder, distance: float) -> None:
    """A straight fence of posts and rails, or a wall, or a hedge, passing the camera at ``distance``."""
    yaw, length = rng.uniform(0, 2 * math.pi), rng.uniform(10, 60)
    shift = np.array([rng.uniform(-0.5, 0.5) * length, 0, distance])
    style, height = rng.choice(["fence", "wall", "hedge"]), rng.uniform(0.8, 2.4)

    def put(name: str, piece: meshes.Piece, at: Any = (0, 0, 0)) -> None:
        world.add(name, meshes.place(meshes.place(piece, shift + np.asarray(at)), (0, 0, 0), yaw))
    if style == "fence":
        world.material("fence", textures.planks(rng, textures.jittered(rng, (0.3, 0.22, 0.15), 0.3), size=64), 1.0)
        for x in np.arange(-length / 2, length / 2, rng.choice([0.16, 1.8])):
            put("fence", meshes.box((0.09, height, 0.05)), (x, 0, 0))
        for y in (0.3, 0.85):
            put("fence", meshes.box((length, 0.1, 0.04), y * height))
    elif style == "wall":
        color = textures.jittered(rng, PAVING[rng.integers(len(PAVING))], 0.2)
        world.material("wall", textures.tiled(rng, color, color * 0.7, textures.Tiling(8, 16, 0.06, 0.5)), 2.5)
        put("wall", meshes.box((length, height, 0.25)))
    else:
        world.material("hedge", textures.rough_ground(rng, (0.07, 0.12, 0.03), (0.1, 0.14, 0.04), 0.4, 64), 1.0)
        put("hedge", meshes.box((length, height * 0.92, 0.6)))
        put("hedge", meshes.leaves(rng, (length / 2, height / 2, 0.55), int(40 * length), 0.2), (0, height / 2, 0))


def add_street(rng: Rng, world: Builder) -> None:
    """A road with pavements and kerbs through the scene, the camera on it or beside it."""
    yaw, width, shift = rng.uniform(0, 2 * math.pi), rng.uniform(4, 9), rng.uniform(-7, 7)
    world.material("road", ground_texture(rng, "asphalt"), 10.0)
    world.material("pavement", paving_texture(rng), 4.0)
    world.material("paint", np.array([0.6, 0.6, 0.56]))

    def strip(name: str, low: float, high: float, y: float) -> None:
        piece = meshes.quad([-300, y, low + shift], [600, 0, 0], [0, 0, high - low])
        world.add(name, meshes.place(piece, (0, 0, 0), yaw))
    strip("road", -width / 2, width / 2, 0.01)
    for side in (-1, 1):
        edges = sorted((side * width / 2, side * (width / 2 + rng.uniform(1.5, 4))))
        strip("pavement", edges[0], edges[1], 0.03)
    for x in np.arange(-60, 60, 5):
        piece = meshes.quad([x, 0.02, shift - 0.07], [2.2, 0, 0], [0, 0, 0.14])
        world.add("paint", meshes.place(piece, (0, 0, 0), yaw))


def add_fences(rng: Rng, world: Builder, count: int, near: float, far: float) -> None:
    """``count`` fences, walls or hedges."""
    for _ in range(count):
        add_fence(rng, world, rng.uniform(near, far))


LAYOUTS = (
    # Share, grounds and their shares (None = even), what is on them: least and most of it, nearest and farthest.
    (0.22, ("grass", "dry grass", "dirt", "sand", "gravel", "snow"), (0.38, 0.2, 0.12, 0.12, 0.1, 0.08),
     ((add_bushes, 0, 12, 3, 40), (add_trees, 0, 10, 8, 80), (add_poles, 0, 3, 5, 30))),
    (0.2, ("grass", "leaves", "paving", "gravel"), None,
     ((add_bushes, 0, 14, 2.5, 30), (add_trees, 5, 18, 4, 50), (add_poles, 1, 6, 3, 20),
      (add_buildings, 0, 3, 30, 80))),
    (0.1, ("dirt", "leaves", "grass"), None, ((add_bushes, 3, 25, 2.5, 25), (add_trees, 18, 40, 3, 45))),
    (0.2, ("grass", "paving", "asphalt", "concrete"), None,
     ((add_street,), (add_buildings, 5, 16, 6, 45), (add_trees, 0, 7, 5, 40), (add_cars, 0, 6, 4.5, 25),
      (add_poles, 2, 8, 3, 30))),
    (0.15, ("paving", "concrete", "asphalt"), (0.6, 0.2, 0.2),
     ((add_buildings, 6, 18, 10, 50), (add_cars, 0, 8, 5, 30), (add_poles, 1, 8, 2.5, 30), (add_trees, 0, 4, 6, 40))),
    (0.13, ("paving", "concrete", "gravel", "grass", "dirt"), None,
     ((add_fences, 1, 4, 2.5, 12), (add_buildings, 1, 5, 6, 25), (add_cars, 0, 2, 4.5, 10), (add_bushes, 0, 8, 2, 14),
      (add_trees, 0, 5, 4, 25))))
"""Field, park, forest, street, square, yard."""


def landscape(rng: Rng) -> Builder:
    """Ground, things on it and a horizon, without light."""
    world = Builder()
    _, grounds, shares, things = LAYOUTS[int(rng.choice(len(LAYOUTS), p=[share for share, *_ in LAYOUTS]))]
    lay_ground(rng, world, str(rng.choice(grounds, p=shares)))
    for add, *numbers in things:
        add(rng, world, *((int(rng.integers(*numbers[:2])), *numbers[2:]) if numbers else ()))
    for index in range(int(rng.integers(1, 3))):
        # Things far away look bluer and paler than near ones.
        far = ((0.06, 0.1, 0.05), (0.13, 0.16, 0.2), (0.25, 0.22, 0.18))[rng.integers(3)]
        color = textures.jittered(rng, far, 0.15)
        world.material(f"hills{index}", textures.rough_ground(rng, color, color * 0.7, 0.25, 128), 60.0)
        distance = rng.uniform(90, 330)
        world.add(f"hills{index}", meshes.ridge(rng, distance, distance * rng.uniform(0.02, 0.16)))
    return world


def outdoor(rng: Rng) -> Described:
    """A daylight scene and the camera's position."""
    radiance, sun, _ = daylight(rng)
    world = landscape(rng)
    return {"parts": world.parts(), "sky": radiance, "sun": sun}, (0.0, float(rng.uniform(1.2, 1.8)), 0.0)


def lamp_color(rng: Rng) -> np.ndarray:
    """(3,) from sodium orange over warm white to bluish, mean 1."""
    lamps = np.array([[1.6, 1.0, 0.4], [1.25, 1.0, 0.75], [1.0, 1.0, 1.0], [0.9, 1.0, 1.15], [2.0, 0.85, 0.15]])
    color = lamps[rng.integers(5)] * np.exp(rng.normal(0, 0.06, 3))
    return color / color.mean()


def night(rng: Rng) -> Described:
    """Street lamps, lit windows and a dark sky."""
    world = landscape(rng)
    style = SkyStyle(direction(rng.uniform(0, 6.28), 5), haze=rng.uniform(0.2, 0.9), clouds=rng.uniform(0, 0.8),
                     glow=0.1, dusk=rng.uniform(0, 0.5), level=math.exp(rng.uniform(math.log(0.002), math.log(0.15))))
    radiance, _ = sky(rng, style)
    tops = add_poles(rng, world, int(rng.integers(3, 10)), 3, 22) or [np.array([3.0, 4.0, 2.0])]
    tint = lamp_color(rng)
    world.material("lamp", np.array([0.5, 0.5, 0.5]), radiance=tint * rng.uniform(150, 700))
    for top in tops:
        world.add("lamp", meshes.place(meshes.ball(rng.uniform(0.08, 0.22), rings=6), top))
    world.material("lit", np.array([0.4, 0.4, 0.4]), radiance=lamp_color(rng) * rng.uniform(0.5, 6))
    world.material("house", textures.rough_ground(rng, (0.3, 0.28, 0.25), (0.25, 0.24, 0.22), 0.08, 64), 4.0)
    for _ in range(int(rng.integers(0, 10))):
        at, angle = polar(rng, 9, 40)
        yaw, storeys = angle + math.pi / 2, int(rng.integers(1, 5))
        behind = at * (1 + 0.36 / np.linalg.norm(at))
        world.add("house", meshes.place(meshes.box((8, 3 * storeys + 0.5, 0.6)), behind, yaw))
        for storey in range(storeys):
            for x in (-2.5, 0.0, 2.5):
                if rng.random() < 0.4:
                    pane = meshes.place(meshes.box((1.4, 1.3, 0.1), 3 * storey + 1), (x, 0, 0))
                    world.add("lit", meshes.place(pane, at, yaw))
    return {"parts": world.parts(), "sky": radiance, "sun": None}, (0.0, float(rng.uniform(1.2, 1.8)), 0.0)
