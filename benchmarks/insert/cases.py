"""Cases of the insertion benchmark: which panoramas, meshes and views; the scene and the true light of one of them.

Everything here follows from the files, the seed and the constants below; docs/bench-insert.md states the protocol.
"""
from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import DATA
from dipir.arrays import EnvMap, split_seed
from dipir.errors import ConfigError, DipirError, SceneError, nearest, raise_all
from dipir.image import latlong
from dipir.image.color import BT709, linear_to_srgb, srgb_to_linear
from dipir.image.files import read_envmap
from dipir.scene.assets.asset import Asset, asset_hash
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.framing import projected_box
from dipir.scene.light import EnvironmentMap, dominant_direction
from dipir.scene.plate import Plate
from dipir.scene.proxy import PlacedAsset, check_view, contact_point, facing_yaw
from dipir.scene.scene import Scene
from dipir.workshop.crops import auto_exposure, perspective_crop, quantise

PANORAMAS, MESHES = (".hdr", ".exr"), (".glb", ".gltf", ".obj", ".ply", ".stl")  # Meshes in order of preference.
FOV_DEG, PITCH_DEG, CAMERA_M, ASPECT = 60.0, 6.0, 1.5, 4 / 3
FOOT, EXTENT, TURN_DEG = (0.5, 0.75), 0.4, 35.0
"""Contact pixel as parts of width and height; larger side of the object's box on the plate as a part of its height;
turn away from facing the camera."""
TRUE_ROWS = 256
VIEW_STEP_DEG = 137.508  # The golden angle: any number of views lies evenly around, and more views keep the first.
SINGLE_LIGHT, CONE_DEG = 0.2, 10.0


@dataclass(frozen=True)
class Environment:
    """A panorama."""

    name: str  # of the case's folder
    path: Path
    digest: str  # sha256 of the file
    light_share: float  # part of all light that comes from within 10 degrees of the dominant direction

    @property
    def single_light(self) -> bool:
        """A sun or one strong lamp: a surface that faces it receives at least as much light from it as, on average,
        from everything else, s >= (1 - s) / 4, that is s >= 0.2."""
        return self.light_share >= SINGLE_LIGHT


@dataclass(frozen=True)
class Mesh:
    """What is put into a plate."""

    name: str
    path: Path
    digest: str  # ``asset_hash`` of what was read


@dataclass(frozen=True)
class Case:
    """One plate with one object."""

    environment: Environment
    mesh: Mesh
    view: int
    yaw_deg: float  # turn of the surroundings about +Y

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.environment.name}--{self.mesh.name}--{self.view}"


# ---------------------------------------------------------------------------------------------------- what there is
def panorama_files(folder: Path | None, split: str, data: Path = DATA) -> dict[str, Path]:
    """Name -> .hdr or .exr file: all in ``folder`` and below, or parts of ``splits.json`` (``split``: their names, with
    commas). ConfigError when none."""
    if folder is None:
        return _named([data / "hdri" / n for n in _split("hdri", split, "--split", data)], data / "hdri")
    return _named(_found(folder, PANORAMAS, "--environments", "panoramas"), folder)


def mesh_files(folder: Path | None, split: str, data: Path = DATA) -> dict[str, Path]:
    """Name -> mesh file: all in ``folder`` and below, or parts of ``splits.json`` (``split``: names with commas). Of
    files that differ in their extension alone the best is taken; a sub-folder with one mesh gives it its name.
    ConfigError when there are none."""
    if folder is None:
        root = data / "meshes"
        places = [data / "meshes_more" / n if Path(n).suffix in MESHES else root / n
                  for n in _split("meshes", split, "--mesh-split", data)]
        files = [f for p in places for f in _found(p, MESHES, "--meshes", "meshes")]
    else:
        root, files = folder, _found(folder, MESHES, "--meshes", "meshes")
    best: dict[tuple[Path, str], Path] = {}
    for f in sorted(files, key=lambda p: MESHES.index(p.suffix.lower())):
        best.setdefault((f.parent, f.stem), f)
    kept = [f for f in files if f in best.values()]
    shared = (root, data / "meshes_more")
    alone = {f.parent for f in kept if f.parent not in shared and sum(g.parent == f.parent for g in kept) == 1}
    return _named(kept, root, lambda f: f.parent if f.parent in alone else f)


def _split(kind: str, split: str, option: str, data: Path) -> list[str]:
    path = data / "splits.json"
    if not path.is_file():
        own = {"hdri": "--environments", "meshes": "--meshes"}[kind]
        raise ConfigError(f"{path}: not found; set DIPIR_DATA to the folder with the shared data, or give {own} a "
                          "folder of your own.")
    parts = json.loads(path.read_text())[kind]
    names = [w.strip() for w in split.split(",")]
    for name in names:
        if name not in parts:
            raise ConfigError(f"{option} {split}: accepted are {', '.join(parts)}, several with commas."
                              f"{nearest(name, parts)}")
    return [file for name in dict.fromkeys(names) for file in parts[name]]


def _found(folder: Path, suffixes: tuple[str, ...], option: str, what: str) -> list[Path]:
    if folder.is_file():
        return [folder]
    files = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        files += [Path(place, n) for n in names if Path(n).suffix.lower() in suffixes and not n.startswith(".")]
    if not files:
        state = "there are none in it" if folder.is_dir() else "there is no such folder"
        raise ConfigError(f"{option} {folder}: {state}; give a folder of {what} ({', '.join(suffixes)}).")
    return sorted(files)


def _named(files: Iterable[Path], root: Path, name_of: Callable[[Path], Path] = lambda f: f) -> dict[str, Path]:
    """Names from the paths below ``root``, fit for folders; where two agree the extension or a number is added."""
    named: dict[str, Path] = {}
    for f in files:
        shown = name_of(f)
        relative = shown.relative_to(root) if shown.is_relative_to(root) and shown != root else Path(shown.name)
        plain = re.sub(r"[^\w.-]+", "_", str(relative.with_suffix("") if shown == f else relative))
        options = [plain, f"{plain}_{f.suffix[1:]}", *(f"{plain}_{k}" for k in range(2, 1000))]
        named[next(o for o in options if o not in named)] = f
    return named


def checked_environments(files: dict[str, Path]) -> list[Environment]:
    """Every panorama read once. ConfigError that lists all that cannot be used."""
    return _checked(files, "--environments", lambda name, path: Environment(
        name, path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest(), light_share(reduced(panorama_of(path)))))


def checked_meshes(files: dict[str, Path]) -> list[Mesh]:
    """Every mesh loaded and placed once. ConfigError that lists all that cannot be used."""
    camera = plate_camera(64)

    def check(name: str, path: Path) -> Mesh:
        asset = load_asset(path)
        placed(asset, camera, name)
        return Mesh(name, path.resolve(), asset_hash(asset))

    return _checked(files, "--meshes", check)


def _checked(files: dict[str, Path], option: str, check: Callable[[str, Path], object]) -> list:
    good, problems = [], []
    for name, path in files.items():
        try:
            good.append(check(name, path))
        except (DipirError, OSError) as problem:
            problems.append(str(problem))
    raise_all(ConfigError, option, problems)
    return good


def cases(environments: list[Environment], meshes: list[Mesh], views: int, seed: int) -> list[Case]:
    """All combinations. A case does not depend on which others there are."""
    made = []
    for e in environments:
        first = np.random.default_rng(split_seed(seed, "yaw", e.name)).uniform(0, 360)
        made += [Case(e, m, v, (first + v * VIEW_STEP_DEG) % 360) for v in range(views) for m in meshes]
    return made


# ------------------------------------------------------------------------------------------------- scene of one case
def scene_of(environment: Path, mesh: Path, yaw_deg: float, size: int, name: str = "case") -> tuple[Scene, EnvMap]:
    """The scene with a plate of ``size`` rows, and the true map (256, 512, 3), plate white = 1."""
    panorama = panorama_of(environment)
    panorama = torch.roll(panorama, round(yaw_deg / 360 * panorama.shape[1]), 1)  # Whole texels: nothing is blurred.
    camera = plate_camera(size)
    crop = perspective_crop(panorama, camera)
    gain = auto_exposure(crop)
    one = placed(load_asset(mesh), camera, name)
    return Scene(photographed(crop * gain), camera, (one,), name=name), reduced(panorama) * gain


def photographed(radiance: Tensor) -> Plate:
    """What a camera makes of light (3, H, W), white = 1: clipped, with the sRGB curve, in eight bits."""
    disp = quantise(linear_to_srgb(radiance.clamp(0, 1)))[None]
    return Plate(disp, srgb_to_linear(disp))


def plate_camera(size: int) -> Camera:
    """Of a plate with ``size`` rows: the horizon lies at 38 % of the height from the top."""
    return Camera.looking(round(size * ASPECT), size, FOV_DEG, CAMERA_M, PITCH_DEG)


def placed(asset: Asset, camera: Camera, name: str, foot_at: tuple[float, float] = FOOT,
           extent: float = EXTENT) -> PlacedAsset:
    """The asset on the ground at ``foot_at``, scaled until its box on the plate is ``extent`` of the plate's height on
    the larger side, whatever its own size and proportions. SceneError when that leads nowhere."""
    foot = contact_point(camera, (foot_at[0] * camera.width, foot_at[1] * camera.height))
    yaw = facing_yaw(camera, foot) + math.radians(TURN_DEG)
    turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    wanted, distance = extent * camera.height, float(np.linalg.norm(foot - camera.position))
    factor = 0.5 * wanted / camera.focal_px * distance / max(float(np.ptp(asset.bounds, axis=0).max()), 1e-12)
    for _ in range(12):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = factor * turn, foot
        one = PlacedAsset(asset, pose, name)
        seen = float(np.ptp(projected_box((one,), camera), axis=0).max())
        if abs(seen / wanted - 1) < 1e-3:
            check_view(one, camera)
            return one
        factor *= min(max(wanted / max(seen, 1e-9), 0.5), 2.0)
    raise SceneError(f"'{name}': no scale makes it {extent:.0%} of the plate's height (it became {seen:.0f} pixels, "
                     f"wanted {wanted:.0f}); give a mesh with a finite extent.")


def panorama_of(path: Path) -> EnvMap:
    """(H, W, 3) radiance as in the file. ConfigError for a black one."""
    radiance = read_envmap(path)
    if not float(radiance.max()) > 0:
        raise ConfigError(f"{path}: the panorama is black; a case needs light.")
    return radiance


def reduced(panorama: EnvMap) -> EnvMap:
    """(256, 512, 3), means over texels."""
    return EnvironmentMap(panorama).envmap(TRUE_ROWS, 2 * TRUE_ROWS)


def light_share(radiance: EnvMap) -> float:
    """Part of the map's light (luminance times solid angle) within 10 degrees of its dominant direction, [0, 1]."""
    height, width = radiance.shape[:2]
    light = (radiance @ radiance.new_tensor(BT709)) * latlong.solid_angles(height, width)
    near = latlong.directions(height, width) @ dominant_direction(radiance) >= math.cos(math.radians(CONE_DEG))
    return float((light * near).sum() / light.sum())
