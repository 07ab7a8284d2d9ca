"""glTF and GLB: our own reading of the JSON, checked, before trimesh sees the geometry.

trimesh would skip a missing texture silently and knows no material extensions, so images and materials are read here
and trimesh gets a reduced document: geometry and node tree only, buffers in memory, one numbered material per
primitive (which is how its meshes are matched with ours).
"""
from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipir.errors import AssetError
from dipir.scene.assets.asset import Material
from dipir.scene.assets.files import decode_image, read_reference, resolve_reference
from dipir.scene.assets.material import Built, gltf_material

_UNSUPPORTED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization", "KHR_texture_basisu")
_KEPT_ATTRIBUTES = ("POSITION", "NORMAL", "COLOR_0")
_TRIANGLES, _STRIP = 4, 5
_MAX_BARE_ITEMS = 50_000_000


@dataclass(frozen=True)
class GltfSource:
    """What the document says of a primitive."""

    name: str
    built: Built
    has_normals: bool
    uv_matrix: np.ndarray | None  # (2, 3), KHR_texture_transform with v down, or None


@dataclass(frozen=True)
class Reduced:
    """The document for trimesh as JSON bytes, its buffers by name, primitives by material name, node names, notes."""

    json: bytes
    buffers: dict[str, bytes]
    sources: dict[str, GltfSource]
    nodes: dict[str, str]
    notes: tuple[str, ...]


def read_gltf(path: Path, data: bytes) -> Reduced:
    """Check and reduce a document. AssetError for corrupt or truncated files, outside or missing references,
    compressed geometry, cyclic node trees."""
    try:
        tree, binary = _document(path, data)
        return _reduce(path, tree, _buffers(path, tree, binary))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise AssetError(f"{path}: not a valid glTF document ({what}); export it again.") from None


def stated_names(path: Path, data: bytes) -> tuple[str, ...]:
    """What the document calls itself and its things: title, scenes, nodes, meshes, in this order, empty ones left out.
    AssetError for a corrupt file."""
    tree, _ = _document(path, data)
    extras = tree["asset"].get("extras")
    listed = (tree.get(key) for key in ("scenes", "nodes", "meshes"))
    things = [extras.get("title") if isinstance(extras, dict) else None,
              *(thing.get("name") for things in listed if isinstance(things, list) for thing in things
                if isinstance(thing, dict))]
    return tuple(name for name in things if isinstance(name, str) and name.strip())


def _document(path: Path, data: bytes) -> tuple[dict, bytes | None]:
    """The JSON, and the binary chunk of a GLB."""
    return _split_glb(path, data) if data[:4] == b"glTF" else (_parse(path, data), None)


def _parse(path: Path, text: bytes) -> dict:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path}: the JSON of the glTF file is corrupt or truncated ({error}).") from None
    if not isinstance(tree, dict) or not str((tree.get("asset") or {}).get("version", "")).startswith("2"):
        raise AssetError(f"{path}: not a glTF 2 document; only glTF 2.x is accepted. Export the asset again.")
    return tree


def _split_glb(path: Path, data: bytes) -> tuple[dict, bytes | None]:
    """JSON and binary chunk of a GLB (glTF 2.0 section 4.4)."""
    broken = AssetError(f"{path}: the GLB file is truncated or corrupt; copy or export it again.")
    if len(data) < 20:
        raise broken
    _, version, total = struct.unpack_from("<4sII", data)
    if version != 2:
        raise AssetError(f"{path}: GLB version {version}; only version 2 is accepted. Export the asset again.")
    if total > len(data):
        raise broken
    chunks, at = [], 12
    while at + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + length > len(data):
            raise broken
        chunks.append((kind, data[at + 8:at + 8 + length]))
        at += 8 + length
    if not chunks or chunks[0][0] != b"JSON":
        raise broken
    return _parse(path, chunks[0][1]), next((c for kind, c in chunks[1:] if kind == b"BIN\0"), None)


def _buffers(path: Path, tree: dict, binary: bytes | None) -> list[bytes]:
    result = []
    for i, entry in enumerate(tree.get("buffers", [])):
        if "uri" in entry:
            blob = read_reference(path, entry["uri"], "buffer")
        elif i == 0 and binary is not None:
            blob = binary
        else:
            raise AssetError(f"{path}: buffer {i} has no data; export the asset again.")
        if len(blob) < entry["byteLength"]:
            raise AssetError(f"{path}: buffer '{str(entry.get('uri', i))[:200]}' is truncated: {len(blob)} bytes, "
                             f"{entry['byteLength']} expected. Copy or export it again.")
        result.append(blob)
    return result


class _Images:
    """Decoded images of one document, each decoded once."""

    def __init__(self, path: Path, tree: dict, buffers: list[bytes]):
        self.path, self.tree, self.buffers = path, tree, buffers
        self.done: dict[int, np.ndarray] = {}
        self.notes: list[str] = []
        # Every reference is checked, used or not: a file that points outside its folder is not trusted at all.
        for image in tree.get("images", []):
            if "uri" in image:
                resolve_reference(path, image["uri"], "texture")

    def fetch(self, info: dict) -> np.ndarray:
        """(H, W, 4) uint8 of a textureInfo."""
        texture = self.tree["textures"][info["index"]]
        webp = (texture.get("extensions") or {}).get("EXT_texture_webp") or {}
        index = webp.get("source", texture.get("source"))
        if index is None:
            raise AssetError(f"{self.path}: texture {info['index']} has no PNG, JPEG or WebP image; export it as PNG.")
        if index not in self.done:
            label, data = self._data(index)
            self.done[index], note = decode_image(data, label)
            self.notes += [note] if note else []
        return self.done[index]

    def _data(self, index: int) -> tuple[str, bytes]:
        image = self.tree["images"][index]
        if "uri" in image:
            short = image["uri"][:200] if not image["uri"].startswith("data:") else f"{index} (embedded)"
            return f"{self.path}: texture '{short}'", read_reference(self.path, image["uri"], "texture")
        view = self.tree["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        data = self.buffers[view["buffer"]][start:start + view["byteLength"]]
        return f"{self.path}: texture '{image.get('name', index)}'", data


def _reduce(path: Path, tree: dict, buffers: list[bytes]) -> Reduced:
    used = [e for e in _UNSUPPORTED if e in tree.get("extensionsRequired", [])]
    if used:
        raise AssetError(f"{path}: needs {', '.join(used)}, which is not supported; export it without compression.")
    _check_tree(path, tree)
    _check_accessors(path, tree)
    images = _Images(path, tree, buffers)
    materials: dict[int | None, Built] = {}
    sources: dict[str, GltfSource] = {}
    notes: list[str] = []
    meshes, kept = [], []
    for m, mesh in enumerate(tree.get("meshes", [])):
        primitives = []
        for primitive in mesh["primitives"]:
            if primitive.get("mode", _TRIANGLES) not in (_TRIANGLES, _STRIP):
                notes.append(f"mesh '{mesh.get('name', m)}': points, lines and fans were left out.")
                continue
            index = primitive.get("material")
            if index not in materials:
                materials[index] = _material(tree, index, images)
            primitives.append(_primitive(path, tree, primitive, len(sources)))
            name = str(mesh.get("name", f"mesh_{m}"))
            sources[str(len(sources))] = _source(tree, name, primitive, materials[index], notes)
        kept.append(bool(primitives))
        meshes.append({"name": f"m{m}", "primitives": primitives})
    nodes = tree.get("nodes", [])
    reduced = {key: tree[key] for key in ("asset", "scene", "scenes", "accessors", "bufferViews") if key in tree}
    reduced |= {"meshes": meshes, "materials": [{"name": name} for name in sources],
                "buffers": [{"uri": f"b{i}", "byteLength": len(b)} for i, b in enumerate(buffers)],
                "nodes": [_node(i, node, kept) for i, node in enumerate(nodes)]}
    if any("skin" in n for n in nodes) or tree.get("animations"):
        notes.append("skins and animations were ignored; the mesh is shown in its rest pose.")
    notes += [n for b in materials.values() for n in b.notes] + images.notes
    return Reduced(json.dumps(reduced).encode(), {f"b{i}": b for i, b in enumerate(buffers)}, sources,
                   {f"n{i}": str(n.get("name", f"node_{i}")) for i, n in enumerate(nodes)}, tuple(dict.fromkeys(notes)))


def _material(tree: dict, index: int | None, images: _Images) -> Built:
    if index is None:
        return Built(Material(), False, ("a primitive without material was given a grey one.",))
    return gltf_material(tree["materials"][index], images.fetch)


def _node(index: int, node: dict, kept: list[bool]) -> dict:
    """Transform, children and mesh only, under a name that cannot clash with trimesh's own frames."""
    result = {key: node[key] for key in ("matrix", "translation", "rotation", "scale", "children") if key in node}
    if "mesh" in node and kept[node["mesh"]]:
        result["mesh"] = node["mesh"]
    return result | {"name": f"n{index}"}


def _primitive(path: Path, tree: dict, primitive: dict, number: int) -> dict:
    attributes = primitive["attributes"]
    if "KHR_draco_mesh_compression" in (primitive.get("extensions") or {}):
        raise AssetError(f"{path}: Draco compressed geometry is not supported; export it without compression.")
    kept = {k: v for k, v in attributes.items() if k in _KEPT_ATTRIBUTES}
    infos = _texture_infos(tree, primitive)
    uv_set = f"TEXCOORD_{infos[0].get('texCoord', 0) if infos else 0}"
    if uv_set in attributes:
        kept["TEXCOORD_0"] = attributes[uv_set]
        if tree["accessors"][attributes[uv_set]]["componentType"] != 5126:
            raise AssetError(f"{path}: has quantised texture coordinates, which are not supported; export as floats.")
    reduced = {"attributes": kept, "mode": primitive.get("mode", _TRIANGLES), "material": number}
    return reduced | ({"indices": primitive["indices"]} if "indices" in primitive else {})


def _texture_infos(tree: dict, primitive: dict) -> list[dict]:
    """The textureInfos of a primitive's material, base colour first."""
    if "material" not in primitive:
        return []
    material = tree["materials"][primitive["material"]]
    pbr = material.get("pbrMetallicRoughness") or {}
    slots = [pbr.get("baseColorTexture"), pbr.get("metallicRoughnessTexture"), material.get("normalTexture"),
             material.get("emissiveTexture")]
    return [s for s in slots if s]


def _source(tree: dict, name: str, primitive: dict, built: Built, notes: list[str]) -> GltfSource:
    infos = _texture_infos(tree, primitive)
    sets = {i.get("texCoord", 0) for i in infos}
    moves = [_uv_matrix((i.get("extensions") or {}).get("KHR_texture_transform") or {}) for i in infos]
    if len(sets) > 1 or any(not np.allclose(m, moves[0]) for m in moves):
        notes.append(f"material '{built.material.name}': its textures use different UVs; those of the first are used.")
    matrix = moves[0] if moves and not np.allclose(moves[0], np.eye(2, 3)) else None
    return GltfSource(name, built, "NORMAL" in primitive["attributes"], matrix)


def _uv_matrix(transform: dict[str, Any]) -> np.ndarray:
    (ox, oy), (sx, sy) = transform.get("offset", (0, 0)), transform.get("scale", (1, 1))
    c, s = np.cos(transform.get("rotation", 0.0)), np.sin(transform.get("rotation", 0.0))
    return np.array([[c * sx, s * sy, ox], [-s * sx, c * sy, oy]], float)


def _check_tree(path: Path, tree: dict) -> None:
    """Every node has one parent at most and no node is its own ancestor (else walking it would not end)."""
    nodes = tree.get("nodes", [])
    parent: dict[int, int] = {}
    for i, node in enumerate(nodes):
        for child in node.get("children", []):
            if child in parent or not 0 <= child < len(nodes):
                raise AssetError(f"{path}: node {child} has two parents or does not exist; export the asset again.")
            parent[child] = i
    for i in range(len(nodes)):
        at, steps = i, 0
        while at in parent:
            at, steps = parent[at], steps + 1
            if at == i or steps > 10_000:
                raise AssetError(f"{path}: the node tree is cyclic or too deep; export the asset again.")


def _check_accessors(path: Path, tree: dict) -> None:
    """An accessor without data is zeros of any length that a file cares to claim; that length is bounded here."""
    for i, accessor in enumerate(tree.get("accessors", [])):
        if "sparse" in accessor:
            raise AssetError(f"{path}: accessor {i} is sparse, which is not supported; export it again without.")
        if "bufferView" not in accessor and accessor["count"] > _MAX_BARE_ITEMS:
            raise AssetError(f"{path}: accessor {i} claims {accessor['count']} items without data; file corrupt.")
