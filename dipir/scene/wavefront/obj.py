"""OBJ files as pieces: one for each material."""
from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dipir.errors import AssetError, printable
from dipir.event import warn
from dipir.image.color import srgb_to_linear_array
from dipir.scene.assets.asset import Material
from dipir.scene.assets.material import has_textures, tinted, untextured
from dipir.scene.assets.mesh import Piece, distinct
from dipir.scene.assets.polygons import triangulate
from dipir.scene.wavefront.blocks import as_text
from dipir.scene.wavefront.lines import ObjLines, read_lines
from dipir.scene.wavefront.mtl import Textures, mtl_material, read_libraries, without_remark

MANY, MOST, MOST_NAMES = 300, 5_000, 50_000
"""Materials beyond which those that differ in colour only become one part; what is too many even then; and what is not
even looked at."""


def read_obj(path: Path, data: bytes, looks: bool = True) -> tuple[list[Piece], list[str]]:
    """The pieces of an OBJ file, in the order of their materials, and remarks. AssetError for damaged files, outside
    references, missing or corrupt textures; a missing material file gives grey materials and a warning.

    looks : False leaves materials and images alone
    """
    notes: list[str] = []
    lines = read_lines(path, data)
    if lines.left_out:
        notes.append(warn(f"lines, points and curves ({', '.join(lines.left_out)}) are no surfaces and were left out."))
    if not len(lines.sizes):
        raise AssetError(f"{path}: the mesh has no faces; a surface of polygons is needed (no points or lines only).")
    if lines.colors is None and b"MRGB" in data:
        lines = replace(lines, colors=_painted(data, len(lines.positions), notes))
    surface = _Surface.of(lines, notes)
    used = np.unique(surface.material)
    if len(used) > MOST_NAMES:
        raise AssetError(f"{path}: {len(used)} materials are too many; at most {MOST_NAMES} are accepted. Join "
                         "materials, or bake them into a texture.")
    materials = _materials(path, lines, used, notes) if looks else dict.fromkeys(used.tolist(), Material())
    pieces: dict[str, int] = {}
    return [_named(piece, lines.objects[group.first], pieces) for group in _groups(path, surface, materials, notes)
            for piece in _pieces(surface, group, notes)], notes


def _painted(data: bytes, count: int, notes: list[str]) -> np.ndarray | None:
    """(V, 3) in [0, 1], sRGB: what ZBrush writes into remarks, ``#MRGB`` with mask, red, green and blue of vertex after
    vertex as hexadecimal numbers."""
    words = re.findall(rb"^[ \t]*#MRGB[ \t]+([0-9a-fA-F]+)[ \t]*$", as_text(data), re.MULTILINE)
    digits = b"".join(words)
    if len(digits) != 8 * count:
        notes.append(warn(f"the painted colours (#MRGB) are {len(digits) // 8}, the vertices {count}; they were left "
                          "out. Export the mesh again."))
        return None
    return np.frombuffer(bytes.fromhex(digits.decode()), np.uint8).reshape(-1, 4)[:, 1:] / 255


@dataclass(frozen=True)
class _Surface:
    """All triangles of a file."""

    lines: ObjLines
    corners: np.ndarray  # (T, 3, 3): of each triangle's corners the numbers of position, UV and normal, -1 = none
    material: np.ndarray  # (T,) int64, index into ``lines.materials``
    colors: np.ndarray | None  # (V, 3), linear

    @staticmethod
    def of(lines: ObjLines, notes: list[str]) -> _Surface:
        triangles, polygon, rough = triangulate(lines.positions, lines.corners[:, 0], lines.sizes)
        if rough:
            notes.append(warn(f"{rough} concave faces with very many corners were not cut exactly; triangulate the "
                              "mesh in the program that made it."))
        few = int((lines.sizes < 3).sum())
        if few:
            notes.append(f"{few} faces with fewer than three corners were left out.")
        return _Surface(lines, lines.corners[triangles], lines.material[polygon], _linear(lines.colors, notes))


def _linear(colors: np.ndarray | None, notes: list[str]) -> np.ndarray | None:
    """Linear colours of vertices from those in the file, which are sRGB; white where a vertex has none."""
    if colors is None:
        return None
    given = np.isfinite(colors)
    if colors.max(where=given, initial=0.0) > 1:
        notes.append("colours of vertices go beyond 1 and were taken as 0 to 255.")
        colors = colors / 255
    return srgb_to_linear_array(np.clip(np.where(given, colors, 1.0), 0, 1))


# --- materials -------------------------------------------------------------------------------------------------------

def _materials(path: Path, lines: ObjLines, used: np.ndarray, notes: list[str]) -> dict[int, Material]:
    """The material of each name that is used; what is defined alike is one object."""
    blocks = read_libraries(path, lines.libraries, notes)
    alike = {_letters(name): block for name, block in blocks.items()}
    found: dict[int, dict[str, str]] = {}
    for index in used.tolist():
        name = lines.materials[index]
        block = blocks.get(name, blocks.get(without_remark(name)))
        if block is None and _letters(name) in alike:
            block = alike[_letters(name)]
            notes.append(f"material '{printable(name, 60)}' is defined in other letters only; that one was taken.")
        if block is not None:
            found[index] = block
    textures = Textures(path, found.values(), notes)
    made: dict[frozenset, Material] = {}
    materials: dict[int, Material] = {}
    for index in used.tolist():
        key = frozenset(found[index].items()) if index in found else frozenset()
        if key not in made:
            name = without_remark(lines.materials[index]) or "default"
            made[key] = mtl_material(name, found[index], textures) if index in found else Material(name=name)
        materials[index] = made[key] if len(used) > MANY else replace(
            made[key], name=without_remark(lines.materials[index]) or made[key].name)
    if lines.colors is not None:
        materials |= {k: replace(materials[k], base_color=(1.0, 1.0, 1.0)) for k in materials if k not in found}
    missing = [lines.materials[k] for k in used.tolist() if k not in found and k != 0]
    if missing:
        names = ", ".join(f"'{printable(name, 60)}'" for name in missing[:5]) + (" and others" * (len(missing) > 5))
        notes.append(warn(f"{len(missing)} materials ({names}) are not defined in a material file; they are grey."
                          if len(missing) > 1 else f"material {names} is not defined in a material file; it is grey."))
    return materials


def _letters(name: str) -> str:
    """A name without what programs change in it: quotes, letter case, the form of its accents."""
    return unicodedata.normalize("NFC", without_remark(name).strip('"')).casefold()


@dataclass(frozen=True)
class _Group:
    """Triangles of one part."""

    first: int  # index of its material's name
    triangles: np.ndarray  # (t,) int64
    material: Material
    tints: np.ndarray | None = None  # (t, 3) base colour of each where they differ


def _groups(path: Path, surface: _Surface, materials: dict[int, Material], notes: list[str]) -> Iterator[_Group]:
    """The triangles by material."""
    order = np.argsort(surface.material, kind="stable")
    names, starts = np.unique(surface.material[order], return_index=True)
    runs = dict(zip(names.tolist(), np.split(order, starts[1:]), strict=True))
    if len(runs) <= MANY:
        yield from (_Group(name, run, materials[name]) for name, run in runs.items())
        return
    # ---- what looks the same, and what differs in colour only, together ----
    same: dict[object, list[int]] = {}
    for name in runs:
        material = materials[name]
        plain = repr(replace(material, name="", base_color=(1.0, 1.0, 1.0)))
        same.setdefault(id(material) if has_textures(material) else plain, []).append(name)
    if len(same) > MOST:
        raise AssetError(f"{path}: {len(same)} materials are too many; at most {MOST} different ones are accepted. "
                         "Join materials, or bake them into a texture.")
    notes.append(f"{len(runs)} materials were joined to {len(same)} parts.")
    for members in same.values():
        material, triangles = materials[members[0]], np.concatenate([runs[name] for name in members])
        colors = np.array([materials[name].base_color for name in members])
        tints = None
        if len(np.unique(colors, axis=0)) > 1:
            tints = np.repeat(colors, [len(runs[name]) for name in members], axis=0)
            material = replace(material, base_color=(1.0, 1.0, 1.0))
        yield _Group(members[0], triangles, material, tints)


# --- pieces ----------------------------------------------------------------------------------------------------------

def _pieces(surface: _Surface, group: _Group, notes: list[str]) -> Iterator[Piece]:
    """The part of a group; faces without texture coordinates beside others with them are one of their own."""
    corners, material = surface.corners[group.triangles], group.material
    bare = (corners[..., 1] < 0).any(1)
    if not has_textures(material) or bare.all() or not bare.any():
        yield _piece(surface, corners, material, group.tints, notes)
        return
    label = f"material '{printable(material.name, 80)}'"
    notes.append(warn(f"{label}: {int(bare.sum())} of {len(bare)} faces have no texture coordinates and show "
                      "the mean of its textures; unwrap them."))
    yield _piece(surface, corners[~bare], material, None, notes)
    yield _piece(surface, corners[bare], untextured(material), None, notes)


def _piece(surface: _Surface, corners: np.ndarray, material: Material, tints: np.ndarray | None, notes: list[str]
           ) -> Piece:
    """The part of triangles (t, 3, 3): one vertex for corners that are the same in all they have."""
    lines, flat = surface.lines, corners.reshape(-1, 3)
    has_uvs, has_normals = ((flat[:, k] >= 0).all() for k in (1, 2))
    if not has_normals and (flat[:, 2] >= 0).any():
        label = f"material '{printable(material.name, 80)}'"
        notes.append(f"{label}: some faces have no normals; they were made anew for all.")
    columns = [flat[:, k] for k, has in ((0, True), (1, has_uvs), (2, has_normals)) if has]
    if tints is not None:
        columns.append(np.repeat(np.unique(tints, axis=0, return_inverse=True)[1].reshape(-1), 3))
    first, index = distinct(columns)
    vertex = flat[first]
    # ---- colours: of vertices, times those of the materials that were joined ----
    colors = None if surface.colors is None else surface.colors[vertex[:, 0]]
    if tints is not None:
        tint = np.repeat(tints, 3, axis=0)[first]
        colors = tint if colors is None else colors * tint
    if colors is not None:
        material, colors = tinted(material, colors, notes)
    normals, uvs = lines.normals[vertex[:, 2]] if has_normals else None, lines.uvs[vertex[:, 1]] if has_uvs else None
    return Piece("", lines.positions[vertex[:, 0]], index.reshape(-1, 3), normals, uvs, colors, material,
                 has_textures(material), smooth=True)


def _named(piece: Piece, name: str, known: dict[str, int]) -> Piece:
    """The piece, named by its object, with a number where there are several."""
    name = printable(name, 80) or "geometry"
    count = known.get(name, 0)
    known[name] = count + 1
    return replace(piece, name=f"{name}_{count}" if count else name)
