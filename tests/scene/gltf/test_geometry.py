"""dipir.scene.gltf.geometry: the same box, whatever way it is stored."""
from __future__ import annotations

import sys

import numpy as np
import pytest

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from dipir.scene.gltf import read
from dipir.scene.gltf.geometry import FAN, STRIP, TRIANGLES, triangles
from tests.support.asset_samples import BOX, BOX_FACES
from tests.support.gltf_build import GltfBuilder
from tests.support.shared_cases import case


def loaded(folder, data):
    (folder / "a.glb").write_bytes(data)
    return load_asset(folder / "a.glb")


def volume(part):
    return signed_volume(part.vertices, part.faces)


def test_triangles_of_lists_strips_and_fans():
    corners = np.array([10, 11, 12, 13, 14])
    assert triangles(corners, TRIANGLES).tolist() == [[10, 11, 12]]
    assert triangles(corners, STRIP).tolist() == [[10, 11, 12], [11, 13, 12], [12, 13, 14]]
    assert triangles(corners, FAN).tolist() == [[11, 12, 10], [12, 13, 10], [13, 14, 10]]
    for mode in (TRIANGLES, STRIP, FAN):
        assert triangles(corners[:2], mode).shape == (0, 3)


def test_without_indices_corners_come_in_order(tmp_path):
    built = GltfBuilder()
    at = built.add(BOX[BOX_FACES].reshape(-1, 3))
    asset = loaded(tmp_path, built.glb(primitive={"attributes": {"POSITION": at}}))
    assert len(asset.parts[0].faces) == 12 and volume(asset.parts[0]) == pytest.approx(8, rel=1e-5)


def test_a_strip_winds_one_way(tmp_path):
    """A flat ribbon of six corners: four triangles, all facing +Z, the area of the ribbon."""
    ribbon = np.array([[x, y, 0] for x in (0, 1, 2) for y in (1, 0)], "f4")
    built = GltfBuilder()
    at, order = built.add(ribbon), built.add(np.arange(6, dtype="u1"))
    part = loaded(tmp_path, built.glb(primitive={"attributes": {"POSITION": at}, "indices": order, "mode": 5})).parts[0]
    cross = face_cross(part.vertices, part.faces)
    assert len(part.faces) == 4 and (cross[:, 2] > 0).all() and cross[:, 2].sum() / 2 == pytest.approx(2)


def test_quantised_positions_normals_and_uvs(tmp_path):
    """KHR_mesh_quantization: 16-bit positions scaled by their node, 8-bit normals, 16-bit UVs."""
    built = GltfBuilder()
    corners = BOX[BOX_FACES].reshape(-1, 3)
    normals = np.repeat(unit(face_cross(BOX, BOX_FACES)), 3, 0)
    uvs = np.linspace(0, 1, 72).reshape(36, 2)
    attributes = {
        "POSITION": built.add(np.round(corners / 4 * 65535).astype("u2"), stride=8, normalized=True),
        "NORMAL": built.add(np.round(normals * 127).astype("i1"), stride=4, normalized=True),
        "TEXCOORD_0": built.add(np.round(uvs * 65535).astype("u2"), normalized=True)}
    data = built.glb(primitive={"attributes": attributes}, nodes=[{"mesh": 0, "scale": [4, 4, 4]}],
                     extensionsRequired=["KHR_mesh_quantization"])
    part = loaded(tmp_path, data).parts[0]
    assert np.ptp(part.vertices, axis=0) == pytest.approx([2, 1, 4], abs=1e-3)
    assert volume(part) == pytest.approx(8, rel=1e-3)
    assert (part.normals[part.faces] * unit(face_cross(part.vertices, part.faces))[:, None]).sum(-1) == pytest.approx(
        1, abs=1e-3)
    assert part.uvs == pytest.approx(np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1), abs=1e-4)


def draco_glb(**more):
    DracoPy = pytest.importorskip("DracoPy")
    uvs = (np.arange(16.0) / 16).reshape(8, 2)
    packed = DracoPy.encode(BOX, BOX_FACES, tex_coord=uvs, quantization_bits=16, preserve_order=True)
    numbers = {entry["attribute_type"]: entry["unique_id"] for entry in DracoPy.decode(packed).attributes}
    built = GltfBuilder()
    view = built.view(packed)
    built.accessors = [{"componentType": 5126, "count": 8, "type": "VEC3"},
                       {"componentType": 5126, "count": 8, "type": "VEC2"},
                       {"componentType": 5125, "count": 36, "type": "SCALAR"}]
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "extensions": {
        "KHR_draco_mesh_compression": {"bufferView": view, "attributes": {
            "POSITION": numbers[0], "TEXCOORD_0": numbers[3]} | more}}}
    return built.glb(primitive=primitive, extensionsRequired=["KHR_draco_mesh_compression"])


def test_draco_geometry(tmp_path, monkeypatch):
    part = loaded(tmp_path, draco_glb()).parts[0]
    assert np.ptp(part.vertices, axis=0) == pytest.approx([2, 1, 4], abs=1e-3)
    assert volume(part) == pytest.approx(8, rel=1e-3)
    for u, v in part.uvs:
        k = u * 8
        assert k == pytest.approx(round(k), abs=1e-3) and v == pytest.approx(1 - (2 * round(k) + 1) / 16, abs=1e-3)
    with pytest.raises(AssetError, match="lacks the attribute NORMAL"):
        loaded(tmp_path, draco_glb(NORMAL=77))
    data = draco_glb()
    broken = data.replace(b"DRACO", b"DRACx")
    with pytest.raises(AssetError, match="damaged"):
        loaded(tmp_path, broken)
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    with pytest.raises(AssetError, match="pip install DracoPy"):
        loaded(tmp_path, data)


@pytest.mark.parametrize("where", ["node", "mesh"])
def test_morph_targets_by_weight(tmp_path, where):
    """Two targets: one raises the top by 2, one moves everything aside; only weights count."""
    built = GltfBuilder()
    up = np.where(BOX[:, 1:2] > 0.5, np.array([[0, 2.0, 0]]), 0).astype("f4")
    aside = np.tile(np.array([[5, 0, 0]], "f4"), (8, 1))
    aside[0] = 0
    primitive = {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel()),
                 "targets": [{"POSITION": built.add(up)}, {"POSITION": built.add(aside)}]}
    meshes, nodes = [{"primitives": [primitive]}], [{"mesh": 0}]
    plain = loaded(tmp_path, built.glb(meshes=meshes, nodes=nodes))
    assert np.ptp(plain.bounds, axis=0) == pytest.approx([2, 1, 4])
    (nodes if where == "node" else meshes)[0]["weights"] = [0.5, 0]
    raised = loaded(tmp_path, built.glb(meshes=meshes, nodes=nodes))
    assert np.ptp(raised.bounds, axis=0) == pytest.approx([2, 2, 4])
    nodes[0]["weights"] = [0, 1]
    assert np.ptp(loaded(tmp_path, built.glb(meshes=meshes, nodes=nodes)).bounds, axis=0) == pytest.approx([7, 1, 4])


def test_work_on_morph_targets_is_bounded(tmp_path, monkeypatch):
    built = GltfBuilder()
    primitive = {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel()),
                 "targets": [{"POSITION": 0}] * 10}
    data = built.glb(primitive=primitive, nodes=[{"mesh": 0, "weights": [1, 0] * 5}])
    monkeypatch.setattr(read, "_MAX_MORPHED", 39)
    with pytest.raises(AssetError, match="move 40 vertices; at most 39"):
        loaded(tmp_path, data)


def test_other_attributes_of_morph_targets_are_said(tmp_path):
    built = GltfBuilder()
    primitive = {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel()),
                 "targets": [{"TEXCOORD_0": 0}]}
    for weight, said in ((1, True), (0, False)):
        asset = loaded(tmp_path, built.glb(primitive=primitive, nodes=[{"mesh": 0, "weights": [weight]}]))
        assert any("TEXCOORD_0" in n and n.warning for n in asset.notes if "morph" in n) == said


def test_attributes_must_match(tmp_path):
    built = GltfBuilder()
    attributes = {"POSITION": built.add(BOX), "NORMAL": built.add(BOX[:5])}
    indices = built.add(BOX_FACES.ravel())
    with pytest.raises(AssetError, match="different lengths"):
        loaded(tmp_path, built.glb(primitive={"attributes": attributes, "indices": indices}))
    beyond = built.add(np.array([0, 1, 8], "u2"))
    with pytest.raises(AssetError, match=r"do not exist \(8 of 8\)"):
        loaded(tmp_path, built.glb(primitive={"attributes": {"POSITION": attributes["POSITION"]}, "indices": beyond}))
    with pytest.raises(AssetError, match="not whole numbers"):
        loaded(tmp_path, built.glb(primitive={"attributes": {"POSITION": attributes["POSITION"]},
                                              "indices": built.add(np.zeros(3, "f4"))}))


def test_case_primitive_modes():
    asset = load_asset(case("19_primitive_modes/a.glb"))
    assert [len(p.faces) for p in asset.parts] == [12, 48, 24]
    assert [round(float(np.ptp(p.vertices[:, 1])), 3) for p in asset.parts] == [1, 1, 1]
    assert volume(asset.parts[0]) == pytest.approx(0.25, rel=1e-3)
