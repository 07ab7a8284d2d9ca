"""dipir.scene.gltf.meshopt_views: modes and filters of compressed views, limits, damage."""
from __future__ import annotations

import sys

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from dipir.scene.gltf import meshopt_views
from tests.support.asset_samples import BOX, BOX_FACES
from tests.support.gltf_build import GltfBuilder, glb

EXT = "EXT_meshopt_compression"
CORNERS = BOX[BOX_FACES].reshape(-1, 3)
NORMALS = np.repeat(unit(face_cross(BOX, BOX_FACES)), 3, 0)


class Packed(GltfBuilder):
    """Views packed as gltfpack does it: a fallback buffer without data, the packed bytes in the first."""

    def __init__(self, name=EXT):
        super().__init__()
        self.name, self.reach = name, 0

    def pack(self, rows, mode, kind, undo=None, encoded=None, **more):
        """Number of a new accessor whose view holds ``rows`` packed; ``encoded`` is what the filter made of them."""
        meshopt = pytest.importorskip("meshopt")
        stored = rows if encoded is None else encoded
        count, stride = len(stored), stored.nbytes // len(stored)
        at = self.view(meshopt.encode_gltf_buffer(stored, mode))
        view = self.views[at]
        view["extensions"] = {self.name: {
            "buffer": 0, "byteOffset": view["byteOffset"], "byteLength": view["byteLength"], "byteStride": stride,
            "count": count, "mode": mode} | ({"filter": undo} if undo else {})}
        view |= {"buffer": 1, "byteOffset": self.reach, "byteLength": count * stride}
        if mode == "ATTRIBUTES":
            view["byteStride"] = stride
        self.reach += count * stride
        self.accessors.append({"bufferView": at, "count": count, **kind, **more})
        return len(self.accessors) - 1

    def bytes(self, primitive, **parts):
        tree = self.tree(primitive=primitive, extensionsRequired=[self.name, "KHR_mesh_quantization"], **parts)
        tree["buffers"].append({"byteLength": self.reach, "extensions": {self.name: {"fallback": True}}})
        return glb(tree, self.blob)


FLOATS = {"componentType": 5126, "type": "VEC3"}
INDEX = {"componentType": 5125, "type": "SCALAR"}


def box(name=EXT, mode="TRIANGLES"):
    built = Packed(name)
    positions = built.pack(BOX, "ATTRIBUTES", FLOATS)
    faces = built.pack(BOX_FACES.reshape(-1), mode, INDEX)
    return built, {"attributes": {"POSITION": positions}, "indices": faces}


def loaded(folder, data):
    (folder / "a.glb").write_bytes(data)
    return load_asset(folder / "a.glb").parts[0]


@pytest.mark.parametrize("name", [EXT, "KHR_meshopt_compression"])
@pytest.mark.parametrize("mode", ["TRIANGLES", "INDICES"])
def test_a_box_comes_back(tmp_path, name, mode):
    built, primitive = box(name, mode)
    part = loaded(tmp_path, built.bytes(primitive))
    assert len(part.faces) == 12 and signed_volume(part.vertices, part.faces) == pytest.approx(8, rel=1e-6)
    np.testing.assert_allclose(np.ptp(part.vertices, axis=0), [2, 1, 4], rtol=1e-6)


def test_filters_are_undone(tmp_path):
    """Positions by EXPONENTIAL, normals by OCTAHEDRAL; the corners unindexed, so that normals stay the file's."""
    meshopt = pytest.importorskip("meshopt")
    built = Packed()
    bent = unit(NORMALS + [0.3, 0.2, 0.1])
    four = np.concatenate([bent, np.zeros((len(bent), 1))], 1).astype("f4")
    positions = built.pack(CORNERS, "ATTRIBUTES", FLOATS, "EXPONENTIAL", meshopt.encode_filter_exp(CORNERS, 15))
    normals = built.pack(bent, "ATTRIBUTES", {"componentType": 5122, "type": "VEC3", "normalized": True}, "OCTAHEDRAL",
                         meshopt.encode_filter_oct(four, 8, 12))
    part = loaded(tmp_path, built.bytes({"attributes": {"POSITION": positions, "NORMAL": normals}}))
    assert signed_volume(part.vertices, part.faces) == pytest.approx(8, rel=1e-3)
    found = part.normals[part.faces.reshape(-1)] if len(part.normals) == len(part.vertices) else part.normals
    assert (np.sum(found * bent, 1) > 0.9999).all()


def test_quaternions_turn_instances(tmp_path):
    """EXT_mesh_gpu_instancing with a quarter turn about +Y, packed by QUATERNION: width and depth change places."""
    meshopt = pytest.importorskip("meshopt")
    built, primitive = box()
    turn = np.array([[0, np.sqrt(0.5), 0, np.sqrt(0.5)]], "f4")
    turns = built.pack(turn, "ATTRIBUTES", {"componentType": 5122, "type": "VEC4", "normalized": True}, "QUATERNION",
                       meshopt.encode_filter_quat(turn, 8, 16))
    nodes = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"ROTATION": turns}}}}]
    part = loaded(tmp_path, built.bytes(primitive, nodes=nodes))
    np.testing.assert_allclose(np.ptp(part.vertices, axis=0), [4, 1, 2], atol=1e-3)


def test_without_the_package_its_name_is_said(tmp_path, monkeypatch):
    built, primitive = box()
    monkeypatch.setitem(sys.modules, "meshopt", None)
    with pytest.raises(AssetError, match="pip install meshopt"):
        loaded(tmp_path, built.bytes(primitive))


@pytest.mark.parametrize("key, value, match", [
    ("mode", "XYZ", "mode XYZ"), ("filter", "\x1b[2J", "is not known"), ("byteStride", 0, "0 bytes each"),
    ("byteStride", 260, "260 bytes each"), ("byteLength", 10**9, "ends at byte"), ("count", 2**33, "more than 1 GiB"),
    ("count", -1, "whole number"), ("count", True, "whole number"), ("buffer", 7, "buffers 7"),
    ("buffer", 1, "its buffer has 0"), ("count", 4, "needs 96 bytes"), ("byteOffset", 3, "damaged")])
def test_claims_are_checked(tmp_path, key, value, match):
    built, primitive = box()
    built.views[0]["extensions"][EXT][key] = value
    if (key, value) == ("count", 4):
        built.views[0]["byteLength"] = 48
    with pytest.raises(AssetError, match=match) as error:
        loaded(tmp_path, built.bytes(primitive))
    assert str(error.value).isprintable()


def test_all_views_together_keep_to_the_limit(tmp_path, monkeypatch):
    """96 bytes of positions and 144 of faces; a view that several accessors share counts once."""
    built, primitive = box()
    shared = dict(built.accessors[0])
    built.accessors.append(shared)
    primitive["targets"] = [{"POSITION": 2}]
    data = built.bytes(primitive, nodes=[{"mesh": 0, "weights": [0.5]}])
    monkeypatch.setattr(meshopt_views, "MAX_FILE_BYTES", 240)
    np.testing.assert_allclose(np.ptp(loaded(tmp_path, data).vertices, axis=0), [3, 1.5, 6], rtol=1e-6)
    monkeypatch.setattr(meshopt_views, "MAX_FILE_BYTES", 239)
    with pytest.raises(AssetError, match="more than 1 GiB"):
        loaded(tmp_path, data)


def test_any_damage_ends_in_one_kind_of_error(tmp_path):
    built, primitive = box()
    data, rng = built.bytes(primitive), np.random.default_rng(0)
    start, refused = data.index(b"BIN\0") + 4, 0
    for _ in range(100):
        spoilt = bytearray(data)
        for at in rng.integers(start, len(data), 3):
            spoilt[at] = rng.integers(256)
        try:
            loaded(tmp_path, bytes(spoilt))
        except AssetError:
            refused += 1
    assert refused > 20
