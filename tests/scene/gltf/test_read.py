"""dipir.scene.gltf.read: node trees, primitives, UVs and images of glTF documents."""
from __future__ import annotations

import base64
import copy
import json
import struct

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.event import is_warning
from dipir.scene.assets.asset import Sampling
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import signed_volume
from dipir.scene.gltf import read
from tests.support.asset_samples import BOX, BOX_FACES, embedded, gltf, png, write
from tests.support.gltf_build import GltfBuilder
from tests.support.shared_cases import case


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


def test_flat_without_normals(tmp_path):
    """Flat faces have no normals at their vertices; given ones are turned with their node and made of length 1."""
    assert load_asset(write(tmp_path, gltf())).parts[0].normals is None
    built = GltfBuilder()
    up = np.tile(np.array([[0, 2, 0]], "f4"), (3, 1))
    attributes = {"POSITION": built.add(np.eye(3, dtype="f4")), "NORMAL": built.add(up)}
    quarter = {"rotation": [0, 0, 0.5**0.5, 0.5**0.5], "scale": [3, 3, 3]}
    document = built.document(primitive={"attributes": attributes}, nodes=[{"mesh": 0, **quarter}])
    normals = load_asset(write(tmp_path, document)).parts[0].normals
    assert normals == pytest.approx(np.tile([[-1, 0, 0]], (3, 1)), abs=1e-6)


def test_what_a_still_asset_has_no_use_for_is_noted(tmp_path):
    document = gltf(material={}, animations=[{"channels": [], "samplers": []}], extensions={
        "KHR_lights_punctual": {"lights": []}, "KHR_materials_variants": {"variants": []}})
    notes = load_asset(write(tmp_path, document)).notes
    assert len(notes) == 3 and not any(getattr(n, "warning", False) for n in notes)
    for word in ("default pose", "lights in the file", "default one is shown"):
        assert any(word in n for n in notes)


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


# --- UV sets, transforms and samplers of each slot ----------------------------------------------------------------

UV0 = np.random.default_rng(5).random((8, 2)).astype("f4")
IMAGE = embedded(np.random.default_rng(0).integers(0, 255, (8, 8, 3)))


def two_textures(color, surface, uv1, normal=None):
    """A box with base colour and metallic-roughness textures, and two UV sets."""
    built = GltfBuilder()
    attributes = {"POSITION": built.add(BOX), "TEXCOORD_0": built.add(UV0), "TEXCOORD_1": built.add(uv1.astype("f4"))}
    material = {"name": "two", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0} | color,
                                                        "metallicRoughnessTexture": {"index": 0} | surface}}
    material |= {"normalTexture": {"index": 0} | normal} if normal is not None else {}
    return built.document(primitive={"attributes": attributes, "indices": built.add(BOX_FACES.ravel()), "material": 0},
                          images=[{"uri": IMAGE}], textures=[{"source": 0}], materials=[material])


def moved(**transform):
    return {"extensions": {"KHR_texture_transform": transform}}


def uvs_of(part, slot):
    """(V, 2), v down: where the renderer looks a slot's texture up."""
    rows = np.reshape(part.material.sampled(slot).matrix, (2, 3))
    down = np.stack([part.uvs[:, 0], 1 - part.uvs[:, 1]], -1)
    return down @ rows[:, :2].T + rows[:, 2]


def test_each_slot_has_its_own_transform(tmp_path):
    document = two_textures(moved(scale=[2, 2]), moved(offset=[0.25, 0.5], rotation=np.pi / 2), UV0, normal={})
    asset = load_asset(write(tmp_path, document))
    part = asset.parts[0]
    assert uvs_of(part, "base_color") == pytest.approx(UV0 * 2, abs=1e-6)
    expected = np.stack([UV0[:, 1] + 0.25, 0.5 - UV0[:, 0]], -1)
    assert uvs_of(part, "roughness") == pytest.approx(expected, abs=1e-6)
    # The mesh's own UVs are the normal map's, which span its tangents.
    assert part.material.sampled("normal") == Sampling() and not asset.notes
    assert uvs_of(part, "normal") == pytest.approx(UV0, abs=1e-6)


def test_a_transform_that_flattens_is_no_obstacle(tmp_path):
    document = two_textures(moved(scale=[0, 0], offset=[0.5, 0.5]), {}, UV0)
    part = load_asset(write(tmp_path, document)).parts[0]
    assert uvs_of(part, "base_color") == pytest.approx(np.full((8, 2), 0.5)) and uvs_of(
        part, "metallic") == pytest.approx(UV0, abs=1e-6)


@pytest.mark.parametrize("linear, offset, said", [([[1, 0], [0, 1]], [0, 0], False), ([[0, 2], [-3, 0]], [1, 2], False),
                                                  (None, None, True)])
def test_a_second_uv_set_is_exact_where_it_is_the_first_one_moved(tmp_path, linear, offset, said):
    other = np.random.default_rng(9).random((8, 2)) if linear is None else UV0 @ np.array(linear) + offset
    asset = load_asset(write(tmp_path, two_textures({}, {"texCoord": 1}, other)))
    warned = [n for n in asset.notes if "uses UV set 1; set 0 was used" in n and n.warning]
    assert bool(warned) == said
    assert uvs_of(asset.parts[0], "roughness") == pytest.approx(UV0 if said else other, abs=1e-4)


def test_the_texture_transform_names_its_own_uv_set(tmp_path):
    other = np.random.default_rng(9).random((8, 2))
    document = two_textures({"texCoord": 0} | moved(texCoord=1, scale=[2, 2]), {"texCoord": 1} | moved(scale=[2, 2]),
                            other)
    part = load_asset(write(tmp_path, document)).parts[0]
    assert uvs_of(part, "base_color") == pytest.approx(other * 2, abs=1e-5)


def test_case_texture_transform_shows_the_second_set_twice():
    part, = load_asset(case("11_texture_transform_texcoord/a.glb")).parts
    assert np.ptp(part.uvs, axis=0) == pytest.approx([2, 2])
    data = case("11_texture_transform_texcoord/a.glb").read_bytes()
    raw = np.frombuffer(data, "<f4", 48, data.index(b"BIN\0") + 4 + 1140).reshape(24, 2) * 2
    # Vertices keep their order, so the raw second set, doubled, is what the part has.
    assert part.uvs == pytest.approx(np.stack([raw[:, 0], 1 - raw[:, 1]], -1), abs=1e-6)


def test_uvs_without_a_place_in_single_precision_are_refused(tmp_path):
    document = two_textures(moved(scale=[1e30, 1]), {}, UV0)
    with pytest.raises(AssetError, match="NaN or infinite UVs"):
        load_asset(write(tmp_path, document))


# --- vertex colours -----------------------------------------------------------------------------------------------

def painted(colors, material, uvs=False):
    built = GltfBuilder()
    attributes = {"POSITION": built.add(BOX), "COLOR_0": built.add(colors, normalized=True)}
    attributes |= {"TEXCOORD_0": built.add(UV0)} if uvs else {}
    return built.document(primitive={"attributes": attributes, "indices": built.add(BOX_FACES.ravel()), "material": 0},
                          images=[{"uri": IMAGE}], textures=[{"source": 0}], materials=[material])


RAMP = np.linspace(0, 255, 32).astype("u1").reshape(8, 4)


def test_vertex_colours_are_linear_and_per_vertex(tmp_path):
    asset = load_asset(write(tmp_path, painted(RAMP, {"pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 1, 1]}})))
    part = asset.parts[0]
    assert part.colors == pytest.approx(RAMP[:, :3] / 255, abs=1e-6) and part.material.base_color == (1, 0.5, 1)
    assert part.material.opacity == 1 and not asset.notes
    assert load_asset(write(tmp_path, painted(np.full((8, 3), 255, "u1"), {}))).parts[0].colors is None


def test_vertex_colours_over_a_texture_are_averaged_and_said(tmp_path):
    textured = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    plain = load_asset(write(tmp_path, painted(np.full((8, 4), 255, "u1"), textured, True))).parts[0].material
    asset = load_asset(write(tmp_path, painted(RAMP, textured, True)))
    mean = RAMP[:, :3].mean(0) / 255
    assert asset.parts[0].colors is None and any("averaged to one colour" in n and n.warning for n in asset.notes)
    assert asset.parts[0].material.base_color_texture == pytest.approx(plain.base_color_texture * mean, abs=1e-3)


def test_alpha_of_vertex_colours_counts_where_the_material_blends(tmp_path):
    asset = load_asset(write(tmp_path, painted(RAMP, {"alphaMode": "BLEND", "name": "veil"})))
    assert asset.parts[0].material.opacity == pytest.approx(RAMP[:, 3].mean() / 255, abs=1e-3)
    assert any("alpha of its vertex colours" in n and n.warning for n in asset.notes)


def test_case_vertex_colours_fade_from_red_to_blue():
    part, = load_asset(case("14_vertex_colours/a.glb")).parts
    top, bottom = (part.colors[np.isclose(part.vertices[:, 1], y)] for y in (1, 0))
    assert top.mean(0) == pytest.approx([0.898, 0.02, 0.02], abs=0.01)
    assert bottom.mean(0) == pytest.approx([0.02, 0.047, 0.898], abs=0.01)


# --- what cannot be seen ------------------------------------------------------------------------------------------

def test_invisible_parts_decide_nothing_and_are_said(tmp_path):
    def two(alpha):
        document = gltf(material={}, nodes=[{"mesh": 0, "children": [1]}, {"mesh": 1, "scale": [9, 9, 9]}])
        primitive = document["meshes"][0]["primitives"][0]
        document["meshes"].append({"name": "cage", "primitives": [primitive | {"material": 1}]})
        pbr = {"baseColorFactor": [1, 1, 1, alpha]}
        document["materials"].append({"alphaMode": "BLEND", "pbrMetallicRoughness": pbr})
        return load_asset(write(tmp_path, document))

    asset = two(0)
    assert np.ptp(asset.bounds, axis=0) == pytest.approx([2, 1, 4])
    assert any("cage" in n and "wholly transparent" in n and n.warning for n in asset.notes)
    assert np.ptp(two(0.01).bounds, axis=0) == pytest.approx([18, 9, 36]) and not two(0.01).notes
    ghost = {"alphaMode": "BLEND", "pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 0]}}
    alone = load_asset(write(tmp_path, gltf(material=ghost)))
    assert len(alone.parts) == 1 and any("cannot be seen" in n for n in alone.notes)


def test_very_many_parts_of_one_look_become_one(tmp_path, monkeypatch):
    nodes = [{"children": list(range(1, 8))}] + [{"mesh": 0, "translation": [3 * k, 0, 0], "scale": [1, -1, 1]}
                                                 for k in range(7)]
    document = gltf(material={}, nodes=nodes)
    apart = load_asset(write(tmp_path, document))
    several = copy.deepcopy(document)
    several["meshes"] = [several["meshes"][0]] * 7
    for k, node in enumerate(several["nodes"][1:]):
        node["mesh"] = k
    monkeypatch.setattr(read, "_MANY", 5)
    together = np.concatenate([p.vertices[p.faces] for p in apart.parts])
    for tree, said in ((document, "7 nodes show mesh"), (several, "7 parts were joined to 1")):
        joined = load_asset(write(tmp_path, tree))
        assert len(apart.parts) == 7 and len(joined.parts) == 1 and any(said in n for n in joined.notes)
        assert joined.parts[0].vertices[joined.parts[0].faces] == pytest.approx(together)


@pytest.mark.parametrize("mode, colour, word", [("MASK", [1, 0, 0, 0.2], "masks"), ("OPAQUE", [1, 0, 0, 0.2], None),
                                                ("MASK", [1, 0, 0, 1], None), ("OPAQUE", [9, 0, 0, 1], "beyond 1")])
def test_what_of_vertex_colours_has_no_effect_is_said(tmp_path, mode, colour, word):
    build = GltfBuilder()
    attributes = {"POSITION": build.add(np.eye(3, dtype=np.float32)),
                  "COLOR_0": build.add(np.array([colour] * 3, np.float32))}
    (tmp_path / "a.glb").write_bytes(build.glb(primitive={"attributes": attributes, "material": 0},
                                               materials=[{"alphaMode": mode}]))
    notes = load_asset(tmp_path / "a.glb").notes
    assert [is_warning(note) and word in note for note in notes] == ([True] if word else [])


def test_more_primitives_than_are_read(tmp_path):
    document = gltf()
    document["meshes"][0]["primitives"] *= 20_001
    with pytest.raises(AssetError, match="more than 20000 primitives"):
        load_asset(write(tmp_path, document))
