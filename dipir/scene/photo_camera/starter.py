"""``dipir init``: a first scene file for a photo and an asset, and the grid picture by which to judge its camera."""
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from dipir import disk
from dipir.errors import DipirError, SceneError
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.names import prompt_of
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraEstimate, CameraOptions, grid_heading_deg, see
from dipir.scene.photo_camera.grid import Marker, draw_grid
from dipir.scene.photo_camera.placement import Placement, PlacementOptions, suggest_placement
from dipir.scene.plate import PlateColours, read_plate
from dipir.scene.proxy import Proxy, place
from dipir.scene.scene import Scene
from dipir.scene.scene_file import (
    BUILT_IN_CONFIG,
    SceneFile,
    load_object,
    load_proxy,
    object_names,
    relative_path,
    texture_space,
)

# ---- a scene that is not there yet -----------------------------------------------------------------------------------

def init_scene(photo: str | Path, asset: str | Path, out: str | Path, options: CameraOptions = CameraOptions(), *,
               overwrite: bool = False, placement: PlacementOptions = PlacementOptions(), prompt: str | None = None,
               check: Callable[[Sequence[str]], None] | None = None, colours: PlateColours = PlateColours(),
               textures: str | None = None) -> tuple[Path, tuple[str, ...]]:
    """Write the scene file ``out`` and beside it ``<name>.grid.png``; returns the path of the scene file and remarks
    about what was guessed.

    The camera is estimated (numbers in ``options`` are kept); the contact point lies on visible ground, where an object
    of the asset's own size, when that is plausible, is well seen (what ``placement`` has is kept). The prompt is made
    from the asset's name unless it is given. ``check`` : hears the remarks before anything is written, and may raise.
    ``colours`` and ``textures`` (a colour space) are written into the file as they are.
    Raises a ``DipirError`` for an unreadable photo or asset, no visible ground, or a file that exists already and may
    not be written over.
    """
    from dipir.image.files import write_png

    out = scene_path(out)
    if out.exists() and not overwrite:
        raise SceneError(f"{out}: exists already; choose another name with --out, write over it with --force, or draw "
                         "its grid again with --grid-only.")
    loaded = load_asset(asset, placement.unit, placement.up, texture_space(textures, colours.ocio))
    plate, estimate = see(read_plate(photo, colours), options)
    found = suggest_placement(loaded, estimate.camera, placement)
    made, origin = prompt_of(loaded) if prompt is None else (prompt, "")
    placed = place(loaded, estimate.camera, found.at, height_m=found.height_m, scale=found.scale, yaw_deg=found.yaw_deg,
                   name=loaded.path.stem)
    given = Scene(plate, estimate.camera, (placed,))
    notes = tuple(filter(None, (*given.notes, *estimate.notes, origin and f"{origin} ({made})", found.note)))
    if check is not None:
        check(notes)
    lines = camera_text(estimate, options, out.parent) + colour_text(colours, out.parent)
    text = scene_text(Path(photo), out, made, lines,
                      object_text(Path(asset), found, out.parent, placement, textures))
    heading = grid_heading_deg(plate, estimate)
    write_png(grid_path(out), draw_grid(plate, estimate.camera, heading, [Marker.of(placed)]))
    disk.write_text(out, text)
    return out, notes


def scene_path(out: str | Path) -> Path:
    """``out`` with the suffix of a scene file."""
    out = Path(out)
    return out if out.suffix.lower() in (".yaml", ".yml") else out.with_name(out.name + ".yaml")


def grid_path(scene: Path) -> Path:
    """Where the grid picture of a scene file lies."""
    return scene.with_suffix(".grid.png")


# ---- a scene that is there -------------------------------------------------------------------------------------------

def redraw_grid(scene_file: SceneFile, grid: str | Path) -> tuple[Camera, tuple[str, ...]]:
    """Draw the ground grid and the objects of a scene anew; writes ``grid`` and nothing else. Returns the camera and
    remarks. An object that cannot stand where the scene puts it (under a camera that is only tried, say) has no marker,
    which is said. Raises a ``DipirError`` for a plate, camera or proxy that cannot be used."""
    from dipir.image.files import write_png

    plate, estimate = see(read_plate(scene_file.plate, scene_file.colour), scene_file.camera)
    proxy = load_proxy(scene_file.proxy)
    markers, notes = objects_markers(scene_file, estimate.camera, proxy)
    write_png(grid, draw_grid(plate, estimate.camera, grid_heading_deg(plate, estimate), markers))
    return estimate.camera, (*plate.notes, *estimate.notes, *notes)


def objects_markers(scene_file: SceneFile, camera: Camera, proxy: Proxy) -> tuple[list[Marker], list[str]]:
    """(a marker for every object that stands in view, why the others do not)."""
    markers, notes = [], []
    for spec, name in zip(scene_file.objects, object_names(scene_file.objects), strict=True):
        try:
            placed = place(load_object(spec, scene_file.colour.ocio), camera, spec.at, height_m=spec.height_m,
                           scale=spec.scale, yaw_deg=spec.yaw_deg, proxy=proxy, name=name)
            markers.append(Marker.of(placed))
        except DipirError as problem:
            notes.append(f"{name} is not marked: {problem}")
    return markers, notes


# ---- the text of a scene file ----------------------------------------------------------------------------------------

def scene_text(photo: Path, out: Path, prompt: str, camera_lines: str, object_lines: str) -> str:
    """The YAML text of a first scene file, every field explained."""
    return f"""\
# Scene for dipir; all keys are explained in scenes/README.md. Look at {grid_path(out).name}:
# the grid should lie on the ground, its lines running with the paving, and the horizon at eye level of people far away.
plate: {_file(photo, out.parent)}
prompt: {json.dumps(prompt, ensure_ascii=False)}  # what the picture shows
{camera_lines}objects:
{object_lines}"""


def camera_text(estimate: CameraEstimate, options: CameraOptions, folder: Path) -> str:
    """The lines of the camera."""
    pitch, roll, _ = estimate.camera.angles_deg
    notes = "".join(f"  # {note}\n" for note in estimate.notes)
    if options.file is not None:
        numbers = f"  file: {_file(Path(options.file), folder)}\n"
        given = {k: getattr(options, k) for k in ("fov_deg", "pitch_deg", "roll_deg", "height_m")}
        numbers += "".join(f"  {k}: {v:g}\n" for k, v in given.items() if v is not None)
        numbers += "" if options.up is None else f"  up: {json.dumps(options.up)}   # axis of the file that points up\n"
        numbers += "  redistort: true    # the finished picture fits the photo as it is\n" if options.redistort else ""
    else:
        numbers = (f"  fov_deg: {estimate.camera.fov_x_deg:.2f}      # horizontal field of view; left out: estimated\n"
                   f"  pitch_deg: {pitch:.2f}    # > 0 looks down\n"
                   f"  roll_deg: {roll:.2f}     # > 0 turns the camera clockwise\n"
                   f"  height_m: {estimate.camera.position[1]:g}       # lens above the ground; sets the scale of "
                   "everything\n")
    return f"camera:   # confidence {estimate.confidence:.2f}: {' '.join(estimate.source.split())}\n{notes}{numbers}"


def colour_text(colours: PlateColours, folder: Path) -> str:
    """The lines about colours, where something was said."""
    given = {key: value for key, value in vars(colours).items() if value is not None}
    if "ocio" in given and not given["ocio"].startswith(BUILT_IN_CONFIG):
        given["ocio"] = relative_path(given["ocio"], folder)
    lines = "".join(f"  {key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items())
    return f"colour:\n{lines}" if lines else ""


def object_text(asset: Path, placement: Placement, folder: Path, options: PlacementOptions = PlacementOptions(),
                textures: str | None = None) -> str:
    """The lines of the one object; of ``options`` the unit and the up axis, where they were given."""
    given = (("unit", options.unit), ("up", options.up),
             ("texture_colourspace", textures and json.dumps(textures, ensure_ascii=False)))
    stated = "".join(f"    {key}: {value}\n" for key, value in given if value)
    x, y = placement.at
    size = (f"scale: {placement.scale:g}    # factor on the size of the file; or 'height_m: 0.9', height of the object"
            if placement.height_m is None else
            f"height_m: {placement.height_m:g}    # height of the object; or 'scale: 1' to keep the size of the file")
    return f"""\
  - asset: {_file(asset, folder)}
{stated}    at: [{x:g}, {y:g}]     # pixel where the middle of its foot touches the ground, from the top left corner
    # {placement.note}
    {size}
    yaw_deg: {placement.yaw_deg:g}         # turn about the vertical; 0: its front (+Z) looks at the camera
    # material: {{'*': {{roughness: 0.4}}}}   # changes to the materials of its parts
"""


def _file(file: Path, folder: Path) -> str:
    # JSON strings are YAML strings, whatever the file is called.
    return json.dumps(relative_path(file, folder), ensure_ascii=False)
