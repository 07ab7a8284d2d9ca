"""Mesh files -> :class:`Asset` through trimesh: one part per primitive, metres, +Y up, resting on y = 0.

Parts are never concatenated: that drops textures in trimesh.
"""
from __future__ import annotations

import io
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh

from dipir.errors import AssetError
from dipir.event import warn
from dipir.scene.assets.asset import UNITS, UP_AXES, Asset, Material, Part
from dipir.scene.assets.files import SRGB_TO_LINEAR, decode_image, read_asset_file, read_reference
from dipir.scene.assets.material import linear_rgb
from dipir.scene.assets.mesh import face_cross, rest_together, split_normals, unit
from dipir.scene.assets.obj import read_obj
from dipir.scene.gltf.read import read_gltf

_MAX_FACES = 50_000_000


@dataclass(frozen=True)
class _Raw:
    """A primitive as read, in file units and axes."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uvs: np.ndarray | None
    material: Material
    needs_uvs: bool = False
    smooth: bool = True  # make normals where none are given
    colors: np.ndarray | None = None  # (V, 3), linear


def load_asset(path: str | Path, unit: str | float | None = None, up_axis: str | None = None) -> Asset:
    """Mesh file -> :class:`Asset`, one part per primitive, metres, +Y up, resting on y = 0, centred on x and z.

    path : .glb, .gltf, .obj (+ .mtl), .ply or .stl
    unit : 'm', 'cm', 'mm', 'in', 'ft' or metres per file unit; None = metres for glTF, else guessed with a note
    up_axis : 'x', 'y', 'z', '-x', '-y' or '-z'; None = 'y' for glTF and OBJ, 'z' for PLY and STL with a note
    Raises AssetError for everything that makes the file unusable, naming the remedy.
    """
    path = Path(path)
    _check_options(unit, up_axis)
    data = read_asset_file(path)
    suffix = path.suffix.lower()
    try:
        reader = {".glb": _from_gltf, ".gltf": _from_gltf, ".obj": _from_obj}.get(suffix, _from_scan)
        raws, notes = reader(path, data)
        return _finished(path, raws, notes, unit, up_axis)
    except AssetError:
        raise
    # Whatever trimesh stumbles over in a broken file is the file's fault, and the user's to mend.
    except Exception as error:
        raise AssetError(f"{path}: the mesh cannot be read ({type(error).__name__}: {str(error)[:200]}); the file is "
                         "corrupt, truncated or of an unusual kind. Export it again, best as .glb.") from error


def _check_options(unit: str | float | None, up_axis: str | None) -> None:
    if isinstance(unit, str) and unit not in UNITS:
        raise AssetError(f"unit '{unit}' is unknown; give one of {', '.join(UNITS)} or metres per unit as a number.")
    if isinstance(unit, (int, float)) and not (np.isfinite(unit) and unit > 0):
        raise AssetError(f"unit {unit} is not a length; give metres per file unit, > 0.")
    if up_axis is not None and up_axis not in UP_AXES:
        raise AssetError(f"up axis '{up_axis}' is unknown; give one of {', '.join(UP_AXES)}.")


def _scene(path: Path, data: bytes, kind: str, files: dict[str, bytes]) -> trimesh.Scene:
    """trimesh's scene of bytes in memory. ``files`` is all it can reach; a mapping is its resolver."""
    log = logging.getLogger("trimesh")
    before, log.disabled = log.disabled, True
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, resolver=files, process=False, allow_remote=False)
    finally:
        log.disabled = before
    if not any(isinstance(g, trimesh.Trimesh) and len(g.faces) for g in scene.geometry.values()):
        raise AssetError(f"{path}: the mesh has no faces; a surface of triangles is needed (no points or lines only).")
    return scene


def _instances(path: Path, scene: trimesh.Scene) -> list[tuple[str, np.ndarray, trimesh.Trimesh]]:
    """(node name, 4x4 world matrix, mesh) of every use of a mesh, in a stable order."""
    found, total = [], 0
    for node in sorted(scene.graph.nodes_geometry):
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not np.isfinite(matrix).all():
            raise AssetError(f"{path}: node '{node}' has a transform with NaN or infinite numbers; export it again.")
        if isinstance(mesh, trimesh.Trimesh) and len(mesh.faces):
            total += len(mesh.faces)
            found.append((str(node), matrix, mesh))
    if total > _MAX_FACES:
        raise AssetError(f"{path}: has {total} faces; at most {_MAX_FACES} are accepted. Decimate the mesh.")
    if not found:
        raise AssetError(f"{path}: no mesh with faces is part of the scene; export the asset again.")
    return found


def _placed(raw: _Raw, matrix: np.ndarray) -> _Raw:
    """The primitive moved by a node matrix; normals by the inverse transpose; mirrored faces turned back outwards."""
    linear = matrix[:3, :3]
    determinant = np.linalg.det(linear)
    normals = raw.normals
    if normals is not None:
        # The adjugate form stays finite for flattening transforms; its sign follows mirroring.
        cofactor = np.stack([np.cross(linear[1], linear[2]), np.cross(linear[2], linear[0]),
                             np.cross(linear[0], linear[1])])
        normals = normals @ (cofactor.T * (-1.0 if determinant < 0 else 1.0))
    faces = raw.faces[:, ::-1] if determinant < 0 else raw.faces
    return replace(raw, vertices=raw.vertices @ linear.T + matrix[:3, 3], normals=normals, faces=faces)


# --- one reader for each family of formats -----------------------------------------------------------------------

def _from_gltf(path: Path, data: bytes) -> tuple[list[_Raw], list[str]]:
    pieces, notes = read_gltf(path, data)
    return [_Raw(p.name, p.vertices, p.faces, p.normals, p.uvs, p.material, p.needs_uvs, smooth=False, colors=p.colors)
            for p in pieces], notes


def _tinted(material: Material, colors: np.ndarray, notes: list[str]) -> Material:
    """Vertex colours (V, 3), linear, as one average: the material model has no colour per vertex."""
    mean = np.clip(colors.astype(np.float64).mean(0), 0, 1)
    if np.allclose(mean, 1, atol=1e-3):
        return material
    notes.append(f"material '{material.name}': vertex colours were averaged to one colour.")
    texture = material.base_color_texture
    return replace(material, base_color=tuple(float(c) for c in mean * material.base_color),
                   base_color_texture=None if texture is None else (texture * mean.astype(np.float32)))


def _from_obj(path: Path, data: bytes) -> tuple[list[_Raw], list[str]]:
    # One decoding for trimesh and for us, so that names of materials match.
    data = data if data.isascii() else data.decode("utf-8", errors="replace").encode()
    source = read_obj(path, data)
    notes, raws = list(source.notes), []
    for node, matrix, mesh in _instances(path, _scene(path, data, "obj", source.files)):
        textured = mesh.visual.kind == "texture"
        built = source.materials.get(mesh.visual.material.name) if textured else None
        material = built.material if built else _colored(mesh, notes)
        raw = _Raw(node, np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces),
                   mesh.vertex_normals if source.has_normals else None, mesh.visual.uv if textured else None, material,
                   bool(built and built.needs_uvs))
        raws.append(_placed(raw, matrix))
    return raws, notes


def _colored(mesh: trimesh.Trimesh, notes: list[str]) -> Material:
    """Default material, in the average of the sRGB vertex or face colours when the mesh has some."""
    if mesh.visual.kind not in ("vertex", "face"):
        return Material()
    colors = mesh.visual.vertex_colors if mesh.visual.kind == "vertex" else mesh.visual.face_colors
    white = Material(name="vertex colours", base_color=(1.0, 1.0, 1.0))
    return _tinted(white, SRGB_TO_LINEAR[np.asarray(colors, np.uint8)[:, :3]], notes)


def _from_scan(path: Path, data: bytes) -> tuple[list[_Raw], list[str]]:
    """PLY and STL: one mesh, no materials but vertex colours or, in PLY, one texture."""
    kind, notes, raws = path.suffix.lower()[1:], [], []
    header = data[:data.find(b"end_header") + 1] if kind == "ply" else b""
    named = re.search(rb"^comment\s+TextureFile\s+(.+?)\s*$", header, re.M | re.I)
    texture = None
    if named:
        name = named[1].decode("utf-8", errors="replace")
        rgba, note = decode_image(read_reference(path, name, "texture"), f"{path}: texture '{name}'")
        texture = linear_rgb(rgba)
        notes += [note] if note else []
    has_normals = re.search(rb"^property\s+\w+\s+nx\s*$", header, re.M) is not None
    for node, matrix, mesh in _instances(path, _scene(path, data, kind, {})):
        uvs = _scan_uvs(mesh)
        material = _colored(mesh, notes) if texture is None else Material(
            name=path.stem, base_color=tuple(float(c) for c in texture.mean((0, 1))), base_color_texture=texture)
        raw = _Raw(node, np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces),
                   mesh.vertex_normals if has_normals else None, uvs, material, texture is not None)
        raws.append(_placed(raw, matrix))
    return raws, notes


def _scan_uvs(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """UVs of a PLY: per face corner (trimesh makes vertices of them), or per vertex under the usual names."""
    if mesh.visual.kind == "texture":
        return mesh.visual.uv
    fields = mesh.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    names = getattr(fields, "dtype", np.dtype("f4")).names or (tuple(fields) if isinstance(fields, dict) else ())
    for u, v in (("s", "t"), ("u", "v"), ("texture_u", "texture_v")):
        if u in names and v in names and len(fields[u]) == len(mesh.vertices):
            return np.stack([np.asarray(fields[u], float).reshape(-1), np.asarray(fields[v], float).reshape(-1)], -1)
    return None


# --- checks, units, axes -------------------------------------------------------------------------------------------

def _finished(path: Path, raws: list[_Raw], notes: list[str], unit_given: str | float | None, up_axis: str | None
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
    return Asset(rest_together([_part(r, turn, notes) for r in raws]), path, tuple(dict.fromkeys(notes)))


def _seen(raws: list[_Raw], notes: list[str]) -> list[_Raw]:
    """The parts that can be seen. One that is wholly transparent would decide size and foot unseen; where there is
    nothing else, all are kept. Either is said."""
    hidden = [r for r in raws if r.material.opacity == 0 and r.material.opacity_texture is None]
    ids = {id(r) for r in hidden}
    seen = [r for r in raws if id(r) not in ids]
    what = "was left out" if seen else "cannot be seen"
    notes += [warn(f"part '{r.name}' is wholly transparent (alpha 0) and {what}; raise its alpha in the file "
                   "if it should be seen.") for r in hidden]
    return seen or raws


def _cleaned(path: Path, raw: _Raw, notes: list[str]) -> _Raw | None:
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


def _part(raw: _Raw, turn: np.ndarray, notes: list[str]) -> Part:
    vertices, faces, uvs = raw.vertices @ turn.T, raw.faces, raw.uvs
    normals = None if raw.normals is None else raw.normals @ turn.T
    if normals is not None and not (np.isfinite(normals).all() and np.linalg.norm(normals, axis=1).min() > 0):
        notes.append(f"part '{raw.name}': normals that are zero or NaN were made anew.")
        normals = None
    if normals is not None:
        normals = unit(normals).astype(np.float32)
    elif (raw.smooth or raw.normals is not None) and raw.colors is None:
        vertices, faces, normals, uvs = split_normals(vertices, faces, uvs)
    return Part(raw.name, vertices.astype(np.float32), faces.astype(np.uint32), normals,
                None if uvs is None else uvs.astype(np.float32), raw.material,
                None if raw.colors is None else raw.colors.astype(np.float32))


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
