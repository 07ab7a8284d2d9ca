"""What a session leaves behind: scene and light files, the command that renders them, downloads."""
from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dipir.errors import ConfigError
from dipir.scene.photo_camera.estimate import CameraOptions
from dipir.scene.plate import PlateColours
from dipir.scene.rig import MAP_NAME
from dipir.scene.scene_file import BUILT_IN_CONFIG, ObjectSpec, ProxySpec, SceneFile, write_scene_file
from dipir.studio.document.state import AMBIENT, Document
from dipir.studio.geometry import overrides_of
from dipir.studio.uploads import Refusal, Store

FILES = {"composite.png": "image/png", "composite.exr": "image/x-exr", "composite.dpx": "image/x-dpx",
         "layers.exr": "image/x-exr", "light.exr": "image/x-exr", "light.json": "application/json",
         "scene.yaml": "application/yaml", "report.html": "text/html", "result.zip": "application/zip"}
"""What can be downloaded -> its media type."""
MADE = ("light.json", "scene.yaml", "result.zip")
"""Those that are made when they are asked for."""
_OF_THE_STATE = MADE[:2]
_ZIPPED = ("composite.png", "composite.exr", "composite.dpx", "layers.exr", "light.exr", "report.html", "result.json",
           "config.yaml", "tone.cube", "tone_shadow.cube")
_MATERIALS = re.compile(r"^\s*mtllib\s+(.+?)\s*$|^\s*(?:map_\w+|bump|norm|refl)\s+(?:.*\s)?(\S+)\s*$", re.M)


# ---- files of a document ---------------------------------------------------------------------------------------------

def scene_file_of(document: Document, store: Store) -> SceneFile:
    """The document as a scene file, with paths of this session. ConfigError while there is no photo or no object."""
    if document.plate is None or not document.objects:
        raise ConfigError("there is no scene yet: open a photo and add an object first.")
    objects = tuple(ObjectSpec(store.path(item.asset), item.at, item.height_m, item.scale, item.yaw_deg, item.name,
                               overrides_of(item), item.unit, item.up, item.texture_colourspace)
                    for item in document.objects)
    camera = CameraOptions(**vars(document.camera), file=document.camera_file and store.path(document.camera_file))
    proxy = ProxySpec(document.proxy and store.path(document.proxy))
    return SceneFile(store.path(document.plate), objects, camera, proxy, document.prompt, document.name,
                     colour=document.colour)


def command_words(document: Document, result: Path | None, folder: Path, out: Path) -> list[str]:
    """What follows ``dipir`` to render the scene.yaml and light.json of ``folder`` into ``out``. result : the earlier
    result whose tone curves are kept."""
    scene, light = str(folder / "scene.yaml"), str(folder / "light.json")
    contrast = document.light.contrast if document.light else 0.0
    if result is not None:
        tone = ["--contrast", f"{contrast:g}"] if contrast else []
        return ["render", str(result), "--scene", scene, "--light", light, *tone, "--out", str(out)]
    tone = ["--set", f"tone.contrast={contrast:g}"] if contrast else []
    return ["insert", scene, "--light", light, *tone, "--out", str(out)]


def render_words(base: Sequence[str], size: tuple[int, int] | None, spp: int | None) -> list[str]:
    """The same at another size or quality."""
    if base[0] == "render":
        more = ["--size", f"{size[0]},{size[1]}"] if size else []
        return [*base, *more, *(["--spp", str(spp)] if spp else [])]
    more = ["--set", f"final.size={max(size)}"] if size else []
    return [*base, *more, *(["--set", f"final.spp={spp}"] if spp else [])]


def fit_words(document: Document, folder: Path, out: Path, steps: int) -> list[str]:
    """A fit that begins with the document's light and leaves alone what is held."""
    light = document.light
    held = [f"light.{key}=0" for key in ("rate", "axis_rate") if AMBIENT in light.held]
    held += ["light.source_rate=0"] if light.lamps and light.lamps[0].held else []
    settings = ["guidance.kind=posterior", f"fit.steps={steps}", *held]
    settings += [f"tone.contrast={light.contrast:g}"] if light.contrast else []
    return ["insert", str(folder / "scene.yaml"), "--light", str(folder / "light.json"), "--out", str(out),
            *(word for setting in settings for word in ("--set", setting))]


def command_text(words: Sequence[str]) -> str:
    """For a shell."""
    return shlex.join(["dipir", *words]) + "\n"


# ---- downloads -------------------------------------------------------------------------------------------------------

def find(name: str, now: Path, newest: Path | None) -> Path:
    """The file to download: of the newest final render, or of the state as it is (``now``). Refusal for others."""
    if name not in FILES:
        raise Refusal(f"there is no file '{name[:60]}' to download; accepted are {', '.join(FILES)}.", 404)
    folder = now if name in _OF_THE_STATE else newest
    path = None if folder is None else folder / name
    if path is None or not path.is_file():
        raise Refusal(f"{name} is not there yet: make a final render first." if newest is None else
                      f"the newest final render has no {name}.", 404)
    return path


def write_zip(target: Path, document: Document, store: Store, now: Path, newest: Path | None) -> None:
    """Everything that another machine needs: scene.yaml with plate and assets beside it, light.json, what the newest
    final render made, and README with the command."""
    scene = scene_file_of(document, store)
    folder = target.parent / "zip"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    # ---- under names that people know ----
    taken: dict[str, Path] = {}

    def put(path: Path, name: str) -> Path:
        base = re.sub(r"[^\w.-]+", "_", Path(name).stem).strip("._") or "file"
        chosen, count = base + path.suffix.lower(), 2
        while taken.get(chosen, path) != path:
            chosen, count = f"{base}_{count}{path.suffix.lower()}", count + 1
        taken[chosen] = path
        for other in (path, *beside(path)):
            where = folder / (chosen if other == path else other.relative_to(path.parent))
            where.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other, where)
        return folder / chosen

    def named(id: str | None) -> Path | None:
        return None if id is None else put(store.path(id), store.files[id].name)

    objects = tuple(ObjectSpec(**{**vars(spec), "asset": named(item.asset)})
                    for spec, item in zip(scene.objects, document.objects, strict=True))
    camera = CameraOptions(**{**vars(scene.camera), "file": named(document.camera_file)})
    plate, proxy = named(document.plate), ProxySpec(named(document.proxy))
    # ---- beside what was made of them ----
    colour, config = _without_config(scene.colour)
    made = SceneFile(plate, objects, camera, proxy, scene.prompt, scene.name, colour=colour)
    write_scene_file(made, folder / "scene.yaml")
    for source, names in ((now, ("light.json", MAP_NAME)), (newest, _ZIPPED)):
        for name in names:
            if source is not None and (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    (folder / "README.txt").write_text(
        "A scene of dipir studio. In this folder:\n\n    dipir insert scene.yaml --light light.json --out out"
        + (f" --set tone.contrast={document.light.contrast:g}" if document.light and document.light.contrast else "")
        + f"\n{config}", encoding="utf-8")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder, ignore_errors=True)


def _without_config(colours: PlateColours) -> tuple[PlateColours, str]:
    """Without an OpenColorIO config that is a file: it stays where it is, with its LUTs, and a line says so."""
    if colours.ocio is None or colours.ocio.startswith(BUILT_IN_CONFIG):
        return colours, ""
    return replace(colours, ocio=None), (f"\nIts colour spaces are those of the OpenColorIO config "
                                         f"{Path(colours.ocio).name}: add --ocio with your copy of it.\n")


def beside(path: Path) -> list[Path]:
    """Files that a mesh refers to, which lie in its folder or below: of an OBJ its materials and their textures, of a
    .gltf its buffers and images."""
    names: list[str] = []
    try:
        if path.suffix.lower() == ".gltf":
            tree = json.loads(path.read_text(encoding="utf-8"))
            names = [str(entry.get("uri", "")) for key in ("buffers", "images") for entry in tree.get(key, [])]
        elif path.suffix.lower() == ".obj":
            names = _named_in(path)
            names += [n for name in names if name.lower().endswith(".mtl") and (path.parent / name).is_file()
                      for n in _named_in(path.parent / name)]
    except (OSError, ValueError, AttributeError):
        return []
    found = [(path.parent / name.replace("\\", "/")) for name in names if name and not name.startswith("data:")]
    return [file for file in dict.fromkeys(found)
            if file.resolve().is_relative_to(path.resolve().parent) and file.is_file()]


def _named_in(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [one or other for one, other in _MATERIALS.findall(text)]
