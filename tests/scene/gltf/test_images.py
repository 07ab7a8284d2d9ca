"""dipir.scene.gltf.images: one image once, a budget for all, samplers and transforms."""
from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.asset import Sampling
from dipir.scene.assets.load import load_asset
from dipir.scene.gltf import images
from tests.support.asset_samples import embedded, gltf, png, write
from tests.support.gltf_build import GltfBuilder
from tests.support.shared_cases import case

NOISE = np.random.default_rng(0).integers(0, 255, (16, 16, 3))


def many(count, factor=None):
    """``count`` boxes with a material each, all of which show one image, named twice."""
    document = gltf(images=[embedded(NOISE), embedded(NOISE)])
    primitive = document["meshes"][0]["primitives"][0]
    document["meshes"] = [{"primitives": [primitive | {"material": k} for k in range(count)]}]
    document["materials"] = [{"name": f"m{k}", "pbrMetallicRoughness": {"baseColorTexture": {"index": k % 2}} | (
        {"baseColorFactor": [factor(k), 1, 1, 1]} if factor else {})} for k in range(count)]
    return document


def test_an_image_is_held_once_however_many_materials_show_it(tmp_path, monkeypatch):
    decoded = []
    real = images.decode_image
    monkeypatch.setattr(images, "decode_image", lambda *a: decoded.append(1) or real(*a))
    parts = load_asset(write(tmp_path, many(16))).parts
    assert len(parts) == 16 and len({id(p.material.base_color_texture) for p in parts}) == 1 and len(decoded) == 1
    tinted = load_asset(write(tmp_path, many(4, lambda k: [1, 0.5][k // 2]))).parts
    assert len({id(p.material.base_color_texture) for p in tinted}) == 2 and len(decoded) == 2


def test_all_maps_together_keep_to_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "BUDGET_TEXELS", 300)
    asset = load_asset(write(tmp_path, many(16)))
    assert asset.parts[0].material.base_color_texture.shape == (16, 16, 3) and not asset.notes
    asset = load_asset(write(tmp_path, many(4, lambda k: 1 - k / 10)))
    assert {p.material.base_color_texture.shape for p in asset.parts} == {(8, 8, 3)}
    assert any("scaled down to 8 pixels" in n and getattr(n, "warning", False) for n in asset.notes)


def test_claimed_pixels_are_summed_before_any_is_decoded(tmp_path):
    """Headers of 9,000 x 9,000 pixels each, without the pixels: 25 of them are beyond what is decoded at all."""
    good = png(NOISE)

    def claimed(k):
        head = struct.pack(">IIBBBBB", 9000, 9000 + k, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        (tmp_path / f"{k}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + good[33:])
        return f"{k}.png"

    document = many(25)
    document["images"] = [{"uri": claimed(k)} for k in range(25)]
    document["textures"] = [{"source": k} for k in range(25)]
    for k, material in enumerate(document["materials"]):
        material["pbrMetallicRoughness"]["baseColorTexture"]["index"] = k
    with pytest.raises(AssetError, match="more than 2000 megapixels together"):
        load_asset(write(tmp_path, document))


def lit(sampler, uvs, info=None, image=NOISE):
    """A triangle with one texture."""
    built = GltfBuilder()
    attributes = {"POSITION": built.add(np.eye(3, dtype="f4")), "TEXCOORD_0": built.add(np.asarray(uvs, "f4"))}
    return built.document(primitive={"attributes": attributes, "material": 0}, images=[{"uri": embedded(image)}],
                          textures=[{"source": 0} | ({} if sampler is None else {"sampler": 0})],
                          samplers=[sampler or {}], materials=[{"pbrMetallicRoughness": {
                              "baseColorTexture": {"index": 0} | (info or {})}}])


WIDE, TALL, UNIT = [[-1, 0], [2, 1], [0, 0]], [[0, -1], [1, 2], [0, 0]], [[0, 0], [1, 1], [0, 1]]
BOTH = [[-1, -1], [2, 2], [0, 0]]


@pytest.mark.parametrize("sampler, uvs, wrap, nearest, said", [
    (None, BOTH, "repeat", False, False), ({}, BOTH, "repeat", False, False),
    ({"wrapS": 33071, "wrapT": 33071}, BOTH, "clamp", False, False),
    ({"wrapS": 33648, "wrapT": 33648, "magFilter": 9728}, BOTH, "mirror", True, False),
    ({"magFilter": 9729, "minFilter": 9984}, BOTH, "repeat", False, False),
    ({"wrapS": 33071}, WIDE, "clamp", False, False), ({"wrapS": 33071}, TALL, "repeat", False, False),
    ({"wrapS": 33071}, BOTH, "clamp", False, True), ({"wrapS": 33648}, UNIT, "mirror", False, False)])
def test_samplers(tmp_path, sampler, uvs, wrap, nearest, said):
    """Two wrap modes become one without a word where one axis never leaves the image."""
    asset = load_asset(write(tmp_path, lit(sampler, uvs)))
    found = asset.parts[0].material.sampled("base_color")
    assert (found.wrap, found.nearest) == (wrap, nearest)
    assert any("goes on with" in n and n.warning for n in asset.notes if "goes" in n) == said


def test_the_transform_is_part_of_whether_an_axis_stays_inside(tmp_path):
    info = {"extensions": {"KHR_texture_transform": {"scale": [1 / 3, 1], "offset": [1 / 3, 0]}}}
    asset = load_asset(write(tmp_path, lit({"wrapS": 33071}, BOTH, info)))
    assert asset.parts[0].material.sampled("base_color").wrap == "repeat" and not [
        n for n in asset.notes if "goes on" in n]


def test_a_turned_quarter_is_the_one_of_the_specification():
    """The example of KHR_texture_transform: offset (0, 1), a quarter turn, scale 0.5 is the lower left quadrant."""
    matrix = images.uv_matrix({"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]})
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) @ matrix.T
    assert corners[:, :2] == pytest.approx(np.array([[0, 1], [0, 0.5], [0.5, 1], [0.5, 0.5]]))


def test_another_image_goes_before_ktx2(tmp_path):
    """It holds what was compressed; a texture with neither is refused."""
    document = lit(None, UNIT)
    document["images"].append({"uri": "data:image/ktx2;base64,AAAA"})
    document["textures"][0] |= {"extensions": {"KHR_texture_basisu": {"source": 1}}}
    assert load_asset(write(tmp_path, document)).parts[0].material.base_color_texture.shape == (16, 16, 3)
    document["textures"][0] = {"extensions": {"KHR_texture_basisu": {}}}
    with pytest.raises(AssetError, match="no PNG, JPEG, WebP or KTX2 image"):
        load_asset(write(tmp_path, json.loads(json.dumps(document))))


def test_case_samplers():
    found = [p.material.sampled("base_color") for p in load_asset(case("24_sampler_wrap/a.glb")).parts]
    assert found == [Sampling("clamp"), Sampling("mirror"), Sampling("repeat", nearest=True)]
