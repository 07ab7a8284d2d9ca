"""dipir.scene.assets.proxy_mesh: catcher meshes are taken as they stand in the file."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.errors import SceneError
from dipir.scene.assets.proxy_mesh import read_proxy_mesh
from tests.support.asset_samples import BOX, BOX_FACES
from tests.support.gltf_build import GltfBuilder


def test_it_stays_where_the_file_puts_it(tmp_path):
    """Unlike an asset: not centred, not scaled, not turned."""
    corners = np.array([[-20, 300, 5], [20, 300, 5], [20, 300.5, 45]], np.float32)
    path = tmp_path / "floor.obj"
    path.write_text("".join("v {} {} {}\n".format(*c) for c in corners) + "f 1 2 3\n")
    part = read_proxy_mesh(path)
    assert part.name == "floor" and part.faces.tolist() == [[0, 1, 2]]
    np.testing.assert_array_equal(part.vertices, corners)


@pytest.mark.parametrize("content, message", [("", "no faces|damaged"),
                                              ("v 0 0 nan\nv 1 0 0\nv 0 0 1\nf 1 2 3\n", "finite|damaged"),
                                              ("v 0 0 0\nv 1 0 0\nv 0 0 1\n", "no faces|damaged")])


def test_bad_proxy_meshes(tmp_path, content, message):
    (tmp_path / "floor.obj").write_text(content)
    with pytest.raises(SceneError, match=message) as caught:
        read_proxy_mesh(tmp_path / "floor.obj")
    assert "floor.obj" in str(caught.value)


def test_what_is_no_mesh_file(tmp_path):
    (tmp_path / "floor.png").write_text("x")
    with pytest.raises(SceneError, match="accepted are .obj"):
        read_proxy_mesh(tmp_path / "floor.png")
    with pytest.raises(SceneError, match="cannot be read"):
        read_proxy_mesh(tmp_path / "missing.obj")


def test_glb_proxies_are_read_as_assets_are_and_stay_where_they_are(tmp_path):
    """Node transforms count, materials and their missing images do not; a chain of nodes ends in one line."""
    built = GltfBuilder()
    primitive = {"attributes": {"POSITION": built.add(BOX)}, "indices": built.add(BOX_FACES.ravel()), "material": 0}
    looks = {"materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}], "textures": [{"source": 0}],
             "images": [{"uri": "missing.png"}]}
    path = tmp_path / "room.glb"
    path.write_bytes(built.glb(primitive=primitive, nodes=[{"mesh": 0, "translation": [5, 6, 7]}], **looks))
    part = read_proxy_mesh(path)
    np.testing.assert_array_equal(part.vertices, BOX + np.array([5, 6, 7], np.float32))
    np.testing.assert_array_equal(part.faces, BOX_FACES)
    path.write_bytes(built.glb(primitive=primitive, nodes=[{"children": [k + 1]} for k in range(9999)] + [{"mesh": 0}]))
    with pytest.raises(SceneError, match="9999 nodes deep"):
        read_proxy_mesh(path)
