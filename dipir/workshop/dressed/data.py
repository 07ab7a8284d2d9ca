"""Dressed crops: crops of photographed panoramas with things put on their ground, in the panorama's own light.

Real pixels and real light, and things in view whose shadows are known: the light prior learns from them to read
shadows. A thing is put in as ``dipir insert`` does it (object shading, cast shadow and contact), under the true map,
in linear light. What is stored leads back to the truth: the panorama and its turn give the environment
(:func:`environment`) and the bare crop (:func:`bare_crop`).
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dipir.arrays import EnvMap, Image, Mask, split_seed
from dipir.errors import ConfigError
from dipir.event import Notify
from dipir.image import latlong
from dipir.image.color import BT709, linear_to_srgb
from dipir.image.composite import flatten_lin, insert_layers
from dipir.image.files import read_envmap
from dipir.render import denoise
from dipir.render.gbuffer import PixelBox
from dipir.render.path_traced import PathTracer
from dipir.render.proxy_pass import Sites, trace
from dipir.render.renderer import Passes, RenderSettings
from dipir.scene.assets.asset import Asset
from dipir.scene.camera import Camera
from dipir.scene.light import EnvironmentMap
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset
from dipir.scene.scene import Scene
from dipir.workshop import crops, shards
from dipir.workshop.data import panorama_files
from dipir.workshop.dressed import layout, things

TURNS = 128
"""Steps in which a panorama is turned: one column of the map that the light prior learns from."""
SET = shards.DataSet("dressed", 1, "turn", "dressed crops")
default_dir = SET.default_dir
_HALF_MAX = 60000.0
_GROUNDLESS = ("puresky", "_256.")  # in the names of maps whose lower half is no ground, or too coarse
_HARD = 0.4  # least hardness of a hard light
_NEAR_SINE = 0.025  # below the horizon: up to 40 camera heights away


@dataclass(frozen=True)
class DressedSettings:
    """How dressed crops are made."""

    height: int = 192  # height, width: of the plates
    width: int = 256
    spp: int = 16  # samples a pixel, of things and of shadows
    depth: int = 3  # longest path of the things' light
    shots: int = 8  # plates of one panorama with one pool of things, each turned and seen anew
    pool: int = 16  # things that are loaded for them
    least: int = 2  # least, most: things that are put into a plate, as far as there is room
    most: int = 10
    tinted: float = 0.35  # share of materials whose colour is changed
    hard: float = 0.6  # share of plates with a hard light
    shard: int = 64  # plates a file, a multiple of ``shots``


@dataclass(frozen=True)
class Sources:
    """What a set is made from."""

    panoramas: tuple[Path, ...]  # all of its splits: a plate's ``panorama`` is an index into them
    soft: tuple[int, ...]  # soft, hard: indices of those used as backgrounds, without and with a hard light
    hard: tuple[int, ...]
    meshes: tuple[Path, ...]


# ------------------------------------------------------------------------------------------------------------ sources
def sources(splits: Sequence[str], meshes: Sequence[Path]) -> Sources:
    """The environments of ``splits`` of splits.json that show a ground, sorted by :func:`hardness` (all are read for
    that), and these meshes. AssetError without the data folder, ConfigError when one kind is empty."""
    files = panorama_files(*splits)
    usable = [k for k, f in enumerate(files) if not any(mark in f.name for mark in _GROUNDLESS)]
    hard = tuple(k for k in usable if hardness(read_panorama(files[k]).env) > _HARD)
    soft = tuple(k for k in usable if k not in hard)
    if not (hard and soft and meshes):
        raise ConfigError(f"dressed: {', '.join(splits)} have {len(hard)} environments with and {len(soft)} without a "
                          f"hard light, and {len(meshes)} meshes were given; at least one of each is needed.")
    return Sources(tuple(files), soft, hard, tuple(meshes))


def read_panorama(path: Path) -> crops.Panorama:
    """A map ready for crops, with a multiple of 64 rows (one of the photographed ones has 500), at most 512."""
    envmap = read_envmap(path)
    rows = min(512, -(-envmap.shape[0] // 64) * 64)
    return crops.prepare(EnvironmentMap(envmap).envmap(rows, 2 * rows))


def hardness(env: EnvMap) -> float:
    """Share of the ground's light that comes from the brightest texel of (64, 128, 3) and its neighbours: about 0.1
    under an overcast sky, above 0.9 under a clear one."""
    share = env.mean(-1) * latlong.plane_weights(*env.shape[:2])
    wide = torch.cat([share[:, -1:], share, share[:, :1]], 1)[None, None]
    around = 9 * functional.avg_pool2d(functional.pad(wide, (0, 0, 1, 1)), 3, 1)
    return float(around.max() / share.sum().clamp_min(1e-12))


# --------------------------------------------------------------------------------------------------- what is stored
def environment(panorama: crops.Panorama, turn: int, gain: float) -> EnvMap:
    """(64, 128, 3) around a plate with the camera's azimuth at +Z, in the plate's unit."""
    return torch.roll(panorama.env, int(turn), 1) * float(gain)


def bare_crop(panorama: crops.Panorama, camera: Camera, turn: int, gain: float = 1.0) -> Tensor:
    """(3, H, W) linear: a plate without its things."""
    return crops.turned_crop(panorama, camera, int(turn) / TURNS, False, 2)[0] * float(gain)


# --------------------------------------------------------------------------------------------------------- one plate
def shot(rng: np.random.Generator, panorama: crops.Panorama, pool: Sequence[Asset], settings: DressedSettings
         ) -> dict[str, Tensor]:
    """One plate of :func:`scene_plates`, but for its panorama."""
    size = settings.width, settings.height
    view = layout.random_view(rng)
    camera, turn = layout.camera_of(view, size), int(rng.integers(TURNS))
    bare = bare_crop(panorama, camera, turn)
    gain = float(1 / bare.flatten().quantile(0.9).clamp_min(1e-6))
    chosen = things.choose(rng, pool, int(rng.integers(settings.least, settings.most + 1)))
    placed = layout.stand(rng, camera, [things.tinted(rng, t, settings.tinted) for t in chosen])
    # ---- the things in the panorama's light ----
    radiance = torch.roll(panorama.padded[..., 1:-1], turn * (panorama.padded.shape[2] - 2) // TURNS, 2) * gain
    plate, alpha, ratio = dress(bare[None] * gain, camera, placed, radiance.permute(1, 2, 0).contiguous(), settings,
                                int(rng.integers(2**31)))
    shadow = torch.tensordot(torch.tensor(BT709), ratio[0], 1)
    return {"plate": plate[0].clamp(0, _HALF_MAX).half(), "mask": _bytes(alpha[0, 0]), "shadow": _bytes(shadow),
            "camera": torch.tensor(view[:3], dtype=torch.float32), "height": torch.tensor(view[3]).float(),
            "turn": torch.tensor(turn), "gain": torch.tensor(gain).float(), "things": torch.tensor(len(placed)),
            "point": torch.from_numpy(insertion_point(rng, camera, alpha[0, 0], shadow)).float()}


def dress(plate: Image, camera: Camera, placed: Sequence[PlacedAsset], radiance: EnvMap, settings: DressedSettings,
          seed: int) -> tuple[Image, Mask, Image]:
    """Things on a plate (1, 3, H, W) in the light of a map: the new plate, their coverage (1, 1, H, W), the shadow
    ratio of the ground (1, 3, H, W)."""
    if not placed:
        return plate, torch.zeros_like(plate[:, :1]), torch.ones_like(plate)
    scene = Scene(Plate(linear_to_srgb(plate.clamp(0, 1)), plate), camera, tuple(placed))
    size = camera.width, camera.height
    tracer = PathTracer(scene, camera, RenderSettings(settings.spp, settings.depth, even=True), gbuffer_samples=4,
                        region=PixelBox(0, 0, *size, size))
    rgb, alpha = tracer.object_pass(radiance, seed=seed, spp=settings.spp)
    # All ground that is not far off is traced: to ask first where a shadow is possible takes longer at this size.
    ground = torch.from_numpy(camera.directions()[..., 1] < -_NEAR_SINE).flatten().nonzero()[:, 0]
    ratio = torch.ones_like(plate)
    traced = trace(tracer.built, camera, Sites(ground), radiance, seed=seed, spp=settings.spp)
    ratio.flatten(2)[0, :, ground] = traced.ratio.T
    passes = Passes(rgb, torch.ones_like(ratio), ratio, replace(tracer.gbuffers, alpha=alpha))
    if denoise.available() is not None:
        passes = denoise.denoise_passes(passes, camera)
        rgb, ratio = passes.object_rgb, passes.ground_shadowed
    return flatten_lin(insert_layers(plate, None, rgb, alpha, ratio)), alpha, ratio


def insertion_point(rng: np.random.Generator, camera: Camera, alpha: Tensor, shadow: Tensor) -> np.ndarray:
    """(3,) a point of the ground in view, of some at random the least shadowed one that nothing hides; straight below
    the camera where no ground is in view."""
    points = layout.ground_points(rng, camera, 24)
    if not len(points):
        return camera.position * [1.0, 0.0, 1.0]
    x, y = camera.project(points)[0].T.astype(int)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    x, y = x.clip(0, camera.width - 1), y.clip(0, camera.height - 1)
    free = (shadow[y, x] - alpha[y, x]).numpy() - 2.0 * ~inside
    return points[int(np.minimum(free, 0.95).argmax())]


def _bytes(share: Tensor) -> Tensor:
    return (share.clamp(0, 1) * 255).round().byte()


# ----------------------------------------------------------------------------------------------------------- the set
def scene_plates(index: int, seed: int, settings: DressedSettings, found: Sources) -> dict[str, Tensor]:
    """All plates of scene ``index`` of the set ``seed``, N = ``settings.shots``; the same on every call.

    plate : (N, 3, h, w) float16 radiance, 90 % of the bare crop below 1;  mask : (N, h, w) uint8, coverage by things
    shadow : (N, h, w) uint8, what they leave of the ground's light (luminance);  camera : (N, 3) float32 horizontal
    field of view, pitch, roll in degrees, azimuth +Z;  height : (N,) float32 metres above the ground y = 0;
    point : (N, 3) float32 insertion point on the ground, metres, the camera above the origin;  panorama : (N,) int64
    index into the files of the set;  turn : (N,) int64 revolutions / 128;  gain : (N,) float32 plate / panorama;
    things : (N,) int64 their number
    """
    rng = np.random.default_rng(split_seed(seed, "dressed", index))
    kind = found.hard if rng.random() < settings.hard else found.soft
    chosen = int(rng.choice(kind))
    panorama = read_panorama(found.panoramas[chosen])
    pool = _pool(rng, found.meshes, settings.pool) if settings.most else []
    rows = [shot(rng, panorama, pool, settings) for _ in range(settings.shots)]
    plates = {key: torch.stack([r[key] for r in rows]) for key in rows[0]}
    return {**plates, "panorama": torch.full((settings.shots,), chosen)}


def _pool(rng: np.random.Generator, meshes: Sequence[Path], count: int) -> list[Asset]:
    """The first ``count`` plain ones of the meshes in random order."""
    pool: list[Asset] = []
    for k in rng.permutation(len(meshes)):
        asset = things.read_thing(meshes[k])
        pool += [asset] if asset is not None else []
        if len(pool) == count:
            break
    return pool


def _make(indices: range, seed: int, settings: DressedSettings, found: Sources) -> dict[str, Tensor]:
    parts = [scene_plates(k, seed, settings, found) for k in range(indices.start // settings.shots,
                                                                   -(-indices.stop // settings.shots))]
    return {key: torch.cat([p[key] for p in parts])[:len(indices)] for key in parts[0]}


def held_out_dir() -> Path:
    """The folder of the plates that judge, beside that of the training (:data:`default_dir`)."""
    return default_dir().with_name(f"v{SET.version}_val")


def generate(count: int, out_dir: str | Path | None = None, seed: int = 0, workers: int = 1, on_event: Notify = None, *,
             found: Sources, settings: DressedSettings = DressedSettings()) -> Path:
    """Make plates 0 ... count - 1 of the set ``seed``; see :meth:`shards.DataSet.generate`. ConfigError for settings
    that contradict each other."""
    if settings.shard % settings.shots or not 0 <= settings.least <= settings.most:
        raise ConfigError(f"dressed: shard {settings.shard}, shots {settings.shots}, least {settings.least} and most "
                          f"{settings.most} were given; shard must be a multiple of shots, 0 <= least <= most.")
    metadata = SET.metadata(seed, settings, panoramas=json.dumps([f.name for f in found.panoramas]),
                            denoiser=denoise.available() or "none", meshes=json.dumps([f.stem for f in found.meshes]))
    return SET.generate(count, out_dir, _make, (seed, settings, found), metadata, shard=settings.shard,
                        workers=workers, on_event=on_event)


def load(out_dir: str | Path | None = None, limit: int | None = None) -> dict[str, Tensor]:
    """All plates of a folder (:func:`scene_plates`), or those of its first ``limit`` shards. ConfigError when there are
    none or a shard is broken."""
    parts = SET.load(out_dir, dict, limit)
    return {key: torch.cat([p[key] for p in parts]) for key in parts[0]}
