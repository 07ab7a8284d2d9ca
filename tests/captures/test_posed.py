"""nerfstudio and COLMAP folders: the same cameras however they are written, real photos, broken files."""
from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from dipir.captures.colmap import read_colmap
from dipir.captures.nerfstudio import read_transforms
from dipir.captures.posed import poses_file, read_posed
from dipir.captures.sequence import frame_plate
from dipir.errors import SceneError
from tests.support.posed_folders import (
    CENTRE,
    FOCAL,
    LENS,
    POINTS,
    as_binary,
    as_text,
    as_transforms,
    cameras,
    quaternion,
)

DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[3] / "shared/data"))
@pytest.mark.parametrize("write, read, points", [(as_transforms, read_transforms, 0), (as_text, read_colmap, 20),
                                                 (as_binary, read_colmap, 20)])
def test_cameras_are_those_of_opencv(photos, write, read, points):
    """Pixels (from the corner) of OpenCV's K [R|t] without a lens, rows stretched to square pixels."""
    write(photos)
    sequence = read(photos)
    assert len(sequence.frames) == 3 and sequence.points.shape == (points, 3)
    if points:
        assert np.allclose(sequence.points, POINTS)
    for k, (frame, (r, t)) in enumerate(zip(sequence.frames, cameras(), strict=True)):
        assert frame.image.name == f"{k}.png" and frame.lens.params == pytest.approx((*FOCAL, *CENTRE, *LENS))
        local = POINTS @ r.T + t
        expected = local[:, :2] / local[:, 2:] * FOCAL + CENTRE
        assert np.abs(frame.camera.project(POINTS)[0] / [1, frame.stretch] - expected).max() < 1e-5
        assert frame.stretch == pytest.approx(FOCAL[0] / FOCAL[1])


@pytest.mark.skipif(not DATA.is_dir(), reason="DIPIR_DATA not there")
def test_real_photos(tmp_path):
    """Berlin cathedral by OpenSfM: written as a COLMAP model, its points fall where they were seen."""
    folder = DATA / "multiview" / "berlin"
    given = json.loads((folder / "cameras.json").read_text())["images"]
    points = json.loads((folder / "reconstruction_example.json").read_text())[0]["points"]
    cams, images = [], []
    for k, (name, c) in enumerate(given.items()):
        # Its principal point counts from the centre of the first pixel.
        values = (c["K"][0][0], c["K"][0][2] + 0.5, c["K"][1][2] + 0.5, *c["radial"])
        cams.append(f"{k} RADIAL {c['width']} {c['height']} " + " ".join(map(repr, values)))
        pose = " ".join(repr(float(v)) for v in (*quaternion(np.array(c["R"])), *c["t"]))
        images += [f"{k} {pose} {k} {name}", ""]
    (tmp_path / "cameras.txt").write_text("\n".join(cams))
    (tmp_path / "images.txt").write_text("\n".join(images))
    sequence = read_colmap(tmp_path, folder / "images")
    seen = {}
    for line in (folder / "tracks_example.csv").read_text().splitlines()[1:]:
        name, track, _, x, y, *_ = line.split("\t")
        if track in points:
            seen.setdefault(name, []).append((track, float(x), float(y)))
    for frame in sequence.frames:
        rows = seen[frame.image.name]
        world = np.array([points[track]["coordinates"] for track, *_ in rows])
        measured = np.array([[x, y] for _, x, y in rows]) * 3264 + [1632, 1224]
        pixels = frame.camera.project(world)[0]
        at = (pixels - [frame.camera.cx, frame.camera.cy]) / frame.camera.focal_px
        through = frame.lens.seen(at)
        assert np.median(np.linalg.norm(through - measured, axis=1)) < 4
    plate, camera = frame_plate(sequence.frames[0], 200)
    assert plate.size == (200, 150) and camera.width == 200


def test_one_door_for_all(photos):
    """COLMAP's model, and nerfstudio's file before it where both are there; a folder of neither is said to be so."""
    as_text(photos)
    both = read_posed(photos).frames[0].camera, read_colmap(photos).frames[0].camera
    assert np.array_equal(both[0].to_world, both[1].to_world) and both[0].focal_px == both[1].focal_px
    assert poses_file(photos).name == "images.txt"
    (photos / "transforms.json").write_text("{}")
    with pytest.raises(SceneError, match="transforms.json"):
        read_posed(photos)
    assert poses_file(photos / "images") is None
    with pytest.raises(SceneError, match="no posed sequence"):
        read_posed(photos / "images")


def test_polycam_is_named(tmp_path):
    (tmp_path / "keyframes" / "cameras").mkdir(parents=True)
    with pytest.raises(SceneError, match="raw export of Polycam.*ns-process-data polycam"):
        read_posed(tmp_path)
