"""Point clouds of reconstructions, as PLY files."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from dipir.disk import is_file, write_bytes
from dipir.errors import AssetError, SceneError
from dipir.scene.assets.ply import parse_ply

MAX_BYTES = 1 << 30


def read_points(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """((N, 3) float64, (N, 3) uint8 colours or None) of a PLY file; points with NaN are left out. SceneError when it is
    missing, larger than 1 GiB or no PLY."""
    path = Path(path)
    if not is_file(path) or path.stat().st_size > MAX_BYTES:
        what = "does not exist" if not is_file(path) else f"has more than {MAX_BYTES >> 30} GiB"
        raise SceneError(f"{path}: {what}; accepted is a PLY file with points.")
    try:
        vertex = parse_ply(path, path.read_bytes()).elements.get("vertex")
    except AssetError as problem:
        raise SceneError(str(problem)) from problem
    values = {} if vertex is None else {k: v for k, v in vertex.values.items() if k not in vertex.lengths}
    if not {"x", "y", "z"} <= set(values):
        raise SceneError(f"{path}: is no readable PLY file with points (x, y and z are needed). Fetch it again.")
    points = np.stack([values[name].astype(np.float64) for name in "xyz"], -1)
    # ---- colours: bytes, or numbers up to 1 ----
    colours = None
    if {"red", "green", "blue"} <= set(values):
        colours = np.nan_to_num(np.stack([values[name].astype(np.float64) for name in ("red", "green", "blue")], -1))
        kind = next(p.kind for p in vertex.properties if p.name == "red")
        scale = 255 if kind.kind == "f" and colours.max(initial=0.0) <= 1 else 1
        colours = np.clip(np.rint(colours * scale), 0, 255).astype(np.uint8)
    good = np.isfinite(points).all(-1)
    return points[good], None if colours is None else colours[good]


def write_points(path: str | Path, points: np.ndarray, colours: np.ndarray | None = None) -> None:
    """(N, 3), (N, 3) uint8 -> binary PLY. ImageError when it cannot be written."""
    # Whoever writes no point cloud need not wait for trimesh.
    import trimesh

    write_bytes(path, trimesh.PointCloud(points, colours).export(file_type="ply"))
