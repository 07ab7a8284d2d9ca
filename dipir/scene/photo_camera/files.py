"""Camera files (YAML or JSON): intrinsics, a lens and a pose in one of four forms, listed in ``scenes/README.md``; and
those of fSpy."""
from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dipir.errors import SceneError, raise_all
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.fspy import UP, FspyCamera, is_project, read_export, read_project
from dipir.scene.photo_camera.lens import Lens, models
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
    lens: str | None = None
    distortion: tuple[float, ...] = ()

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
    elif f.fy is not None and f.lens is None and abs(f.fy - f.fx) > 1e-3 * abs(f.fx):
        problems.append(f"fx {f.fx:g} and fy {f.fy:g} differ, but only square pixels are supported: resample the plate "
                        f"by {f.fx / f.fy if f.fy else 0:.5g} in height and give fx alone, or give lens: PINHOLE.")
    if f.distortion and f.lens is None:
        problems.append(f"distortion without a lens: give lens, one of {', '.join(models())}.")
    if not problems and f.lens is not None:
        try:
            lens_of(f)
        except ValueError as problem:
            problems.append(f"{problem}.")
    return problems


def lens_of(f: CameraFile) -> Lens | None:
    """The lens that ``f`` gives. ValueError where its numbers make none."""
    if f.lens is None:
        return None
    focal = focal_of(f)
    centre = f.width / 2 if f.cx is None else f.cx, f.height / 2 if f.cy is None else f.cy
    return Lens.of(f.lens, (f.width, f.height), (focal, focal if f.fy is None else f.fy), centre, f.distortion)


def focal_of(f: CameraFile) -> float:
    """Along x, pixels."""
    return f.fx if f.fx is not None else 0.5 * f.width / math.tan(math.radians(f.fov_x_deg) / 2)


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


@dataclass(frozen=True)
class GivenCamera:
    """What a camera file says."""

    camera: Camera
    lens: Lens | None = None  # the camera is that of the plate without it
    scaled: bool = True  # Whether it says how large the scene is.
    notes: tuple[str, ...] = ()


def load_camera(path: str | Path, size: tuple[int, int] | None = None) -> Camera:
    """The camera of a file, scaled to a plate of ``size`` (width, height) pixels. Raises as :func:`read_camera`, and
    SceneError for a lens: the plate of the caller is not made straight."""
    given = read_camera(path, size)
    if given.lens is not None:
        raise SceneError(f"{path}: has a lens ({given.lens.model}), and the photo is not made straight here. Use "
                         "`dipir insert`, or straighten the photo first and leave lens and distortion out.")
    return given.camera


def read_camera(path: str | Path, size: tuple[int, int] | None = None, up: str | None = None) -> GivenCamera:
    """The camera of a YAML, JSON or fSpy file, scaled to a plate of ``size`` (width, height) pixels.

    up : axis of an fSpy file that points up, None = z
    Raises ``ConfigError`` for a bad file and :class:`SceneError` when the plate has another aspect than the file.
    """
    if is_project(path):
        return _of_fspy(read_project(path, up or UP), size, path)
    data = load_yaml(path)
    if "cameraTransform" in data:
        return _of_fspy(read_export(data, str(path), up or UP), size, path)
    if up is not None:
        raise SceneError(f"{path}: up '{up}' is for files of fSpy; in other camera files +Y is up. Leave it out.")
    f, problems = read.check(CameraFile, data)
    raise_all(SceneError, str(path), problems)
    lens = lens_of(f)
    if lens is None or not lens.bends and abs(lens.focal[0] - lens.focal[1]) <= 1e-3 * lens.focal[0]:
        camera = Camera(f.width, f.height, focal_of(f), f.width / 2 if f.cx is None else f.cx,
                        f.height / 2 if f.cy is None else f.cy, pose_of(f))
        return GivenCamera(camera if size is None else fit_to(camera, size, str(path)))
    if size is not None:
        _check_shape(lens.size, size, str(path))
        try:
            lens = lens if lens.size == size else lens.resized(*size)
        except ValueError as problem:
            raise SceneError(f"{path}: its lens cannot be that of a plate of {size[0]} x {size[1]} pixels ({problem}). "
                             "Give the camera of this plate.") from problem
    camera, _ = lens.pinhole(pose_of(f))
    if lens.folds(camera):
        raise SceneError(f"{path}: the {lens.model} lens would show some places twice, so its distortion is of no such "
                         "photo. Check the numbers and their order.")
    return GivenCamera(camera, lens)


def _of_fspy(found: FspyCamera, size: tuple[int, int] | None, path: str | Path) -> GivenCamera:
    camera = found.camera
    if size == (camera.height, camera.width) != (camera.width, camera.height):
        raise SceneError(f"{path}: made for {camera.width} x {camera.height} pixels, and the plate lies across it: "
                         "fSpy does not turn photos as EXIF says. Save the photo upright and open that in fSpy.")
    return GivenCamera(camera if size is None else fit_to(camera, size, str(path)), None, found.scaled, found.notes)


def fit_to(camera: Camera, size: tuple[int, int], where: str) -> Camera:
    """``camera`` at the resolution of a plate of the same aspect; half a pixel of rounding per side is allowed."""
    if (camera.width, camera.height) == size:
        return camera
    _check_shape((camera.width, camera.height), size, where)
    return camera.resized(*size)


def _check_shape(made_for: tuple[int, int], size: tuple[int, int], where: str) -> None:
    (width, height), (made_width, made_height) = size, made_for
    if abs(made_height * width / made_width - height) > max(1.0, width / made_width):
        raise SceneError(f"{where}: made for {made_width} x {made_height} pixels, but the plate has {width} x "
                         f"{height}, another shape. Give the camera of this plate, or crop the plate to that shape.")


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
