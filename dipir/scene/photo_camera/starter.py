"""``dipir init``: a first scene file for a photo and an asset, and the grid picture by which to judge its camera."""
from __future__ import annotations

import json
import math
from pathlib import Path

from dipir import disk
from dipir.errors import SceneError
from dipir.scene.assets.asset import Asset
from dipir.scene.assets.load import load_asset
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraEstimate, CameraOptions, resolve_camera
from dipir.scene.photo_camera.grid import draw_grid
from dipir.scene.plate import read_plate
from dipir.scene.proxy import contact_point, place
from dipir.scene.scene_file import relative_path

WANTED_SHARE = 0.3                # A first placement shows the object at about this share of the picture's height.
PLAUSIBLE_M = (0.02, 2.5)         # Assets outside of these heights are mostly in other units.
TYPICAL_M = 1.0                   # Height where only far ground is seen, and a fitted height would make a giant.


def init_scene(photo: str | Path, asset: str | Path, out: str | Path, options: CameraOptions = CameraOptions(),
               overwrite: bool = False) -> Path:
    """Write the scene file ``out`` and beside it ``<name>.grid.png``; returns the path of the scene file.

    The camera is estimated (numbers in ``options`` are kept); the contact point lies on visible ground, where an object
    of the asset's own height, when that is plausible, is well seen. Raises a ``DipirError`` for an unreadable photo or
    asset, no visible ground, or a file that exists already.
    """
    from dipir.image.files import write_png

    out = Path(out)
    out = out if out.suffix.lower() in (".yaml", ".yml") else out.with_name(out.name + ".yaml")
    if out.exists() and not overwrite:
        raise SceneError(f"{out}: exists already; choose another name or delete it first.")
    plate, loaded = read_plate(photo), load_asset(asset)
    estimate = resolve_camera(plate, options)
    at, height = suggest_placement(loaded, estimate.camera)
    text = scene_text(Path(photo), Path(asset), out, estimate, (at, height), options)
    grid = out.with_suffix(".grid.png")
    write_png(grid, draw_grid(plate, estimate.camera, estimate.heading_deg))
    disk.write_text(out, text)
    return out


def suggest_placement(asset: Asset, camera: Camera) -> tuple[tuple[int, int], float]:
    """(contact pixel, height in metres) on visible ground, near the middle, at a good size in the picture.

    Raises :class:`SceneError` when the picture shows no ground or the asset fits nowhere.
    """
    x = camera.width // 2
    horizon = camera.horizon_y(x)
    top = max(0.0, horizon) if math.isfinite(horizon) else 0.0
    if top > 0.97 * camera.height or camera.position[1] <= 0:
        raise SceneError(f"the picture shows no ground: the horizon is taken to lie at y = {horizon:.0f} of "
                         f"{camera.height} pixels. Correct the camera with --pitch (> 0 looks down) or --fov.")
    own = float(asset.bounds[1, 1] - asset.bounds[0, 1])
    rows = [int(top + (camera.height - top) * share) for share in (0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25)]
    choices = []
    for rank, y in enumerate(rows):
        fitted = WANTED_SHARE * camera.height / pixels_per_metre(camera, (x, y))
        heights = [own] if PLAUSIBLE_M[0] <= own <= PLAUSIBLE_M[1] else []
        heights.append(float(f"{fitted:.2g}") if fitted <= PLAUSIBLE_M[1] else TYPICAL_M)
        for height in heights:
            share = height / fitted * WANTED_SHARE
            if 0.02 <= share <= 0.75 and _fits(asset, camera, (x, y), height):
                # A size that shows it first, then the asset's own height, then the row that shows it best (in steps, so
                # that the rounding of a fitted height does not decide), then the row three quarters down.
                misfit = round(3 * abs(math.log(share / WANTED_SHARE)))
                choices.append((share < 0.1, height != own, misfit, abs(rank - 1), y, height))
    if not choices:
        raise SceneError("no place was found where the asset is well seen; write the scene file by hand "
                         "(scenes/README.md) or correct the camera with --pitch and --fov.")
    *_, row, height = min(choices)
    return (x, row), float(f"{height:.3g}")


def pixels_per_metre(camera: Camera, at_px: tuple[float, float]) -> float:
    """Image size, pixels, of one metre at the ground point under ``at_px``, across the view axis."""
    _, depth = camera.project(contact_point(camera, at_px))
    return camera.focal_px / float(depth)


def _fits(asset: Asset, camera: Camera, at_px: tuple[int, int], height: float) -> bool:
    try:
        place(asset, camera, at_px, height_m=height)
    except SceneError:
        return False
    return True


def scene_text(photo: Path, asset: Path, out: Path, estimate: CameraEstimate, placement: tuple[tuple[int, int], float],
               options: CameraOptions) -> str:
    """The YAML text of a first scene file, every field explained."""
    def quoted(file: Path) -> str:
        # JSON strings are YAML strings, whatever the file is called.
        return json.dumps(relative_path(file, out.parent), ensure_ascii=False)

    camera, ((x, y), height) = estimate.camera, placement
    pitch, roll, _ = camera.angles_deg
    subject = asset.stem.replace("_", " ").replace("-", " ")
    notes = "".join(f"  # {note}\n" for note in estimate.notes)
    if options.file is not None:
        numbers = f"  file: {quoted(Path(options.file))}\n"
        given = {k: getattr(options, k) for k in ("fov_deg", "pitch_deg", "roll_deg", "height_m")}
        numbers += "".join(f"  {k}: {v:g}\n" for k, v in given.items() if v is not None)
    else:
        numbers = (f"  fov_deg: {camera.fov_x_deg:.2f}      # horizontal field of view; left out: estimated\n"
                   f"  pitch_deg: {pitch:.2f}    # > 0 looks down\n"
                   f"  roll_deg: {roll:.2f}     # > 0 turns the camera clockwise\n"
                   f"  height_m: {camera.position[1]:g}       # lens above the ground; sets the scale of everything\n")
    return f"""\
# Scene for dipir; all keys are explained in scenes/README.md. Look at {out.with_suffix('.grid.png').name}:
# the grid should lie on the ground, its lines running with the paving, and the horizon at eye level of people far away.
plate: {quoted(photo)}
prompt: {json.dumps(f'a photo of a {subject}', ensure_ascii=False)}  # what the picture shows
camera:   # confidence {estimate.confidence:.2f}: {' '.join(estimate.source.split())}
{notes}{numbers}objects:
  - asset: {quoted(asset)}
    at: [{x}, {y}]     # pixel where the middle of its foot touches the ground, from the top left corner
    height_m: {height:g}    # height of the object; or 'scale: 1' to keep the size of the file
    yaw_deg: 0         # turn about the vertical; 0: its front (+Z) looks at the camera
    # material: {{'*': {{roughness: 0.4}}}}   # changes to the materials of its parts
"""
