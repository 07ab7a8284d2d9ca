"""Camera files (YAML or JSON): intrinsics and a pose in one of four forms. Keys are listed in ``scenes/README.md``."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dipir.errors import SceneError, raise_all
from dipir.scene.camera import Camera
from dipir.settings import read
from dipir.settings.yaml import load_yaml

Row3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]

# Camera axes +X right, +Y down, +Z forward (OpenCV) to ours, +X left, +Y up, +Z forward.
OPENCV_TO_OURS = np.diag([-1.0, -1.0, 1.0])
POSES = {"to_world": ("to_world",), "position and rotation": ("position", "rotation"), "R and t": ("R", "t"),
         "height_m, pitch_deg, roll_deg, yaw_deg": ("height_m", "pitch_deg", "roll_deg", "yaw_deg")}


@dataclass(frozen=True)
class CameraFile:
    """The keys of a camera file as written: pixels, degrees, metres. See ``scenes/README.md``."""

    width: int
    height: int
    fx: float | None = None
    fy: float | None = None
    fov_x_deg: float | None = None
    cx: float | None = None
    cy: float | None = None
    height_m: float | None = None
    pitch_deg: float | None = None
    roll_deg: float | None = None
    yaw_deg: float | None = None
    to_world: tuple[Row4, Row4, Row4, Row4] | None = None
    position: Row3 | None = None
    rotation: Row4 | None = None
    R: tuple[Row3, Row3, Row3] | None = None
    t: Row3 | None = None

    def __post_init__(self) -> None:
        problems = [*_intrinsics_problems(self), *_pose_problems(self)]
        if problems:
            raise ValueError(" ".join(problems))


def _intrinsics_problems(f: CameraFile) -> list[str]:
    problems = []
    if f.width < 1 or f.height < 1:
        problems.append(f"width and height must be positive, got {f.width} x {f.height}.")
    if (f.fx is None) == (f.fov_x_deg is None):
        problems.append("give either fx (pixels) or fov_x_deg (degrees).")
    if f.fx is not None and not 0 < f.fx < math.inf:
        problems.append(f"fx must be a positive number of pixels, got {f.fx:g}.")
    if f.fov_x_deg is not None and not 1 <= f.fov_x_deg <= 170:
        problems.append(f"fov_x_deg must lie in 1 to 170, got {f.fov_x_deg:g}.")
    if f.fy is not None and f.fx is None:
        problems.append("fy without fx: give fx.")
    elif f.fy is not None and abs(f.fy - f.fx) > 1e-3 * abs(f.fx):
        problems.append(f"fx {f.fx:g} and fy {f.fy:g} differ, but only square pixels are supported: resample the plate "
                        f"by {f.fx / f.fy if f.fy else 0:.5g} in height and give fx alone.")
    return problems


def _pose_problems(f: CameraFile) -> list[str]:
    given = [name for name, keys in POSES.items() if any(getattr(f, k) is not None for k in keys)]
    if len(given) != 1:
        return [f"give one pose, {'not both ' + ' and '.join(given) if given else 'none was given'}: "
                f"{'; '.join(POSES)}."]
    keys = POSES[given[0]]
    if "height_m" not in keys and any(getattr(f, k) is None for k in keys):
        return [f"{keys[0]} and {keys[1]} belong together, one is missing."]
    if f.pitch_deg is not None and not -89 <= f.pitch_deg <= 89:
        return [f"pitch_deg must lie in -89 to 89, got {f.pitch_deg:g}."]
    pose = pose_of(f)
    if not np.isfinite(pose).all():
        return ["the pose is not finite."]
    rotation = pose[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3:
        return ["the rotation of the pose is not orthonormal; scale and shear are not supported."]
    if np.linalg.det(rotation) < 0:
        return ["the rotation of the pose mirrors (determinant -1); check the axes."]
    if f.to_world is not None and np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        return ["the last row of to_world must be [0, 0, 0, 1]; vectors are columns here."]
    return []


def pose_of(f: CameraFile) -> np.ndarray:
    """(4, 4) camera-to-world of the pose that ``f`` gives."""
    pose = np.eye(4)
    if f.to_world is not None:
        return np.array(f.to_world, dtype=float)
    if f.position is not None:
        pose[:3, :3], pose[:3, 3] = rotation_from_quaternion(f.rotation), f.position
        return pose
    if f.R is not None:
        return pose_from_opencv(np.array(f.R), np.array(f.t))
    height = 1.6 if f.height_m is None else f.height_m
    camera = Camera.looking(2, 2, 60.0, height, f.pitch_deg or 0.0, f.roll_deg or 0.0, yaw_deg=f.yaw_deg or 0.0)
    return camera.to_world


def rotation_from_quaternion(wxyz: Row4) -> np.ndarray:
    """(3, 3) rotation of a quaternion, normalised here; a zero quaternion gives NaN."""
    q = np.asarray(wxyz, dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        w, x, y, z = q / np.linalg.norm(q)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                     [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                     [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])


def pose_from_opencv(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(4, 4) camera-to-world in our axes from OpenCV extrinsics ``x_cam = R x_world + t``."""
    pose = np.eye(4)
    pose[:3, :3] = rotation.T @ OPENCV_TO_OURS
    pose[:3, 3] = -rotation.T @ translation
    return pose


def load_camera(path: str | Path, size: tuple[int, int] | None = None) -> Camera:
    """The camera of a YAML or JSON file, scaled to a plate of ``size`` (width, height) pixels.

    Raises ``ConfigError`` for a bad file and :class:`SceneError` when the plate has another aspect than the file.
    """
    f, problems = read.check(CameraFile, load_yaml(path))
    raise_all(SceneError, str(path), problems)
    focal = f.fx if f.fx is not None else 0.5 * f.width / math.tan(math.radians(f.fov_x_deg) / 2)
    camera = Camera(f.width, f.height, focal, f.width / 2 if f.cx is None else f.cx,
                    f.height / 2 if f.cy is None else f.cy, pose_of(f))
    return camera if size is None else fit_to(camera, size, str(path))


def fit_to(camera: Camera, size: tuple[int, int], where: str) -> Camera:
    """``camera`` at the resolution of a plate of the same aspect; half a pixel of rounding per side is allowed."""
    width, height = size
    if (camera.width, camera.height) == (width, height):
        return camera
    if abs(camera.height * width / camera.width - height) > max(1.0, width / camera.width):
        raise SceneError(f"{where}: made for {camera.width} x {camera.height} pixels, but the plate has {width} x "
                         f"{height}, another shape. Give the camera of this plate, or crop the plate to that shape.")
    return camera.resized(width, height)


def with_numbers(camera: Camera, *, fov_deg: float | None = None, pitch_deg: float | None = None,
                 roll_deg: float | None = None, height_m: float | None = None) -> Camera:
    """``camera`` with some of its numbers replaced; heading, horizontal position and principal point stay."""
    pitch, roll, yaw = camera.angles_deg
    pitch = pitch if pitch_deg is None else pitch_deg
    roll = roll if roll_deg is None else roll_deg
    fov = camera.fov_x_deg if fov_deg is None else fov_deg
    new = Camera.looking(camera.width, camera.height, fov, 0.0, pitch, roll, yaw_deg=yaw)
    pose = camera.to_world.copy()
    if pitch_deg is not None or roll_deg is not None:
        pose[:3, :3] = new.to_world[:3, :3]
    if height_m is not None:
        pose[1, 3] = height_m
    return replace(camera, focal_px=camera.focal_px if fov_deg is None else new.focal_px, to_world=pose)
