"""dipir.scene.assets.material: what files say of surfaces becomes linear values within the renderer's limits."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.event import is_warning
from dipir.image.formats.ocio import BUILT_IN, find_space
from dipir.image.formats.primaries import KNOWN_CHROMATICITIES, to_bt709
from dipir.scene.assets.asset import Material, Sampling
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.material import has_textures, tinted, untextured
from tests.support.asset_samples import embedded, gltf, write


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
    assert asset.parts[0].material.transmission == expected
    # Without a volume it is a thin wall in glTF.
    assert [("thin walls" in note and is_warning(note)) for note in asset.notes] == [True] * bool(expected)


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


def test_colours_of_vertices_with_a_material():
    notes: list[str] = []
    many = np.array([[1, 0, 0], [0, 1, 0]], float)
    plain = Material(base_color=(0.5, 0.5, 1))
    same, colors = tinted(plain, many, notes)
    assert same is plain and colors is many
    one, colors = tinted(plain, np.full((4, 3), 0.5), notes)
    assert colors is None and one.base_color == (0.25, 0.25, 0.5)
    assert tinted(plain, np.ones((4, 3)), notes) == (plain, None) and notes == []
    textured = Material(base_color_texture=np.ones((2, 2, 3), np.float32))
    mean, colors = tinted(textured, many, notes)
    assert colors is None and mean.base_color == (0.5, 0.5, 0) and is_warning(notes[0]) and "averaged" in notes[0]
    np.testing.assert_allclose(mean.base_color_texture, np.broadcast_to([0.5, 0.5, 0], (2, 2, 3)))


def test_a_material_without_its_textures_has_their_means():
    bare = untextured(Material(base_color=(0.1, 0.2, 0.3), base_color_texture=np.ones((2, 2, 3), np.float32),
                               roughness_texture=np.ones((2, 2), np.float32), sampling=(("base_color", Sampling()),)))
    assert bare == Material(base_color=(0.1, 0.2, 0.3)) and not has_textures(bare)


def test_textures_in_another_colour_space(tmp_path):
    """Of base colour and emission; what holds numbers stays as it is, and what lies outside of BT.709 becomes 0."""
    color, orm = np.zeros((2, 4, 3)) + [0, 200, 40], np.zeros((2, 4, 3)) + [7, 100, 0]
    orm[0, :, 1] = 200
    material = {"name": "m", "emissiveTexture": {"index": 0}, "emissiveFactor": [1, 1, 1],
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicRoughnessTexture": {"index": 1}}}
    path = write(tmp_path, gltf(material=material, images=[embedded(color), embedded(orm)]))
    space = find_space("ACEScg", BUILT_IN)
    m, plain = load_asset(path, textures=space).parts[0].material, load_asset(path).parts[0].material
    light = np.array([0, 200, 40]) / 255 @ np.array(to_bt709(KNOWN_CHROMATICITIES["lin_ap1_scene"])).T
    assert light.min() < 0
    for found in (m.base_color_texture, m.emission_texture):
        np.testing.assert_allclose(found[0, 0], light.clip(0), atol=1e-4)
    np.testing.assert_array_equal(m.roughness_texture, plain.roughness_texture)
    np.testing.assert_allclose(plain.base_color_texture[0, 0, 1], 0.5776, atol=1e-4)
