"""What the three-sphere benchmark compares: plates with the methods' maps beside the true one, or two folders."""
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.spheres.metrics import HEIGHT, WIDTH, protocol_map
from dipir.arrays import EnvMap, Image, split_seed
from dipir.errors import ConfigError, nearest

METHODS = ("ambient", "projected", "light-prior", "soft", "oracle-sg", "truth")
SPLIT = "val,val_more"
PLATE, FOV_DEG, MEDIAN = (720, 480), 60.0, 0.5
PLATE_ROWS = 96  # Of the small plates in the contact sheet.


@dataclass(frozen=True)
class Case:
    """One view of one environment."""

    environment: str
    view: int
    yaw_deg: float
    maps: dict[str, EnvMap]  # method -> toned map (128, 256, 3), "truth" among them
    plate: Tensor = field(default_factory=lambda: torch.zeros(PLATE_ROWS, PLATE_ROWS * 3 // 2, 3, dtype=torch.uint8))
    """(96, 144, 3) bytes for the contact sheet, black where folders are compared."""
    rows: dict[str, dict] = field(default_factory=dict)  # method -> material -> metric -> value
    balls: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    """(method, material) -> (96, 96, 3) bytes; filled by ``judge``."""


# ---------------------------------------------------------------------------------------------------------- the cases
def panorama_files(folder: Path, split: str) -> list[Path]:
    """The .hdr and .exr files of ``folder``, sorted; of parts (their names, with commas) of the ``splits.json`` beside
    the folder unless ``split`` is "all". ConfigError when there are none, or no such part."""
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".hdr", ".exr"))
    if split != "all":
        listed = folder.parent / "splits.json"
        if not listed.is_file():
            raise ConfigError(f"--split {split}: there is no {listed} that says which environments belong to it; "
                              "use --split all, or set DIPIR_DATA to a folder that has one.")
        parts = json.loads(listed.read_text())["hdri"]
        wanted = [w.strip() for w in split.split(",")]
        for name in wanted:
            if name not in parts:
                raise ConfigError(f"--split {split}: accepted are all, or {', '.join(parts)}, several with commas."
                                  f"{nearest(name, parts)}")
        names = {file for name in wanted for file in parts[name]}
        files = [p for p in files if p.name in names]
    if not files:
        raise ConfigError(f"{folder}: no panoramas (.hdr or .exr, width = 2 x height) of split '{split}'; "
                          "name a folder that has some with --environments.")
    return files


def make_scene(panorama: EnvMap, yaw_deg: float):
    """(scene without objects, true map (H, W, 3), plate white = 1) of a level camera after the surroundings have been
    turned by ``yaw_deg``; the camera looks to +Z."""
    from benchmarks.insert.cases import photographed
    from dipir.image import latlong
    from dipir.image.color import luminance, srgb_to_linear
    from dipir.scene.camera import Camera
    from dipir.scene.scene import Scene
    from dipir.workshop.crops import perspective_crop

    turned = latlong.rotate_yaw(panorama, yaw_deg)
    view = Camera.looking(*PLATE, FOV_DEG)
    crop = perspective_crop(turned, view)
    middle = luminance(crop[None]).median().clamp_min(1e-8)
    gain = float(srgb_to_linear(torch.tensor(MEDIAN)) / middle)
    return Scene(photographed(crop * gain), view, ()), turned * gain


def estimates(scene, methods: Sequence[str]) -> dict[str, EnvMap]:
    """Method -> what it believes to be the light, radiance, any size; those of ``methods`` that see the plate alone."""
    from dipir.priors.plate_light import light_of_plate

    start = {"ambient": "ambient", "projected": "mirrored", "soft": "prior"}
    maps = {m: light_of_plate(scene, start[m]).start for m in methods if m in start}
    if "light-prior" in methods:
        maps["light-prior"] = whole(light_of_plate(scene, "prior", commit=True))
    return maps


def whole(light) -> EnvMap:
    """A ``PlateLight`` with its source, if it has one, as sharp as the protocol's maps can hold it; any size."""
    from dipir.scene.light import EnvironmentMap

    if light.source is None:
        return light.start
    return EnvironmentMap(light.rest).envmap(HEIGHT, WIDTH) + light.source.lobe().envmap(HEIGHT, WIDTH)


def fitted_lobes(panorama: EnvMap) -> EnvMap:
    """(256, 512, 3): a sun, if there is one, and spherical Gaussians, as many as `dipir insert` has by default, fitted
    to a panorama."""
    from benchmarks.insert.methods import oracle
    from dipir.insert.config import load_config
    from dipir.scene.light import EnvironmentMap

    return oracle(EnvironmentMap(panorama).envmap(256, 512), load_config().light.lobes).envmap(256, 512)


def view_cases(files: Sequence[Path], views: int, methods: Sequence[str], seed: int) -> Iterator[Case]:
    """Every view of every environment; the yaws depend on seed, file name and number of the view alone. The lobes of
    ``oracle-sg`` are fitted once to an environment and turned with it."""
    from dipir.image import latlong
    from dipir.image.files import read_envmap

    for path in files:
        panorama = read_envmap(path)
        lobes = fitted_lobes(panorama) if "oracle-sg" in methods else None
        for view in range(views):
            yaw_deg = float(np.random.default_rng(split_seed(seed, "spheres", path.name, view)).uniform(0, 360))
            scene, true = make_scene(panorama, yaw_deg)
            maps = estimates(scene, methods) | {"truth": true}
            if lobes is not None:
                maps["oracle-sg"] = latlong.rotate_yaw(lobes, yaw_deg)
            toned = {m: protocol_map(e) for m, e in maps.items()}
            yield Case(path.stem, view, yaw_deg, toned, _small(scene.plate.disp))


def _small(disp: Image) -> Tensor:
    size = (PLATE_ROWS, PLATE_ROWS * 3 // 2)
    small = torch.nn.functional.interpolate(disp, size, mode="bilinear", antialias=True)
    return (small[0].permute(1, 2, 0) * 255).round().byte()


def folder_cases(predicted: Path, true: Path) -> Iterator[Case]:
    """One case for each panorama in ``predicted``, with the one of the same name, whatever its ending, in ``true``.
    ConfigError when one is missing."""
    from dipir.image.files import read_envmap

    truths = {p.stem: p for p in panorama_files(true, "all")}
    files = panorama_files(predicted, "all")
    missing = [p.name for p in files if p.stem not in truths]
    if missing:
        raise ConfigError(f"{true}: {len(missing)} of {len(files)} predicted panoramas have no true one of the same "
                          f"name, {missing[0]} first. Name both alike (.hdr and .exr may be mixed).")
    for path in files:
        yield Case(path.stem, 0, 0.0, {"predicted": protocol_map(read_envmap(path)),
                                       "truth": protocol_map(read_envmap(truths[path.stem]))})
