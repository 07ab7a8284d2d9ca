"""Recordings from which pairs of a drawing and a coloured picture are made: objects on paper, seen once, lit softly.

The parts of the objects are dealt to up to three *slots*. Slot c reflects in colour channel c alone, so that one
recording under white light holds the light that each slot sends, and any colours can be put in afterwards
(`colour/styles.py`). What reaches all channels alike is gloss. Lines are found in G-buffers of four times the size.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dipir import device
from dipir.arrays import split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.image import latlong
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import GBuffers, RenderSettings
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.framing import Window, grounded, projected_box
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop import shards
from dipir.workshop.insertion.stages import Stage
from dipir.workshop.things.objects import random_asset, random_of_kind

SIZE, FINE, SLOTS = 64, 256, 3
WIDTHS = (2.0, 4.5, 8.0)
"""Of the stored lines, in pixels of the fine G-buffers."""
UNIT = 200.0
"""Stored number of a white surface under full light; brighter ones are cut off at 255."""
_ALBEDO, _LEAST, _SPECK = 0.8, 0.04, 24
_PLATE = 512
_SEVERAL = ("stack", "furniture", "mug", "group")
_KEYS = ("cover", "lines", "shade", "gloss", "shadow")
SET = shards.DataSet("sketches", 1, "cover", "sketches", operator.eq)
default_dir = SET.default_dir


@dataclass(frozen=True)
class SketchSettings:
    """How objects on paper are recorded."""

    lights: int = 4  # of one recording
    samples: int = 6  # samples, bsdf_samples: of its transport, direct light only
    bsdf_samples: int = 2
    meshes: float = 0.2  # share of objects that are mesh files
    shard: int = 25  # recordings a file


# ---- objects on paper ------------------------------------------------------------------------------------------------

def random_scene(rng: np.random.Generator, meshes: Sequence[Asset], share: float) -> tuple[Scene, Window]:
    """One to three objects side by side, in front of a camera that looks a little down, and the square around them."""
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
    objects, x = [], 0.0
    for _ in range(count):
        asset = _random_object(rng, meshes, share, alone=count == 1)
        low, high = asset.bounds
        extent = high - low
        height = rng.uniform(0.5, 1.0) * extent[1] / float(extent.max())
        radius = 0.5 * height / extent[1] * float(np.hypot(extent[0], extent[2]))
        x += 0.8 * radius
        pose = grounded(float(extent[1]), height, np.array([x, 0.0, 4 + rng.uniform(-0.5, 0.5)]),
                        rng.uniform(0, 2 * np.pi))
        x += rng.uniform(0.5, 0.9) * radius
        objects.append(PlacedAsset(asset, pose))
    for placed in objects:
        placed.to_world[0, 3] -= 0.5 * x
    camera = Camera.looking(_PLATE, _PLATE, rng.uniform(35, 55), rng.uniform(0.3, 2.6), 0.0)
    aim = float(np.degrees(np.arctan2(camera.position[1] - 0.35, 4.0)))
    camera = Camera.looking(_PLATE, _PLATE, camera.fov_x_deg, float(camera.position[1]), aim, rng.normal(0, 1.5))
    box = projected_box(tuple(objects), camera)
    side = max(16, round(float((box[1] - box[0]).max()) * rng.triangular(0.8, 1.05, 1.5)))
    low = np.round(box.mean(0) - 0.5 * side + rng.uniform(-0.06, 0.06, 2) * side).astype(int)
    blank = torch.zeros(1, 3, _PLATE, _PLATE)
    return Scene(Plate(blank, blank), camera, tuple(objects)), Window(int(low[0]), int(low[1]), side)


def _random_object(rng: np.random.Generator, meshes: Sequence[Asset], share: float, alone: bool) -> Asset:
    if len(meshes) and rng.random() < share:
        return meshes[rng.integers(len(meshes))]
    seed = int(rng.integers(2**31))
    return random_of_kind(str(rng.choice(_SEVERAL)), seed) if alone and rng.random() < 0.5 else random_asset(seed)


def deal_slots(rng: np.random.Generator, scene: Scene) -> list[list[int]]:
    """The slot of every part of every object: whole objects in half of the cases with several, else parts."""
    whole = len(scene.objects) > 1 and rng.random() < 0.5
    deck: list[int] = []
    slots = []
    for placed in scene.objects:
        row = []
        for number in range(len(placed.asset.parts)):
            if number == 0 or not whole:
                deck = deck or list(rng.permutation(SLOTS))
                slot = int(deck.pop())
            row.append(slot)
        slots.append(row)
    return slots


def paint(scene: Scene, slots: list[list[int]], roughness: float) -> Scene:
    """The scene in plain materials, each reflecting in the channel of its slot."""
    colours = np.eye(SLOTS) * _ALBEDO
    objects = []
    for placed, row in zip(scene.objects, slots, strict=True):
        parts = tuple(replace(part, material=Material(base_color=tuple(map(float, colours[slot])), roughness=roughness))
                      for part, slot in zip(placed.asset.parts, row, strict=True))
        objects.append(replace(placed, asset=Asset(parts)))
    return replace(scene, objects=tuple(objects))


def soft_lights(rng: np.random.Generator, count: int) -> Tensor:
    """(K, 16, 32, 3) white light from a bright sky and one or two broad lamps above, most of them on this side."""
    rays, envs = latlong.directions(16, 32), []
    for _ in range(count):
        env = rng.uniform(0.25, 0.8) * (1 + rng.uniform(0, 0.8) * rays[..., 1])
        for _ in range(int(rng.integers(1, 3))):
            azimuth, height = rng.normal(np.pi, 1.1), rng.uniform(0.3, 1.3)
            axis = torch.tensor([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
            cosine = rays @ axis.float()
            env = env + rng.uniform(0.5, 4) * (np.exp(rng.uniform(0.7, 2.7)) * (cosine - 1)).exp()
        envs.append(env)
    return torch.stack(envs)[..., None].expand(-1, -1, -1, 3).contiguous()


# ---- lines -----------------------------------------------------------------------------------------------------------

def edges(g: GBuffers) -> tuple[np.ndarray, np.ndarray]:
    """((H, W), (H, W)) bool: outlines, where the object or the depth changes, and lines within, where the normal turns
    by more than 28 degrees or another slot begins."""
    inside = g.alpha[0, 0].numpy() > 0.5
    outline, within = _changes(np.where(inside, g.object_id[0, 0].numpy(), 0)), np.zeros(inside.shape, bool)
    depth, normal = g.depth[0, 0].numpy(), g.normal[0].numpy()
    size = np.ptp(depth[inside]) if inside.any() else 1.0
    slot = np.where(inside, g.albedo[0].argmax(0).numpy(), -1)
    for axis in range(2):
        near = [np.roll(x, 1, axis) for x in (inside, depth)]
        far = [np.roll(x, -1, axis) for x in (inside, depth)]
        outline |= inside & near[0] & far[0] & (np.abs(near[1] + far[1] - 2 * depth) > 0.06 * size)
        turned = (np.roll(normal, 1, axis + 1) * normal).sum(0) < np.cos(np.radians(28))
        within |= inside & near[0] & (turned | (np.roll(slot, 1, axis) != slot))
    return _whole_lines(outline), _whole_lines(within)


def _whole_lines(marks: np.ndarray) -> np.ndarray:
    """Gaps of a few pixels closed, specks removed."""
    closed = cv2.morphologyEx(marks.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, label, figures, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    return (closed > 0) & (figures[:, cv2.CC_STAT_AREA] >= _SPECK)[label]


def _changes(label: np.ndarray) -> np.ndarray:
    changed = np.zeros(label.shape, bool)
    changed[:, 1:] |= label[:, 1:] != label[:, :-1]
    changed[1:] |= label[1:] != label[:-1]
    return changed


def line_masks(rng: np.random.Generator, marked: Sequence[np.ndarray]) -> np.ndarray:
    """(2 x 3, 64, 64) uint8: coverage by lines of the three ``WIDTHS`` along each edge map (H, W), drawn by a hand that
    strays by up to a pixel of the result."""
    height, width = marked[0].shape
    stray = rng.uniform(0, 4) * _smooth_noise(rng, height, width)
    row, column = np.mgrid[:height, :width].astype(np.float32)
    masks = []
    for edge in marked:
        distance = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 5) if edge.any() else np.full(
            edge.shape, 1e3, np.float32)
        distance = cv2.remap(distance, column + stray[0], row + stray[1], cv2.INTER_LINEAR,
                             borderMode=cv2.BORDER_REPLICATE)
        masks += [cv2.resize(np.clip(w / 2 - distance + 0.5, 0, 1), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                  for w in WIDTHS]
    return np.rint(255 * np.stack(masks)).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(2, H, W) float32, about one at most, that changes over an eighth of the size."""
    coarse = rng.normal(0, 0.5, (2, 9, 9)).astype(np.float32)
    return np.stack([cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse])


# ---- one recording ---------------------------------------------------------------------------------------------------

def record(seed: int, meshes: Sequence[Asset] = (), settings: SketchSettings = SketchSettings()) -> dict[str, Tensor]:
    """One recording, all uint8: slots by decreasing area; the same for a seed but for rounding. About a second.

    cover : (3, 64, 64) part of the pixel that each slot covers, 255 = all
    lines : (6, 64, 64) outlines of three widths, lines within of three widths
    shade : (K, 3, 64, 64) light from a white surface in each slot, premultiplied, ``UNIT`` = 1
    gloss : (K, 64, 64) light mirrored by all, the same unit;  shadow : (K, 64, 64) of the paper, 255 = none
    """
    rng = np.random.default_rng(split_seed(seed, "sketch"))
    scene, window = random_scene(rng, meshes, settings.meshes)
    slots, roughness = deal_slots(rng, scene), float(rng.uniform(0.3, 0.9))
    scene = paint(scene, slots, roughness)
    # ---- slots of some size, the largest first ----
    g = _fine_gbuffers(scene, window)
    area = g.albedo[0].sum((1, 2)) / _ALBEDO
    small = area < _LEAST * area.sum()
    if small.any():
        largest = int(area.argmax())
        scene = paint(scene, [[largest if small[s] else s for s in row] for row in slots], roughness)
        g = _fine_gbuffers(scene, window)
        area = g.albedo[0].sum((1, 2))
    order = area.argsort(descending=True)
    # ---- light ----
    transport = Transport.record(scene, window.camera(scene.camera, SIZE), TransportSettings(
        samples=settings.samples, bsdf_samples=settings.bsdf_samples, depth=1, seed=seed & 0xFFFF))
    stage = Stage.of(transport, [_PLATE, _PLATE, scene.camera.fov_x_deg, 0.0, 0.0, 1.0, window.x0, window.y0,
                                 window.side])
    rgb, shadow = stage.light(soft_lights(rng, settings.lights))
    gloss = rgb.amin(1)
    shade = (rgb - gloss[:, None])[:, order] / _ALBEDO
    exposure = torch.from_numpy(rng.uniform(0.88, 1.08, (settings.lights, 1, 1)).astype(np.float32))
    # ---- in units ----
    alpha, albedo = transport.gbuffers.alpha[0].cpu(), transport.gbuffers.albedo[0].cpu()
    unit = UNIT * exposure / _full_light(shade.sum(1), alpha)
    cover = albedo[order] / _ALBEDO * alpha
    return {"cover": _bytes(255 * cover), "lines": torch.from_numpy(line_masks(rng, edges(g))),
            "shade": _bytes(shade * unit[:, None]), "gloss": _bytes(gloss * unit), "shadow": _bytes(255 * shadow[:, 0])}


def _fine_gbuffers(scene: Scene, window: Window) -> GBuffers:
    tracer = PathTracer(scene, window.camera(scene.camera, FINE), RenderSettings(1, 1), gbuffer_samples=1)
    return device.moved(tracer.gbuffers, torch.device("cpu"))


def _full_light(shade: Tensor, alpha: Tensor) -> Tensor:
    """(K, 1, 1) what a white surface shows at the 90th of a hundred pixels, from dark to bright."""
    inside = alpha[0] > 0.9
    if not inside.any():
        inside = alpha[0] == alpha.max()
    return (shade[:, inside] / alpha[0, inside].clamp_min(1e-3)).quantile(0.9, 1).clamp_min(1e-3)[:, None, None]


def _bytes(x: Tensor) -> Tensor:
    return x.round().clamp(0, 255).byte().contiguous()


# ---- sets ------------------------------------------------------------------------------------------------------------

def _make(indices: range, seed: int, settings: SketchSettings, meshes: Sequence[Path]) -> dict[str, Tensor]:
    assets = [load_asset(p) for p in meshes]
    made = [record(split_seed(seed, "sketch", i), assets, settings) for i in indices]
    return {key: torch.stack([m[key] for m in made]) for key in _KEYS}


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             settings: SketchSettings = SketchSettings(), meshes: Sequence[Path] = ()) -> Path:
    """Make the recordings 0 ... count - 1 of the set ``seed``, some of whose objects are ``meshes``; see
    :meth:`shards.DataSet.generate`. ConfigError for a missing mesh too."""
    meshes = tuple(Path(m) for m in meshes)
    shards.check_numbers(SET.name, count, workers)
    missing = [str(m) for m in meshes if not m.is_file()]
    if missing:
        raise ConfigError(f"sketches: no such mesh {', '.join(missing)}; give files that exist, or none.")
    metadata = SET.metadata(seed, settings, meshes=" ".join(p.name for p in meshes))
    return SET.generate(count, out_dir, _make, (seed, settings, meshes), metadata, shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> dict[str, Tensor]:
    """All recordings of a folder (:func:`record`, stacked), or those of its first ``limit`` shards. ConfigError when
    there are none or a shard is broken."""
    parts = SET.load(out_dir, lambda tensors: {key: tensors[key] for key in _KEYS}, limit)
    return {key: torch.cat([p[key] for p in parts]) for key in _KEYS}
