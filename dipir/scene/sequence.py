"""Posed sequences: several photos of one place, each with its camera, and points of that place."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dipir.scene.camera import Camera
from dipir.scene.ground import Ground


@dataclass(frozen=True, eq=False)
class Frame:
    """One photo.

    number : as the sequence counts them;  image : its file;  camera : of the image with square pixels
    stretch : factor by which the file's rows must be stretched (about row 0) for the camera's pixels, 1 = as they are
    mask : file with the probability of the object, or None;  kind : what the data set says of it ("" = nothing)
    depth : file of depths along the view axis, or None;  depth_scale : factor of its values to the world's units
    depth_mask : file that says which depths are valid, or None
    """

    number: int
    image: Path
    camera: Camera
    stretch: float = 1.0
    mask: Path | None = None
    depth: Path | None = None
    depth_scale: float = 1.0
    depth_mask: Path | None = None
    kind: str = ""


@dataclass(frozen=True, eq=False)
class PosedSequence:
    """Frames in the order of their numbers, all in one world whose scale means nothing.

    points : (N, 3) float64 in that world, N may be 0;  notes : remarks for the user
    quality : scores that the data set gives, by name (higher is better)
    """

    name: str
    frames: tuple[Frame, ...]
    points: np.ndarray
    category: str = ""
    quality: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def centres(self) -> np.ndarray:
        """(F, 3) places of the cameras."""
        return np.stack([f.camera.position for f in self.frames])


def on_ground(sequence: PosedSequence, ground: Ground, camera_height: float = 1.0) -> PosedSequence:
    """The sequence moved into our world: the ground is y = 0, +Y up, the point below the points' median (below the mean
    camera without points) is the origin, and cameras are ``camera_height`` metres above the ground by their median.
    The first camera looks along +Z, seen from above."""
    rotation = _upright(ground.normal, sequence.frames[0].camera.to_world[:3, 2])
    centres = (sequence.centres - ground.point) @ rotation.T
    scale = camera_height / float(np.median(centres[:, 1]))
    middle = (np.median((sequence.points - ground.point) @ rotation.T, 0) if len(sequence.points)
              else centres.mean(0)) * np.array([1.0, 0.0, 1.0])
    moved = lambda points: scale * ((points - ground.point) @ rotation.T - middle)
    frames = tuple(replace(f, camera=_moved(f.camera, rotation, moved), depth_scale=f.depth_scale * scale)
                   for f in sequence.frames)
    return replace(sequence, frames=frames, points=moved(sequence.points))


def _moved(camera: Camera, rotation: np.ndarray, moved) -> Camera:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation @ camera.to_world[:3, :3], moved(camera.position)
    return replace(camera, to_world=pose)


def _upright(normal: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """(3, 3) world rotation: ``normal`` becomes +Y, what ``forward`` has across it +Z."""
    ahead = forward - (forward @ normal) * normal
    if np.linalg.norm(ahead) < 1e-6:
        ahead = np.cross(normal, [1.0, 0, 0]) if abs(normal[0]) < 0.9 else np.cross(normal, [0, 1.0, 0])
    ahead = ahead / np.linalg.norm(ahead)
    return np.stack([np.cross(normal, ahead), normal, ahead])
