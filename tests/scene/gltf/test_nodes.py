"""dipir.scene.gltf.nodes: instances, visibility, skins, limits of the tree."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.assets.mesh import face_cross, signed_volume, unit
from dipir.scene.gltf.nodes import composed
from tests.support.asset_samples import BOX, BOX_FACES
from tests.support.gltf_build import GltfBuilder
from tests.support.shared_cases import case


def loaded(folder, data):
    (folder / "a.glb").write_bytes(data)
    return load_asset(folder / "a.glb")


def boxed():
    built = GltfBuilder()
    return built, {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel())}


def test_composed_is_translation_times_rotation_times_scale():
    rng = np.random.default_rng(0)
    quaternion, move, scale = rng.normal(size=(5, 4)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    for k, matrix in enumerate(composed(move, quaternion, scale)):
        assert matrix[:3, :3] == pytest.approx(Rotation.from_quat(quaternion[k]).as_matrix() * scale[k])
        assert matrix[:3, 3] == pytest.approx(move[k]) and matrix[3].tolist() == [0, 0, 0, 1]
    assert composed(np.zeros((1, 3)), np.zeros((1, 4)), np.ones((1, 3)))[0] == pytest.approx(np.eye(4))


def test_depth_is_limited_and_never_recursion(tmp_path):
    for depth, accepted in ((1000, True), (1001, False), (9999, False)):
        built, primitive = boxed()
        nodes = [{"children": [i + 1], "translation": [0, 0.001, 0]} for i in range(depth)] + [{"mesh": 0}]
        data = built.glb(primitive=primitive, nodes=nodes)
        if accepted:
            assert len(loaded(tmp_path, data).parts) == 1
        else:
            with pytest.raises(AssetError, match=f"{depth} nodes deep; 1000 are accepted"):
                loaded(tmp_path, data)


def test_circles_beside_the_scene_are_errors_too(tmp_path):
    built, primitive = boxed()
    nodes = [{"mesh": 0}, {"children": [2]}, {"children": [1]}]
    with pytest.raises(AssetError, match="cyclic"):
        loaded(tmp_path, built.glb(primitive=primitive, nodes=nodes))


@pytest.mark.parametrize("node, match", [
    ({"matrix": [1, 0]}, "transform of"), ({"translation": [0, float("inf"), 0]}, "NaN or infinite"),
    ({"scale": [1e200, 1e200, 1e200], "children": [1]}, "NaN or infinite"), ({"translation": "xyz"}, "not a valid"),
    ({"mesh": 4}, "meshes 4"), ({"children": [-1]}, "nodes -1"), ({"skin": 0}, "skins 0")])
def test_bad_nodes(tmp_path, node, match):
    built, primitive = boxed()
    nodes = [{"mesh": 0} | node, {"scale": [1e200, 1, 1]}]
    with pytest.raises(AssetError, match=match):
        loaded(tmp_path, built.glb(primitive=primitive, nodes=nodes))


def test_only_the_default_scene_is_drawn(tmp_path):
    built, primitive = boxed()
    tree = {"primitive": primitive, "nodes": [{"mesh": 0}, {"mesh": 0, "translation": [9, 0, 0]}],
            "scenes": [{"nodes": [0]}, {"nodes": [0, 1]}]}
    assert len(loaded(tmp_path, built.glb(**tree)).parts) == 1
    assert len(loaded(tmp_path, built.glb(**tree, scene=1)).parts) == 2


def test_hidden_nodes_hide_their_children(tmp_path):
    built, primitive = boxed()
    off = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    nodes = [{"mesh": 0, "name": "seen"}, {"children": [2], **off}, {"mesh": 0, "translation": [50, 0, 0]},
             {"mesh": 0, "name": "on", "extensions": {"KHR_node_visibility": {"visible": True}}}]
    asset = loaded(tmp_path, built.glb(primitive=primitive, nodes=nodes, roots=[0, 1, 3]))
    assert [p.name for p in asset.parts] == ["seen/m", "on/m"] and any("1 hidden node" in n for n in asset.notes)


def test_case_hidden_nodes():
    asset = load_asset(case("28_hidden_nodes/a.glb"))
    assert asset.bounds == pytest.approx(np.array([[-0.5, 0, -0.5], [0.5, 1, 0.5]]))
    notes = " ".join(asset.notes)
    assert "wholly transparent" in notes and "collider" in notes and "KHR_node_visibility" in notes


def test_instances_stand_where_their_attributes_say(tmp_path):
    """Three instances of one box, one turned, one shrunk: one part, the oracle is the same with three nodes."""
    move = np.array([[0, 0, 0], [10, 0, 0], [0, 0, 20]], "f4")
    turn = Rotation.from_euler("y", [[0], [90], [0]], degrees=True).as_quat()
    scale = np.array([[1, 1, 1], [1, 1, 1], [0.5, 2, 0.5]], "f4")
    built, primitive = boxed()
    extension = {"EXT_mesh_gpu_instancing": {"attributes": {
        "TRANSLATION": built.add(move), "ROTATION": built.add(np.round(turn * 32767).astype("i2"), normalized=True),
        "SCALE": built.add(scale), "_ID": built.add(np.arange(3, dtype="f4"))}}}
    one = loaded(tmp_path, built.glb(primitive=primitive, nodes=[{"mesh": 0, "scale": [2, 2, 2],
                                                                  "extensions": extension}],
                                     extensionsRequired=["EXT_mesh_gpu_instancing"]))
    children = [{"mesh": 0, "translation": m.tolist(), "rotation": r.tolist(), "scale": s.tolist()}
                for m, r, s in zip(move, turn, scale, strict=True)]
    three = loaded(tmp_path, built.glb(primitive=primitive, nodes=[{"scale": [2, 2, 2], "children": [1, 2, 3]},
                                                                   *children]))
    assert len(one.parts) == 1 and len(three.parts) == 3 and len(one.parts[0].faces) == 36
    assert one.parts[0].vertices == pytest.approx(np.concatenate([p.vertices for p in three.parts]), abs=2e-3)


def test_instances_are_counted_before_they_are_made(tmp_path):
    built, primitive = boxed()
    built.accessors.append({"componentType": 5126, "count": 50_000_000, "type": "VEC3"})
    nodes = [{"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {
        "TRANSLATION": len(built.accessors) - 1}}}}]
    with pytest.raises(AssetError, match="has 600000000 faces"):
        loaded(tmp_path, built.glb(primitive=primitive, nodes=nodes))


def skinned(built, joints, weights, inverse=None, **more):
    primitive = {"attributes": {"POSITION": built.add(BOX), "JOINTS_0": built.add(joints),
                                "WEIGHTS_0": built.add(weights)}, "indices": built.add(BOX_FACES.ravel())}
    skin = {"joints": [1, 2]} | ({} if inverse is None else {"inverseBindMatrices": built.add(inverse)})
    nodes = [{"mesh": 0, "skin": 0, "translation": [100, 100, 100], "scale": [7, 7, 7]},
             {"children": [2], "translation": [0, 1, 0]}, {"translation": [0, 0, 3], "scale": [1, 3, 1]}]
    return built.glb(primitive=primitive, nodes=nodes, roots=[0, 1], skins=[skin], **more)


def test_skins_pose_by_their_joints_alone(tmp_path):
    """Lower vertices at joint 0, upper ones at joint 1; the oracle is written out. The mesh's own node is no matter."""
    upper = BOX[:, 1] > 0.5
    joints = np.zeros((8, 4), "u1")
    joints[:, 0] = upper
    weights = np.tile(np.array([2.0, 0, 0, 0], "f4"), (8, 1))  # Sums other than 1 are made 1.
    bind = np.tile(np.eye(4, dtype="f4").reshape(1, 16), (2, 1))
    bind[1, 13] = -0.5  # Column-major: translation by -0.5 along y.
    part = loaded(tmp_path, skinned(GltfBuilder(), joints, weights, bind)).parts[0]
    expected = np.where(upper[:, None], (BOX - [0, 0.5, 0]) * [1, 3, 1] + [0, 1, 3], BOX + [0, 1, 0])
    low, high = expected.min(0), expected.max(0)
    expected -= [(low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2]
    assert part.vertices == pytest.approx(expected, abs=1e-5)


def test_weights_blend_between_joints(tmp_path):
    weights = np.tile(np.array([0.25, 0.75, 0, 0], "f4"), (8, 1))
    joints = np.tile(np.array([0, 1, 0, 0], "u2"), (8, 1))
    part = loaded(tmp_path, skinned(GltfBuilder(), joints, weights)).parts[0]
    assert np.ptp(part.vertices, axis=0) == pytest.approx([2, 0.25 + 0.75 * 3, 4])
    assert signed_volume(part.vertices, part.faces) == pytest.approx(8 * 2.5, rel=1e-4)


def test_joints_that_do_not_exist(tmp_path):
    weights = np.ones((8, 4), "f4")
    with pytest.raises(AssetError, match="joints that their skin does not have"):
        loaded(tmp_path, skinned(GltfBuilder(), np.full((8, 4), 2, "u1"), weights))
    with pytest.raises(AssetError, match="2 joints and 1 matrices"):
        loaded(tmp_path, skinned(GltfBuilder(), np.zeros((8, 4), "u1"), weights, np.ones((1, 16), "f4")))


def test_case_skinned_figure_stands():
    part, = load_asset(case("15_skinned_lying/a.glb")).parts
    assert np.ptp(part.vertices, axis=0) == pytest.approx([0.4, 1.8, 0.2], abs=1e-4)
    assert signed_volume(part.vertices, part.faces) == pytest.approx(0.4 * 1.8 * 0.2, rel=1e-3)
    face = unit(face_cross(part.vertices, part.faces))
    assert (part.normals[part.faces] * face[:, None]).sum(-1) == pytest.approx(1, abs=1e-3)
