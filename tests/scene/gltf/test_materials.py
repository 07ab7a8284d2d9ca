"""dipir.scene.gltf.materials: extensions as far as the BSDF goes; what is left out or approximated is said."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.scene.assets.load import load_asset
from dipir.scene.gltf.materials import metallic_of_specular
from tests.support.asset_samples import embedded, gltf, write
from tests.support.shared_cases import case

GREY = np.full((4, 4, 4), 128, np.uint8)
MIXED = np.random.default_rng(0).integers(0, 255, (4, 4, 4))


def made(folder, material, *images):
    """The material, and its warnings as one text."""
    asset = load_asset(write(folder, gltf(material={"name": "stuff"} | material, images=[embedded(i) for i in images])))
    return asset.parts[0].material, " ".join(n for n in asset.notes if getattr(n, "warning", False))


def extended(name, **values):
    return {"extensions": {f"KHR_materials_{name}": values}}


def test_specular_glossiness_of_a_dielectric_is_its_diffuse_texture(tmp_path):
    gloss = {"diffuseTexture": {"index": 0}, "diffuseFactor": [0.5, 1, 1, 1], "specularFactor": [0.04] * 3,
             "glossinessFactor": 0.3}
    m, said = made(tmp_path, extended("pbrSpecularGlossiness", **gloss), MIXED)
    plain, _ = made(tmp_path, {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0},
                                                        "baseColorFactor": [0.5, 1, 1, 1]}}, MIXED)
    assert m.base_color_texture == pytest.approx(plain.base_color_texture, abs=1e-5)
    assert m.metallic == 0 and m.metallic_texture is None and not said
    assert m.roughness == pytest.approx(0.7) and m.specular == pytest.approx(0.5)


def test_specular_glossiness_of_a_metal_is_its_specular_colour(tmp_path):
    gloss = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [1.0, 0.766, 0.336], "glossinessFactor": 0.9}
    m, _ = made(tmp_path, extended("pbrSpecularGlossiness", **gloss))
    assert m.metallic == pytest.approx(1, abs=0.01) and m.base_color == pytest.approx((1, 0.766, 0.336), abs=0.01)
    assert m.roughness == pytest.approx(0.1) and m.base_color_texture is None


def test_metallic_of_specular_keeps_diffuse_and_specular_reflectance():
    """Whatever metallic is found, base colour gives back both reflectances: diffuse (1 - m) c, specular by the mix."""
    rng = np.random.default_rng(1)
    true_color, true_metal = rng.uniform(0.2, 0.9, (5, 6, 1)).repeat(3, 2), np.zeros((5, 6))
    true_metal[:, 3:] = 1
    m = true_metal[..., None]
    specular = (0.04 * (1 - m) + true_color * m).astype(np.float32)
    diffuse = (true_color * (1 - m) * 0.96 / (1 - specular.max(-1, keepdims=True))).astype(np.float32)
    color, metal = metallic_of_specular(diffuse, specular)
    assert metal == pytest.approx(true_metal, abs=0.02) and color == pytest.approx(true_color, abs=0.02)
    small, _ = metallic_of_specular(diffuse[:1, :1], specular)
    assert small.shape == (5, 6, 3)


def test_specular_glossiness_texture_gives_roughness_by_its_alpha(tmp_path):
    image = MIXED.copy()
    image[..., :3], image[0, 0, 3] = 0, 255
    m, _ = made(tmp_path, extended("pbrSpecularGlossiness", specularGlossinessTexture={"index": 0}), image)
    assert m.roughness_texture == pytest.approx(np.maximum(1 - image[..., 3] / 255, 0.05), abs=1e-5)
    assert m.specular == 0.01


def test_specular_glossiness_textures_that_lie_differently_are_said(tmp_path):
    for scale, said in ((1, False), (2, True)):
        info = {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [scale, scale]}}}
        gloss = extended("pbrSpecularGlossiness", diffuseTexture={"index": 0}, specularGlossinessTexture=info)
        assert ("lie differently" in made(tmp_path, gloss, MIXED)[1]) == said


def test_case_specular_glossiness_shows_its_texture():
    part, = load_asset(case("13_spec_gloss/a.glb")).parts
    assert part.material.metallic == 0 and part.material.base_color_texture.reshape(-1, 3).std(0).min() > 0.2


def test_clear_coat(tmp_path):
    m, said = made(tmp_path, extended("clearcoat", clearcoatFactor=0.8, clearcoatRoughnessFactor=0.1))
    assert m.clearcoat == pytest.approx(0.8) and m.clearcoat_gloss == pytest.approx(0.09 / 0.099) and not said
    m, said = made(tmp_path, extended("clearcoat", clearcoatFactor=1, clearcoatRoughnessFactor=0.5,
                                      clearcoatTexture={"index": 0}), MIXED)
    assert m.clearcoat == pytest.approx(MIXED[..., 0].mean() / 255, abs=1e-4) and m.clearcoat_gloss == 0
    assert "clear coat texture was averaged" in said and "clear coat was approximated" in said
    m, said = made(tmp_path, extended("clearcoat", clearcoatRoughnessFactor=0.5))
    assert m.clearcoat == 0 and not said


def test_sheen_is_said_to_be_approximated(tmp_path):
    m, said = made(tmp_path, extended("sheen", sheenColorFactor=[0.9, 0.3, 0.3], sheenRoughnessFactor=0.4))
    assert m.sheen == pytest.approx(0.5) and "sheen was approximated" in said
    m, said = made(tmp_path, extended("sheen"))
    assert m.sheen == 0 and not said


def test_specular_extension(tmp_path):
    m, said = made(tmp_path, extended("specular", specularFactor=0.5))
    assert m.specular == pytest.approx(0.25) and not said
    m, said = made(tmp_path, extended("specular", specularColorFactor=[0.5, 0.5, 0.5]))
    assert m.specular == pytest.approx(0.25) and not said
    m, said = made(tmp_path, extended("specular", specularColorFactor=[1, 0.5, 0]))
    assert m.specular == pytest.approx(0.25) and "colour of its specular" in said
    m, said = made(tmp_path, extended("specular", specularTexture={"index": 0}), GREY)
    assert m.specular == pytest.approx(0.5 * 128 / 255, abs=1e-3) and not said


def test_transmission_texture_is_averaged(tmp_path):
    m, said = made(tmp_path, extended("transmission", transmissionFactor=1, transmissionTexture={"index": 0}), MIXED)
    assert m.transmission == pytest.approx(MIXED[..., 0].mean() / 255, abs=1e-4) and "transmission texture" in said


@pytest.mark.parametrize("name, values, what", [
    ("anisotropy", {"anisotropyStrength": 0.5}, "anisotropy"), ("iridescence", {"iridescenceFactor": 1}, "iridescence"),
    ("dispersion", {"dispersion": 0.1}, "dispersion"), ("volume", {"thicknessFactor": 0.1}, "volume"),
    ("diffuse_transmission", {"diffuseTransmissionFactor": 0.3}, "diffuse transmission"), ("unlit", {}, "unlit")])
def test_what_is_left_out_is_said(tmp_path, name, values, what):
    assert what in made(tmp_path, extended(name, **values))[1]
    if values:
        assert made(tmp_path, extended(name))[1] == ""


def test_occlusion_is_not_used(tmp_path):
    dark = np.zeros((4, 4, 3), np.uint8)
    plain, _ = made(tmp_path, {})
    shaded, said = made(tmp_path, {"occlusionTexture": {"index": 0}}, dark)
    assert shaded == plain and not said


def test_broken_numbers_are_defaults(tmp_path):
    material = {"pbrMetallicRoughness": {"baseColorFactor": "red", "roughnessFactor": None, "metallicFactor": [1]},
                "emissiveFactor": [1, float("nan"), 0], "alphaMode": "BLEND"}
    m, _ = made(tmp_path, material)
    assert m.base_color == (1, 1, 1) and m.roughness == 1 and m.metallic == 1 and m.emission == (0, 0, 0)
    assert m.opacity == 1
