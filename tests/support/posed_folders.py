"""One small sequence, written as nerfstudio and as COLMAP do."""
from __future__ import annotations

import json
import struct

import cv2
import numpy as np

SIZE, FOCAL, CENTRE, LENS = (40, 30), (35.0, 34.0), (19.0, 15.5), (0.08, -0.2, 0.01, -0.005)
POINTS = np.random.default_rng(0).uniform(-1, 1, (20, 3))


def cameras() -> list[tuple[np.ndarray, np.ndarray]]:
    """World-to-camera R, t with OpenCV's axes, the points about 5 in front."""
    made = []
    for k in range(3):
        rotation = cv2.Rodrigues(np.array([0.2 * k, 0.3 - 0.2 * k, 0.1]))[0]
        made.append((rotation, np.array([0.1 * k, -0.2, 5.0])))
    return made


def quaternion(r: np.ndarray) -> np.ndarray:
    w = np.sqrt(1 + np.trace(r)) / 2
    return np.array([w, (r[2, 1] - r[1, 2]) / (4 * w), (r[0, 2] - r[2, 0]) / (4 * w), (r[1, 0] - r[0, 1]) / (4 * w)])


def as_transforms(folder) -> None:
    frames = []
    for k, (r, t) in enumerate(cameras()):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = r.T @ np.diag([1, -1, -1]), -r.T @ t
        frames.append({"file_path": f"images/{k}.png", "transform_matrix": pose.tolist()})
    k = dict(zip(("k1", "k2", "p1", "p2"), LENS, strict=True))
    (folder / "transforms.json").write_text(json.dumps({
        "camera_model": "OPENCV", "w": SIZE[0], "h": SIZE[1], "fl_x": FOCAL[0], "fl_y": FOCAL[1], "cx": CENTRE[0],
        "cy": CENTRE[1], **k, "frames": frames, "applied_scale": 1.0}))


def as_text(folder) -> None:
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    numbers = " ".join(map(repr, (*FOCAL, *CENTRE, *LENS)))
    (model / "cameras.txt").write_text(f"# comment\n7 OPENCV {SIZE[0]} {SIZE[1]} {numbers}\n")
    lines = []
    for k, (r, t) in enumerate(cameras()):
        values = " ".join(repr(float(v)) for v in (*quaternion(r), *t))
        lines += [f"{k + 1} {values} 7 {k}.png", "" if k == 1 else "1.0 2.0 -1"]
    (model / "images.txt").write_text("# comment\n" + "\n".join(lines) + "\n")
    rows = [f"{k} {x} {y} {z} 0 0 0 0.5 1 2\n" for k, (x, y, z) in enumerate(POINTS)]
    (model / "points3D.txt").write_text("".join(rows))


def as_binary(folder) -> None:
    model = folder / "sparse"
    model.mkdir(parents=True)
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 7, 4, *SIZE, *FOCAL, *CENTRE, *LENS))
    data = struct.pack("<Q", 3)
    for k, (r, t) in enumerate(cameras()):
        data += struct.pack("<i7di", k + 1, *quaternion(r), *t, 7) + f"{k}.png".encode() + b"\0"
        data += struct.pack("<Q", k) + struct.pack("<ddq", 1.0, 2.0, -1) * k
    (model / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(POINTS))
    for k, p in enumerate(POINTS):
        data += struct.pack("<Q3d3BdQ", k, *p, 1, 2, 3, 0.5, k % 3) + struct.pack("<ii", 1, 2) * (k % 3)
    (model / "points3D.bin").write_bytes(data)
