"""Primitives of glTF meshes as triangles: all modes, quantised and Draco-compressed attributes, morph targets."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dipir.scene.gltf.accessors import KINDS, MAX_ITEMS, as_numbers, count_of, read_accessor, view_bytes
from dipir.scene.gltf.document import GltfDocument, extension, shown

TRIANGLES, STRIP, FAN = 4, 5, 6
_DRACO = "KHR_draco_mesh_compression"
_MAX_SETS = 4


@dataclass(frozen=True)
class Primitive:
    """Triangles of one material, in the space of their mesh."""

    positions: np.ndarray  # (V, 3) float64
    faces: np.ndarray  # (F, 3) int64
    normals: np.ndarray | None = None  # (V, 3) float64
    uvs: Mapping[int, np.ndarray] | None = None  # set number -> (V, 2) float64, v down the image
    colors: np.ndarray | None = None  # (V, 4) float64, linear with alpha
    influences: tuple[tuple[np.ndarray, np.ndarray], ...] = ()  # joints (V, 4) integers and weights (V, 4) of each set


def is_surface(primitive: dict) -> bool:
    """Whether it holds triangles; points and lines do not."""
    return primitive.get("mode", TRIANGLES) in (TRIANGLES, STRIP, FAN)


def sizes(document: GltfDocument, primitive: dict) -> tuple[int, int]:
    """(faces, vertices) that a primitive claims; nothing is allocated."""
    vertices = count_of(document, primitive["attributes"]["POSITION"])
    corners = count_of(document, primitive["indices"]) if "indices" in primitive else vertices
    return (corners // 3 if primitive.get("mode", TRIANGLES) == TRIANGLES else max(corners - 2, 0)), vertices


def read_primitive(document: GltfDocument, primitive: dict) -> Primitive:
    """The triangles of a primitive. AssetError for damaged, missing or unknown data."""
    attributes = primitive["attributes"]
    draco = extension(primitive, _DRACO)
    packed, faces = ({}, None) if draco is None else _unpacked(document, primitive, draco)

    def read(name: str, *shapes: str) -> np.ndarray | None:
        if name in packed:
            return packed[name]
        return read_accessor(document, attributes[name], shapes) if name in attributes else None

    positions = read("POSITION", "VEC3").astype(np.float64)
    uvs = {k: read(f"TEXCOORD_{k}", "VEC2") for k in range(_MAX_SETS)}
    joints = [(read(f"JOINTS_{k}", "VEC4"), read(f"WEIGHTS_{k}", "VEC4")) for k in range(_MAX_SETS)]
    normals, colors = read("NORMAL", "VEC3"), read("COLOR_0", "VEC3", "VEC4")
    arrays = [normals, colors, *uvs.values(), *(a for pair in joints for a in pair)]
    if any(a is not None and len(a) != len(positions) for a in arrays):
        raise document.refused("a primitive has attributes of different lengths")
    if faces is None:
        corners = _corners(document, primitive, len(positions))
        faces = triangles(corners, primitive.get("mode", TRIANGLES))
    if len(faces) and int(faces.max()) >= len(positions):
        raise document.refused(f"has faces of vertices that do not exist ({int(faces.max())} of {len(positions)})")
    return Primitive(positions, faces, _floats(normals), {k: _floats(a) for k, a in uvs.items() if a is not None},
                     None if colors is None else _colors(document, colors),
                     tuple((j, _floats(w)) for j, w in joints if j is not None and w is not None))


def _floats(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else values.astype(np.float64)


def _colors(document: GltfDocument, colors: np.ndarray) -> np.ndarray:
    """(V, 4) float64 in [0, 1]; integers count as normalised, which some exporters forget to say."""
    values = as_numbers(colors, True)
    if values.max(initial=0.0) > 1.001:
        document.warn("vertex colours (COLOR_0) go beyond 1 and were cut off there.")
    values = np.clip(values, 0, 1)
    return values if values.shape[1] == 4 else np.concatenate([values, np.ones((len(values), 1))], 1)


def _corners(document: GltfDocument, primitive: dict, count: int) -> np.ndarray:
    if "indices" not in primitive:
        return np.arange(count)
    corners = read_accessor(document, primitive["indices"], ("SCALAR",))[:, 0]
    if corners.dtype.kind != "u":
        raise document.refused("a primitive has indices that are not whole numbers")
    return corners.astype(np.int64)


def triangles(corners: np.ndarray, mode: int) -> np.ndarray:
    """(F, 3) int64 faces of the corners (N,) of a list, strip or fan (glTF 2.0 section 3.7.2.1)."""
    if mode == TRIANGLES:
        return corners[:len(corners) // 3 * 3].reshape(-1, 3).astype(np.int64)
    first = np.arange(max(len(corners) - 2, 0))
    if mode == STRIP:
        odd = first % 2
        return corners[np.stack([first, first + 1 + odd, first + 2 - odd], -1)].astype(np.int64)
    return corners[np.stack([first + 1, first + 2, np.zeros_like(first)], -1)].astype(np.int64)


def _unpacked(document: GltfDocument, primitive: dict, draco: dict) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Attributes by name and faces of a Draco-compressed primitive."""
    try:
        import DracoPy
    except ImportError:
        remedy = "Install it (pip install DracoPy), or export without compression."
        raise document.refused("its geometry is compressed with Draco, and DracoPy, which reads that, is not installed",
                               remedy) from None
    data = bytes(view_bytes(document, draco["bufferView"])[0])
    # ---- decoding ----
    try:
        mesh = DracoPy.decode(data)
        faces = np.asarray(mesh.faces, np.int64).reshape(-1, 3)
        found = {entry["unique_id"]: np.asarray(entry["data"]) for entry in mesh.attributes}
    # The library raises whatever it likes on damaged data.
    except Exception as error:
        raise document.refused(f"its Draco-compressed geometry is damaged ({shown(error)})") from None
    # ---- attributes by the names and types of the document ----
    packed = {}
    for name, number in draco["attributes"].items():
        if number not in found or name not in primitive["attributes"]:
            raise document.refused(f"its Draco-compressed geometry lacks the attribute {shown(name)}")
        entry = document.item("accessors", primitive["attributes"][name])
        values = found[number].reshape(len(found[number]), -1)
        if entry.get("componentType") in KINDS and values.dtype.kind in "iu":
            values = values.astype(KINDS[entry["componentType"]])
        packed[name] = as_numbers(values, bool(entry.get("normalized", False)))
    if len(faces) > sizes(document, primitive)[0] or any(len(values) > MAX_ITEMS for values in packed.values()):
        raise document.refused("its Draco-compressed geometry has more faces than the document states")
    return packed, faces


def morphed(document: GltfDocument, shape: Primitive, primitive: dict, weights: Sequence[float]) -> Primitive:
    """The primitive with its morph targets added by ``weights``; those of weight 0 are not even read."""
    targets = primitive.get("targets") or []
    positions, normals = shape.positions, shape.normals
    for target, weight in zip(targets, weights, strict=False):
        if not weight:
            continue
        for name in sorted(set(target) - {"POSITION", "NORMAL", "TANGENT"}):
            document.warn(f"morph targets move {shown(name)} too; that was left out.")
        deltas = {name: read_accessor(document, target[name], ("VEC3",)).astype(np.float64)
                  for name in ("POSITION", "NORMAL") if name in target}
        if any(len(d) != len(positions) for d in deltas.values()):
            raise document.refused("a morph target has another number of vertices than its mesh")
        positions = positions + weight * deltas.get("POSITION", 0.0)
        normals = None if normals is None else normals + weight * deltas.get("NORMAL", 0.0)
    return replace(shape, positions=positions, normals=normals)
