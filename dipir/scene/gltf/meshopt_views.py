"""Buffer views compressed with meshopt (EXT_ and KHR_meshopt_compression), their filters undone."""
from __future__ import annotations

from typing import Any

from dipir.scene.assets.files import MAX_FILE_BYTES
from dipir.scene.gltf.document import MESHOPT, GltfDocument, extension, shown

_MODES = ("ATTRIBUTES", "TRIANGLES", "INDICES")
_FILTERS = ("NONE", "OCTAHEDRAL", "QUATERNION", "EXPONENTIAL", "COLOR")
_MAX_STRIDE = 256


def meshopt_name(view: dict) -> str | None:
    """The extension by which a view is compressed, None where it is not."""
    return next((name for name in MESHOPT if extension(view, name) is not None), None)


def unpacked_view(document: GltfDocument, index: int) -> bytes:
    """The bytes of a compressed buffer view, unpacked once. AssetError for damaged views, for more than 1 GiB of all
    views together, and where the package is missing."""
    if index in document.unpacked:
        return document.unpacked[index]
    view = document.item("bufferViews", index)
    name = meshopt_name(view)
    entry = extension(view, name)
    # ---- what it claims ----
    document.item("buffers", entry["buffer"])
    blob = document.buffers[entry["buffer"]]
    start, length, count, stride = (_whole(document, entry.get(key, 0), f"{name}: {key}")
                                    for key in ("byteOffset", "byteLength", "count", "byteStride"))
    mode, undo = entry.get("mode"), entry.get("filter", "NONE")
    if mode not in _MODES or undo not in _FILTERS or not 0 < stride <= _MAX_STRIDE:
        raise document.refused(f"buffer view {index} is compressed in a way that is not known (mode {shown(mode)}, "
                               f"filter {shown(undo)}, {stride} bytes each)")
    if blob is None or start + length > len(blob):
        raise document.refused(f"compressed buffer view {index} ends at byte {start + length}; its buffer has "
                               f"{len(blob or b'')}")
    if count * stride + sum(map(len, document.unpacked.values())) > MAX_FILE_BYTES:
        raise document.refused("its compressed geometry unpacks to more than 1 GiB", "Decimate the mesh.")
    # ---- what it is ----
    try:
        import meshopt
    except ImportError:
        remedy = "Install it (pip install meshopt), or export without compression."
        raise document.refused(f"its geometry is compressed with {name}, and meshopt, which reads that, is not "
                               "installed", remedy) from None
    if not count:
        return b""
    try:
        values = meshopt.decode_gltf_buffer(blob[start:start + length], count, stride, mode, undo)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise document.refused(f"its meshopt-compressed geometry is damaged ({shown(error)})") from None
    return document.unpacked.setdefault(index, values.tobytes())


def _whole(document: GltfDocument, value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise document.refused(f"'{what}' is {shown(value)}; a whole number from 0 was expected")
    return value
