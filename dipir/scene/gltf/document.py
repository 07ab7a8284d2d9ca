"""glTF and GLB documents: the JSON and its buffers, checked before anything is made of them."""
from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dipir.errors import AssetError
from dipir.event import warn
from dipir.scene.assets.files import read_reference

# What is read, approximated or rightly without effect on a still picture; docs/assets.md says which.
KNOWN_EXTENSIONS = frozenset((
    "EXT_mesh_gpu_instancing", "EXT_meshopt_compression", "EXT_texture_webp", "KHR_animation_pointer",
    "KHR_draco_mesh_compression", "KHR_lights_punctual", "KHR_materials_anisotropy", "KHR_materials_clearcoat",
    "KHR_materials_diffuse_transmission", "KHR_materials_dispersion", "KHR_materials_emissive_strength",
    "KHR_materials_ior", "KHR_materials_iridescence", "KHR_materials_pbrSpecularGlossiness", "KHR_materials_sheen",
    "KHR_materials_specular", "KHR_materials_transmission", "KHR_materials_unlit", "KHR_materials_variants",
    "KHR_materials_volume", "KHR_mesh_quantization", "KHR_meshopt_compression", "KHR_node_visibility",
    "KHR_texture_basisu", "KHR_texture_transform", "KHR_xmp_json_ld"))
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
MAX_ENTRIES = 100_000
_LISTS = ("accessors", "animations", "buffers", "bufferViews", "images", "materials", "meshes", "nodes", "samplers",
          "scenes", "skins", "textures")


@dataclass
class GltfDocument:
    """A checked document. Remarks gather in ``notes`` while it is read."""

    path: Path
    tree: dict
    buffers: list[bytes | None]  # None: a meshopt fallback without data
    notes: list[str] = field(default_factory=list)
    unpacked: dict[int, bytes] = field(default_factory=dict)  # compressed buffer views, by number

    def item(self, kind: str, index: Any) -> dict:
        """Entry ``index`` of a top-level list. AssetError when it is not there."""
        entries = self.tree.get(kind) or []
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(entries):
            raise self.refused(f"refers to {kind} {shown(index)}, which does not exist")
        return entries[index]

    def refused(self, what: str, remedy: str = "Export the asset again.") -> AssetError:
        """The error to raise about this file."""
        return AssetError(f"{self.path}: {what}. {remedy}")

    def note(self, text: str) -> None:
        """Keep a remark for the user, once."""
        if text not in self.notes:
            self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep a remark about what changes the picture, once."""
        self.note(warn(text))


def shown(text: object, limit: int = 80) -> str:
    """A name or value of a file, short and without control characters, for messages."""
    plain = "".join(c if c.isprintable() else "?" for c in str(text)[:limit + 1])
    return plain if len(plain) <= limit else plain[:limit - 3] + "..."


def extension(entry: Any, name: str) -> dict | None:
    """The object of an extension, {} where it is not an object, None where it is absent."""
    extensions = entry.get("extensions") if isinstance(entry, dict) else None
    if not isinstance(extensions, dict) or name not in extensions:
        return None
    return extensions[name] if isinstance(extensions[name], dict) else {}


@contextmanager
def blamed(path: Path) -> Iterator[None]:
    """Whatever a malformed document makes our reading stumble over is the file's fault, as an AssetError."""
    try:
        # Numbers that are not finite are found where they matter; numpy need not speak of them.
        with np.errstate(all="ignore"):
            yield
    except AssetError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
            struct.error) as error:
        raise AssetError(f"{path}: not a valid glTF document ({type(error).__name__}: {shown(error)}); "
                         "export it again.") from None


def read_document(path: Path, data: bytes) -> GltfDocument:
    """The document in ``data``, with the buffers it names. AssetError for a corrupt or truncated file, buffers that
    are missing or outside the folder, and required extensions that are not supported."""
    with blamed(path):
        tree, binary = _split(path, data)
        document = GltfDocument(path, tree, [])
        for key in _LISTS:
            entries = tree.get(key, [])
            if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
                raise document.refused(f"its '{key}' are not a list of objects")
            if len(entries) > MAX_ENTRIES:
                raise document.refused(f"has {len(entries)} {key}; at most {MAX_ENTRIES} are accepted",
                                       "Join meshes and materials, or export a part of it.")
        _check_extensions(document)
        document.buffers = _buffers(document, binary)
        return document


def stated_names(path: Path, data: bytes) -> tuple[str, ...]:
    """What the document calls itself and its things: title, scenes, nodes, meshes, in this order, empty ones left out.
    AssetError for a corrupt file."""
    with blamed(path):
        tree, _ = _split(path, data)
        extras = tree["asset"].get("extras")
        listed = (tree.get(key) for key in ("scenes", "nodes", "meshes"))
        things = [extras.get("title") if isinstance(extras, dict) else None,
                  *(thing.get("name") for things in listed if isinstance(things, list) for thing in things
                    if isinstance(thing, dict))]
        return tuple(name for name in things if isinstance(name, str) and name.strip())


def _split(path: Path, data: bytes) -> tuple[dict, bytes | None]:
    """The JSON, and the binary chunk of a GLB."""
    return _split_glb(path, data) if data[:4] == b"glTF" else (_parse(path, data), None)


def _parse(path: Path, text: bytes) -> dict:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AssetError(f"{path}: the JSON of the glTF file is corrupt or truncated ({shown(error)}); copy or export "
                         "it again.") from None
    asset = tree.get("asset") if isinstance(tree, dict) else None
    if not isinstance(asset, dict) or not str(asset.get("version", "")).startswith("2"):
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
    text, binary, at = None, None, 12
    while at + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + length > len(data):
            raise broken
        if text is None:
            if kind != b"JSON":
                raise broken
            text = data[at + 8:at + 8 + length]
        elif kind == b"BIN\0" and binary is None:
            binary = data[at + 8:at + 8 + length]
        at += 8 + length
    if text is None:
        raise broken
    return _parse(path, text), binary


def _check_extensions(document: GltfDocument) -> None:
    required, used = (document.tree.get(key, []) for key in ("extensionsRequired", "extensionsUsed"))
    if not isinstance(required, list) or not isinstance(used, list):
        raise document.refused("its list of extensions is not a list")
    unknown = sorted({shown(name) for name in required if name not in KNOWN_EXTENSIONS})
    if unknown:
        raise document.refused(f"requires {', '.join(unknown[:10])}, which is not supported",
                               "Export it without; docs/assets.md lists what is.")
    others = sorted({shown(name) for name in used if name not in KNOWN_EXTENSIONS})
    if others:
        text = f"the glTF extensions {', '.join(others[:10])} are not known and were passed over."
        document.note(warn(text) if any("_materials_" in name for name in others) else text)


def _buffers(document: GltfDocument, binary: bytes | None) -> list[bytes | None]:
    result: list[bytes | None] = []
    read: dict[str, bytes] = {}
    for i, entry in enumerate(document.tree.get("buffers", [])):
        uri = entry.get("uri")
        if uri is not None:
            blob = read.get(uri) if isinstance(uri, str) else None
            if blob is None:
                blob = read[uri] = read_reference(document.path, uri, "buffer")
        elif i == 0 and binary is not None:
            blob = binary
        elif any((extension(entry, name) or {}).get("fallback") for name in MESHOPT):
            result.append(None)
            continue
        else:
            raise document.refused(f"buffer {i} has no data")
        if len(blob) < entry["byteLength"]:
            raise document.refused(f"buffer '{shown(entry.get('uri', i))}' is truncated: {len(blob)} bytes, "
                                   f"{shown(entry['byteLength'])} expected", "Copy or export it again.")
        result.append(blob)
    return result
