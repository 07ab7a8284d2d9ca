"""Mesh files -> :class:`Asset`: one part per primitive, metres, +Y up, resting on y = 0.

Parts are never joined for the sake of it: each keeps its own material and textures.
"""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dipir.errors import AssetError, printable
from dipir.event import Remark, is_warning, warn
from dipir.image.formats.spaces import ColourSpace
from dipir.scene.assets.asset import UNITS, UP_AXES, Asset, Part
from dipir.scene.assets.files import read_asset_file
from dipir.scene.assets.material import textures_in
from dipir.scene.assets.mesh import Piece, face_cross, rest_together, split_corners, unit
from dipir.scene.assets.scan import read_ply, read_stl
from dipir.scene.gltf.read import read_gltf
from dipir.scene.wavefront.obj import read_obj

_MOST_NOTES, _NOTE, _ERROR = 100, 600, 2_000


def load_asset(path: str | Path, unit: str | float | None = None, up_axis: str | None = None,
               textures: ColourSpace | None = None) -> Asset:
    """Mesh file -> :class:`Asset`, one part per primitive, metres, +Y up, resting on y = 0, centred on x and z.

    path : .glb, .gltf, .obj (+ .mtl), .ply or .stl
    unit : 'm', 'cm', 'mm', 'in', 'ft' or metres per file unit; None = metres for glTF, else guessed with a note
    up_axis : 'x', 'y', 'z', '-x', '-y' or '-z'; None = 'y' for glTF and OBJ, 'z' for PLY and STL with a note
    textures : colour space of the textures of base colour and emission; None = sRGB
    Raises AssetError for everything that makes the file unusable, naming the remedy.
    """
    path = Path(path)
    _check_options(unit, up_axis)
    data = read_asset_file(path)
    suffix = path.suffix.lower()
    try:
        reader = {".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj, ".ply": read_ply, ".stl": read_stl}[suffix]
        # Absurd numbers end in an error of ours; numpy need not speak of them.
        with np.errstate(all="ignore"), textures_in(textures):
            raws, notes = reader(path, data)
            return _finished(path, raws, notes, unit, up_axis)
    except AssetError as error:
        raise AssetError(printable(str(error), _ERROR)) from error.__cause__
    # Whatever a reader stumbles over in a broken file is the file's fault, and the user's to mend.
    except Exception as error:
        what = printable(f"{type(error).__name__}: {error}", 200)
        raise AssetError(f"{path}: the mesh cannot be read ({what}); the file is corrupt, truncated or of an unusual "
                         "kind. Export it again, best as .glb.") from error


def _check_options(unit: str | float | None, up_axis: str | None) -> None:
    if isinstance(unit, str) and unit not in UNITS:
        raise AssetError(f"unit '{unit}' is unknown; give one of {', '.join(UNITS)} or metres per unit as a number.")
    if isinstance(unit, (int, float)) and not (np.isfinite(unit) and unit > 0):
        raise AssetError(f"unit {unit} is not a length; give metres per file unit, > 0.")
    if up_axis is not None and up_axis not in UP_AXES:
        raise AssetError(f"up axis '{up_axis}' is unknown; give one of {', '.join(UP_AXES)}.")


# --- checks, units, axes -------------------------------------------------------------------------------------------

def _finished(path: Path, raws: list[Piece], notes: list[str], unit_given: str | float | None, up_axis: str | None
              ) -> Asset:
    raws = [r for r in (_cleaned(path, r, notes) for r in raws) if r is not None]
    if not raws:
        raise AssetError(f"{path}: all faces are degenerate (no area); a surface of triangles is needed.")
    raws = _seen(raws, notes)
    points = np.concatenate([r.vertices for r in raws])
    extent = float(np.ptp(points, axis=0).max())
    if not np.isfinite(extent) or extent <= 0:
        raise AssetError(f"{path}: the mesh has no finite extent; export the asset again.")
    scale, up_axis = _scale_and_up(path, extent, unit_given, up_axis, notes)
    if not 1e-6 < extent * scale < 1e6:
        raise AssetError(f"{path}: the mesh would be {extent * scale:.3g} m large; give its unit with --unit "
                         f"({', '.join(UNITS)}) or unit in a scene file.")
    turn = UP_AXES[up_axis] * scale
    return Asset(rest_together([_part(r, turn, notes) for r in raws]), path, _bounded(notes))


def _bounded(notes: list[str]) -> tuple[str, ...]:
    """The remarks, each once, of a length that can be read; of very many the warnings first."""
    notes = [Remark(printable(note, _NOTE), is_warning(note)) for note in dict.fromkeys(notes)]
    if len(notes) > _MOST_NOTES:
        notes.sort(key=is_warning, reverse=True)
        more = f"{len(notes) - _MOST_NOTES} more remarks were left out."
        notes = [*notes[:_MOST_NOTES], Remark(more, any(map(is_warning, notes[_MOST_NOTES:])))]
    return tuple(notes)


def _seen(raws: list[Piece], notes: list[str]) -> list[Piece]:
    """The parts that can be seen. One that is wholly transparent would decide size and foot unseen; where there is
    nothing else, all are kept. Either is said."""
    hidden = [r for r in raws if r.material.invisible]
    ids = {id(r) for r in hidden}
    seen = [r for r in raws if id(r) not in ids]
    what = "was left out" if seen else "cannot be seen"
    notes += [warn(f"part '{r.name}' (material '{r.material.name}') is wholly transparent (alpha 0) and {what}; raise "
                   "its alpha in the file if it should be seen.") for r in hidden]
    return seen or raws


def _cleaned(path: Path, raw: Piece, notes: list[str]) -> Piece | None:
    """Checked, without degenerate faces and unused vertices (they would falsify the size); None if nothing is left."""
    if len(raw.vertices) == 0 or raw.faces.min() < 0 or raw.faces.max() >= len(raw.vertices):
        raise AssetError(f"{path}: part '{raw.name}' has faces of vertices that do not exist; export it again.")
    if not np.isfinite(raw.vertices[np.unique(raw.faces)]).all():
        raise AssetError(f"{path}: part '{raw.name}' has NaN or infinite vertices; repair the mesh.")
    if raw.needs_uvs and (raw.uvs is None or len(raw.uvs) != len(raw.vertices)):
        raise AssetError(f"{path}: part '{raw.name}' has textures but no UVs; unwrap the mesh or remove the textures.")
    area = np.linalg.norm(face_cross(raw.vertices, raw.faces), axis=1)
    size = max(float(np.ptp(raw.vertices[np.unique(raw.faces)], axis=0).max()), 1e-300)
    keep = area > 1e-14 * size * size
    if not keep.any():
        notes.append(f"part '{raw.name}' has only degenerate faces and was left out.")
        return None
    used, faces = np.unique(raw.faces[keep], return_inverse=True)
    normals, uvs, colors = (None if a is None or len(a) != len(raw.vertices) else np.asarray(a)[used]
                            for a in (raw.normals, raw.uvs, raw.colors))
    if uvs is not None and not np.isfinite(uvs).all():
        if raw.needs_uvs:
            raise AssetError(f"{path}: part '{raw.name}' has NaN or infinite UVs; unwrap it and export it again.")
        uvs = None
    return replace(raw, vertices=raw.vertices[used], faces=faces.reshape(-1, 3), normals=normals, uvs=uvs,
                   colors=colors)


def _part(raw: Piece, turn: np.ndarray, notes: list[str]) -> Part:
    vertices, faces, uvs, colors = raw.vertices @ turn.T, raw.faces, raw.uvs, raw.colors
    normals = None if raw.normals is None else raw.normals @ turn.T
    if normals is not None and not (np.isfinite(normals).all() and np.linalg.norm(normals, axis=1).min() > 0):
        notes.append(f"part '{raw.name}': normals that are zero or NaN were made anew.")
        normals = None
    if normals is not None:
        normals = unit(normals).astype(np.float32)
    elif raw.smooth or raw.normals is not None:
        of_corner = raw.faces.reshape(-1)
        values = [(array[of_corner], steps) for array, steps in ((uvs, 1e5), (colors, 1e3)) if array is not None]
        first, faces, normals = split_corners(vertices, raw.faces, values)
        vertices = vertices[of_corner[first]]
        uvs, colors = (None if array is None else array[of_corner[first]] for array in (uvs, colors))
    uvs, colors = (None if array is None else array.astype(np.float32) for array in (uvs, colors))
    return Part(raw.name, vertices.astype(np.float32), faces.astype(np.uint32), normals, uvs, raw.material, colors)


def _scale_and_up(path: Path, extent: float, unit: str | float | None, up: str | None, notes: list[str]
                  ) -> tuple[float, str]:
    """Metres per file unit, and the file's axis that points up. Only glTF states them; elsewhere sizes up to 20 are
    taken for metres, larger ones for millimetres in STL (printing) and beyond 1000, else for centimetres, and +Z for up
    in PLY and STL. What was assumed is said."""
    kind = path.suffix.lower()
    if kind in (".glb", ".gltf"):
        unit, up = unit or "m", up or "y"
    guessed = []
    if unit is None:
        unit = "m" if extent <= 20 else "mm" if kind == ".stl" or extent > 1000 else "cm"
        guessed.append(f"no unit: {unit} was assumed, the largest side is {extent * UNITS[unit]:.3g} m (--unit)")
    if up is None:
        up = "z" if kind in (".ply", ".stl") else "y"
        guessed.append(f"no up axis: +{up.upper()} was assumed (--up)")
    if guessed:
        notes.append(f"{kind[1:].upper()} states {'; '.join(guessed)}. Another one is given with the option in "
                     "brackets, or with unit and up in a scene file.")
    return UNITS[unit] if isinstance(unit, str) else float(unit), up
