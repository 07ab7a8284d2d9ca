"""A finished insertion rendered again, without fitting: other light, objects moved or changed, other quality."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dipir import device
from dipir.errors import ConfigError, nearest
from dipir.event import Event, warnings_in
from dipir.image.tone import ToneCurve
from dipir.insert.config import InsertConfig
from dipir.insert.final import final_picture, final_quality
from dipir.insert.problem import given_light, start_of
from dipir.insert.redistort import geometry_of
from dipir.insert.result import Result, load_result
from dipir.priors.light import LightPrior
from dipir.scene.light import fit_gaussians
from dipir.scene.light_edit import LightEdit, edited
from dipir.scene.plate import PlateColours
from dipir.scene.rig import Rig
from dipir.scene.scene import Scene
from dipir.scene.scene_file import (
    EVERY_PART,
    MaterialOverride,
    SceneFile,
    build_scene,
    load_scene_file,
    object_names,
    settled,
)
from dipir.settings import read

_COLOURS = ("base_color", "emission")


@dataclass(frozen=True)
class Move:
    """Changes to one object; None = as it is."""

    at: tuple[float, float] | None = None
    """Plate pixel of the contact point."""
    height_m: float | None = None
    yaw_deg: float | None = None
    material: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part (or "*") -> values of :class:`MaterialOverride`."""
    unit: str | None = None
    """Unit of its file: m, cm, mm, in, ft."""
    up: str | None = None
    """Axis of its file that points up: x, y, z, -x, -y, -z."""

    @property
    def empty(self) -> bool:
        """Whether it changes nothing."""
        return self == Move()


@dataclass(frozen=True)
class Changes:
    """What is to be different from the result."""

    guess: int = 0
    """1, 2, 3 = the light prior's guess of that number in place of the light."""
    light: Path | None = None
    """A light.json or a latlong .exr or .hdr in place of the light."""
    edit: LightEdit = LightEdit()
    """Done to that light."""
    scene: Path | None = None
    """Another scene file."""
    object: str | None = None
    """The name of the object that ``move`` and ``asset`` are for; None = the only one (for an asset: the first)."""
    move: Move = Move()
    asset: Path | None = None
    """Another mesh in its place."""
    colours: PlateColours = PlateColours()
    """Of the plate's file and what is written; None in it = as the scene says."""
    contrast: float | None = None
    """Of the object's tone curve, in place of the one that it has; see ``ToneCurve.contrast``."""
    size: tuple[int, int] | None = None
    spp: int | None = None
    denoise: bool | None = None
    redistort: bool | None = None
    """Whether the lens is put back, see ``CameraOptions``; None = as it was."""


@device.guarded("Take less with --size or --spp, or use --device cpu.")
def render_again(result_dir: str | Path, changes: Changes = Changes(),
                 on_event: Callable[[Event], None] | None = None) -> tuple[Result, SceneFile]:
    """The result with the changes, and its scene. Its tone curves and fitted materials are kept. DipirError for a
    folder that is no result, or what cannot be changed like that."""
    on_event, folder = on_event or (lambda event: None), Path(result_dir)
    saved = load_result(folder)
    scene_path = changes.scene or folder / "scene.yaml"
    scene_file = changed_scene(load_scene_file(scene_path, whole=changes.scene is None), changes)
    scene = device.moved(build_scene(scene_file, str(scene_path)))
    on_event(Event.about(scene.notes))
    config = read.from_dict(InsertConfig, saved.config, str(folder / "config.yaml"))
    config = replace(config, final=_final(config, scene, changes))
    said: list[str] = []
    light = changed_light(device.moved(saved.light), scene, config, changes, said.append)
    stored = saved.provenance.get("materials", {}) if changes.asset is None and changes.scene is None else {}
    materials = {k: torch.tensor(v, device="cpu") for k, v in stored.items()}
    tone_fg = saved.tone_fg if changes.contrast is None else ToneCurve.contrast(changes.contrast)
    tones = device.moved((tone_fg, saved.tone_shadow))
    picture = final_picture(scene, light, tones, config, on_event, device.moved(materials))
    provenance = {**saved.provenance, "rendered_from": str(result_dir), "device": device.current().record(),
                  "changes": [*saved.provenance.get("changes", []), *described(changes), *said],
                  "notes": list(map(str, scene.notes)), "warnings": warnings_in(scene.notes),
                  "render_notes": [*final_quality(config.final)[2], *said], "geometry": geometry_of(scene)}
    provenance["light"] = {**provenance.get("light", {}), "now": light.describe()}
    result = Result(**vars(picture), light=light, tone_fg=tones[0], tone_shadow=tones[1], config=saved.config,
                    provenance=provenance)
    return device.moved(result, torch.device("cpu")), scene_file


def _final(config: InsertConfig, scene: Scene, changes: Changes) -> Any:
    width, height = scene.plate.size
    size = changes.size
    if size is not None and abs(size[0] / size[1] - width / height) > 0.01 * width / height:
        raise ConfigError(f"--size {size[0]},{size[1]}: the plate is {width}x{height}; give the same aspect, "
                          f"for example {size[0]},{round(size[0] * height / width)}.")
    return replace(config.final, spp=changes.spp or config.final.spp, size=max(size) if size else config.final.size,
                   denoise=config.final.denoise if changes.denoise is None else changes.denoise)


# ---- light -----------------------------------------------------------------------------------------------------------

def changed_light(light: Rig, scene: Scene, config: InsertConfig, changes: Changes,
                  say: Callable[[str], None]) -> Rig:
    """``light`` of a result with the changes; ``say`` hears what was assumed."""
    if changes.guess and changes.light is not None:
        raise ConfigError("--guess and another light were both given; give one of them.")
    if changes.guess:
        light = guessed(scene, config, changes.guess)
    if changes.light is not None:
        light = given_light(scene, changes.light, say)
    return edited(light, changes.edit, say)


def guessed(scene: Scene, config: InsertConfig, guess: int) -> Rig:
    """The light prior's guess of that number at the scene's light, before any fit."""
    settings = replace(config.light, start="prior", guess=guess, commit=True)
    light = start_of(scene, replace(config, light=settings), LightPrior.load())
    return Rig.of(fit_gaussians(light.rest, settings.lobes), light.source)


# ---- objects ---------------------------------------------------------------------------------------------------------

def changed_scene(scene: SceneFile, changes: Changes) -> SceneFile:
    """``scene`` with the changes of its colours, of one object and of its pictures' geometry. ConfigError for an object
    that is not there or a value out of range."""
    given = {key: value for key, value in vars(changes.colours).items() if value is not None}
    scene = settled(replace(scene, colour=replace(scene.colour, **given)))
    if changes.redistort is not None:
        try:
            scene = replace(scene, camera=replace(scene.camera, redistort=changes.redistort))
        except ValueError as problem:
            raise ConfigError(f"command line: {problem}") from problem
    if changes.asset is None and changes.move.empty:
        if changes.object is not None:
            _index(scene, changes)
        return scene
    k = _index(scene, changes)
    spec, move = scene.objects[k], changes.move
    values: dict[str, Any] = {}
    if changes.asset is not None:
        values |= {"asset": Path(changes.asset), "name": None, "material": {}, "unit": None, "up": None,
                   "texture_colourspace": None}
    values |= {key: value for key in ("at", "yaw_deg", "unit", "up") if (value := getattr(move, key)) is not None}
    if move.height_m is not None:
        values |= {"height_m": move.height_m, "scale": None}
    try:
        spec = replace(spec, **values)
        spec = replace(spec, material=_materials(spec.material, move.material))
    except (ValueError, TypeError) as problem:
        raise ConfigError(f"command line: {problem}") from problem
    return replace(scene, objects=(*scene.objects[:k], spec, *scene.objects[k + 1:]))


def _index(scene: SceneFile, changes: Changes) -> int:
    names = object_names(scene.objects)
    if changes.object is not None:
        if changes.object not in names:
            raise ConfigError(f"no object '{changes.object}' in this scene; its objects are: {', '.join(names)}."
                              f"{nearest(changes.object, names)}")
        return names.index(changes.object)
    if len(names) > 1 and not changes.move.empty:
        raise ConfigError(f"the scene has {len(names)} objects; say which one to change with --object NAME: "
                          f"{', '.join(names)}.")
    return 0


def _materials(old: Mapping[str, MaterialOverride],
               new: Mapping[str, Mapping[str, Any]]) -> dict[str, MaterialOverride]:
    made = dict(old)
    for part, values in new.items():
        made[part] = replace(made.get(part, MaterialOverride()), **values)
    return made


def material_of(text: str) -> tuple[str, str, Any]:
    """``[PART.]KEY=VALUE`` -> (part, key, value): ``roughness=0.2``, ``Wood.base_color=0.8,0.5,0.3``. ConfigError for
    anything else."""
    name, equals, value = text.partition("=")
    part, _, key = name.rpartition(".")
    keys = ("base_color", "roughness", "metallic", "transmission", "emission", "opacity")
    try:
        numbers = tuple(float(word) for word in value.split(","))
    except ValueError:
        numbers = ()
    if not equals or key not in keys or len(numbers) != (3 if key in _COLOURS else 1):
        raise ConfigError(f"material '{text}'; accepted is KEY=VALUE or PART.KEY=VALUE with {', '.join(keys)}; colours "
                          f"as R,G,B in linear light, for instance roughness=0.2 or base_color=0.8,0.5,0.3."
                          f"{nearest(key, keys)}")
    return part or EVERY_PART, key, numbers if key in _COLOURS else numbers[0]


def described(changes: Changes) -> list[str]:
    """The changes for a result's provenance, a line each."""
    lines = [f"light: guess {changes.guess} of the light prior"] if changes.guess else []
    lines += [f"light: {Path(changes.light).name}"] if changes.light is not None else []
    lines += [] if changes.edit.empty else [f"light: {_shown(changes.edit)}"]
    lines += [f"scene: {Path(changes.scene).name}"] if changes.scene is not None else []
    lines += [f"asset: {Path(changes.asset).name}"] if changes.asset is not None else []
    lines += [f"{key}: {value}" for key, value in vars(changes.colours).items() if value is not None]
    lines += [] if changes.move.empty else [f"{changes.object or 'object'}: {_shown(changes.move)}"]
    lines += [f"{key}: {getattr(changes, key)}" for key in ("contrast", "size", "spp", "denoise", "redistort")
              if getattr(changes, key) is not None]
    return lines


def _shown(edit: Any) -> str:
    """The fields that were given."""
    given = {key: value for key, value in vars(edit).items() if value not in (None, (), {}, 0.0)}
    return ", ".join(f"{key} {_plain(value)}" for key, value in given.items())


def _plain(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "[" + ", ".join(f"{v:.3g}" for v in value.tolist()) + "]"
    if hasattr(value, "__dataclass_fields__"):
        return "(" + ", ".join(f"{k} {_plain(v)}" for k, v in vars(value).items() if v is not None) + ")"
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
