"""Scene files: ``scenes/*.yaml`` -> ``Scene``, every problem reported at once. Keys: ``scenes/README.md``."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dipir.disk import is_file, path_of, path_text
from dipir.errors import DipirError, SceneError, nearest, printable, raise_all
from dipir.event import warn
from dipir.image.formats.spaces import ColourSpace
from dipir.scene.assets.asset import ROUGHNESS_MIN, UNITS, UP_AXES, Asset, Material, Part
from dipir.scene.assets.mesh import rest_together
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraEstimate, CameraOptions, see
from dipir.scene.plate import Plate, PlateColours, read_plate
from dipir.scene.proxy import PlacedAsset, Proxy, place
from dipir.scene.scene import Scene
from dipir.settings import read
from dipir.settings.yaml import dump_yaml, load_yaml, to_dict

EVERY_PART = "*"
MOST_OBJECTS = 1000
BUILT_IN_CONFIG = "ocio://"
"""How names of OpenColorIO configs begin that are no files."""


# ---- the file as written ---------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class MaterialOverride:
    """What to change of a part's material; None = as in the asset. Colours linear BT.709, emission in plate whites."""

    base_color: tuple[float, float, float] | None = None
    roughness: float | None = None
    metallic: float | None = None
    transmission: float | None = None
    emission: tuple[float, float, float] | None = None
    opacity: float | None = None

    def __post_init__(self) -> None:
        shares = ("base_color", "roughness", "metallic", "transmission", "opacity")
        bad = [f"{name} must lie in 0 to 1, got {value}." for name in shares
               if (value := getattr(self, name)) is not None
               and not all(0 <= v <= 1 for v in (value if isinstance(value, tuple) else (value,)))]
        if self.emission is not None and not all(0 <= v < float("inf") for v in self.emission):
            bad.append(f"emission must be 0 or more, got {self.emission}.")
        if bad:
            raise ValueError(" ".join(bad))


@dataclass(frozen=True)
class ObjectSpec:
    """One object: asset file, contact pixel (x, y), height in metres or scale, yaw in degrees, material overrides; unit
    and up axis of the file where it does not state them (or states them wrongly), colour space of its textures."""

    asset: Path
    at: tuple[float, float]
    height_m: float | None = None
    scale: float | None = None
    yaw_deg: float = 0.0
    name: str | None = None
    material: dict[str, MaterialOverride] = field(default_factory=dict)
    unit: str | None = None
    up: str | None = None
    texture_colourspace: str | None = None  # of its base colour and emission; None = sRGB

    def __post_init__(self) -> None:
        bad = [f"{name} '{value}' is unknown; accepted are {', '.join(valid)}.{nearest(value, valid)}"
               for name, value, valid in (("unit", self.unit, UNITS), ("up", self.up, UP_AXES))
               if value is not None and value not in valid]
        bad += [f"{name} must be a positive number, got {getattr(self, name):g}." for name in ("height_m", "scale")
               if getattr(self, name) is not None and not 0 < getattr(self, name) < float("inf")]
        if self.height_m is not None and self.scale is not None:
            bad.append("height_m and scale were both given; give one of them.")
        if bad:
            raise ValueError(" ".join(bad))


@dataclass(frozen=True)
class ProxySpec:
    """What catches the shadows."""

    mesh: Path | None = None  # catcher mesh file in world space, metres, +Y up; None = the ground plane y = 0


@dataclass(frozen=True)
class SceneFile:
    """A scene file. After :func:`load_scene_file` its paths no longer depend on the current folder's file."""

    plate: Path
    objects: tuple[ObjectSpec, ...]
    camera: CameraOptions = CameraOptions()
    proxy: ProxySpec = ProxySpec()
    prompt: str = ""
    name: str = "scene"
    light: Path | None = None  # the true light (HDR or EXR, latlong) where it is known; only benchmarks read it
    colour: PlateColours = PlateColours()

    def __post_init__(self) -> None:
        if not self.objects:
            raise ValueError("objects: at least one object is needed, each with asset and at.")


def settled(scene: SceneFile) -> SceneFile:
    """The scene with the OpenColorIO config that it uses, if any, so that the same is used when it is read again."""
    names = (scene.colour.colourspace, scene.colour.output_colourspace, *(o.texture_colourspace for o in scene.objects))
    if scene.colour.ocio is not None or not any(names):
        return scene
    # Imported here: most scenes need no config.
    from dipir.image.formats.ocio import config_name

    return replace(scene, colour=replace(scene.colour, ocio=config_name(None)))


# ---- reading and writing ---------------------------------------------------------------------------------------------

def load_scene_file(path: str | Path, whole: bool = False) -> SceneFile:
    """Read a scene file; relative paths become relative to its folder. Raises :class:`SceneError` with every unknown
    key, wrong value and missing file, and ``ConfigError`` when the file is no YAML mapping or, with ``whole``, was
    cut short (:func:`dipir.settings.read.load_yaml`)."""
    path = Path(path)
    data = load_yaml(path, whole)
    objects = data.get("objects")
    if isinstance(objects, list) and len(objects) > MOST_OBJECTS:
        raise SceneError(f"{path}: has {len(objects)} objects; at most {MOST_OBJECTS} are accepted. Leave some out.")
    data = _located({"name": path.stem, **data}, path.parent)
    scene_file, problems = read.check(SceneFile, data)
    problems += [f"{key}: no such file: {file}." for key, file in _files(data)
                 if isinstance(file, (str, Path)) and not is_file(Path(file))]
    raise_all(SceneError, str(path), problems)
    return scene_file


def write_scene_file(scene_file: SceneFile, path: str | Path) -> None:
    """Write a scene file, atomically, with paths relative to its folder. :func:`load_scene_file` reads it back."""
    path = Path(path)
    data = _without_none(to_dict(scene_file))
    for owner, key in _file_keys(data):
        owner[key] = relative_path(owner[key], path.parent)
    dump_yaml(data, path)


def relative_path(file: str | Path, folder: Path) -> str:
    """``file`` as written in a scene file that lies in ``folder``, with forward slashes."""
    try:
        return path_text(Path(os.path.relpath(file, folder)).as_posix())
    except ValueError:  # Another drive on Windows.
        return path_text(Path(file).resolve().as_posix())


def _file_keys(data: Mapping[str, Any]) -> list[tuple[dict, str]]:
    """(mapping, key) of every path in a raw scene mapping, whatever else is wrong with it."""
    objects = data.get("objects")
    owners = [(data, "plate"), (data, "light"), (data.get("camera"), "file"), (data.get("proxy"), "mesh"),
              (data.get("colour"), "ocio"), *((o, "asset") for o in (objects if isinstance(objects, list) else []))]
    return [(owner, key) for owner, key in owners
            if isinstance(owner, dict) and isinstance(owner.get(key), (str, Path)) and str(owner[key]).strip()
            and not str(owner[key]).startswith(BUILT_IN_CONFIG)]


def _located(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of the raw mapping with its paths joined to ``folder``."""
    data = _copy(data)
    for owner, key in _file_keys(data):
        path = folder / path_of(os.path.expanduser(owner[key]))
        owner[key] = str(path) if key == "ocio" else path
    return data


def _copy(data: dict[str, Any]) -> dict[str, Any]:
    # Only the levels that hold paths: YAML aliases may make the rest as deep as they like.
    data = {k: dict(v) if k in ("camera", "proxy", "colour") and isinstance(v, dict) else v for k, v in data.items()}
    if isinstance(data.get("objects"), list):
        data["objects"] = [dict(o) if isinstance(o, dict) else o for o in data["objects"]]
    return data


def _files(data: dict[str, Any]) -> list[tuple[str, Path]]:
    places = {id(data): "", **{id(data.get(key)): f"{key}." for key in ("camera", "proxy", "colour")}}
    if isinstance(data.get("objects"), list):
        places |= {id(o): f"objects[{i}]." for i, o in enumerate(data["objects"])}
    return [(places[id(owner)] + key, owner[key]) for owner, key in _file_keys(data)]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None and v != {}}
    return [_without_none(v) for v in value] if isinstance(value, list) else value


# ---- file -> scene ---------------------------------------------------------------------------------------------------

def load_scene(path: str | Path) -> Scene:
    """The scene of a scene file. Raises a ``DipirError`` that lists every problem found."""
    return build_scene(load_scene_file(path), str(path))


def build_scene(scene_file: SceneFile, where: str = "scene", seen: tuple[Plate, CameraEstimate] | None = None
                ) -> Scene:
    """Read the plate and settle the camera (or take what :func:`see` gave for them), load and place every object.

    Raises the ``DipirError`` of the plate or the camera; problems of the objects are collected in one
    :class:`SceneError` that starts with ``where``.
    """
    plate, estimate = seen or see(read_plate(scene_file.plate, scene_file.colour), scene_file.camera)
    camera = estimate.camera
    problems: list[str] = []
    proxy = Proxy()
    try:
        proxy = load_proxy(scene_file.proxy)
    except DipirError as error:
        problems.append(f"proxy: {error}")
    names = object_names(scene_file.objects)
    placed = [_place_object(spec, scene_file.colour.ocio, (name, camera, proxy), f"objects[{i}]", problems)
              for i, (spec, name) in enumerate(zip(scene_file.objects, names, strict=True))]
    raise_all(SceneError, where, problems)
    return Scene(plate, camera, tuple(placed), proxy, scene_file.prompt, scene_file.name,
                 scene_file.camera.redistort)


def load_proxy(spec: ProxySpec) -> Proxy:
    """The proxy of a spec: the ground plane, or a mesh in world space as it stands in the file."""
    from dipir.scene.assets.proxy_mesh import read_proxy_mesh

    return Proxy() if spec.mesh is None else Proxy(read_proxy_mesh(spec.mesh))


def object_names(specs: tuple[ObjectSpec, ...]) -> list[str]:
    """A name for every object, unique: its own, else its file's, with a number where one occurs again."""
    names: list[str] = []
    for spec in specs:
        base = name = spec.name or spec.asset.stem
        count = 2
        while name in names:
            name, count = f"{base}_{count}", count + 1
        names.append(name)
    return names


def load_object(spec: ObjectSpec, ocio: str | None = None) -> Asset:
    """The asset of an object, its textures in the space that the object states, by the config ``ocio``. AssetError or
    ConfigError when it cannot be used."""
    from dipir.scene.assets.load import load_asset

    return load_asset(spec.asset, spec.unit, spec.up, texture_space(spec.texture_colourspace, ocio))


def texture_space(name: str | None, ocio: str | None) -> ColourSpace | None:
    """The colour space of textures by its name; None = sRGB. ConfigError for an unknown one."""
    if name is None:
        return None
    # Imported here: most textures need no config.
    from dipir.image.formats.ocio import find_space

    return find_space(name, ocio)


def _place_object(spec: ObjectSpec, ocio: str | None, at: tuple[str, Camera, Proxy], where: str,
                  problems: list[str]) -> PlacedAsset | None:
    """``at`` : its name, and the camera and the proxy by which it is placed"""
    name, camera, proxy = at
    try:
        asset = load_object(spec, ocio)
    except DipirError as error:
        problems.append(f"{where}.asset: {error}")
        return None
    unknown = [part for part in spec.material if part != EVERY_PART and part not in {p.name for p in asset.parts}]
    parts = [p.name for p in asset.parts]
    problems += [f"{where}.material: the asset has no part '{part}'.{nearest(part, parts)} Its "
                 f"parts: {', '.join(parts[:20])}; '{EVERY_PART}' means every part." for part in unknown]
    try:
        return place(override_materials(asset, spec.material), camera, spec.at, height_m=spec.height_m,
                     scale=spec.scale, yaw_deg=spec.yaw_deg, proxy=proxy, name=name)
    except SceneError as error:
        problems.append(f"{where}: {error}")
        return None


def override_materials(asset: Asset, overrides: Mapping[str, MaterialOverride]) -> Asset:
    """The asset with the overrides of its parts applied; those of '*' first, the part's own after them. Parts that they
    make invisible are left out, so that they decide neither size nor foot; where nothing else is left, all stay. Either
    is said in its notes."""
    def changed(part: Part) -> Part:
        material, colors = part.material, part.colors
        for key in (EVERY_PART, part.name):
            if key in overrides:
                material = override_material(material, overrides[key])
                colors = colors if overrides[key].base_color is None else None
        return replace(part, material=material, colors=colors)

    if not overrides:
        return asset
    parts = tuple(changed(part) for part in asset.parts)
    hidden, left = ([p for p in parts if p.material.invisible is gone] for gone in (True, False))
    if not hidden:
        return replace(asset, parts=parts)
    names = printable(", ".join(f"'{part.name}'" for part in hidden), 300)
    if not left:
        note = warn(f"nothing of it can be seen by its materials in the scene (opacity 0): {names}.")
        return replace(asset, parts=parts, notes=(*asset.notes, note))
    note = f"invisible by its material in the scene (opacity 0) and left out: {names}."
    return replace(asset, parts=rest_together(left), notes=(*asset.notes, note))


def override_material(material: Material, change: MaterialOverride) -> Material:
    """The material with the given values; a value replaces the texture of its name too. Roughness is at least 0.05,
    the renderer's limit."""
    values: dict[str, Any] = {}
    for name in ("base_color", "roughness", "metallic", "emission", "opacity"):
        value = getattr(change, name)
        if value is not None:
            values |= {name: max(value, ROUGHNESS_MIN) if name == "roughness" else value, f"{name}_texture": None}
    if change.transmission is not None:
        values["transmission"] = change.transmission
    return replace(material, **values)
