"""Loading: values of materials, geometry, units and axes, on tiny files made here."""
import base64
import json
import struct

import numpy as np
import pytest

from dipir.scene.assets.asset import asset_hash
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from tests.support.asset_samples import BOX, BOX_FACES, OBJ, embedded, gltf, ply, png, write


def test_base_color_is_decoded_and_multiplied_and_scalars_are_single_channels(tmp_path):
    color = np.zeros((2, 4, 3)) + [188, 0, 255]
    orm = np.zeros((2, 4, 3)) + [7, 0, 0]
    orm[0, :, 1], orm[1, :, 1] = 255, 51
    orm[:, 0, 2], orm[:, 1:, 2] = 255, 0
    normal = np.zeros((2, 4, 3)) + [128, 128, 255]
    normal[0, 0] = [255, 128, 128]
    material = {"name": "m", "doubleSided": True, "normalTexture": {"index": 2},
                "pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 1, 1], "baseColorTexture": {"index": 0},
                                         "roughnessFactor": 0.5, "metallicRoughnessTexture": {"index": 1}}}
    m = load_asset(write(tmp_path, gltf(material=material, images=[embedded(color), embedded(orm), embedded(normal)]))
                   ).parts[0].material
    assert m.base_color_texture.dtype == np.float32 and m.base_color_texture.shape == (2, 4, 3)
    assert m.base_color_texture[0, 0] == pytest.approx([0.5 * 0.5029, 0, 1], abs=1e-3)
    assert m.base_color == pytest.approx(tuple(m.base_color_texture.mean((0, 1))))
    assert m.roughness_texture == pytest.approx(np.repeat([[0.5], [0.1]], 4, 1), abs=1e-6)
    assert m.metallic_texture == pytest.approx(np.repeat([[1.0, 0, 0, 0]], 2, 0))
    assert m.normal_texture[0, 0] == pytest.approx([1, 0.5, 0.5], abs=0.01) and m.double_sided


def test_roughness_and_specular_never_reach_zero(tmp_path):
    material = {"pbrMetallicRoughness": {"roughnessFactor": 0.0, "metallicFactor": 1.0},
                "extensions": {"KHR_materials_specular": {"specularFactor": 0}}}
    m = load_asset(write(tmp_path, gltf(material=material))).parts[0].material
    assert m.roughness == 0.05 and m.specular == 0.01 and m.metallic == 1 and not m.double_sided


def test_gltf_defaults_and_ior(tmp_path):
    m = load_asset(write(tmp_path, gltf(material={"name": "plain"}))).parts[0].material
    assert m.base_color == (1, 1, 1) and m.roughness == 1 and m.metallic == 1 and m.specular == pytest.approx(0.5)
    water = {"extensions": {"KHR_materials_ior": {"ior": 1.33}}}
    m = load_asset(write(tmp_path, gltf(material=water))).parts[0].material
    assert m.specular == pytest.approx(0.2507, abs=1e-3)


@pytest.mark.parametrize("factor, expected", [(1.0, 1.0), (0.25, 0.25), (7, 1.0), (None, 0.0)])
def test_gltf_transmission(tmp_path, factor, expected):
    glass = {"extensions": {"KHR_materials_transmission": {} if factor is None else {"transmissionFactor": factor}}}
    asset = load_asset(write(tmp_path, gltf(material=glass)))
    assert asset.parts[0].material.transmission == expected and not asset.notes


@pytest.mark.parametrize("mode, expected", [("OPAQUE", None), ("MASK", [[0, 1]]), ("BLEND", [[0.2, 0.4]])])
def test_alpha_modes(tmp_path, mode, expected):
    color = np.full((1, 2, 4), 255)
    color[0, :, 3] = [102, 204]
    material = {"alphaMode": mode, "alphaCutoff": 0.3, "pbrMetallicRoughness": {
        "baseColorTexture": {"index": 0}, "baseColorFactor": [1, 1, 1, 0.5]}}
    m = load_asset(write(tmp_path, gltf(material=material, images=[embedded(color)]))).parts[0].material
    if expected is None:
        assert m.opacity_texture is None and m.opacity == 1
    else:
        assert m.opacity_texture == pytest.approx(np.array(expected), abs=1e-6)


def test_emission_with_strength(tmp_path):
    material = {"emissiveFactor": [1, 0.5, 0],
                "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 6}}}
    assert load_asset(write(tmp_path, gltf(material=material))).parts[0].material.emission == (6, 3, 0)


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


def test_obj_materials_and_options(tmp_path):
    (tmp_path / "my map.png").write_bytes(png(np.full((2, 2, 3), 188)))
    (tmp_path / "a.mtl").write_text("newmtl red one\nKd 1 0 0 # comment\nNs 14\nd 0.25\nKs 0 0 0\nPm 1\n"
                                    "newmtl tex\nKd 0.5 0.5 0.5\nmap_Kd -s 1 1 1 -bm 0.5 my map.png\nPr 0.01\n"
                                    "Ke 2 0 0\n")
    faces = [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3\n" for a, b, c in BOX_FACES]
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n" + OBJ + "usemtl red one\n" + "".join(faces[:6])
                                    + "usemtl tex\n" + "".join(faces[6:]))
    asset = load_asset(tmp_path / "a.obj", unit="cm")
    by_name = {p.material.name: p.material for p in asset.parts}
    red, tex = by_name["red one"], by_name["tex"]
    assert red.base_color == (1, 0, 0) and red.opacity == 0.25 and red.metallic == 1 and red.specular == 0.01
    assert red.roughness == pytest.approx((2 / 16) ** 0.25)
    assert tex.base_color_texture == pytest.approx(np.full((2, 2, 3), 0.2514), abs=1e-3)
    assert tex.roughness == 0.05 and tex.emission == (2, 0, 0)
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([0.02, 0.01, 0.04])
    assert asset.notes == ()


def test_obj_without_material_file_is_grey_and_says_so(tmp_path):
    (tmp_path / "a.obj").write_text("mtllib gone.mtl\n" + OBJ + "usemtl x\nf 1 2 3\nf 1 5 6\n")
    asset = load_asset(tmp_path / "a.obj")
    assert any("gone.mtl" in n for n in asset.notes) and asset.parts[0].material.base_color == (0.5, 0.5, 0.5)


def test_ply_vertex_colour_unit_and_axis(tmp_path):
    path = tmp_path / "a.ply"
    path.write_text(ply((188, 0, 255)))
    asset = load_asset(path)
    assert asset.parts[0].material.base_color == pytest.approx((0.5029, 0, 1), abs=1e-3)
    # File axes x, y, z (2, 1, 4); +Z up: height 4.
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 4, 1])
    assert sum("unit" in n or "axis" in n for n in asset.notes) == 2
    given = load_asset(path, unit="mm", up_axis="y")
    assert np.ptp(given.bounds, axis=0) == pytest.approx([0.002, 0.001, 0.004], rel=1e-4)


@pytest.mark.parametrize("axis, size, top", [("x", 2, 0), ("y", 1, 1), ("z", 4, 2), ("-x", 2, 0), ("-y", 1, 1),
                                             ("-z", 4, 2)])
def test_up_axis_turns_without_mirroring(tmp_path, axis, size, top):
    cone = np.concatenate([BOX, BOX.mean(0, keepdims=True)])
    # A spike beyond the box in the direction that is to be up.
    cone[8, top] += (-1 if axis[0] == "-" else 1) * 50
    faces = np.concatenate([BOX_FACES, [[0, 1, 8], [1, 0, 8]]])
    (tmp_path / "a.obj").write_text("".join("v {} {} {}\n".format(*v) for v in cone)
                                    + "".join("f {} {} {}\n".format(*f) for f in faces + 1))
    part = load_asset(tmp_path / "a.obj", unit="m", up_axis=axis).parts[0]
    height = part.vertices[:, 1]
    assert height.min() == 0 and height.max() == pytest.approx(size / 2 + 50)
    assert (height > size + 1).sum() <= 2
    assert signed_volume(part.vertices, part.faces) == pytest.approx(8, rel=1e-3)


def test_stl_normals_follow_sharp_edges_and_millimetres_are_guessed(tmp_path):
    points = (BOX * 30)[BOX_FACES]
    record = b"".join(struct.pack("<12fH", 0, 0, 0, *t.reshape(-1), 0) for t in points)
    (tmp_path / "a.stl").write_bytes(b"\0" * 80 + struct.pack("<I", 12) + record)
    asset = load_asset(tmp_path / "a.stl")
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([0.06, 0.12, 0.03])
    part = asset.parts[0]
    assert len(part.vertices) == 24
    face = unit(face_cross(part.vertices, part.faces))
    assert (part.normals[part.faces] * face[:, None]).sum(-1) == pytest.approx(1, abs=1e-5)


def test_hash_sees_geometry_and_material_but_not_names(tmp_path):
    material = {"name": "a", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}
    one = asset_hash(load_asset(write(tmp_path, gltf(material=material))))
    assert one == asset_hash(load_asset(write(tmp_path, gltf(material=material | {"name": "b"}), "b.gltf")))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(material=material | {"emissiveFactor": [1, 0, 0]}))))
    assert one != asset_hash(load_asset(write(tmp_path, gltf(BOX * 1.01, material=material))))
