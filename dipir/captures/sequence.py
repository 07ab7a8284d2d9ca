"""Posed sequences: several photos of one place, each with its camera, and points of that place."""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image as Pillow

from dipir.arrays import Image
from dipir.captures.ground import GroundPlane
from dipir.errors import SceneError
from dipir.image.exif import upright
from dipir.scene.camera import Camera
from dipir.scene.plate import Plate, plate_from_tensor, read_plate

MOST_PIXELS, MOST_STRETCH, MOST_FRAMES = 100_000, 10, 20_000
"""Of an image's side; of the two focal lengths to each other; of a sequence."""
_ORIENTATION, _INVERSE = 0x0112, {6: 8, 8: 6}


@dataclass(frozen=True, eq=False)
class Frame:
    """One photo."""

    number: int  # as the sequence counts them
    image: Path  # its file
    camera: Camera  # of the image with square pixels
    stretch: float = 1.0
    """Factor by which the file's rows must be stretched (about row 0) for the camera's pixels, 1 = as they are."""
    distortion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2 of Brown's model as OpenCV has it, zeros = none; the camera is that of the picture without it."""
    mask: Path | None = None  # file with the probability of the object, or None
    depth: Path | None = None  # file of depths along the view axis, or None
    depth_scale: float = 1.0  # factor of its values to the world's units
    depth_mask: Path | None = None  # file that says which depths are valid, or None
    kind: str = ""  # what the data set says of it ("" = nothing)


@dataclass(frozen=True, eq=False)
class PosedSequence:
    """Frames in the order of their numbers, all in one world whose scale means nothing."""

    name: str
    frames: tuple[Frame, ...]
    points: np.ndarray  # (N, 3) float64 in that world, N may be 0
    category: str = ""
    quality: dict[str, float] = field(default_factory=dict)
    """Scores that the data set gives, by name (higher is better)."""
    notes: tuple[str, ...] = ()  # remarks for the user

    @property
    def centres(self) -> np.ndarray:
        """(F, 3) places of the cameras."""
        return np.stack([f.camera.position for f in self.frames])


def check_frames(where: Path, count: int) -> None:
    """SceneError for a sequence of more frames than are read."""
    if count > MOST_FRAMES:
        raise SceneError(f"{where}: has {count} frames; at most {MOST_FRAMES} are accepted. Leave some of them out.")


@dataclass(frozen=True)
class Lens:
    """A camera as photogrammetry has it, in pixels from the image corner."""

    size: tuple[int, int]  # (width, height)
    focal: tuple[float, float]  # along x and y
    centre: tuple[float, float]  # principal point
    distortion: tuple[float, ...]  # k1, k2, p1, p2


def pinhole(number: int, image: Path, lens: Lens, rotation: np.ndarray, place: np.ndarray,
            mask: Path | None = None) -> Frame:
    """A frame of a camera turned by ``rotation`` (camera-to-world, +X left, +Y up, +Z forward) at ``place``."""
    if not (min(lens.size) > 0 and min(lens.focal) > 0
            and np.isfinite([*lens.focal, *lens.centre, *lens.distortion]).all() and max(lens.size) <= MOST_PIXELS
            and 1 / MOST_STRETCH < lens.focal[0] / lens.focal[1] < MOST_STRETCH):
        raise ValueError(f"image {lens.size}, focal lengths {lens.focal}, principal point {lens.centre}")
    if not (np.isfinite(rotation).all() and np.isfinite(place).all()):
        raise ValueError("its pose has NaN or infinite numbers")
    pose = np.eye(4)
    # Rotations of text files are orthogonal to their last digit only.
    u, _, v = np.linalg.svd(rotation)
    pose[:3, :3], pose[:3, 3] = u @ v, place
    camera, stretch = Camera.oblong(*lens.size, lens.focal, lens.centre, pose)
    return Frame(number, image, camera, stretch, tuple(lens.distortion),
                 mask if mask is not None and mask.is_file() else None)


def frame_plate(frame: Frame, longest: int | None = None) -> tuple[Plate, Camera]:
    """The photo as its camera sees it (pixels square, distortion removed), and that camera; with ``longest`` scaled
    down to that many pixels on the longer side. ImageError for an unreadable photo, SceneError when it has not the size
    that its camera is of."""
    disp, camera = _as_stored(read_plate(frame.image), frame.image), frame.camera
    height, width = disp.shape[-2:]
    if width != camera.width or abs(height * frame.stretch - camera.height) > 1:
        raise SceneError(f"{frame.image}: has {width} x {height} pixels, its camera {camera.width} x "
                         f"{camera.height / frame.stretch:.0f}; accepted are photos of the size they were posed in.")
    pixels = undistort(disp, frame)
    if longest is not None and max(camera.width, camera.height) > longest:
        scale = longest / max(camera.width, camera.height)
        size = (max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        # Sums of filter weights round: white must not become more than white.
        pixels, camera = _resized(pixels, *size).clamp(0, 1), camera.resized(*size)
    return plate_from_tensor(pixels, frame.image, camera.fov_x_deg), camera


def _as_stored(plate: Plate, path: Path) -> Image:
    """The photo's pixels as they lie in the file, whatever its EXIF orientation: programs that pose photos do not
    apply it."""
    if not any("orientation" in note for note in plate.notes):
        return plate.disp
    with Pillow.open(path) as file:
        turn = file.getexif().get(_ORIENTATION, 1)
    pixels = upright(plate.disp[0].permute(1, 2, 0).numpy(), {_ORIENTATION: _INVERSE.get(turn, turn)}, [])
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


def undistort(image: Image, frame: Frame) -> Image:
    """(1, C, H, W) as the file has it -> (1, C, camera height, camera width) as the camera sees it, bilinear; edges are
    repeated where the file shows nothing."""
    camera = frame.camera
    if frame.stretch == 1 and not any(frame.distortion):
        return image
    x, y = np.meshgrid(np.arange(camera.width) + 0.5 - camera.cx, np.arange(camera.height) + 0.5 - camera.cy)
    x, y = distort(x / camera.focal_px, y / camera.focal_px, frame.distortion)
    to = [(x * camera.focal_px + camera.cx - 0.5).astype(np.float32),
          ((y * camera.focal_px + camera.cy) / frame.stretch - 0.5).astype(np.float32)]
    planes = [cv2.remap(plane, *to, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in image[0].numpy()]
    return torch.from_numpy(np.stack(planes))[None]


def distort(x: np.ndarray, y: np.ndarray, k: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Where a point that a pinhole at focal length 1 sees at (x, y) is seen through the lens (Brown 1966)."""
    k1, k2, p1, p2 = k
    r = x * x + y * y
    radial = 1 + r * (k1 + r * k2)
    return (x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x), y * radial + p1 * (r + 2 * y * y) + 2 * p2 * x * y)


def _resized(image: Image, width: int, height: int) -> Image:
    return torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)


def on_ground(sequence: PosedSequence, ground: GroundPlane, camera_height: float = 1.0) -> PosedSequence:
    """The sequence moved into our world: the ground is y = 0, +Y up, the point below the points' median (below the mean
    camera without points) is the origin, and cameras are ``camera_height`` metres above the ground by their median.
    The first camera looks along +Z, seen from above."""
    rotation = _upright(ground.normal, sequence.frames[0].camera.to_world[:3, 2])
    centres = (sequence.centres - ground.point) @ rotation.T
    scale = camera_height / float(np.median(centres[:, 1]))
    middle = (np.median((sequence.points - ground.point) @ rotation.T, 0) if len(sequence.points)
              else centres.mean(0)) * np.array([1.0, 0.0, 1.0])

    def moved(points: np.ndarray) -> np.ndarray:
        return scale * ((points - ground.point) @ rotation.T - middle)

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
