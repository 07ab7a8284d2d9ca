"""A glTF document as pieces: one for each primitive where a node puts it, with its material."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dipir.scene.assets.asset import Material, Sampling
from dipir.scene.assets.mesh import Piece
from dipir.scene.gltf.document import GltfDocument, blamed, extension, read_document, shown
from dipir.scene.gltf.geometry import Primitive, is_surface, morphed, read_primitive, sizes
from dipir.scene.gltf.images import Images, one_sampling, placement
from dipir.scene.gltf.materials import GltfMaterial, build_surface
from dipir.scene.gltf.nodes import MeshUse, blended, instance_matrices, joint_matrices, mesh_uses

MAX_FACES, MAX_VERTICES, MAX_PRIMITIVES = 20_000_000, 60_000_000, 20_000
_MAX_MORPHED = 300_000_000
_UV_MAX = 1e6
_MANY = 300  # Parts; beyond that those that look the same become one.


def read_gltf(path: Path, data: bytes, looks: bool = True) -> tuple[list[Piece], list[str]]:
    """The pieces of a document, by node, and remarks. AssetError for corrupt or truncated files, outside or missing
    references, unsupported required extensions, cyclic or too deep node trees, more than 20 million faces.

    looks : False leaves materials and images alone"""
    document = read_document(path, data)
    with blamed(path):
        # ---- what stands where, and whether that is too much ----
        uses, world = mesh_uses(document)
        meshes = _surfaces_of(document, uses)
        _check_total(document, uses, meshes)
        if not looks:
            document.tree["images"] = []
            meshes = {mesh: [(k, {**p, "material": None}) for k, p in found] for mesh, found in meshes.items()}
        used = {p.get("material") for found in meshes.values() for _, p in found}
        images = Images(document, [document.item("materials", m) for m in used if m is not None])
        surfaces = {m: build_surface(document, m, images) for m in sorted(used, key=lambda m: -1 if m is None else m)}
        _note_what_is_not_shown(document)
        # ---- each mesh read once, for all its uses ----
        joints = {skin: joint_matrices(document, skin, world)
                  for skin in sorted({use.skin for use in uses if use.skin is not None})}
        of_mesh: dict[int, list[MeshUse]] = {}
        for use in uses:
            of_mesh.setdefault(use.mesh, []).append(use)
        pieces: list[tuple[int, int, Piece]] = []
        for mesh, primitives in meshes.items():
            for k, primitive in primitives:
                shape, surface = read_primitive(document, primitive), surfaces[primitive.get("material")]
                for group in _together(document, of_mesh[mesh]):
                    posed = morphed(document, shape, primitive, group[0].weights)
                    placed = _placed(document, posed, group, joints)
                    name = _name(document, group[0])
                    pieces.append((group[0].node, k, _piece(document, placed, surface, images, name)))
    pieces.sort(key=lambda found: found[:2])
    return _joined(document, [piece for _, _, piece in pieces]), document.notes


def _surfaces_of(document: GltfDocument, uses: list[MeshUse]) -> dict[int, list[tuple[int, dict]]]:
    """Mesh -> its numbered primitives of triangles, for the meshes that are used."""
    found: dict[int, list[tuple[int, dict]]] = {}
    for mesh in sorted({use.mesh for use in uses}):
        entry = document.item("meshes", mesh)
        found[mesh] = [(k, p) for k, p in enumerate(entry["primitives"]) if is_surface(p)]
        if sum(map(len, found.values())) > MAX_PRIMITIVES:
            raise document.refused(f"has more than {MAX_PRIMITIVES} primitives", "Join those of one material.")
        if len(found[mesh]) < len(entry["primitives"]):
            document.warn(f"mesh '{shown(entry.get('name', mesh))}': points and lines were left out.")
    return found


def _check_total(document: GltfDocument, uses: list[MeshUse], meshes: dict[int, list[tuple[int, dict]]]) -> None:
    """Faces and vertices of all instances, before any is made."""
    each = {mesh: np.array([sizes(document, p) for _, p in found], object).reshape(-1, 2).sum(0)
            for mesh, found in meshes.items()}
    faces, vertices = (sum(int(each[use.mesh][k]) * use.copies for use in uses) for k in (0, 1))
    moved = sum(int(each[use.mesh][1]) * sum(map(bool, use.weights)) for use in uses)
    if faces == 0:
        raise document.refused("no mesh with faces is part of the scene; it has no faces of triangles")
    if faces > MAX_FACES or vertices > MAX_VERTICES:
        raise document.refused(f"has {faces} faces and {vertices} vertices with all instances; at most {MAX_FACES} and "
                               f"{MAX_VERTICES} are accepted", "Decimate the mesh or export fewer instances.")
    if moved > _MAX_MORPHED:
        raise document.refused(f"its morph targets move {moved} vertices; at most {_MAX_MORPHED} are accepted",
                               "Apply the targets before export.")


def _note_what_is_not_shown(document: GltfDocument) -> None:
    if document.tree.get("animations"):
        document.note("animations are not played; the asset is shown in its default pose.")
    if extension(document.tree, "KHR_lights_punctual") is not None:
        document.note("the lights in the file are not used; the light comes from the plate.")
    if extension(document.tree, "KHR_materials_variants") is not None:
        document.note("material variants: the default one is shown.")


def _name(document: GltfDocument, use: MeshUse) -> str:
    mesh = shown(document.item("meshes", use.mesh).get("name", f"mesh_{use.mesh}"), 200)
    return use.name if use.name == mesh else f"{use.name}/{mesh}"


# --- where it stands -------------------------------------------------------------------------------------------------

def _together(document: GltfDocument, uses: list[MeshUse]) -> list[list[MeshUse]]:
    """The uses of one mesh, each for itself; where they are very many, those of one shape as one part."""
    if len(uses) <= _MANY:
        return [[use] for use in uses]
    document.note(f"{len(uses)} nodes show mesh '{_name(document, uses[0])}'; they were joined to one part.")
    groups: dict[object, list[MeshUse]] = {}
    for use in uses:
        groups.setdefault(use.weights if use.skin is None else use.node, []).append(use)
    return list(groups.values())


def _placed(document: GltfDocument, shape: Primitive, uses: list[MeshUse], joints: dict[int, np.ndarray]) -> Primitive:
    """The primitive in the scene: bent by the skin of its one use, or moved by its nodes, once for each instance."""
    use = uses[0]
    if use.skin is None:
        matrices = np.concatenate([instance_matrices(document, u) for u in uses])[:, None, :3]
    elif shape.influences:
        matrices = blended(document, shape.influences, joints[use.skin])[None]
    else:
        document.warn(f"node '{use.name}' has a skin, but its mesh has no joints and weights; it was left unbent.")
        matrices = use.matrix[None, None, :3]
    copies, count = len(matrices), len(shape.positions)
    # ---- positions; matrices are (copies, 1 or V, 3, 4) ----
    linear = matrices[..., :3]
    positions = np.einsum("cvij,vj->cvi", np.broadcast_to(linear, (copies, count, 3, 3)), shape.positions)
    positions = (positions + matrices[..., 3]).reshape(-1, 3)
    # ---- normals by the cofactors, which stay finite for flattening transforms; mirrored faces turned back ----
    cofactor = np.stack([np.cross(linear[..., 1, :], linear[..., 2, :]), np.cross(linear[..., 2, :], linear[..., 0, :]),
                         np.cross(linear[..., 0, :], linear[..., 1, :])], -2)
    mirrored = np.einsum("cvj,cvj->cv", cofactor[..., 0, :], linear[..., 0, :]).mean(1) < 0
    normals = shape.normals
    if normals is not None:
        sign = np.where(mirrored, -1.0, 1.0)[:, None, None]
        normals = np.einsum("cvij,vj->cvi", np.broadcast_to(cofactor, (copies, count, 3, 3)), normals) * sign
        normals = normals.reshape(-1, 3)
    faces = shape.faces[None] + count * np.arange(copies)[:, None, None]
    faces[mirrored] = faces[mirrored][:, :, ::-1]
    return replace(shape, positions=positions, normals=normals, faces=faces.reshape(-1, 3),
                   uvs={k: np.tile(a, (copies, 1)) for k, a in (shape.uvs or {}).items()},
                   colors=None if shape.colors is None else np.tile(shape.colors, (copies, 1)))


# --- what it looks like ----------------------------------------------------------------------------------------------

def _piece(document: GltfDocument, shape: Primitive, surface: GltfMaterial, images: Images, name: str) -> Piece:
    material, uvs = _textured(document, shape, surface, images)
    colors = shape.colors
    if colors is not None:
        if surface.alpha_mode == "BLEND":
            material = _faded(document, material, colors[:, 3], images)
        elif surface.alpha_mode == "MASK" and colors[:, 3].min(initial=1.0) < 1 - 1e-3:
            document.warn(f"material '{material.name}': the alpha of its vertex colours is not used, since it masks.")
        material, colors = _colored(document, material, colors[:, :3], images)
    if uvs is not None:
        # Beyond this single precision has no place within a texel left, and further on no number.
        uvs = np.where(np.abs(uvs) < _UV_MAX, np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1), np.nan)
    return Piece(name, shape.positions, shape.faces, shape.normals, uvs, colors, material, surface.needs_uvs)


def _colored(document: GltfDocument, material: Material, colors: np.ndarray, images: Images
             ) -> tuple[Material, np.ndarray | None]:
    """Vertex colours (V, 3): as they are, or over a texture as one average."""
    if np.allclose(colors, 1, atol=1e-3):
        return material, None
    texture = material.base_color_texture
    if texture is None:
        return material, colors
    if np.ptp(colors, axis=0).max() > 1e-3:
        document.warn(f"material '{material.name}': vertex colours over a texture were averaged to one colour.")
    tint = tuple(float(round(c, 4)) for c in colors.mean(0))

    def tinted() -> Material:
        changed = images.once(("tint", id(texture), tint), lambda: texture * np.asarray(tint, np.float32))
        return replace(material, base_color=tuple(float(c) for c in changed.mean((0, 1))), base_color_texture=changed)

    return images.once(("tinted", id(material), tint), tinted), None


def _faded(document: GltfDocument, material: Material, alpha: np.ndarray, images: Images) -> Material:
    """The material times the mean of its vertices' alpha (V,)."""
    mean = round(float(alpha.mean()), 4) if len(alpha) else 1.0
    if mean > 1 - 1e-3:
        return material
    if np.ptp(alpha) > 1e-3:
        document.warn(f"material '{material.name}': the alpha of its vertex colours was averaged.")
    texture = material.opacity_texture
    return images.once(("faded", id(material), mean), lambda: replace(
        material, opacity=material.opacity * mean,
        opacity_texture=None if texture is None else texture * np.float32(mean)))


def _textured(document: GltfDocument, shape: Primitive, surface: GltfMaterial, images: Images
              ) -> tuple[Material, np.ndarray | None]:
    """The material with the sampling of its textures, and the UVs (V, 2; v down) that they have in common."""
    sets = shape.uvs or {}
    if not surface.infos:
        return surface.material, sets.get(0)
    places = {slot: placement(info) for slot, info in surface.infos.items()}
    home = next(iter(places.values()))[0]
    if home not in sets:
        return surface.material, None
    # ---- each texture's UVs from those of the first ----
    moves: dict[str, np.ndarray] = {}
    for slot, (number, matrix) in places.items():
        between = np.eye(3) if number == home else _between(sets[home], sets.get(number))
        if between is None:
            document.warn(f"material '{surface.material.name}': its {slot.replace('_', ' ')} texture uses UV set "
                          f"{shown(number)}; set {home} was used for it.")
        moves[slot] = matrix if between is None else matrix @ between
    # ---- the common ones: the normal map's, because they span its tangents, else the first's ----
    common = moves.get("normal", next(iter(moves.values())))
    if abs(np.linalg.det(common)) < 1e-9:
        common = np.eye(3)
    uvs = _moved(sets[home], common)
    sampling = []
    for slot, matrix in moves.items():
        relative = matrix @ np.linalg.inv(common)
        relative = np.eye(3) if np.allclose(relative, np.eye(3), atol=1e-9) else relative
        wrap_u, wrap_v, nearest = images.sampler(surface.infos[slot])
        found, exact = one_sampling((wrap_u, wrap_v), nearest, _moved(sets[home], matrix), relative)
        if not exact:
            document.warn(f"material '{surface.material.name}': its {slot.replace('_', ' ')} texture goes on with "
                          f"'{wrap_u}' along u and '{wrap_v}' along v; '{found.wrap}' was used for both.")
        if found != Sampling():
            sampling.append((slot, found))
    material = surface.material
    if sampling:
        key = ("sampled", id(material), tuple(sampling))
        return images.once(key, lambda: replace(material, sampling=tuple(sampling))), uvs
    return material, uvs


def _moved(uvs: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return uvs @ matrix[:2, :2].T + matrix[:2, 2]


def _between(home: np.ndarray, other: np.ndarray | None) -> np.ndarray | None:
    """(3, 3) affine map that takes one UV set to another, None when there is no exact one."""
    if other is None or not (np.isfinite(home).all() and np.isfinite(other).all()):
        return None
    known = np.concatenate([home, np.ones((len(home), 1))], 1)
    solution = np.linalg.lstsq(known, other, rcond=None)[0]
    if np.abs(known @ solution - other).max(initial=0) > 1e-4:
        return None
    return np.concatenate([solution.T, [[0, 0, 1]]])


def _joined(document: GltfDocument, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces; where they are very many, those that look the same as one."""
    if len(pieces) <= _MANY:
        return list(pieces)
    groups: dict[tuple, list[Piece]] = {}
    for piece in pieces:
        key = (id(piece.material), piece.normals is None, piece.uvs is None, piece.colors is None)
        groups.setdefault(key, []).append(piece)
    if len(groups) < len(pieces):
        document.note(f"{len(pieces)} parts were joined to {len(groups)}, one for each material.")
    return [_one(group) for group in groups.values()]


def _one(group: list[Piece]) -> Piece:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in group[:-1])])

    def together(name: str) -> np.ndarray | None:
        arrays = [getattr(piece, name) for piece in group]
        return None if arrays[0] is None else np.concatenate(arrays)

    return replace(group[0], vertices=together("vertices"), normals=together("normals"), uvs=together("uvs"),
                   colors=together("colors"),
                   faces=np.concatenate([piece.faces + start for piece, start in zip(group, starts, strict=True)]))
