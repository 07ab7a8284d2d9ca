"""dipir.scene.gltf.read: damaged and hostile documents load or end in AssetError."""
from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dipir.errors import AssetError
from dipir.scene.assets.load import load_asset
from dipir.scene.gltf.read import read_gltf
from tests.support.asset_samples import BOX, BOX_FACES, gltf, png, write
from tests.support.gltf_build import GltfBuilder, glb

UV0 = np.random.default_rng(5).random((8, 2)).astype("f4")
RAMP = np.linspace(0, 255, 32).astype("u1").reshape(8, 4)


def refused(path, match=None, **options):
    with pytest.raises(AssetError, match=match) as error:
        load_asset(path, **options)
    assert options or path.name in str(error.value)


def test_truncated_buffer(tmp_path):
    document = gltf()
    document["buffers"][0]["byteLength"] += 100
    refused(write(tmp_path, document), "truncated")


def test_hostile_gltf_structures(tmp_path):
    refused(write(tmp_path, gltf(nodes=[{"children": [1]}, {"children": [0], "mesh": 0}])), "cyclic")
    refused(write(tmp_path, gltf(nodes=[{"children": [1, 1]}, {"mesh": 0}])), "two parents")
    huge = gltf()
    huge["accessors"].append({"componentType": 5126, "count": 10**15, "type": "VEC3"})
    huge["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = len(huge["accessors"]) - 1
    refused(write(tmp_path, huge), "claims 1000000000000000 items")
    refused(write(tmp_path, gltf(extensionsRequired=["XYZ_unheard_of"])), "requires XYZ_unheard_of")
    refused(write(tmp_path, gltf(material={"normalTexture": {"index": 7}})), "textures 7, which does not exist")
    refused(write(tmp_path, [1, 2]), "glTF 2")
    refused(write(tmp_path, gltf(asset={"version": "1.0"})), "glTF 2")


def rich():
    """A small GLB with most of what is read: skin, morph target, sparse values, textures, instances."""
    built = GltfBuilder()
    attributes = {"POSITION": built.add(BOX), "TEXCOORD_0": built.add(UV0), "COLOR_0": built.add(RAMP, normalized=True),
                  "JOINTS_0": built.add(np.zeros((8, 4), "u1")), "WEIGHTS_0": built.add(np.ones((8, 4), "f4"))}
    plain = {"POSITION": attributes["POSITION"]}
    order = built.add(BOX_FACES.ravel().astype("u2"))
    built.accessors[0]["sparse"] = {
        "count": 1, "indices": {"bufferView": built.view(b"\1"), "componentType": 5121},
        "values": {"bufferView": built.view(np.ones(3, "f4").tobytes())}}
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": built.add(BOX[:3])}}}
    image = built.view(png(np.random.default_rng(0).integers(0, 255, (4, 4, 3))))
    tree = built.tree(
        nodes=[{"mesh": 0, "skin": 0}, {"translation": [0, 1, 0], "children": [2]},
               {"mesh": 1, "weights": [0.5], "extensions": instances}], roots=[0, 1],
        meshes=[{"primitives": [{"attributes": attributes, "indices": order, "material": 0}]},
                {"primitives": [{"attributes": plain, "indices": order, "mode": 5, "targets": [plain]}]}],
        skins=[{"joints": [1], "inverseBindMatrices": built.add(np.eye(4, dtype="f4").reshape(1, 16))}],
        images=[{"bufferView": image, "mimeType": "image/png"}], textures=[{"source": 0, "sampler": 0}],
        samplers=[{"wrapS": 33648}], materials=[{"alphaMode": "MASK", "pbrMetallicRoughness": {
            "baseColorTexture": {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [2, 3]}}}}}])
    return tree, built.blob


TREE, BLOB = rich()
RICH = glb(TREE, BLOB)
ODD = [None, True, -1, 0, 1, 10**6, 2**31, 1e308, "x", "", [], {}, [0], {"index": 0}, [1, 2, 3], float("nan")]


def survives(data):
    """It loads, or ends in the project's own error with a short text."""
    try:
        pieces, _ = read_gltf(Path("a.glb"), data)
        assert pieces and all(len(p.faces) == 0 or p.faces.max() < len(p.vertices) for p in pieces)
    except AssetError as error:
        assert len(str(error)) < 2000


def test_the_document_that_is_damaged_below_is_whole():
    pieces, _ = read_gltf(Path("a.glb"), RICH)
    assert [len(p.faces) for p in pieces] == [12, 34 * 3]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_truncated_and_mutated_bytes_load_or_are_refused(data):
    at = data.draw(st.lists(st.integers(0, len(RICH) - 1), max_size=6))
    changed = bytearray(RICH)
    for place in at:
        changed[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(RICH)), st.integers(0, len(RICH))))
    survives(bytes(changed[:end]))


def places(tree, path=()):
    """Paths to every value of a document."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(list(places(TREE))), st.sampled_from(ODD)), min_size=1, max_size=3))
@example([(("accessors", 0, "count"), 10**6)])
def test_odd_values_anywhere_in_the_document_load_or_are_refused(changes):
    tree = copy.deepcopy(TREE)
    for path, value in changes:
        at = tree
        try:
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    survives(glb(tree, BLOB))
