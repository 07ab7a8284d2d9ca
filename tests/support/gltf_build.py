"""A small writer of glTF documents for tests: arrays become accessors of one embedded buffer."""
import base64
import json
import struct

import numpy as np

_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class GltfBuilder:
    """Collects arrays; ``document(...)`` gives the JSON, ``glb(...)`` the bytes of a binary file."""

    def __init__(self):
        self.blob, self.views, self.accessors = b"", [], []

    def view(self, data, **more):
        """Number of a new buffer view of bytes."""
        self.blob += b"\0" * (-len(self.blob) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(data), **more})
        self.blob += data
        return len(self.views) - 1

    def add(self, array, stride=0, **more):
        """Number of a new accessor of an (N,) or (N, C) array of its own type; ``stride`` in bytes."""
        array = np.ascontiguousarray(array)
        rows = array.reshape(len(array), -1)
        raw = rows.tobytes()
        if stride:
            size = rows.shape[1] * rows.itemsize
            raw = b"".join(raw[i * size:(i + 1) * size] + b"\xff" * (stride - size) for i in range(len(rows)))
        view = self.view(raw, **({"byteStride": stride} if stride else {}))
        self.accessors.append({"bufferView": view, "componentType": _COMPONENTS[array.dtype.str[1:]],
                               "count": len(rows), "type": _TYPES[rows.shape[1]], **more})
        return len(self.accessors) - 1

    def tree(self, **parts):
        """The document without its buffer's data; one mesh at one node unless ``nodes`` says otherwise."""
        roots = parts.pop("roots", [0])
        primitive = parts.pop("primitive", None)
        if primitive is not None:
            parts["meshes"] = [{"name": "m", "primitives": [primitive]}]
        return {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": roots}], "nodes": [{"mesh": 0}],
                "buffers": [{"byteLength": len(self.blob)}], "bufferViews": self.views,
                "accessors": self.accessors, **parts}

    def document(self, **parts):
        """The document with an embedded buffer."""
        tree = self.tree(**parts)
        tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(self.blob).decode()
        return tree

    def glb(self, **parts):
        """The bytes of a GLB."""
        return glb(self.tree(**parts), self.blob)


def glb(tree, blob):
    """A GLB of a document and its binary chunk."""
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    blob += b"\0" * (-len(blob) % 4)
    data = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(blob), len(text), 0x4E4F534A) + text
    return data + struct.pack("<II", len(blob), 0x004E4942) + blob
