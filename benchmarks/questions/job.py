"""Jobs of the five open questions (``configs/suites``): an insertion under known light, told apart by material, by what
holds the light, by unusual light, by several objects. Protocol: docs/bench-questions.md.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from benchmarks.insert.case import Stage
from benchmarks.insert.cases import mesh_files, panorama_of, photographed, placed, plate_camera, reduced
from benchmarks.insert.figures import SOLID, figures
from benchmarks.insert.methods import BASELINES, LIGHT_ROWS, Estimate, Estimator, settings_of
from benchmarks.insert.sheet import tile
from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.color import luminance
from dipir.image.files import write_png
from dipir.image.metrics import direction_error_deg, rmse
from dipir.priors.plate_light import light_of_plate, with_plate
from dipir.scene.assets.asset import Asset, Material
from dipir.scene.assets.load import load_asset
from dipir.scene.light import EnvironmentMap, dominant_direction
from dipir.scene.scene import Scene
from dipir.suite.file import JobSpec
from dipir.workshop.crops import auto_exposure, perspective_crop

MATERIALS: dict[str, Material | None] = {
    "own": None, "diffuse": Material(base_color=(0.6, 0.6, 0.6), roughness=0.9, specular=0.1),
    "glossy": Material(base_color=(0.6, 0.6, 0.6), roughness=0.25, specular=0.5),
    "mirror": Material(base_color=(0.9, 0.9, 0.9), roughness=0.05, metallic=1.0),
    "glass": Material(base_color=(1, 1, 1), roughness=0.05, specular=0.5, transmission=1.0)}
HOLDERS = ("gaussians", "gaussians+plate", "map")
WARM, COLD = (1.0, 0.6, 0.3), (0.55, 0.75, 1.0)
FEET = ((0.28, 0.72), (0.72, 0.72), (0.5, 0.86))
SHOWN = ("fg_disp_rmse", "fg_si_rmse_rel", "composite_rmse", "ssim", "shadow_rmse", "direction_deg", "exposure_log2")


@dataclass(frozen=True)
class Question:
    """What a job is told besides the settings of its method."""

    method: str = "default"  # of ``benchmarks.insert.methods``
    mesh: str = "spot_cow"  # of the split ``val``, or several with + between them
    material: str = "own"  # of ``MATERIALS``, of the whole mesh
    holder: str = "gaussians"  # what holds the light that was found, of ``HOLDERS``
    light: str = "as it is"  # what is done to the panorama, of ``CHANGES``
    fit: str = "joint"  # joint (one light for all objects) or alone
    view: int = 0  # turn of the panorama
    size: int = 192  # rows of the plate
    spp: int = 16  # samples a pixel, as in ``insert/case``

    def __post_init__(self) -> None:
        for name, accepted in (("material", MATERIALS), ("holder", HOLDERS), ("light", CHANGES),
                               ("fit", ("joint", "alone"))):
            if getattr(self, name) not in accepted:
                raise ConfigError(f"{name} '{getattr(self, name)}': accepted are {', '.join(accepted)}."
                                  f"{nearest(getattr(self, name), accepted)}")


# ---- light -----------------------------------------------------------------------------------------------------------

def _sun(rays: torch.Tensor, direction: Sequence[float], colour: Sequence[float], level: float) -> EnvMap:
    """A disc of 2 degrees that lights what faces it ``level`` times as much as a white sky of 1 does."""
    axis = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    lobe = (2000 * (rays @ axis - 1)).exp()
    share = latlong.solid_angles(*rays.shape[:2])
    return lobe[..., None] * torch.tensor(colour) * level * torch.pi / float((lobe * share).sum())


def _mean(radiance: EnvMap) -> float:
    share = latlong.solid_angles(*radiance.shape[:2])
    return float((luminance(radiance.permute(2, 0, 1)[None])[0, 0] * share).sum() / (4 * torch.pi))


def _mixed(radiance: EnvMap) -> EnvMap:
    """Daylight from one side, lamps from the other: cold and warm halves, with a smooth seam."""
    side = ((latlong.directions(*radiance.shape[:2])[..., :1] * 4).tanh() + 1) / 2
    return radiance * (side * torch.tensor(WARM) + (1 - side) * torch.tensor(COLD))


def _suns(radiance: EnvMap) -> EnvMap:
    """Three lamps of different colours, each as strong as all of the panorama, around what was there."""
    rays, level = latlong.directions(*radiance.shape[:2]), _mean(radiance)
    lamps = (((0.8, 0.5, -0.4), WARM), ((-0.7, 0.7, 0.5), COLD), ((0.1, 0.4, 0.9), (0.9, 1.0, 0.8)))
    return radiance + sum(_sun(rays, d, c, level) for d, c in lamps)


CHANGES: dict[str, Callable[[EnvMap], EnvMap]] = {
    "as it is": lambda e: e, "red": lambda e: e * torch.tensor([1.0, 0.25, 0.15]),
    "blue": lambda e: e * torch.tensor([0.15, 0.3, 1.0]), "mixed": _mixed, "three suns": _suns,
    "low key": lambda e: e}
"""Low key changes the exposure: a twentieth of what is right."""
_UNDER = {"low key": 0.05}


# ---- scenes ----------------------------------------------------------------------------------------------------------

def scenes_of(panorama: Path, q: Question, seed: int) -> tuple[list[Scene], Scene, EnvMap]:
    """(a scene for each object alone, one with all, true map (256, 512, 3), plate white = 1)."""
    turn = (split_seed(seed, "yaw", panorama.stem) % 360 + q.view * 137.508) % 360
    radiance = CHANGES[q.light](panorama_of(panorama))
    radiance = torch.roll(radiance, round(turn / 360 * radiance.shape[1]), 1)
    camera, files = plate_camera(q.size), mesh_files(None, "val")
    crop = perspective_crop(radiance, camera)
    gain = auto_exposure(crop) * _UNDER.get(q.light, 1.0)
    plate, names = photographed(crop * gain), q.mesh.split("+")
    unknown = [n for n in names if n not in files]
    if unknown or len(names) > len(FEET):
        raise ConfigError(f"mesh '{q.mesh}': accepted are up to {len(FEET)} of {', '.join(files)}, with + between.")
    assets = [_of_material(load_asset(files[n]), MATERIALS[q.material]) for n in names]
    objects = ([placed(assets[0], camera, names[0])] if len(names) == 1 else
               [placed(a, camera, n, at, 0.25) for a, n, at in zip(assets, names, FEET, strict=False)])
    alone = [Scene(plate, camera, (one,), name=one.name) for one in objects]
    return alone, Scene(plate, camera, tuple(objects), name="all"), reduced(radiance) * gain


def _of_material(asset: Asset, material: Material | None) -> Asset:
    return asset if material is None else Asset(tuple(replace(p, material=material) for p in asset.parts))


# ---- what holds the light --------------------------------------------------------------------------------------------

def held(estimate: Estimate, q: Question, scene: Scene, true: EnvMap) -> Estimate:
    """The light in what shall hold it. Maps are those that Gaussians were fitted to: the truth, or the light prior's
    estimate (16 x 32)."""
    if q.holder == "gaussians":
        return estimate
    if q.holder == "gaussians+plate":
        return replace(estimate, light=with_plate(estimate.light, scene))
    if q.method == "oracle-sg":
        return replace(estimate, light=true)
    if q.method != "light-prior":
        raise ConfigError("holder 'map': accepted with the methods oracle-sg and light-prior, which have one.")
    start = light_of_plate(scene, "prior").start
    return replace(estimate, light=EnvironmentMap(start).envmap(LIGHT_ROWS, 2 * LIGHT_ROWS))


# ---- jobs ------------------------------------------------------------------------------------------------------------

def job(spec: JobSpec, folder: Path, on_event: Callable[[Event], None]) -> dict[str, float]:
    """The scene is a panorama. Settings: those of :class:`Question`, others are of the method. Figures: means over
    the objects, of the light's spread between them, seconds of estimating."""
    q, overrides = split(spec.settings)
    alone, together, true = scenes_of(Path(spec.scene), q, spec.seed)
    config = settings_of(q.method, spec.seed, overrides)
    if q.method in BASELINES and overrides:
        raise ConfigError(f"{q.method}: a baseline has no settings; leave out {', '.join(overrides)}.")
    began, estimates = time.monotonic(), []
    for k, scene in enumerate([together] if q.fit == "joint" else alone):
        on_event(Event("estimate", k, len(alone)))
        own = folder / f"fit{k}"
        own.mkdir(exist_ok=True)
        estimates.append(held(Estimator(scene, true, own)(q.method, config), q, scene, true))
    seconds = time.monotonic() - began
    rows, pictures = [], []
    for k, scene in enumerate(alone):
        estimate, stage = estimates[min(k, len(estimates) - 1)], Stage(scene, true, q.spp, split_seed(spec.seed, k))
        got = stage.render(estimate)
        solid = (stage.truth.alpha > SOLID).float()
        shown = {"fg_disp_rmse": float(rmse(got.disp, stage.truth.disp, solid))} if solid.any() else {}
        rows.append({**figures(got, stage.truth, estimate.light, true), **shown})
        pictures += [got.disp, stage.truth.disp]
    write_png(folder / "composite.png", torch.cat(pictures, -1).clamp(0, 1))
    tiles = [tile(p, e.light) for p, e in zip(pictures[::2], estimates, strict=False)]
    write_png(folder / "light.png", torch.cat(tiles, -1))
    names = [n for n in SHOWN if all(row.get(n) is not None for row in rows)]
    out = {n: sum(row[n] for row in rows) / len(rows) for n in names}
    if len(alone) > 1:
        directions = [dominant_direction(e.light) for e in estimates]
        angles = [direction_error_deg(a, b) for a, b in combinations(directions, 2)]
        out["apart_deg"] = float(sum(angles) / len(angles)) if angles else 0.0
    return {**out, "estimate_s": seconds}


def split(settings: Mapping[str, Any]) -> tuple[Question, list[str]]:
    """(what is asked, ``key=value`` for the method)."""
    ours = {k: v for k, v in settings.items() if k in Question.__dataclass_fields__}
    return Question(**ours), [f"{k}={v}" for k, v in settings.items() if k not in ours]
