"""dipir.scene.gltf.document: chunks, extensions, limits, and messages that no file can spoil."""
from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.scene.assets.load import load_asset
from dipir.scene.gltf.document import KNOWN_EXTENSIONS, MAX_ENTRIES, read_document, shown, stated_names
from tests.support.asset_samples import BOX, BOX_FACES, gltf, write
from tests.support.gltf_build import GltfBuilder, glb

PATH = Path("a.glb")


def refused(tree, match):
    with pytest.raises(AssetError, match=match) as error:
        read_document(PATH, tree if isinstance(tree, bytes) else json.dumps(tree).encode())
    assert len(str(error.value)) < 2000 and str(error.value).replace("\n", "").isprintable()


def minimal(**more):
    return {"asset": {"version": "2.0"}} | more


@pytest.mark.parametrize("data, match", [
    (b"glTF\2\0\0\0", "truncated"), (struct.pack("<4sII", b"glTF", 1, 20) + b"\0" * 8, "GLB version 1"),
    (struct.pack("<4sIII4s", b"glTF", 2, 99, 4, b"JSON"), "truncated"),
    (struct.pack("<4sIII4s", b"glTF", 2, 20, 0, b"BIN\0"), "truncated or corrupt"),
    (b"{", "corrupt or truncated"), (b"[" * 100_000, "corrupt or truncated"), (b"[]", "not a glTF 2 document"),
    (b'{"asset": []}', "not a glTF 2"), (b'{"asset": {"version": "1.0"}}', "not a glTF 2"), (b"\xff\xfe{", "corrupt")])
def test_damaged_containers(data, match):
    refused(data, match)


def test_later_chunks_are_passed_over():
    data = glb(minimal(buffers=[{"byteLength": 4}]), b"abcd")
    data += struct.pack("<I4s", 4, b"XXXX") + b"1234"
    data = data[:8] + struct.pack("<I", len(data)) + data[12:]
    assert read_document(PATH, data).buffers == [b"abcd"]


def test_required_extensions_must_be_known():
    refused(minimal(extensionsRequired=["XYZ_a", "KHR_texture_transform", "XYZ_b"]), "requires XYZ_a, XYZ_b, which")
    refused(minimal(extensionsRequired=[["nested"]]), "not a valid glTF|requires")
    refused(minimal(extensionsRequired="KHR_texture_transform"), "not a list")
    assert read_document(PATH, json.dumps(minimal(extensionsRequired=sorted(KNOWN_EXTENSIONS))).encode()).notes == []
    document = read_document(PATH, json.dumps(minimal(extensionsUsed=["XYZ_a", "KHR_materials_ior"])).encode())
    assert len(document.notes) == 1 and "XYZ_a are not known" in document.notes[0]
    assert not is_warning(document.notes[0])
    document = read_document(PATH, json.dumps(minimal(extensionsUsed=["XYZ_materials_a"])).encode())
    assert is_warning(document.notes[0])


def test_lists_are_lists_and_bounded():
    refused(minimal(nodes={}), "'nodes' are not a list")
    refused(minimal(meshes=[1]), "'meshes' are not a list of objects")
    refused(minimal(nodes=[{}] * (MAX_ENTRIES + 1)), "100001 nodes; at most 100000")


def test_buffers_need_data_of_their_length():
    refused(minimal(buffers=[{"byteLength": 4}]), "buffer 0 has no data")
    refused(minimal(buffers=[{"byteLength": 9, "uri": "data:;base64,AAAA"}]), "truncated: 3 bytes, 9 expected")
    refused(minimal(buffers=[{"byteLength": "x" * 5000, "uri": "data:;base64,AAAA"}]), "not a valid glTF")
    refused(minimal(buffers=[{"uri": "data:;base64,AAAA"}]), "not a valid glTF document")


def test_nothing_outside_the_folder_is_read(tmp_path):
    for uri in ("../x.bin", "/etc/hosts", "http://example.org/x.bin", "file:///etc/hosts"):
        refused_buffer = gltf() | {"buffers": [{"byteLength": 4, "uri": uri}]}
        with pytest.raises(AssetError, match="buffer"):
            load_asset(write(tmp_path, refused_buffer))
        with pytest.raises(AssetError, match="texture"):
            load_asset(write(tmp_path, gltf() | {"images": [{"uri": uri}]}))


def test_messages_show_names_short_and_printable():
    assert shown("a\x1b[31m\nb") == "a?[31m?b" and len(shown("x" * 10**6)) == 80
    refused(minimal(extensionsRequired=["\x1b[2J" + "y" * 100_000]), "requires ")


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_a_fallback_buffer_with_data_is_read(tmp_path, name):
    built = GltfBuilder()
    primitive = {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel())}
    for view in built.views:
        view["extensions"] = {name: {"buffer": 0, "byteLength": 1}}
    tree = built.tree(primitive=primitive, extensionsRequired=[name])
    (tmp_path / "a.glb").write_bytes(glb(tree, built.blob))
    assert len(load_asset(tmp_path / "a.glb").parts[0].faces) == 12
    tree["buffers"].append({"byteLength": len(built.blob), "extensions": {name: {"fallback": True}}})
    for view in tree["bufferViews"]:
        view["buffer"] = 1
        del view["extensions"]
    (tmp_path / "a.glb").write_bytes(glb(tree, built.blob))
    with pytest.raises(AssetError, match="fallback buffer, but is not compressed"):
        load_asset(tmp_path / "a.glb")


def test_stated_names_in_their_order():
    tree = minimal(scenes=[{"name": "s"}], nodes=[{"name": " "}, {"name": "n"}], meshes=[{}, {"name": "m"}])
    tree["asset"]["extras"] = {"title": "t"}
    assert stated_names(PATH, json.dumps(tree).encode()) == ("t", "s", "n", "m")
