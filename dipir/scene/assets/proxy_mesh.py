"""Proxy meshes from files. Unlike an asset, a proxy is taken exactly where the file puts it."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from dipir.errors import AssetError, SceneError
from dipir.scene.assets.asset import Part

SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".off")
MAX_BYTES = 512 * 2**20


def read_proxy_mesh(path: str | Path) -> Part:
    """The catcher mesh in ``path``: world space, metres, +Y up, materials ignored.

    Raises :class:`SceneError` for a missing or damaged file, an unknown extension, no faces or vertices that are not
    finite.
    """
    import trimesh

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise SceneError(f"{path}: '{path.suffix}' is no known proxy mesh; accepted are {', '.join(SUFFIXES)}.")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SceneError(f"{path}: larger than {MAX_BYTES // 2**20} MiB; a proxy is a rough mesh, simplify it.")
        data = path.read_bytes()
    except OSError as error:
        raise SceneError(f"{path}: the proxy mesh cannot be read ({error.strerror}).") from None
    if path.suffix.lower() in (".glb", ".obj", ".ply"):
        return _checked(path, *_by_our_readers(path, data))
    try:
        # From memory and without a resolver, so that the file cannot make the reader open others.
        mesh = trimesh.load_scene(io.BytesIO(data), file_type=path.suffix[1:].lower(), process=False).to_geometry()
        vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32)
    except Exception as error:  # The readers raise anything on damaged files.
        raise SceneError(f"{path}: the proxy mesh is damaged or of another kind ({type(error).__name__}).") from None
    return _checked(path, vertices, faces)


def _by_our_readers(path: Path, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float32 and faces (F, 3) uint32 of all that the file shows."""
    from dipir.scene.assets.scan import read_ply
    from dipir.scene.gltf.read import read_gltf
    from dipir.scene.wavefront.obj import read_obj

    try:
        reader = {".glb": read_gltf, ".obj": read_obj, ".ply": read_ply}[path.suffix.lower()]
        pieces, _ = reader(path, data, looks=False)
    except AssetError as error:
        raise SceneError(f"the proxy mesh {error}") from None
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces[:-1])])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=True)])
    return np.concatenate([piece.vertices for piece in pieces]).astype(np.float32), faces.astype(np.uint32)


def _checked(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Part:
    if not len(faces):
        raise SceneError(f"{path}: the proxy mesh has no faces; export it as a triangle mesh.")
    if not np.isfinite(vertices).all() or int(faces.max()) >= len(vertices):
        raise SceneError(f"{path}: the proxy mesh has vertices that are not finite, or faces without vertices; "
                         "repair it.")
    return Part(path.stem, vertices, faces)
