"""COLMAP models (cameras, images, points3D as .bin or .txt) -> posed sequences.

Poses are world-to-camera with OpenCV's axes (+X right, +Y down, +Z forward); the principal point counts from the image
corner. https://colmap.github.io/format.html
"""
from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dipir.captures.sequence import PosedSequence, check_frames, pinhole
from dipir.disk import inside
from dipir.errors import SceneError
from dipir.scene.photo_camera.files import OPENCV_TO_OURS, rotation_from_quaternion
from dipir.scene.photo_camera.lens import PANORAMA, Lens, models, parameter_count

FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0")
"""Where a model is looked for."""
MAX_BYTES = 4 << 30
# Models by their number in binary files, as https://github.com/colmap/colmap has them (src/colmap/sensor/models.h).
_NUMBERS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
            "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE", "RAD_TAN_THIN_PRISM_FISHEYE",
            "SIMPLE_DIVISION", "DIVISION", "SIMPLE_FISHEYE", "FISHEYE", "EUCM", PANORAMA)
_MOST_POINTS = 2_000_000


def find_model(folder: str | Path) -> Path | None:
    """The folder below ``folder`` that holds a COLMAP model, or None."""
    for name in FOLDERS:
        for end in (".bin", ".txt"):
            if all((Path(folder) / name / f"{part}{end}").is_file() for part in ("cameras", "images")):
                return Path(folder) / name
    return None


def read_colmap(folder: str | Path, images: str | Path | None = None) -> PosedSequence:
    """The model in a folder or in its ``sparse/0``; ``images`` : folder of the photos, by default ``images`` beside it.
    SceneError for what is missing, broken, or of a camera that pycolmap does not know."""
    folder = Path(folder)
    model = find_model(folder)
    if model is None:
        raise SceneError(f"{folder}: holds no cameras and images (.bin or .txt); accepted is a COLMAP model, in the "
                         f"folder or in {', '.join(FOLDERS[1:])}.")
    end = ".bin" if (model / "cameras.bin").is_file() and (model / "images.bin").is_file() else ".txt"
    photos = Path(images) if images is not None else folder / "images"
    read = (_cameras_bin, _images_bin, _points_bin) if end == ".bin" else (_cameras_txt, _images_txt, _points_txt)
    try:
        lenses = read[0](_bytes(model / f"cameras{end}"))
        found = sorted(read[1](_bytes(model / f"images{end}")), key=lambda image: image[0])
        check_frames(model, len(found))
        cloud = model / f"points3D{end}"
        points = read[2](_bytes(cloud)) if cloud.is_file() else np.zeros((0, 3))
        frames = []
        for number, (name, camera, quaternion, shift) in enumerate(found):
            rotation = _rotation(quaternion)
            frames.append(pinhole(number, inside(photos, name), lenses[camera], rotation.T @ OPENCV_TO_OURS,
                                  -rotation.T @ shift))
    except (struct.error, ValueError, KeyError, IndexError, OverflowError) as problem:
        raise SceneError(f"{model}: cannot be read ({type(problem).__name__}: {problem}); accepted is a model as "
                         "COLMAP writes it. Export it again.") from problem
    there = tuple(f for f in frames if f.image.is_file())
    if not there:
        raise SceneError(f"{photos}: holds none of the {len(frames)} images of the model; say where they are.")
    missing = len(frames) - len(there)
    notes = (f"{missing} frames without an image were left out",) if missing else ()
    return PosedSequence(folder.resolve().name, there, points,
                         notes=notes if len(points) else (*notes, "there is no point cloud"))


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise SceneError(f"{path}: has more than {MAX_BYTES >> 30} GiB; accepted are smaller models.")
    return path.read_bytes()


def _lens(model: str, width: int, height: int, values: tuple[float, ...]) -> Lens:
    if model == PANORAMA:
        raise SceneError(f"the camera model {PANORAMA} is a panorama, which is no view of one camera; accepted are "
                         f"{', '.join(models())}. Cut pinhole views out of it (colmap panorama_sfm does).")
    if model not in models():
        raise SceneError(f"the camera model {model[:60]} is not supported; accepted are {', '.join(models())}. "
                         "Undistort the images first (colmap image_undistorter).")
    return Lens(model, (width, height), values)


def _rotation(q: tuple[float, ...]) -> np.ndarray:
    """(3, 3) world-to-camera of a quaternion w, x, y, z."""
    length = float(np.linalg.norm(q))
    if not 0.5 < length < 2:
        raise ValueError(f"quaternion {q}")
    return rotation_from_quaternion(q)


# ---- text ------------------------------------------------------------------------------------------------------------

def _lines(data: bytes) -> list[str]:
    return [line for line in data.decode("utf-8").splitlines() if not line.startswith("#")]


def _cameras_txt(data: bytes) -> dict[int, Lens]:
    rows = [line.split() for line in _lines(data) if line.strip()]
    return {int(r[0]): _lens(r[1], int(r[2]), int(r[3]), tuple(map(float, r[4:]))) for r in rows}


def _images_txt(data: bytes) -> Iterator[tuple[str, int, tuple[float, ...], np.ndarray]]:
    # Two lines an image; the second, its observations, may be empty.
    lines = _lines(data)
    while lines and not lines[0].strip():
        lines.pop(0)
    for line in lines[::2]:
        r = line.split(maxsplit=9)
        if len(r) == 10:
            yield r[9].strip(), int(r[8]), tuple(map(float, r[1:5])), np.array(r[5:8], float)


def _points_txt(data: bytes) -> np.ndarray:
    rows = [line.split()[1:4] for line in _lines(data)[:_MOST_POINTS] if line.strip()]
    return np.array(rows, float).reshape(-1, 3)


# ---- binary ----------------------------------------------------------------------------------------------------------

class _Reader:
    """Little-endian values, one after the other. struct.error when there are too few bytes."""

    def __init__(self, data: bytes) -> None:
        self.file, self.size = io.BytesIO(data), len(data)

    def __call__(self, layout: str) -> tuple:
        layout = "<" + layout
        return struct.unpack(layout, self.file.read(struct.calcsize(layout)))

    def count(self, least: int) -> int:
        """A number of records of at least ``least`` bytes each."""
        (number,) = self("Q")
        if number * least > self.size:
            raise ValueError(f"{number} records in {self.size} bytes")
        return number

    def skip(self, size: int) -> None:
        self.file.seek(size, io.SEEK_CUR)

    def text(self) -> str:
        start = self.file.tell()
        view = self.file.getbuffer()
        end = bytes(view[start:start + 4096]).find(b"\0")
        if end < 0:
            raise ValueError("a name without an end")
        self.file.seek(start + end + 1)
        return bytes(view[start:start + end]).decode("utf-8")


def _cameras_bin(data: bytes) -> dict[int, Lens]:
    read, found = _Reader(data), {}
    for _ in range(read.count(24)):
        number, model, width, height = read("iiQQ")
        name = _NUMBERS[model] if 0 <= model < len(_NUMBERS) else f"number {model}"
        count = parameter_count(name) if name in models() else 0
        found[number] = _lens(name, width, height, read(f"{count}d"))
    return found


def _images_bin(data: bytes) -> Iterator[tuple[str, int, tuple[float, ...], np.ndarray]]:
    read = _Reader(data)
    for _ in range(read.count(64)):
        _, *values, camera = read("i7di")
        name = read.text()
        read.skip(24 * read.count(24))
        yield name, camera, tuple(values[:4]), np.array(values[4:])


def _points_bin(data: bytes) -> np.ndarray:
    read, found = _Reader(data), []
    for _ in range(min(read.count(43), _MOST_POINTS)):
        _, x, y, z = read("Q3d")
        read.skip(3 + 8)
        read.skip(8 * read.count(8))
        found.append((x, y, z))
    return np.array(found, float).reshape(-1, 3)
