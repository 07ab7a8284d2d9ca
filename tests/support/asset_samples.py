"""Tiny mesh files for the asset tests."""
import base64
import io
import json

import numpy as np
import PIL.Image

BOX = np.array([[x, y, z] for x in (0, 2.0) for y in (0, 1.0) for z in (0, 4.0)], np.float32)
BOX_FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                      [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.uint32)


def png(array):
    data = io.BytesIO()
    PIL.Image.fromarray(np.asarray(array, np.uint8)).save(data, "PNG")
    return data.getvalue()


def gltf(vertices=BOX, faces=BOX_FACES, uvs=True, material=None, images=(), nodes=None, **more):
    """A glTF document as a dict, with one mesh and embedded buffer; ``images`` are URIs."""
    arrays = [(vertices, 5126, "VEC3"), (faces.reshape(-1), 5125, "SCALAR")]
    attributes = {"POSITION": 0}
    if uvs:
        arrays.append(((np.arange(2 * len(vertices), dtype=np.float32) / 16).reshape(-1, 2), 5126, "VEC2"))
        attributes["TEXCOORD_0"] = 2
    blob, views, accessors = b"", [], []
    for array, kind, shape in arrays:
        raw = np.ascontiguousarray(array, np.float32 if kind == 5126 else np.uint32).tobytes()
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": len(raw)})
        accessors.append({"bufferView": len(views) - 1, "componentType": kind, "count": len(array), "type": shape})
        blob += raw
    uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
    primitive = {"attributes": attributes, "indices": 1} | ({"material": 0} if material is not None else {})
    return {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
            "nodes": nodes or [{"mesh": 0, "name": "thing"}], "meshes": [{"name": "box", "primitives": [primitive]}],
            "materials": [material or {}], "images": [{"uri": u} for u in images],
            "textures": [{"source": i} for i in range(len(images))], "buffers": [{"byteLength": len(blob), "uri": uri}],
            "bufferViews": views, "accessors": accessors} | more


def write(folder, document, name="a.gltf"):
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def embedded(array):
    return "data:image/png;base64," + base64.b64encode(png(array)).decode()


OBJ = "".join(f"v {x} {y} {z}\n" for x, y, z in BOX) + "vt 0 0\nvt 1 0\nvt 0 1\n"


def ply(colors=None, header=""):
    head = f"ply\nformat ascii 1.0\n{header}element vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\n" if colors else ""
    head += "element face 12\nproperty list uchar int vertex_indices\nend_header\n"
    tail = " {} {} {}".format(*colors) if colors else ""
    return head + "".join("{} {} {}".format(*v) + tail + "\n" for v in BOX) + "".join(
        "3 {} {} {}\n".format(*f) for f in BOX_FACES)
