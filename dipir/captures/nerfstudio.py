"""Folders with a ``transforms.json`` (nerfstudio, instant-ngp) -> posed sequences.

Poses are camera-to-world with OpenGL's axes (+X right, +Y up, +Z back). Intrinsics stand at the top or at each frame.
"""
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from dipir.captures.point_cloud import read_points
from dipir.captures.sequence import Frame, PosedSequence, check_frames, pinhole
from dipir.disk import inside
from dipir.errors import SceneError
from dipir.scene.photo_camera.lens import Lens
from dipir.settings.yaml import parse_json, shown

NAME = "transforms.json"
MAX_BYTES = 1 << 28
_OURS = np.diag([-1.0, 1.0, -1.0])
# Keys of each camera_model's lens, in the order of COLMAP's parameters; a fisheye's k3 and k4 are of its own kind.
_BROWN, _BENT = ("k1", "k2", "p1", "p2"), ("k1", "k2", "k3", "k4")
_LENSES = {"SIMPLE_PINHOLE": (), "PINHOLE": (), "SIMPLE_RADIAL": _BROWN, "RADIAL": _BROWN, "OPENCV": (*_BROWN, "k3"),
           "PERSPECTIVE": (*_BROWN, "k3"), "FULL_OPENCV": (*_BROWN, "k3", "k4", "k5", "k6"), "OPENCV_FISHEYE": _BENT,
           "SIMPLE_RADIAL_FISHEYE": _BENT, "RADIAL_FISHEYE": _BENT}
_FISHEYE = "OPENCV_FISHEYE"
_OTHER_LENS = re.compile(r"[kpsb]\d+|.*(fisheye|ftheta|latlong|equirect|rolling_shutter|distortion|omega|skew).*")
"""Keys that say something of a lens; those of ours aside they must say that there is nothing."""


def read_transforms(folder: str | Path) -> PosedSequence:
    """The sequence of a folder (or of the file itself). SceneError for what is missing, no JSON, of a lens that is not
    honoured, without intrinsics, or with paths that leave the folder."""
    path = Path(folder)
    path = path / NAME if path.is_dir() else path
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        what = "does not exist" if not path.is_file() else f"has more than {MAX_BYTES >> 20} MiB"
        raise SceneError(f"{path}: {what}; accepted is a folder with {NAME}, as nerfstudio writes it.")
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
        records = sorted(data["frames"], key=lambda r: str(r["file_path"]))
        check_frames(path, len(records))
        frames = [_frame(path.parent, k, {**data, **record}) for k, record in enumerate(records)]
        cloud = data.get("ply_file_path")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, Pillow.DecompressionBombError) \
            as problem:
        raise SceneError(f"{path}: cannot be read ({type(problem).__name__}: {problem}); accepted is nerfstudio's "
                         f"{NAME}: intrinsics, and frames with file_path and transform_matrix.") from problem
    there = [f for f in frames if f.image.is_file()]
    if not there:
        raise SceneError(f"{path}: none of its {len(frames)} images is there; put them where file_path says.")
    points = read_points(inside(path.parent, str(cloud)))[0] if cloud else np.zeros((0, 3))
    missing = len(frames) - len(there)
    notes = (f"{missing} frames without an image were left out",) if missing else ()
    return PosedSequence(path.parent.name, tuple(there), points,
                         notes=notes if len(points) else (*notes, "there is no point cloud"))


def _frame(folder: Path, number: int, r: Mapping[str, Any]) -> Frame:
    image = inside(folder, str(r["file_path"]))
    if not image.suffix and not image.is_file():
        image = image.with_suffix(".png")  # instant-ngp leaves it out.
    mask = r.get("mask_path")
    width, height = _size(image, r)
    pose = np.asarray(r["transform_matrix"], float)
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or abs(np.linalg.det(pose[:3, :3]) - 1) > 1e-2:
        raise ValueError(f"transform_matrix of frame '{shown(str(r['file_path']))}' is no rotation and place")
    fx = float(r["fl_x"]) if "fl_x" in r else 0.5 * width / math.tan(0.5 * float(r["camera_angle_x"]))
    centre = float(r.get("cx", width / 2)), float(r.get("cy", height / 2))
    lens = _lens(folder / NAME, r, (width, height), (fx, float(r.get("fl_y", fx))), centre)
    return pinhole(number, image, lens, pose[:3, :3] @ _OURS, pose[:3, 3],
                   inside(folder, str(mask)) if mask else None)


def _lens(path: Path, r: Mapping[str, Any], size: tuple[int, int], focal: tuple[float, float],
          centre: tuple[float, float]) -> Lens:
    """The lens of a frame. SceneError where it says what is not honoured. instant-ngp marks a fisheye by a key."""
    model = str(r.get("camera_model", "OPENCV"))
    model = _FISHEYE if r.get("is_fisheye") is True and model == "OPENCV" else model
    mend = "Undistort the images first (colmap image_undistorter)."
    if model not in _LENSES:
        raise SceneError(f"{path}: camera_model '{shown(model)}' is not supported; accepted are {', '.join(_LENSES)}. "
                         f"{mend}")
    keys, fisheye = _LENSES[model], _LENSES[model] is _BENT
    other = [k for k, v in r.items() if v and k not in keys and _OTHER_LENS.fullmatch(str(k).lower())
             and not (k == "is_fisheye" and fisheye)]
    if other:
        raise SceneError(f"{path}: '{shown(other[0])}' says something of the lens that is not supported with "
                         f"camera_model {model}; accepted are {', '.join(keys) or 'no such keys'}. {mend}")
    values = [float(r.get(k, 0.0)) for k in keys]
    if not any(values) and not fisheye:
        return Lens.of("PINHOLE", size, focal, centre)
    if fisheye:
        return Lens.of(_FISHEYE, size, focal, centre, values)
    return (Lens.of("FULL_OPENCV", size, focal, centre, [*values, *[0.0] * (8 - len(values))]) if any(values[4:])
            else Lens.of("OPENCV", size, focal, centre, values[:4]))


def _size(image: Path, r: Mapping[str, Any]) -> tuple[int, int]:
    if "w" in r and "h" in r:
        return int(r["w"]), int(r["h"])
    with Pillow.open(image) as file:
        return file.size
