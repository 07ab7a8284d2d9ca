"""Accessors: arrays in the buffers of a glTF document, every range checked before it is read."""
from __future__ import annotations

from typing import Any

import numpy as np

from dipir.scene.gltf.document import GltfDocument, shown
from dipir.scene.gltf.meshopt_views import meshopt_name, unpacked_view

KINDS = {5120: np.dtype("i1"), 5121: np.dtype("u1"), 5122: np.dtype("<i2"), 5123: np.dtype("<u2"),
         5125: np.dtype("<u4"), 5126: np.dtype("<f4")}
# Components, and the rows of a matrix (whose columns are padded to four bytes).
_SHAPES = {"SCALAR": (1, 0), "VEC2": (2, 0), "VEC3": (3, 0), "VEC4": (4, 0), "MAT2": (4, 2), "MAT3": (9, 3),
           "MAT4": (16, 4)}
MAX_ITEMS = 60_000_000
_MAX_BARE = 30_000_000  # Numbers of an accessor without data, which is zeros.


def count_of(document: GltfDocument, index: Any) -> int:
    """Number of items that an accessor claims, within the limit. AssetError else."""
    count = document.item("accessors", index)["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_ITEMS:
        raise document.refused(f"accessor {index} claims {shown(count)} items; 0 to {MAX_ITEMS} are accepted")
    return count


def read_accessor(document: GltfDocument, index: Any, shapes: tuple[str, ...] = ()) -> np.ndarray:
    """(count, components) array of an accessor: float64 where it is normalised or of floats, else its own integers.

    shapes : the types that are accepted ('VEC3', ...), all when empty
    Sparse values are put in. AssetError for ranges beyond the buffer and for types that do not fit.
    """
    entry, count = document.item("accessors", index), count_of(document, index)
    shape, kind = entry.get("type"), entry.get("componentType")
    if shape not in _SHAPES or kind not in KINDS or (shapes and shape not in shapes):
        raise document.refused(f"accessor {index} is of type {shown(shape)}, component {shown(kind)}; "
                               f"{' or '.join(shapes) or 'another'} was expected there")
    if "bufferView" in entry:
        values = _array(document, entry["bufferView"], _whole(document, entry, "byteOffset"), count, (shape, kind))
    elif count * _SHAPES[shape][0] > _MAX_BARE:
        raise document.refused(f"accessor {index} claims {count} items without data", "The file is corrupt.")
    else:
        values = np.zeros((count, _SHAPES[shape][0]), KINDS[kind])
    if "sparse" in entry:
        values = _with_sparse(document, entry, values)
    return as_numbers(values, bool(entry.get("normalized", False)))


def as_numbers(values: np.ndarray, normalized: bool) -> np.ndarray:
    """Floats and normalised integers as float64 (glTF 2.0 section 3.11), other integers as they are."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    if not normalized:
        return values
    limit = np.iinfo(values.dtype).max
    return np.maximum(values.astype(np.float64) / limit, -1.0)


def _with_sparse(document: GltfDocument, entry: dict, values: np.ndarray) -> np.ndarray:
    sparse = entry["sparse"]
    count = _whole(document, sparse, "count")
    where, what = sparse["indices"], sparse["values"]
    if where.get("componentType") not in (5121, 5123, 5125) or count > len(values):
        raise document.refused("a sparse accessor replaces more items than it has, or counts them by floats")
    places = _array(document, where["bufferView"], _whole(document, where, "byteOffset"), count,
                    ("SCALAR", where["componentType"]))[:, 0]
    new = _array(document, what["bufferView"], _whole(document, what, "byteOffset"), count,
                 (entry["type"], entry["componentType"]))
    if count and int(places.max()) >= len(values):
        raise document.refused("a sparse accessor replaces items beyond its end")
    values = values.copy()
    values[places] = new
    return values


def _whole(document: GltfDocument, entry: dict, key: str) -> int:
    """A non-negative integer of an entry; 0 when it is absent."""
    value = entry.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise document.refused(f"'{key}' is {shown(value)}; a whole number from 0 was expected")
    return value


def view_bytes(document: GltfDocument, index: Any) -> tuple[memoryview, int]:
    """The bytes of a buffer view and its stride (0 = tightly packed). AssetError when it leaves its buffer."""
    view = document.item("bufferViews", index)
    number = view["buffer"]
    document.item("buffers", number)
    blob, start = document.buffers[number], _whole(document, view, "byteOffset")
    # A fallback that has data is what was compressed: nothing is lost by it.
    if blob is None and meshopt_name(view) is not None:
        blob, start = unpacked_view(document, index), 0
    length = _whole(document, view, "byteLength")
    if blob is None:
        raise document.refused(f"buffer view {index} has a fallback buffer, but is not compressed")
    if start + length > len(blob):
        raise document.refused(f"buffer view {index} ends at byte {start + length}; its buffer has {len(blob)}")
    return memoryview(blob)[start:start + length], _whole(document, view, "byteStride")


def _array(document: GltfDocument, view: Any, offset: int, count: int, kind: tuple[str, int]) -> np.ndarray:
    """(count, components) copy of the items of a view; ``kind`` = (type, component type)."""
    data, stride = view_bytes(document, view)
    components, rows = _SHAPES[kind[0]]
    dtype = KINDS[kind[1]]
    columns = components // rows if rows else 1
    # Columns of matrices of one- and two-byte numbers begin at multiples of four bytes.
    column = -(-rows * dtype.itemsize // 4) * 4 if rows else components * dtype.itemsize
    size = column * columns
    stride = stride or size
    end = offset + (stride * (count - 1) + size if count else 0)
    if stride < size or end > len(data):
        raise document.refused(f"an accessor needs {end} bytes of buffer view {view}, which has {len(data)}",
                               "The file is corrupt; copy or export it again.")
    if not count:
        return np.zeros((0, components), dtype)
    raw = np.frombuffer(data, np.uint8)[offset:end]
    items = np.lib.stride_tricks.as_strided(raw, (count, columns, column), (stride, column, 1))
    used = (rows or components) * dtype.itemsize
    return np.ascontiguousarray(items[..., :used]).view(dtype).reshape(count, components)
