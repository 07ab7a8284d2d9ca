"""dipir.scene.gltf.read: node trees, primitives, UVs and images of glTF documents."""
from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import signed_volume
from tests.support.asset_samples import embedded, gltf, png, write


def test_node_transforms_instances_and_mirroring(tmp_path):
    nodes = [{"children": [1, 2], "scale": [2, 2, 2]}, {"mesh": 0, "name": "world", "translation": [10, 5, 0]},
             {"mesh": 0, "name": "mirrored", "scale": [-1, 1, 1]}]
    asset = load_asset(write(tmp_path, gltf(nodes=nodes)))
    assert len(asset.parts) == 2 and {p.name.split("/")[0] for p in asset.parts} == {"world", "mirrored"}
    low, high = asset.bounds
    # x: mirrored -4..0, moved 20..24; y: 0..12; z: 0..8.
    assert low == pytest.approx([-14, 0, -4]) and high == pytest.approx([14, 12, 4])
    for part in asset.parts:
        assert signed_volume(part.vertices, part.faces) == pytest.approx(64, rel=1e-4)


def test_every_primitive_is_a_part_with_its_own_material(tmp_path):
    document = gltf(material={"name": "red", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}})
    document["materials"].append({"name": "blue", "pbrMetallicRoughness": {"baseColorFactor": [0, 0, 1, 1]}})
    document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "indices": 1, "material": 1})
    document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": 0})
    asset = load_asset(write(tmp_path, document))
    assert sorted((p.material.name, p.material.base_color) for p in asset.parts) == [
        ("blue", (0, 0, 1)), ("red", (1, 0, 0))]
    assert any("points" in n for n in asset.notes)


def test_uvs_point_up_and_texture_transform_is_applied(tmp_path):
    info = {"index": 0, "extensions": {"KHR_texture_transform": {"offset": [0.25, 0.5], "scale": [2, 3]}}}
    color = np.random.default_rng(0).integers(0, 255, (4, 4, 3))
    plain = gltf(material={"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}, images=[embedded(color)])
    moved = gltf(material={"pbrMetallicRoughness": {"baseColorTexture": info}}, images=[embedded(color)])
    a, b = (load_asset(write(tmp_path, d)).parts[0].uvs for d in (plain, moved))
    raw = (np.arange(16) / 16).reshape(8, 2)
    assert a == pytest.approx(raw * [1, -1] + [0, 1])
    assert b == pytest.approx(np.stack([raw[:, 0] * 2 + 0.25, 1 - (raw[:, 1] * 3 + 0.5)], -1))


def test_glb_with_image_in_buffer(tmp_path):
    document = gltf(material={"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    blob = base64.b64decode(document["buffers"][0].pop("uri").split(",")[1])
    image = png(np.full((3, 5, 3), 255))
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(image)})
    document["images"], document["textures"] = [{"bufferView": 3, "mimeType": "image/png"}], [{"source": 0}]
    blob += image
    blob += b"\0" * (-len(blob) % 4)
    document["buffers"][0]["byteLength"] = len(blob)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    data = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(blob), len(text), 0x4E4F534A) + text
    data += struct.pack("<II", len(blob), 0x004E4942) + blob
    path = tmp_path / "a.glb"
    path.write_bytes(data)
    assert load_asset(path).parts[0].material.base_color_texture.shape == (3, 5, 3)
    path.write_bytes(data[:-20])
    with pytest.raises(Exception, match="truncated"):
        load_asset(path)


def refused(path, match=None, **options):
    with pytest.raises(AssetError, match=match) as error:
        load_asset(path, **options)
    assert options or path.name in str(error.value)


def test_truncated_buffer(tmp_path):
    document = gltf()
    document["buffers"][0]["byteLength"] += 100
    refused(write(tmp_path, document), "truncated")


def test_hostile_gltf_structures(tmp_path):
    refused(write(tmp_path, gltf(nodes=[{"children": [1]}, {"children": [0], "mesh": 0}])), "cyclic")
    refused(write(tmp_path, gltf(nodes=[{"children": [1, 1]}, {"mesh": 0}])), "two parents")
    huge = gltf()
    huge["accessors"].append({"componentType": 5126, "count": 10**15, "type": "VEC3"})
    huge["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = len(huge["accessors"]) - 1
    refused(write(tmp_path, huge), "claims 1000000000000000 items")
    refused(write(tmp_path, gltf(extensionsRequired=["XYZ_unheard_of"])), "requires XYZ_unheard_of")
    refused(write(tmp_path, gltf(material={"normalTexture": {"index": 7}})), "textures 7, which does not exist")
    refused(write(tmp_path, [1, 2]), "glTF 2")
    refused(write(tmp_path, gltf(asset={"version": "1.0"})), "glTF 2")
