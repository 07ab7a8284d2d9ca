"""Rendered RTI dome captures: a fixed camera above an object, one small light after another, from our path tracer.

The picture's plane is z = 0 of the world and the camera looks along +Z, so a light direction (x, y, z) of the capture
(+x right, +y up, +z towards the camera) is (-x, y, -z) in the world. Three scenes: a matte carved ``relief``;
``glossy`` things with narrow highlights; ``shadows``: tall things that throw long shadows on a patterned ground.
"""
from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import Directions, EnvMap, split_seed
from dipir.captures.rti import Capture
from dipir.errors import ConfigError, nearest
from dipir.event import Event, Notify
from dipir.image import latlong
from dipir.image.color import linear_to_srgb
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.assets.mesh import box_uvs, split_normals
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop.things import shapes
from dipir.workshop.things.shapes import Shape

_FOV_DEG = 24.0
_MAP = 256, 512
_UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # +Y of a shape towards the camera.


@dataclass(frozen=True)
class DomeSettings:
    """A dome of lights and how it is rendered."""

    size: int = 256  # pixels of a side
    lights: int = 60
    """Of the dome, spread over ``rings`` (elevations over the picture's plane, degrees) in proportion to their
    length."""
    rings: tuple[float, ...] = (15.0, 32.0, 50.0, 70.0)
    half_width_deg: float = 2.5  # of the light
    exposure: float = 0.9  # a white surface that faces the light is this bright (linear)
    spp: int = 32  # spp, depth: of the path tracer
    depth: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 16 or self.lights < max(4, len(self.rings)) or not self.rings:
            raise ConfigError(f"a dome of {self.lights} lights in {len(self.rings)} rings with pictures of {self.size} "
                              "pixels; accepted are 16 pixels, 4 lights and one light a ring, or more.")


def dome_directions(lights: int, rings: tuple[float, ...]) -> Directions:
    """(lights, 3) unit vectors in rings, +z towards the camera; neighbouring rings are turned against each other."""
    length = np.cos(np.radians(rings))
    ends = np.round(np.cumsum(length) / length.sum() * lights).astype(int)
    counts, rows = np.diff([0, *ends]), []
    for k, (elevation, count) in enumerate(zip(np.radians(rings), counts, strict=True)):
        turn = 2 * np.pi * (np.arange(count) + 0.381966 * k) / max(count, 1)
        rows.append(np.stack([np.cos(turn) * np.cos(elevation), np.sin(turn) * np.cos(elevation),
                              np.full(count, np.sin(elevation))], -1))
    return torch.from_numpy(np.concatenate(rows)).float()


def light_map(direction: Tensor, half_width_deg: float) -> EnvMap:
    """(256, 512, 3) map that is black but for a soft disc towards ``direction`` (3,) in the capture's frame; a white
    matte surface that faces it has radiance 1."""
    world = direction * torch.tensor([-1.0, 1.0, -1.0])
    cos = latlong.directions(*_MAP, dtype=torch.float64) @ (world / world.norm()).double()
    angle = torch.rad2deg(torch.acos(cos.clamp(-1, 1)))
    disc = ((half_width_deg - angle) / 0.4 + 0.5).clamp(0, 1)
    irradiance = (disc * latlong.solid_angles(*_MAP, dtype=torch.float64)).sum()
    return (disc * math.pi / irradiance).float()[..., None].repeat(1, 1, 3)


def render(kind: str, settings: DomeSettings = DomeSettings(), on_event: Notify = None) -> Capture:
    """The capture of one of SCENES, 8-bit sRGB values at a fixed exposure. Raises ConfigError for an unknown scene."""
    if kind not in SCENES:
        raise ConfigError(f"scene '{kind}': accepted are {', '.join(SCENES)}.{nearest(kind, SCENES)}")
    parts = SCENES[kind](np.random.default_rng(split_seed(settings.seed, "dome", kind)))
    camera = _camera(settings.size)
    blank = torch.zeros(1, 3, settings.size, settings.size)
    scene = Scene(Plate(blank, blank), camera, (PlacedAsset(Asset(tuple(parts)), np.eye(4)),))
    direct, full = (PathTracer(scene, camera, RenderSettings(settings.spp, depth)) for depth in (1, settings.depth))
    directions, images = dome_directions(settings.lights, settings.rings), []
    began = time.monotonic()
    for i, direction in enumerate(directions):
        shown = linear_to_srgb((_lit(direct, full, direction, settings).cpu() * settings.exposure).clamp(0, 1))
        images.append((shown * 255).round() / 255)
        if on_event is not None:
            left = (time.monotonic() - began) / (i + 1) * (len(directions) - i - 1)
            on_event(Event(f"render {kind}", i + 1, len(directions), left))
    return Capture(directions, torch.cat(images), tuple(f"light {i}" for i in range(len(images))))


def _lit(direct: PathTracer, full: PathTracer, direction: Tensor, settings: DomeSettings) -> Tensor:
    """(1, 3, size, size) linear: direct light as it is traced, light between surfaces from a quarter of the paths and
    then smoothed, because paths that reach a small light by way of a metal are few and bright."""
    light, few = light_map(direction, settings.half_width_deg), max(1, settings.spp // 4)
    albedo = full.gbuffers.albedo + 0.05
    with torch.no_grad():
        # One seed for all lights: the same camera samples, hence the same edges, as with a real camera at rest.
        image = direct.object_pass(light, seed=settings.seed, spp=settings.spp)[0]
        pair = [tracer.object_pass(light, seed=settings.seed + 1, spp=few)[0] for tracer in (full, direct)]
    between = functional.pad((pair[0] - pair[1]).clamp_min(0) / albedo, (4,) * 4, mode="replicate")
    median = between.unfold(2, 5, 1).unfold(3, 5, 1).flatten(4).median(4).values
    return image + functional.avg_pool2d(median, 5, 1) * albedo


def _camera(size: int) -> Camera:
    """Looks along +Z at the origin and sees one metre there."""
    camera = Camera.looking(size, size, _FOV_DEG, 0.0)
    camera.to_world[2, 3] = -0.5 / math.tan(math.radians(_FOV_DEG / 2))
    return camera


# ---- scenes ----------------------------------------------------------------------------------------------------------

def _relief(rng: np.random.Generator) -> list[Part]:
    """A carved tablet with a raised rim, signs, cracks and two colours of paint."""
    n = 420
    t = np.linspace(-0.62, 0.62, n)
    x, y = np.meshgrid(t, t)
    radius = np.hypot(x, y)
    height = 0.025 * _step((0.43 - radius) / 0.01) - 0.03 * _step((0.38 - radius) / 0.015)
    for turn in np.arange(7) / 7 * 2 * np.pi:
        outline = shapes.star(rng)
        centre = 0.25 * np.array([np.cos(turn), np.sin(turn)])
        height += 0.03 * _step(_inside(outline, (x - centre[0]) / 0.085, (y - centre[1]) / 0.085) / 0.08)
    height += 0.055 * np.sqrt(np.clip(1 - (x**2 + y**2) / 0.11**2, 0, 1)) * (1 + 0.15 * np.cos(9 * np.arctan2(y, x)))
    height += 0.0008 * _noise(rng, x, y, 50, 24) + 0.004 * _noise(rng, x, y, 14, 12)
    height -= 0.012 * np.exp(-((y + 0.3 * x - 0.1 + 0.03 * np.sin(18 * x)) / 0.006) ** 2)
    paint = _step((_noise(rng, x, y, 8, 8) - 0.2) / 0.2)[..., None]
    stone = np.array([0.52, 0.42, 0.30]) * (1 + 0.12 * _noise(rng, x, y, 40, 16))[..., None]
    colour = np.clip(stone * (1 - paint) + np.array([0.16, 0.30, 0.42]) * paint, 0.02, 0.95)
    return [_sheet(x, y, height, colour, Material("relief", roughness=0.85, specular=0.2))]


def _glossy(rng: np.random.Generator) -> list[Part]:
    """Metal and glaze on a plain cloth."""
    gold = Material(base_color=(0.85, 0.62, 0.25), roughness=0.32, metallic=1.0)
    glaze = Material(base_color=(0.12, 0.25, 0.45), roughness=0.22, specular=0.8)
    bronze = Material(base_color=(0.55, 0.36, 0.2), roughness=0.42, metallic=0.9)
    lacquer = Material(base_color=(0.45, 0.08, 0.06), roughness=0.28, specular=0.7)
    return [_ground(rng, (0.30, 0.29, 0.27), 0.1),
            _standing("ball", shapes.sphere(72), (-0.22, 0.2), 0.28, gold, 0.1),
            _standing("bowl", shapes.bumpy(rng, 72), (0.2, 0.2), 0.32, glaze, 0.1),
            _standing("ring", shapes.torus(64, 0.3), (-0.2, -0.22), 0.36, bronze, 0.03),
            _standing("box", shapes.rounded_box(np.array([1, 0.5, 0.7]), 0.12, 16), (0.22, -0.2), 0.32, lacquer)]


def _shadows(rng: np.random.Generator) -> list[Part]:
    """Columns, cones and a wall on painted ground."""
    def matte(r: float, g: float, b: float) -> Material:
        return Material(base_color=(r, g, b), roughness=0.8, specular=0.3)

    return [_ground(rng, (0.58, 0.52, 0.44), 0.35),
            _standing("column", shapes.cylinder(48), (-0.24, 0.22), (0.12, 0.26), matte(0.7, 0.66, 0.6)),
            _standing("cone", shapes.cylinder(48, 0.0), (0.22, 0.25), (0.2, 0.24), matte(0.25, 0.4, 0.55)),
            _standing("star", shapes.prism(shapes.star(rng), 0.6, 0.7, 8), (0.0, -0.02), (0.2, 0.16),
                      matte(0.6, 0.3, 0.18)),
            _standing("wall", shapes.box((1, 1, 5)), (-0.27, -0.2), (0.05, 0.14), matte(0.5, 0.5, 0.3)),
            _standing("post", shapes.capsule(32, 2.0), (0.27, -0.1), (0.07, 0.22), matte(0.35, 0.5, 0.3)),
            _standing("ball", shapes.sphere(48), (0.15, -0.3), 0.15, matte(0.75, 0.7, 0.2))]


SCENES: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "relief": _relief, "glossy": _glossy, "shadows": _shadows}


def _ground(rng: np.random.Generator, colour: tuple[float, float, float], contrast: float) -> Part:
    """A square of 3 m with a painted pattern in its middle."""
    t = np.linspace(-1.5, 1.5, 700)
    x, y = np.meshgrid(t, t)
    pattern = _step(_noise(rng, x, y, 10, 10) / 0.15) - 0.5 + 0.3 * _noise(rng, x, y, 50, 20)
    albedo = np.clip(np.array(colour) * (1 + contrast * pattern)[..., None], 0.03, 0.9)
    return _sheet(x, y, np.zeros_like(x), albedo, Material("ground", roughness=0.9, specular=0.2), flat=True)


def _sheet(x: np.ndarray, y: np.ndarray, height: np.ndarray, colour: np.ndarray, material: Material,
           flat: bool = False) -> Part:
    """Height field over the picture's plane (rows along y) with a colour for each point; ``flat``: two triangles."""
    rows, columns = height.shape
    dy, dx = np.gradient(height, y[1, 0] - y[0, 0], x[0, 1] - x[0, 0])
    points = np.stack([-x, y, -height], -1)
    normals = np.stack([dx, -dy, -np.ones_like(dx)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    u, v = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    uvs = np.stack([u, v], -1)
    if flat:
        points, normals, uvs = (a[[0, -1]][:, [0, -1]] for a in (points, normals, uvs))
    _, triangles, _ = shapes.grid(points)
    # The texture's first row is v = 1.
    painted = replace(material, base_color_texture=np.ascontiguousarray(colour[::-1], np.float32))
    return Part(material.name, points.reshape(-1, 3).astype(np.float32), triangles.astype(np.uint32),
                normals.reshape(-1, 3).astype(np.float32), uvs.reshape(-1, 2).astype(np.float32), painted)


def _standing(name: str, shape: Shape, at: tuple[float, float], size: float | tuple[float, float], material: Material,
              sunk: float = 0.0) -> Part:
    """A shape on the plane at the picture's (x, y); ``size`` : its width, or width and height, metres; ``sunk`` into
    the plane, metres."""
    points = np.asarray(shape[0], float)
    extent, low = np.ptp(points, axis=0), points.min(0)
    points = points - low - extent / [2, np.inf, 2]
    wide, tall = size if isinstance(size, tuple) else (size, size * extent[1] / max(extent[0], extent[2]))
    points *= [wide / extent[0], tall / extent[1], wide / extent[0]]
    placed = (points - [0, sunk, 0]) @ _UPRIGHT.T + [-at[0], at[1], 0]
    uvs = box_uvs(placed, shape[1]) if shape[2] is None else shape[2]
    vertices, triangles, normals, uvs = split_normals(placed, shape[1], uvs)
    return Part(name, vertices, triangles, normals, uvs, material)


def _step(x: np.ndarray) -> np.ndarray:
    """0 to 1, smooth."""
    return 1 / (1 + np.exp(-4 * np.clip(x, -10, 10)))


def _noise(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, frequency: float, waves: int) -> np.ndarray:
    """Sum of random waves, variance about 1."""
    total = np.zeros_like(x)
    for _ in range(waves):
        k = rng.normal(0, frequency, 2)
        total += np.sin(k[0] * x + k[1] * y + rng.uniform(0, 2 * np.pi))
    return total * math.sqrt(2 / waves)


def _inside(outline: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """> 0 inside a star-shaped outline (m, 2), < 0 outside, near the border in units of its radius."""
    angle, radius = np.arctan2(outline[:, 1], outline[:, 0]), np.linalg.norm(outline, axis=1)
    order = np.argsort(angle)
    border = np.interp(np.arctan2(y, x), angle[order], radius[order], period=2 * np.pi)
    return border - np.hypot(x, y)
