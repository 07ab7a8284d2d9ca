"""The node tree of a glTF document: which mesh stands where, instances, visibility, skins in their default pose."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dipir.scene.gltf.accessors import count_of, read_accessor
from dipir.scene.gltf.document import GltfDocument, extension, shown

MAX_DEPTH = 1000
_INSTANCING, _VISIBILITY = "EXT_mesh_gpu_instancing", "KHR_node_visibility"


@dataclass(frozen=True)
class MeshUse:
    """A mesh at a node."""

    node: int
    mesh: int
    name: str
    matrix: np.ndarray  # (4, 4) float64, mesh to scene
    copies: int  # instances, 1 without instancing
    weights: tuple[float, ...]  # of the morph targets
    skin: int | None = None


def mesh_uses(document: GltfDocument) -> tuple[list[MeshUse], np.ndarray]:
    """Every drawn use of a mesh in the default scene, in the order of the nodes, and the world matrices (N, 4, 4) of
    all nodes. AssetError for node trees that are cyclic, deeper than 1,000 or with numbers that are not finite."""
    nodes = document.tree.get("nodes", [])
    order, parent = _order(document, nodes)
    # ---- world matrices, parents first ----
    world = np.zeros((len(nodes), 4, 4))
    with np.errstate(all="ignore"):
        for i in order:
            local = _local(document, i, nodes[i])
            world[i] = local if parent[i] < 0 else world[parent[i]] @ local
    if not np.isfinite(world).all():
        broken = int(np.argmin(np.isfinite(world).all((1, 2))))
        raise document.refused(f"node '{_name(nodes, broken)}' has a transform with NaN or infinite numbers")
    # ---- what of it is drawn ----
    drawn, hidden = _drawn(document, nodes, order, parent)
    if hidden:
        document.note(f"{hidden} hidden node{'s' if hidden > 1 else ''} (KHR_node_visibility) "
                      f"{'are' if hidden > 1 else 'is'} not drawn, as the file says.")
    return [_use(document, i, world[i]) for i in np.flatnonzero(drawn) if "mesh" in nodes[i]], world


def _order(document: GltfDocument, nodes: list[dict]) -> tuple[list[int], np.ndarray]:
    """Nodes with every parent before its children, and the parent of each (-1 = none)."""
    parent = np.full(len(nodes), -1)
    for i, node in enumerate(nodes):
        for child in node.get("children", []):
            document.item("nodes", child)
            if parent[child] >= 0:
                raise document.refused(f"node {child} has two parents")
            parent[child] = i
    order = [int(i) for i in np.flatnonzero(parent < 0)]
    depth = np.zeros(len(nodes), int)
    # The list grows while it is walked through.
    for i in order:
        for child in nodes[i].get("children", []):
            depth[child] = depth[i] + 1
            order.append(child)
    if len(order) != len(nodes):
        raise document.refused("the node tree is cyclic")
    if len(nodes) and depth.max() > MAX_DEPTH:
        raise document.refused(f"the node tree is {depth.max()} nodes deep; {MAX_DEPTH} are accepted",
                               "Flatten it and export again.")
    return order, parent


def _drawn(document: GltfDocument, nodes: list[dict], order: list[int], parent: np.ndarray) -> tuple[np.ndarray, int]:
    """(N,) bool: part of the default scene and visible; and how many of the scene's nodes say that they are hidden."""
    scenes = document.tree.get("scenes") or []
    inside, seen = np.zeros(len(nodes), bool), np.ones(len(nodes), bool)
    if scenes:
        for root in document.item("scenes", document.tree.get("scene", 0)).get("nodes", []):
            document.item("nodes", root)
            inside[root] = True
    else:
        inside[parent < 0] = True
    hidden = 0
    for i in order:
        if parent[i] >= 0:
            inside[i] |= inside[parent[i]]
            seen[i] = seen[parent[i]]
        visibility = extension(nodes[i], _VISIBILITY)
        if visibility is not None and visibility.get("visible", True) is False:
            hidden += bool(inside[i])
            seen[i] = False
    return inside & seen, hidden


def _name(nodes: list[dict], index: int) -> str:
    return shown(nodes[index].get("name", f"node_{index}"), 200)


def _local(document: GltfDocument, index: int, node: dict) -> np.ndarray:
    """(4, 4) matrix of a node, given whole (columns first) or as translation, rotation and scale."""
    if "matrix" in node:
        return _numbers(document, index, node["matrix"], 16).reshape(4, 4).T
    return composed(_numbers(document, index, node.get("translation", (0, 0, 0)), 3)[None],
                    _numbers(document, index, node.get("rotation", (0, 0, 0, 1)), 4)[None],
                    _numbers(document, index, node.get("scale", (1, 1, 1)), 3)[None])[0]


def _numbers(document: GltfDocument, index: int, values: Any, count: int) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape != (count,):
        raise document.refused(f"node {index} has a transform of {shown(array.shape)} numbers instead of {count}")
    return array


def composed(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(N, 4, 4) matrices of translations (N, 3), quaternions (N, 4) x y z w of any length, and scales (N, 3)."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    x, y, z, w = np.where(length > 0, rotation / np.where(length > 0, length, 1), (0.0, 0.0, 0.0, 1.0)).T
    turn = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])
    result = np.zeros((len(translation), 4, 4))
    result[:, :3, :3] = np.moveaxis(turn, -1, 0) * scale[:, None, :]
    result[:, :3, 3], result[:, 3, 3] = translation, 1
    return result


def _use(document: GltfDocument, index: int, matrix: np.ndarray) -> MeshUse:
    node = document.tree["nodes"][index]
    mesh = document.item("meshes", node["mesh"])
    weights = node.get("weights", mesh.get("weights")) or []
    if not all(isinstance(w, (int, float)) and np.isfinite(w) for w in weights):
        raise document.refused(f"node {index} has morph weights that are no finite numbers")
    copies, skin = 1, node.get("skin")
    instancing = extension(node, _INSTANCING)
    if instancing is not None and skin is None:
        counts = {count_of(document, accessor) for name, accessor in instancing["attributes"].items()
                  if name in ("TRANSLATION", "ROTATION", "SCALE")}
        if len(counts) > 1:
            raise document.refused(f"the instances of node {index} have attributes of different lengths")
        copies = counts.pop() if counts else 1
    if skin is not None:
        document.item("skins", skin)
    return MeshUse(index, node["mesh"], _name(document.tree["nodes"], index), matrix, copies, tuple(weights), skin)


def instance_matrices(document: GltfDocument, use: MeshUse) -> np.ndarray:
    """(copies, 4, 4) matrices from the mesh to the scene."""
    instancing = extension(document.tree["nodes"][use.node], _INSTANCING)
    if instancing is None or use.skin is not None:
        return use.matrix[None]
    read = {"TRANSLATION": np.zeros((use.copies, 3)), "ROTATION": np.tile([0.0, 0, 0, 1], (use.copies, 1)),
            "SCALE": np.ones((use.copies, 3))}
    for name, accessor in instancing["attributes"].items():
        if name in read:
            read[name] = read_accessor(document, accessor, ("VEC4" if name == "ROTATION" else "VEC3",)
                                       ).astype(np.float64)
    matrices = use.matrix @ composed(read["TRANSLATION"], read["ROTATION"], read["SCALE"])
    if not np.isfinite(matrices).all():
        raise document.refused(f"the instances of node '{use.name}' have NaN or infinite numbers")
    return matrices


def joint_matrices(document: GltfDocument, skin: int, world: np.ndarray) -> np.ndarray:
    """(J, 4, 4) from the mesh in its bind pose to the scene, for the joints where the nodes put them. The transform of
    the node that holds the mesh does not count (glTF 2.0 section 3.7.3.3)."""
    entry = document.item("skins", skin)
    joints = entry["joints"]
    for joint in joints:
        document.item("nodes", joint)
    placed = world[np.asarray(joints, int)]
    if "inverseBindMatrices" not in entry:
        return placed
    inverse = read_accessor(document, entry["inverseBindMatrices"], ("MAT4",))
    if len(inverse) < len(joints):
        raise document.refused(f"skin {skin} has {len(joints)} joints and {len(inverse)} matrices")
    return placed @ inverse[:len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)


def blended(document: GltfDocument, influences: tuple[tuple[np.ndarray, np.ndarray], ...], joints: np.ndarray
            ) -> np.ndarray:
    """(V, 3, 4) matrix of each vertex: the joints' (J, 4, 4) by its weights, whose sum is made 1."""
    total = sum(weights.sum(1) for _, weights in influences)
    result = np.zeros((len(total), 3, 4))
    for numbers, weights in influences:
        if numbers.dtype.kind != "u" or (numbers.size and int(numbers.max()) >= len(joints)):
            raise document.refused("vertices refer to joints that their skin does not have")
        for k in range(4):
            result += weights[:, k, None, None] * joints[numbers[:, k], :3]
    # A vertex without weights stays with the first joint.
    bare = ~(total > 1e-12)
    result[~bare] /= total[~bare, None, None]
    result[bare] = joints[0, :3] if len(joints) else np.eye(3, 4)
    return result
