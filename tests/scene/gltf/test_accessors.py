"""dipir.scene.gltf.accessors: what numpy wrote is what is read, and nothing outside the buffer is."""
from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipir.errors import AssetError
from dipir.scene.gltf.accessors import MAX_ITEMS, read_accessor
from dipir.scene.gltf.document import GltfDocument
from tests.support.gltf_build import GltfBuilder


def opened(built):
    return GltfDocument(Path("a.glb"), built.tree(), [built.blob])


@given(st.sampled_from(["i1", "u1", "i2", "u2", "u4", "f4"]), st.sampled_from([1, 2, 3, 4]), st.integers(1, 9),
       st.sampled_from([0, 16, 20]), st.integers(0, 2**31))
def test_every_type_and_stride_comes_back(kind, components, count, stride, seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 100, (count, components)).astype(kind)
    built = GltfBuilder()
    built.add(rng.random(3, np.float32))
    at = built.add(array, stride=stride)
    read = read_accessor(opened(built), at)
    assert np.array_equal(read, array) and read.shape == (count, components)
    assert read.dtype == (np.float64 if kind == "f4" else np.dtype(kind))


@pytest.mark.parametrize("kind, raw, expected", [
    ("u1", [0, 51, 255], [0, 0.2, 1]), ("i1", [-128, -127, 0, 127], [-1, -1, 0, 1]),
    ("u2", [0, 65535], [0, 1]), ("i2", [-32768, -32767, 32767], [-1, -1, 1])])
def test_normalised_integers(kind, raw, expected):
    built = GltfBuilder()
    at = built.add(np.array(raw, kind), normalized=True)
    assert read_accessor(opened(built), at)[:, 0] == pytest.approx(expected)


def test_matrices_are_read_whole_and_padded_columns_skipped():
    built = GltfBuilder()
    matrix = np.arange(16, dtype="f4").reshape(1, 16)
    at = built.add(matrix)
    assert read_accessor(opened(built), at).tolist() == matrix.tolist()
    # Two columns of two bytes, each filled up to four.
    view = built.view(bytes([1, 2, 99, 99, 3, 4, 99, 99]))
    built.accessors.append({"bufferView": view, "componentType": 5121, "count": 1, "type": "MAT2"})
    assert read_accessor(opened(built), len(built.accessors) - 1).tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("based", [True, False])
def test_sparse_values_replace_the_base_or_zeros(based):
    base = np.arange(15, dtype="f4").reshape(5, 3)
    built = GltfBuilder()
    at = built.add(base)
    where, what = built.view(np.array([1, 4], "u2").tobytes()), built.view(np.full((2, 3), 7, "f4").tobytes())
    built.accessors[at]["sparse"] = {"count": 2, "indices": {"bufferView": where, "componentType": 5123},
                                     "values": {"bufferView": what}}
    if not based:
        del built.accessors[at]["bufferView"]
    expected = base.copy() if based else np.zeros((5, 3))
    expected[[1, 4]] = 7
    assert np.array_equal(read_accessor(opened(built), at), expected)


BROKEN = [({"count": 4}, "needs 48 bytes of buffer view 0, which has 36"), ({"byteOffset": 4}, "needs 40 bytes"),
          ({"count": MAX_ITEMS + 1}, "claims"), ({"count": -1}, "claims -1"), ({"count": True}, "claims True"),
          ({"count": 1e400}, "claims inf"), ({"byteOffset": -4}, "'byteOffset' is -4"), ({"type": "VEC5"}, "VEC5"),
          ({"componentType": 5124}, "5124"), ({"bufferView": 3}, "bufferViews 3"), ({"bufferView": -1}, "-1"),
          ({"sparse": {"count": 9, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}}},
           "more items than it has")]


@pytest.mark.parametrize("change, match", BROKEN)
def test_ranges_and_types_are_checked(change, match):
    built = GltfBuilder()
    built.add(np.ones((3, 3), "f4"))
    document = opened(built)
    document.tree = copy.deepcopy(document.tree)
    document.tree["accessors"][0] |= change
    with pytest.raises(AssetError, match=match):
        read_accessor(document, 0)


def test_views_stay_in_their_buffer_and_sparse_places_in_their_array():
    built = GltfBuilder()
    built.add(np.ones((3, 3), "f4"))
    built.views[0]["byteLength"] = 1000
    with pytest.raises(AssetError, match="ends at byte 1000; its buffer has 36"):
        read_accessor(opened(built), 0)
    built = GltfBuilder()
    at = built.add(np.ones((3, 3), "f4"))
    where = built.view(bytes([3]))
    built.accessors[at]["sparse"] = {"count": 1, "indices": {"bufferView": where, "componentType": 5121},
                                     "values": {"bufferView": 0}}
    with pytest.raises(AssetError, match="beyond its end"):
        read_accessor(opened(built), at)
    built.accessors.append({"componentType": 5126, "count": 50_000_000, "type": "MAT4"})
    with pytest.raises(AssetError, match="50000000 items without data"):
        read_accessor(opened(built), at + 1)
    with pytest.raises(AssetError, match="VEC2 was expected"):
        read_accessor(opened(built), at, ("VEC2",))
