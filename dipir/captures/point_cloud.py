"""Point clouds of reconstructions, as PLY files."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from dipir.disk import write_bytes
from dipir.errors import SceneError

MAX_BYTES = 1 << 30


def read_points(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """((N, 3) float64, (N, 3) uint8 colours or None) of a PLY file; points with NaN are left out. SceneError when it is
    missing, larger than 1 GiB or no PLY."""
    # Whoever has no point cloud need not wait for trimesh.
    import trimesh

    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        what = "does not exist" if not path.is_file() else f"has more than {MAX_BYTES >> 30} GiB"
        raise SceneError(f"{path}: {what}; accepted is a PLY file with points.")
    try:
        loaded = trimesh.load(io.BytesIO(path.read_bytes()), file_type="ply", process=False)
        points = np.asarray(loaded.vertices, float).reshape(-1, 3)
    except Exception as problem:  # trimesh raises many kinds for a broken file
        raise SceneError(f"{path}: is no readable PLY file with points ({type(problem).__name__}). Fetch it "
                         "again.") from problem
    colours = getattr(loaded, "colors", None)
    colours = None if colours is None or len(colours) != len(points) else np.asarray(colours)[:, :3].astype(np.uint8)
    good = np.isfinite(points).all(-1)
    return points[good], None if colours is None else colours[good]


def write_points(path: str | Path, points: np.ndarray, colours: np.ndarray | None = None) -> None:
    """(N, 3), (N, 3) uint8 -> binary PLY. ImageError when it cannot be written."""
    import trimesh

    write_bytes(path, trimesh.PointCloud(points, colours).export(file_type="ply"))
