"""Cameras of fSpy (https://fspy.io): its projects (``.fspy``) and its JSON export.

A project is "fspy", version, bytes of the state, bytes of the picture (32 bits each, little-endian), the state as JSON,
the picture. Both have ``cameraParameters``: camera-to-world, the camera looking along -Z with +Y up; the focal length
and the principal point from the picture's middle, +Y up, in halves of its longer side. The horizontal field of view of
an upright picture is that of its height in some versions and of its width in others, so it is only compared.
"""
from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dipir.errors import SceneError, nearest
from dipir.event import warn
from dipir.scene.assets.asset import UP_AXES
from dipir.scene.camera import Camera
from dipir.settings.yaml import parse_json, shown

MAGIC, VERSION, UP = b"fspy", 1, "z"
MAX_STATE = 16 * 2**20
"""Bytes; a project's state has some thousand."""
_HEADER = struct.Struct("<4sIII")
_METRES = {"Millimeters": 1e-3, "Centimeters": 1e-2, "Meters": 1.0, "Kilometers": 1e3, "Inches": 0.0254, "Feet": 0.3048,
           "Yards": 0.9144, "Miles": 1609.344}
_LOOSE = 0.02   # How far a rotation may be from one; fSpy's own is as exact as its vanishing points agree.
_FLIP = np.diag([-1.0, 1.0, -1.0])   # Camera axes +X right, +Y up, -Z forward to ours.


@dataclass(frozen=True)
class FspyCamera:
    """A camera of fSpy in our world: +Y up, the ground y = 0 is fSpy's plane through its origin across ``up``."""

    camera: Camera
    scaled: bool  # Whether the file says how large the scene is.
    notes: tuple[str, ...] = ()


def is_project(path: str | Path) -> bool:
    """Whether a file begins as a project does."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def read_project(path: str | Path, up: str = UP) -> FspyCamera:
    """The camera of a ``.fspy`` file; its picture is not decoded. SceneError for another version, a file that was cut
    short, and a project whose vanishing points are not resolved."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            _, version, state_size, image_size = _HEADER.unpack(file.read(_HEADER.size))
            if version != VERSION:
                raise SceneError(f"{path}: an fSpy project of version {version}; accepted is version {VERSION}. Save "
                                 "it with fSpy 1.0, or export its camera parameters as JSON.")
            if state_size > MAX_STATE or _HEADER.size + state_size + image_size > size:
                raise ValueError(f"{state_size} bytes of state and {image_size} of picture in a file of {size}")
            state = parse_json(file.read(state_size).decode("utf-8"))
        parameters, settings = state.get("cameraParameters"), state.get("calibrationSettingsBase") or {}
        axis, unit = settings.get("referenceDistanceAxis"), str(settings.get("referenceDistanceUnit") or "No unit")
    except (OSError, ValueError, AttributeError, struct.error) as problem:
        raise SceneError(f"{path}: no complete fSpy project ({' '.join(str(problem).split())[:200]}). Save it again.") \
            from problem
    if parameters is None:
        raise SceneError(f"{path}: an fSpy project whose camera is not resolved; accepted are projects in which fSpy "
                         "shows a camera. Set its vanishing points until it does, and save it.")
    if not axis:
        return camera_of_parameters(parameters, str(path), up, 1.0, False)
    if unit in _METRES:
        return camera_of_parameters(parameters, str(path), up, _METRES[unit], True)
    note = f"{path.name}: its reference distance has no unit ('{shown(unit)}'); it is taken for metres"
    return camera_of_parameters(parameters, str(path), up, 1.0, True, (note,))


def read_export(data: Mapping[str, Any], where: str, up: str = UP) -> FspyCamera:
    """The camera of the JSON export, whose mapping is ``data``. SceneError for anything else."""
    note = (f"{Path(where).name}: fSpy's export has no unit; it is taken for metres. Where the project has no "
            "reference distance its scale means nothing: then give --camera-height")
    return camera_of_parameters(data, where, up, 1.0, True, (note,))


def camera_of_parameters(data: Any, where: str, up: str, metres: float, scaled: bool,
                         notes: tuple[str, ...] = ()) -> FspyCamera:
    """The camera of a ``cameraParameters`` mapping whose units are ``metres`` long."""
    if up not in UP_AXES:
        raise SceneError(f"{where}: up axis '{up}'; accepted are {', '.join(UP_AXES)}.{nearest(up, UP_AXES)}")
    try:
        width, height = int(data["imageWidth"]), int(data["imageHeight"])
        focal, fov = float(data["relativeFocalLength"]), float(data["horizontalFieldOfView"])
        point = data["principalPoint"]
        shift = np.array([float(point["x"]), float(point["y"])])
        pose = np.array(data["cameraTransform"]["rows"], dtype=float)
        if not (0 < width <= 100_000 and 0 < height <= 100_000 and 0 < fov < math.pi and 0 < focal < 1e6
                and np.isfinite(shift).all()
                and pose.shape == (4, 4) and np.isfinite(pose).all() and np.abs(pose).max() < 1e9):
            raise ValueError("numbers out of range")
        if min(abs(math.tan(fov / 2) * focal / side - 1) for side in (1, width / max(width, height))) > 0.01:
            raise ValueError("relativeFocalLength and horizontalFieldOfView disagree")
        u, sizes, v = np.linalg.svd(pose[:3, :3])
        if np.abs(sizes - 1).max() > _LOOSE or np.linalg.det(u @ v) < 0:
            raise ValueError("cameraTransform is no rotation and place")
    except (LookupError, TypeError, ValueError, OverflowError, np.linalg.LinAlgError) as problem:
        raise SceneError(f"{where}: not the camera parameters of fSpy ({type(problem).__name__}: "
                         f"{' '.join(str(problem).split())[:200]}); accepted are imageWidth, imageHeight, "
                         "relativeFocalLength, horizontalFieldOfView, principalPoint and cameraTransform as fSpy "
                         "exports them. Export them again.") from problem
    to_world = np.eye(4)
    to_world[:3, :3] = UP_AXES[up] @ (u @ v) @ _FLIP
    to_world[:3, 3] = UP_AXES[up] @ pose[:3, 3] * metres
    half = max(width, height) / 2
    camera = Camera(width, height, focal * half, width / 2 + half * shift[0],
                    height / 2 - half * shift[1], to_world)
    if to_world[1, 3] <= 0:
        raise SceneError(f"{where}: with {up} up the camera is under the ground plane through fSpy's origin. Give the "
                         "axis that points up with --camera-up (fSpy shows its axes), or put the origin on the ground.")
    if abs(camera.angles_deg[1]) > 60:
        notes += (warn(f"{Path(where).name}: with {up} up the camera lies on its side "
                       f"(roll {camera.angles_deg[1]:.0f} degrees); if that is wrong give the axis that points up with "
                       "--camera-up"),)
    return FspyCamera(camera, scaled, notes)
