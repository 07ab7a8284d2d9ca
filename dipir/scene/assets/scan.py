"""PLY and STL as pieces: scans and prints, without materials but colours or, in PLY, textures."""
from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dipir.errors import AssetError, printable
from dipir.event import warn
from dipir.image.color import srgb_to_linear_array
from dipir.scene.assets.asset import Material
from dipir.scene.assets.files import decode_image, find_beside, read_found
from dipir.scene.assets.material import linear_rgb, tinted
from dipir.scene.assets.mesh import Piece, distinct
from dipir.scene.assets.ply import Ply, PlyElement, parse_ply
from dipir.scene.assets.polygons import MAX_CORNERS, triangulate

_MAX_FACES, _MANY_SOLIDS = 20_000_000, 300
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


# --- PLY -------------------------------------------------------------------------------------------------------------

def read_ply(path: Path, data: bytes, looks: bool = True) -> tuple[list[Piece], list[str]]:
    """The pieces of a PLY file, one for each of its textures, and remarks. AssetError for damaged files, outside
    references, missing or corrupt textures. looks : False leaves images alone."""
    notes: list[str] = []
    ply = parse_ply(path, data)
    vertex, face = ply.elements.get("vertex"), ply.elements.get("face")
    if vertex is None or not vertex.rows or not {"x", "y", "z"} <= set(vertex.values):
        raise AssetError(f"{path}: no vertices with x, y and z; export the mesh again.")
    names = [n for n in ("vertex_indices", "vertex_index") if face is not None and n in face.lengths]
    if not names or not face.rows:
        raise AssetError(f"{path}: the mesh has no faces; a surface of polygons is needed (no points or strips only).")
    if face.rows > _MAX_FACES:
        raise AssetError(f"{path}: has {face.rows} faces; at most {_MAX_FACES} are accepted. Decimate the mesh.")
    # ---- polygons as triangles ----
    positions = np.stack([vertex.values[axis].astype(np.float64) for axis in "xyz"], -1)
    corners, sizes = face.values[names[0]].astype(np.int64), face.lengths[names[0]]
    if corners.min(initial=0) < 0 or corners.max(initial=0) >= len(positions):
        raise AssetError(f"{path}: faces of vertices that do not exist (0 to {len(positions) - 1} are there); export "
                         "the mesh again.")
    if sizes.max() > MAX_CORNERS:
        raise AssetError(f"{path}: a face of {sizes.max()} corners; at most {MAX_CORNERS} are accepted. "
                         "Triangulate it.")
    triangles, owner, rough = triangulate(positions, corners, sizes)
    if rough:
        notes.append(warn(f"{rough} concave faces with very many corners were not cut exactly; triangulate the mesh."))
    if not len(triangles):
        raise AssetError(f"{path}: the mesh has no faces with three corners; a surface of polygons is needed.")
    # ---- one piece for each texture ----
    found = [(_Faces(corners[triangles[chosen]], triangles[chosen], owner[chosen]), material)
             for chosen, material in (_textures(path, ply, owner, notes) if looks else
                                       [(np.ones(len(owner), bool), Material())])]
    return [_piece(ply, positions, faces, material, notes) for faces, material in found], notes


def _textures(path: Path, ply: Ply, owner: np.ndarray, notes: list[str]) -> list[tuple[np.ndarray, Material]]:
    """(triangles, material) for each texture that is used; without one a white material."""
    names = [text.split(None, 1)[1].strip() for text in ply.comments
             if text.lower().startswith("texturefile") and len(text.split(None, 1)) == 2]
    every = np.ones(len(owner), bool)
    if not names:
        return [(every, Material(name="vertex colours", base_color=(1.0, 1.0, 1.0)))]
    number = ply.elements["face"].values.get("texnumber")
    if number is None:
        if len(names) > 1:
            notes.append(warn(f"{len(names)} textures are named, but faces do not say which is theirs (texnumber); "
                              f"only '{printable(names[0], 80)}' is shown."))
        return [(every, _textured(path, names[0], notes))]
    number = number.astype(np.int64)[owner]
    if number.min() < 0 or number.max() >= len(names):
        raise AssetError(f"{path}: a face asks for texture {number.max()}, but {len(names)} are named; export it "
                         "again.")
    return [(number == k, _textured(path, names[k], notes)) for k in np.unique(number).tolist()]


def _textured(path: Path, name: str, notes: list[str]) -> Material:
    found, note = find_beside(path, name, "texture")
    label = printable(name, 200)
    rgba, scaled = decode_image(read_found(path, found, name, "texture"), f"{path}: texture '{label}'")
    notes += [text for text in (note, scaled) if text]
    texture = linear_rgb(rgba)
    mean = tuple(float(c) for c in texture.mean((0, 1)))
    return Material(name=path.stem, base_color=mean, base_color_texture=texture)


@dataclass(frozen=True)
class _Faces:
    """Triangles of one piece."""

    index: np.ndarray  # (T, 3) vertices
    corners: np.ndarray  # (T, 3) corners of polygons
    owner: np.ndarray  # (T,) polygons


def _piece(ply: Ply, positions: np.ndarray, faces: _Faces, material: Material, notes: list[str]) -> Piece:
    vertex, face, flat = ply.elements["vertex"], ply.elements["face"], faces.index.reshape(-1)
    # ---- what belongs to corners and faces makes vertices of its own ----
    columns, uvs = [flat], _columns(vertex, _UVS)
    of_corner = _corner_uvs(face, notes)
    if of_corner is not None:
        of_corner = of_corner[faces.corners.reshape(-1)]
        columns.append(np.unique(of_corner, axis=0, return_inverse=True)[1].reshape(-1))
    of_face = _colors(face)
    if of_face is not None and _colors(vertex) is None:
        of_face = np.repeat(of_face[faces.owner], 3, axis=0)
        columns.append(np.unique(of_face, axis=0, return_inverse=True)[1].reshape(-1))
    else:
        of_face = None
    first, index = distinct(columns)
    chosen = flat[first]
    # ---- values of the vertices ----
    if of_corner is not None:
        uvs = of_corner[first]
    elif uvs is not None:
        uvs = uvs[chosen]
    colors = _colors(vertex)
    colors = of_face[first] if of_face is not None else None if colors is None else colors[chosen]
    if "alpha" in vertex.values and _shares(vertex, ("alpha",)).min() < 1:
        notes.append(warn("the alpha of its vertices is not used; the mesh is opaque. Give it a material in a GLB."))
    if colors is not None:
        material, colors = tinted(material, colors, notes)
    elif material.base_color_texture is None:
        material = Material()
    normals = _columns(vertex, (("nx", "ny", "nz"),))
    return Piece("geometry", positions[chosen], index.reshape(-1, 3), None if normals is None else normals[chosen], uvs,
                 colors, material, material.base_color_texture is not None, smooth=True)


def _columns(element: PlyElement, names: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    for group in names:
        if all(name in element.values and name not in element.lengths for name in group):
            return np.stack([element.values[name].astype(np.float64) for name in group], -1)
    return None


def _shares(element: PlyElement, names: tuple[str, ...]) -> np.ndarray:
    """(rows, K) values in [0, 1]: of whole numbers the largest is 1, but of wide ones that stay within bytes 255; of
    others 255 where they go beyond 1."""
    kind = next(p.kind for p in element.properties if p.name == names[0])
    values = np.stack([element.values[name].astype(np.float64) for name in names], -1)
    top = values.max(initial=0)
    full = 1.0 if kind.kind == "f" and top <= 1 else 255.0
    if kind.kind in "iu" and (kind.itemsize == 1 or top > 255):
        full = float(np.iinfo(kind).max)
    return np.clip(np.nan_to_num(values / full), 0, 1)


def _colors(element: PlyElement) -> np.ndarray | None:
    """(rows, 3) linear colours of vertices or faces, which are sRGB in the file."""
    names = next((names for names in _COLORS if set(names) <= set(element.values) - set(element.lengths)), None)
    return None if names is None or not element.rows else srgb_to_linear_array(_shares(element, names))


def _corner_uvs(face: PlyElement, notes: list[str]) -> np.ndarray | None:
    """(C, 2) of the corners, polygon after polygon."""
    sizes = next(face.lengths[name] for name in ("vertex_indices", "vertex_index") if name in face.lengths)
    if "texcoord" not in face.lengths:
        return None
    if not np.array_equal(face.lengths["texcoord"], 2 * sizes):
        notes.append(warn("some faces have no texture coordinates of their own (texcoord); none of those are used."))
        return None
    return face.values["texcoord"].astype(np.float64).reshape(-1, 2)


# --- STL -------------------------------------------------------------------------------------------------------------

def read_stl(path: Path, data: bytes) -> tuple[list[Piece], list[str]]:
    """The pieces of an STL file, one for each solid, and remarks. AssetError where there are no faces."""
    import trimesh

    notes: list[str] = []
    data = _whole(path, data, notes)
    log = logging.getLogger("trimesh")
    before, log.disabled = log.disabled, True
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type="stl", process=False, allow_remote=False)
    finally:
        log.disabled = before
    meshes = [(name, mesh) for name, mesh in sorted(scene.geometry.items()) if len(getattr(mesh, "faces", ()))]
    if not meshes:
        raise AssetError(f"{path}: the mesh has no faces; a surface of triangles is needed.")
    if sum(len(mesh.faces) for _, mesh in meshes) > _MAX_FACES:
        raise AssetError(f"{path}: has more than {_MAX_FACES} faces. Decimate the mesh.")
    if len(meshes) > _MANY_SOLIDS:
        notes.append(f"{len(meshes)} solids were joined to one part.")
        meshes = [(meshes[0][0], trimesh.util.concatenate([mesh for _, mesh in meshes]))]
    if _has_attributes(data):
        notes.append(warn("colours in its header or the attribute bytes of its faces are not read; save it as "
                          "PLY to keep them."))
    return [Piece(printable(str(name), 80), np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces), None, None,
                  None, Material(), smooth=True) for name, mesh in meshes], notes


def _whole(path: Path, data: bytes, notes: list[str]) -> bytes:
    """A text with one kind of line ends, or the header of a binary file and as many faces as it states. AssetError for
    a file that is cut short."""
    count = int.from_bytes(data[80:84], "little")
    needed = 84 + 50 * count
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if len(data) == needed or data[:2] in (b"\xff\xfe", b"\xfe\xff", b"s\0", b"\0s"):
        return data
    if head.startswith(b"solid"):
        if b"endsolid" not in data[-4096:].lower():
            raise AssetError(f"{path}: the text ends before 'endsolid'; it is truncated. Copy or export it again.")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if len(data) < needed:
        there = max(len(data) - 84, 0) // 50
        raise AssetError(f"{path}: the header states {count} faces, and the file ends after {there}; it is "
                         "truncated or no STL. Copy or export it again.")
    notes.append(f"{len(data) - needed} bytes after the last face were left out.")
    return data[:needed]


def _has_attributes(data: bytes) -> bool:
    """Whether a binary file has anything in what some programs put colours into: two bytes of each face, its header."""
    count = int.from_bytes(data[80:84], "little")
    if len(data) != 84 + 50 * count:
        return False
    records = np.frombuffer(data, np.uint8, offset=84).reshape(-1, 50)
    return b"COLOR=" in data[:80] or bool(records[:, 48:].any())
