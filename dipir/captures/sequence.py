"""Posed sequences: several photos of one place, each with its camera, and points of that place."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from dipir.arrays import Image
from dipir.captures.ground import GroundPlane
from dipir.errors import SceneError
from dipir.image.exif import upright
from dipir.image.files import ImageInfo, read_image
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.lens import Lens, to_photo, warped
from dipir.scene.plate import Plate, plate_from_tensor, read_plate

MOST_FRAMES = 20_000
"""Of a sequence."""
_ORIENTATION, _INVERSE = 0x0112, {6: 8, 8: 6}


@dataclass(frozen=True, eq=False)
class Frame:
    """One photo."""

    number: int  # as the sequence counts them
    image: Path  # its file
    camera: Camera  # of the image with square pixels
    stretch: float = 1.0
    """Factor by which the file's rows must be stretched (about row 0) for the camera's pixels, 1 = as they are."""
    lens: Lens | None = None
    """Through which the file shows what the camera does not, None = none; the camera is that of the picture without."""
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


def pinhole(number: int, image: Path, lens: Lens, rotation: np.ndarray, place: np.ndarray,
            mask: Path | None = None) -> Frame:
    """A frame of a camera turned by ``rotation`` (camera-to-world, +X left, +Y up, +Z forward) at ``place``."""
    if not (np.isfinite(rotation).all() and np.isfinite(place).all()):
        raise ValueError("its pose has NaN or infinite numbers")
    pose = np.eye(4)
    # Rotations of text files are orthogonal to their last digit only.
    u, _, v = np.linalg.svd(rotation)
    pose[:3, :3], pose[:3, 3] = u @ v, place
    camera, stretch = lens.pinhole(pose)
    if lens.bends and lens.folds(camera):
        raise ValueError(f"the {lens.model} lens shows some places twice, so its numbers are of no photo")
    return Frame(number, image, camera, stretch, lens if lens.bends else None,
                 mask if mask is not None and mask.is_file() else None)


def frame_plate(frame: Frame, longest: int | None = None) -> tuple[Plate, Camera]:
    """The photo as its camera sees it (pixels square, distortion removed), and that camera; with ``longest`` scaled
    down to that many pixels on the longer side. ImageError for an unreadable photo, SceneError when it has not the size
    that its camera is of."""
    disp, camera = _as_stored(read_plate(frame.image), frame.image), frame.camera
    height, width = disp.shape[-2:]
    if not _fits(disp, frame):
        raise SceneError(f"{frame.image}: has {width} x {height} pixels, its camera {camera.width} x "
                         f"{camera.height / frame.stretch:.0f}; accepted are photos of the size they were posed in.")
    pixels = undistort(disp, frame)
    if longest is not None and max(camera.width, camera.height) > longest:
        scale = longest / max(camera.width, camera.height)
        size = (max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        # Sums of filter weights round: white must not become more than white.
        pixels, camera = _resized(pixels, *size).clamp(0, 1), camera.resized(*size)
    return plate_from_tensor(pixels, frame.image, camera.fov_x_deg), camera


def frame_mask(path: Path, frame: Frame) -> Image:
    """(1, 1, H, W) in [0, 1]: a mask of the frame as the frame's camera sees it. It has the photo's pixels as they lie
    in the file; one made of the photo as its EXIF turns it, which its shape tells, is turned back. A mask of that shape
    and another size is scaled. ImageError for a file that is no picture, SceneError for another shape."""
    pixels = read_stored(path)[0][:, :1]
    size, turn = (frame.camera.width, round(frame.camera.height / frame.stretch)), _orientation(frame.image)
    if not _alike(pixels, size) and turn > 4 and _alike(pixels.transpose(2, 3), size):
        pixels = _turned(pixels, _INVERSE.get(turn, turn))
    if not _alike(pixels, size):
        raise SceneError(f"{path}: a mask of {pixels.shape[-1]} x {pixels.shape[-2]} pixels for a photo of {size[0]} x "
                         f"{size[1]}; accepted are masks of that shape. Make it again from the photo as it lies in its "
                         "file.")
    return undistort(pixels if _fits(pixels, frame) else _resized(pixels, *size), frame)


def read_stored(path: Path) -> tuple[Image, ImageInfo]:
    """(1, 3, H, W), the pixels of a file as they lie in it whatever its EXIF orientation, and what it says of itself.
    ImageError."""
    pixels, _, info = read_image(path)
    turn = _orientation(path) if _was_turned(info.notes) else 1
    return _turned(pixels, _INVERSE.get(turn, turn)), info


def _fits(pixels: Image, frame: Frame) -> bool:
    """Whether a picture has the pixels that the frame's file has."""
    height, width = pixels.shape[-2:]
    return width == frame.camera.width and abs(height * frame.stretch - frame.camera.height) <= 1


def _alike(pixels: Image, size: tuple[int, int]) -> bool:
    """Whether it has that shape, to half a pixel."""
    height, width = pixels.shape[-2:]
    return abs(height * size[0] - width * size[1]) <= max(size[0], width) / 2 + 1


def _was_turned(notes: Sequence[str]) -> bool:
    return any("orientation" in note for note in notes)


def _orientation(path: Path) -> int:
    """EXIF's number, 1 where there is none."""
    try:
        with Pillow.open(path) as file:
            turn = file.getexif().get(_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _turned(image: Image, orientation: int) -> Image:
    """(1, C, H, W) turned as an EXIF orientation asks."""
    exif = {_ORIENTATION: orientation}
    pixels = upright(image[0].permute(1, 2, 0).numpy(), exif, [])
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


def _as_stored(plate: Plate, path: Path) -> Image:
    """The photo's pixels as they lie in the file: programs that pose photos do not apply EXIF's orientation."""
    if not _was_turned(plate.notes):
        return plate.disp
    turn = _orientation(path)
    return _turned(plate.disp, _INVERSE.get(turn, turn))


def undistort(image: Image, frame: Frame) -> Image:
    """(1, C, H, W) as the file has it -> (1, C, camera height, camera width) as the camera sees it, bilinear; edges are
    repeated where the file shows nothing."""
    camera = frame.camera
    if frame.lens is not None:
        return warped(image, to_photo(frame.lens, camera), repeat=True)
    if frame.stretch == 1:
        return image
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, (np.arange(camera.height) + 0.5) / frame.stretch)
    return warped(image, (x, y), repeat=True)


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
