"""CO3Dv2 folders (Reizenstein et al. 2021): annotations, set lists and cameras, read and written.

The format is described by PyTorch3D's implicitron types. Unknown keys are ignored. Paths in annotations are relative to
the root folder and may not leave it.

Cameras: PyTorch3D multiplies row vectors, X_cam = X_world R + T, with axes +X left, +Y up, +Z forward, as ours; so R is
our camera-to-world rotation as it stands. With s = min(W, H) / 2, focal lengths are s f pixels and the principal point
is (W / 2 - s p_x, H / 2 - s p_y), from the image corner.
"""
from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dipir.captures.co3d_pixels import depth_points
from dipir.captures.point_cloud import read_points
from dipir.captures.sequence import Frame, PosedSequence
from dipir.disk import inside, write_bytes
from dipir.errors import SceneError, nearest
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.lens import MOST_PIXELS, MOST_STRETCH
from dipir.settings.yaml import parse_json

Format = Literal["ndc_isotropic", "ndc_norm_image_bounds"]
FORMATS: tuple[Format, ...] = ("ndc_isotropic", "ndc_norm_image_bounds")
LEGACY: Format = "ndc_norm_image_bounds"
"""What a viewpoint without ``intrinsics_format`` has."""
MAX_JSON_BYTES = 4 << 30
"""Of an annotation file, unpacked. The largest category has about 1 GiB."""
_PACKED, _SMALL = 100, 1 << 26
"""Text of more than ``_SMALL`` bytes that is packed to less than 1 / ``_PACKED`` is no annotation (those: 1 / 5)."""
_CHUNK = 1 << 24


# ---- cameras ---------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class Viewpoint:
    """As annotated."""

    R: np.ndarray  # (3, 3)
    T: np.ndarray  # (3,)
    focal: np.ndarray  # (2,) x and y, in units of ``format``
    principal: np.ndarray  # (2,) likewise
    format: Format = "ndc_isotropic"


def camera_of(viewpoint: Viewpoint, height: int, width: int) -> tuple[Camera, float]:
    """The camera of a ``width`` x ``height`` image and the stretch of its rows, as in `Camera.oblong`.

    SceneError for a viewpoint that is no camera: R no rotation, a focal length that is not positive, NaN.
    """
    _check(viewpoint)
    per_unit = np.array([width, height]) / 2 if viewpoint.format == LEGACY else np.full(2, min(width, height) / 2)
    focal = per_unit * viewpoint.focal
    centre = np.array([width, height]) / 2 - per_unit * viewpoint.principal
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = viewpoint.R, -viewpoint.R @ viewpoint.T
    return Camera.oblong(width, height, tuple(focal), tuple(centre), pose)


def viewpoint_of(camera: Camera, format: Format = "ndc_isotropic") -> Viewpoint:
    """The annotation of a camera; :func:`camera_of` gives it back."""
    size = np.array([camera.width, camera.height], float)
    per_unit = size / 2 if format == LEGACY else np.full(2, size.min() / 2)
    rotation = camera.to_world[:3, :3]
    return Viewpoint(rotation.copy(), -rotation.T @ camera.position, camera.focal_px / per_unit,
                     (size / 2 - [camera.cx, camera.cy]) / per_unit, format)


def _check(v: Viewpoint) -> None:
    values = np.concatenate([v.R.ravel(), v.T, v.focal, v.principal])
    if not np.isfinite(values).all():
        raise SceneError("the viewpoint has NaN or infinite numbers; leave the frame out.")
    if np.abs(v.R @ v.R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(v.R) < 0:
        raise SceneError("R of the viewpoint is no rotation (orthogonal, determinant +1); leave the frame out.")
    if not ((v.focal > 0).all() and v.focal.max() < MOST_STRETCH * v.focal.min()):
        raise SceneError(f"the focal length {v.focal.tolist()} of the viewpoint is not positive; leave the frame out.")


# ---- annotations -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class FrameNote:
    """One frame as annotated."""

    sequence: str
    number: int
    image: str  # path relative to the root, as all below
    size: tuple[int, int]  # (height, width)
    viewpoint: Viewpoint | None  # None where the reconstruction failed
    mask: str | None = None
    depth: str | None = None
    depth_scale: float = 1.0
    depth_mask: str | None = None
    kind: str = ""  # ``meta.frame_type``, or ""


@dataclass(frozen=True, eq=False)
class SequenceNote:
    """One sequence as annotated."""

    name: str
    category: str
    points: str | None  # path relative to the root, or None
    quality: Mapping[str, float]  # scores by name


@dataclass(frozen=True, eq=False)
class Category:
    """All annotations of one category."""

    root: Path  # the data set's folder
    name: str
    sequences: Mapping[str, SequenceNote]
    frames: Mapping[str, tuple[FrameNote, ...]]  # by sequence, in the order of numbers


def categories(root: str | Path) -> list[str]:
    """Names of the folders of a CO3D root that hold annotations. SceneError when there are none."""
    root = Path(root)
    found = sorted(p.parent.name for p in root.glob("*/frame_annotations.jgz"))
    if not found:
        what = "does not exist" if not root.exists() else "holds no CATEGORY/frame_annotations.jgz"
        raise SceneError(f"{root}: {what}; accepted is the root folder of CO3Dv2, or of a part of it.")
    return found


def read_category(root: str | Path, category: str) -> Category:
    """Annotations of a category. SceneError for what is missing or broken."""
    root = Path(root)
    known = categories(root)
    if category not in known:
        raise SceneError(f"{root}: there is no category '{category}'; there are {', '.join(known)}."
                         f"{nearest(category, known)}")
    folder = root / category
    frames: dict[str, list[FrameNote]] = {}
    for record in _records(folder / "frame_annotations.jgz", _frame):
        frames.setdefault(record.sequence, []).append(record)
    sequences = {s.name: s for s in _records(folder / "sequence_annotations.jgz", _sequence)}
    in_order = {name: tuple(sorted(notes, key=lambda n: n.number)) for name, notes in frames.items()}
    return Category(root, category, sequences, in_order)


def subsets(root: str | Path, category: str) -> list[str]:
    """Names of the subsets that a category has set lists of."""
    return sorted(p.stem.removeprefix("set_lists_")
                  for p in (Path(root) / category / "set_lists").glob("set_lists_*.json"))


def read_set_lists(root: str | Path, category: str, subset: str) -> dict[str, list[tuple[str, int, str]]]:
    """{"train", "val", "test": [(sequence, frame number, image path)]}. SceneError for an unknown subset."""
    known = subsets(root, category)
    if subset not in known:
        raise SceneError(f"{category}: there is no subset '{subset}'; there are {', '.join(known) or 'none'}."
                         f"{nearest(subset, known)}")
    path = Path(root) / category / "set_lists" / f"set_lists_{subset}.json"
    data = _json(path)
    if not isinstance(data, dict) or not all(isinstance(rows, list) for rows in data.values()):
        raise SceneError(f"{path}: holds no object with train, val and test; fetch the file again.")
    return {part: [_triple(path, row) for row in rows] for part, rows in data.items()}


def _triple(path: Path, row: Any) -> tuple[str, int, str]:
    try:
        sequence, number, image = row[:3]
        return str(sequence), int(number), str(image)
    except (TypeError, ValueError, KeyError, OverflowError) as problem:
        raise SceneError(f"{path}: {str(row)[:100]!r} is no [sequence, frame number, image path]; fetch the file "
                         "again.") from problem


def _records(path: Path, read: Callable[[Mapping], Any]) -> Iterable[Any]:
    data = _json(path)
    if not isinstance(data, list):
        raise SceneError(f"{path}: holds no list of annotations; fetch the file again.")
    for k, record in enumerate(data):
        try:
            yield read(record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
            raise SceneError(f"{path}: record {k} cannot be read ({type(problem).__name__}: {problem}); accepted are "
                             "CO3Dv2 annotations. Fetch the file again.") from problem


def _json(path: Path) -> Any:
    """JSON of a file, unpacked where its name ends in .jgz, at most ``MAX_JSON_BYTES``."""
    if not path.is_file():
        raise SceneError(f"{path}: does not exist; a category has frame_annotations.jgz, sequence_annotations.jgz and "
                         "set_lists/. Fetch what is missing.")
    parts, size, most = [], 0, min(MAX_JSON_BYTES, max(_SMALL, _PACKED * path.stat().st_size))
    try:
        with (gzip.open(path) if path.suffix == ".jgz" else path.open("rb")) as file:
            while part := file.read(_CHUNK):
                size += len(part)
                if size > most:
                    raise SceneError(f"{path}: has more than {most >> 20} MiB of text for {path.stat().st_size} bytes "
                                     "of file, which no category has. Fetch the file again.")
                parts.append(part)
        return parse_json(b"".join(parts))
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        raise SceneError(f"{path}: is no readable annotation file ({problem}). Fetch the file again.") from problem


def _frame(r: Mapping) -> FrameNote:
    image, mask, depth, meta = r["image"], r.get("mask") or {}, r.get("depth") or {}, r.get("meta") or {}
    height, width = (int(v) for v in image["size"])
    if not (1 <= height <= MOST_PIXELS and 1 <= width <= MOST_PIXELS):
        raise ValueError(f"size {image['size']}")
    return FrameNote(str(r["sequence_name"]), int(r["frame_number"]), str(image["path"]), (height, width),
                     _viewpoint(r.get("viewpoint")), mask.get("path"), depth.get("path"),
                     float(depth.get("scale_adjustment", 1.0)), depth.get("mask_path"),
                     str(meta.get("frame_type") or ""))


def _viewpoint(r: Mapping | None) -> Viewpoint | None:
    if not r:
        return None
    format = r.get("intrinsics_format") or LEGACY
    if format not in FORMATS:
        raise ValueError(f"intrinsics_format '{format}', accepted are {', '.join(FORMATS)}")
    shapes = {"R": (3, 3), "T": 3, "focal_length": 2, "principal_point": 2}
    return Viewpoint(*(np.asarray(r[key], float).reshape(shape) for key, shape in shapes.items()), format)


def _sequence(r: Mapping) -> SequenceNote:
    cloud = r.get("point_cloud") or {}
    scores = {"points": cloud.get("quality_score"), "viewpoints": r.get("viewpoint_quality_score")}
    return SequenceNote(str(r["sequence_name"]), str(r["category"]), cloud.get("path"),
                        {k: float(v) for k, v in scores.items() if v is not None})


# ---- sequences -------------------------------------------------------------------------------------------------------

def read_sequence(category: Category, name: str) -> PosedSequence:
    """A sequence with all frames that have a usable camera and an image; points from depth maps where there is no point
    cloud. SceneError when none is left, for a name that does not exist, and for a path that leaves the root."""
    if name not in category.frames:
        raise SceneError(f"{category.name}: there is no sequence '{name}' among {len(category.frames)}."
                         f"{nearest(name, category.frames)}")
    frames, skipped = [], []
    for note in category.frames[name]:
        image = inside(category.root, note.image)
        if note.viewpoint is None or not image.is_file():
            skipped.append(note.number)
            continue
        try:
            camera, stretch = camera_of(note.viewpoint, *note.size)
        except SceneError:
            skipped.append(note.number)
            continue
        there = [_there(category.root, p) for p in (note.mask, note.depth, note.depth_mask)]
        frames.append(Frame(note.number, image, camera, stretch, mask=there[0], depth=there[1],
                            depth_scale=note.depth_scale, depth_mask=there[2], kind=note.kind))
    if not frames:
        raise SceneError(f"{category.name}/{name}: none of {len(skipped)} frames has both a camera and an image; "
                         "choose another sequence, or fetch its images.")
    notes = (f"{len(skipped)} frames without a usable camera or image were left out",) if skipped else ()
    about = category.sequences.get(name)
    cloud = _there(category.root, about.points) if about is not None else None
    points = read_points(cloud)[0] if cloud else np.zeros((0, 3))
    if not len(points):
        points = depth_points(frames)
        notes += (f"there is no point cloud; {len(points)} points are from depth maps",)
    return PosedSequence(name, tuple(frames), points, category.name, dict(about.quality) if about else {}, notes)


def _there(root: Path, relative: str | None) -> Path | None:
    path = None if relative is None else inside(root, relative)
    return path if path is not None and path.is_file() else None


# ---- writing ---------------------------------------------------------------------------------------------------------

def write_category(root: str | Path, category: str, frames: Iterable[Mapping], sequences: Sequence[SequenceNote],
                   set_lists: Mapping[str, Mapping[str, Sequence]] | None = None,
                   eval_batches: Mapping[str, Sequence] | None = None) -> None:
    """Annotation files, and set lists and eval batches by subset, as CO3Dv2 has them. frames : made by
    `frame_record`. ImageError when they cannot be written."""
    folder = Path(root) / category
    for name in ("", "set_lists", "eval_batches"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for kind, rows in (("frame", list(frames)), ("sequence", [_sequence_record(s) for s in sequences])):
        write_bytes(folder / f"{kind}_annotations.jgz", gzip.compress(json.dumps(rows).encode(), mtime=0))
    for kind, parts in (("set_lists", set_lists or {}), ("eval_batches", eval_batches or {})):
        for subset, rows in parts.items():
            write_bytes(folder / kind / f"{kind}_{subset}.json", json.dumps(rows).encode())


def frame_record(f: FrameNote) -> dict:
    """A frame as ``frame_annotations.jgz`` has it."""
    v = f.viewpoint
    record = {"sequence_name": f.sequence, "frame_number": f.number, "frame_timestamp": f.number / 10,
              "image": {"path": f.image, "size": list(f.size)},
              "mask": None if f.mask is None else {"path": f.mask},
              "depth": None if f.depth is None else {"path": f.depth, "scale_adjustment": f.depth_scale,
                                                     "mask_path": f.depth_mask},
              "viewpoint": None if v is None else {
                  "R": v.R.tolist(), "T": v.T.tolist(), "focal_length": v.focal.tolist(),
                  "principal_point": v.principal.tolist(), "intrinsics_format": v.format},
              "meta": {"frame_type": f.kind} if f.kind else None}
    if v is not None and v.format == LEGACY:
        del record["viewpoint"]["intrinsics_format"]
    return record


def _sequence_record(s: SequenceNote) -> dict:
    cloud = None if s.points is None else {"path": s.points, "quality_score": s.quality.get("points")}
    return {"sequence_name": s.name, "category": s.category, "video": None, "point_cloud": cloud,
            "viewpoint_quality_score": s.quality.get("viewpoints")}
