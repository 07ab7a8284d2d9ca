"""dipir.scene.gltf.ktx: ETC1S and UASTC textures; what their headers claim is checked before anything is unpacked."""
from __future__ import annotations

import base64
import json
import struct
import sys

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.gltf.ktx import decode_ktx, is_ktx, ktx_size
from tests.support import ktx_samples
from tests.support.asset_samples import gltf, write

KINDS = {"etc1s": ktx_samples.ETC1S, "uastc": ktx_samples.UASTC, "uastc_zstd": ktx_samples.UASTC_ZSTD}


def changed(data, at, value, form="<I"):
    """The file with one number of its header (KTX 2.0 section 3) changed."""
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form):]


def textured(data, **texture):
    """A glTF with one texture, which is this KTX2 image."""
    uri = "data:image/ktx2;base64," + base64.b64encode(data).decode()
    return gltf(images=[uri], material={"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}) | {
        "textures": [texture or {"extensions": {"KHR_texture_basisu": {"source": 0}}}],
        "extensionsRequired": ["KHR_texture_basisu"]}


@pytest.mark.parametrize("kind", KINDS)
def test_texels_are_those_that_were_encoded(kind):
    pytest.importorskip("opengl_basisu")
    data = KINDS[kind]
    assert is_ktx(data) and ktx_size(data) == (16, 8)
    pixels, note = decode_ktx(data, "t")
    assert pixels.dtype == np.uint8 and note is None
    # ETC1S holds colours in steps of a 31st.
    np.testing.assert_allclose(pixels.astype(int), ktx_samples.TEXELS.astype(int), atol=4 if kind == "etc1s" else 0)
    small, note = decode_ktx(data, "t", side=4)
    assert small.shape == (2, 4, 4) and "from 16 x 8 to 4 x 2" in note
    np.testing.assert_allclose(small.astype(int), ktx_samples.TEXELS[::4, ::4].astype(int), atol=4)


def test_ktx2_textures(tmp_path):
    """By the extension, also where a file names its KTX2 image without it."""
    pytest.importorskip("opengl_basisu")
    for document in (textured(ktx_samples.UASTC), textured(ktx_samples.UASTC, source=0)):
        texture = load_asset(write(tmp_path, document)).parts[0].material.base_color_texture
        assert texture.shape == (8, 16, 3)
        np.testing.assert_allclose(texture[0, ::4], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], atol=1e-6)
        assert texture[4, 4, 0] == pytest.approx(0.2307, abs=1e-3)


def test_without_the_package_its_name_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opengl_basisu", None)
    with pytest.raises(AssetError, match="pip install opengl_basisu"):
        load_asset(write(tmp_path, json.loads(json.dumps(textured(ktx_samples.UASTC)))))


@pytest.mark.parametrize("at, value, form, match", [
    (20, 20_000, "<I", "20000 x 8 pixels|damaged"), (20, 100_000_000, "<I", "megapixels are the limit"),
    (20, 0, "<I", "damaged"), (28, 2, "<I", "2 x 1 layers"), (32, 3, "<I", "1 x 3 layers"), (36, 6, "<I", "6 faces"),
    (40, 33, "<I", "damaged"), (80, 10**9, "<Q", "damaged"), (88, 2**63, "<Q", "damaged"),
    (96, 2**40, "<Q", "damaged"), (12, 37, "<I", "only Basis Universal images")])
def test_claims_are_checked_before_anything_is_unpacked(monkeypatch, at, value, form, match):
    """Width, depth, layers, faces, levels; place, length and unpacked length of the first level; its format."""
    opengl_basisu = pytest.importorskip("opengl_basisu")
    if at != 12 and value != 20_000:
        monkeypatch.setattr(opengl_basisu, "open", lambda data: pytest.fail("unpacked"))
    with pytest.raises(AssetError, match=match) as error:
        decode_ktx(changed(ktx_samples.UASTC_ZSTD, at, value, form), "t")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_ends_in_one_kind_of_error(kind):
    pytest.importorskip("opengl_basisu")
    data, rng = KINDS[kind], np.random.default_rng(0)
    for length in range(12, len(data) - 1, 7):
        with pytest.raises(AssetError):
            decode_ktx(data[:length], "t")
    refused = 0
    for _ in range(200):
        spoilt = bytearray(data)
        for at in rng.integers(12, len(data), 4):
            spoilt[at] = rng.integers(256)
        try:
            assert decode_ktx(bytes(spoilt), "t")[0].shape[2] == 4
        except AssetError:
            refused += 1
    assert refused > 20
