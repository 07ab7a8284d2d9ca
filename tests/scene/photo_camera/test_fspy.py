"""dipir.scene.photo_camera.fspy: projects and exports written from known cameras; pixels of known points."""
from __future__ import annotations

import json
import struct

import cv2
import numpy as np
import pytest
import torch

from dipir.errors import ConfigError, SceneError
from dipir.scene.photo_camera.estimate import CameraOptions, resolve_camera, see
from dipir.scene.photo_camera.files import read_camera
from dipir.scene.plate import plate_from_tensor
from tests.support.fspy_files import PLACE, TARGET, parameters, project

POINTS = np.random.default_rng(0).uniform([-2, -2, 0], [2, 2, 2], (40, 3))
TO_OURS = {"z": lambda p: np.stack([p[:, 0], p[:, 2], -p[:, 1]], 1), "y": lambda p: p,
           "-y": lambda p: np.stack([p[:, 0], -p[:, 1], -p[:, 2]], 1),
           "x": lambda p: np.stack([-p[:, 1], p[:, 0], p[:, 2]], 1)}


def pixels(p, points):
    """By OpenCV, from fSpy's view transform."""
    half = max(p["imageWidth"], p["imageHeight"]) / 2
    f = half * p["relativeFocalLength"]
    k = np.array([[f, 0, p["imageWidth"] / 2 + half * p["principalPoint"]["x"]],
                  [0, f, p["imageHeight"] / 2 - half * p["principalPoint"]["y"]], [0, 0, 1]])
    view = np.diag([1.0, -1, -1, 1]) @ np.array(p["viewTransform"]["rows"])
    return cv2.projectPoints(points, cv2.Rodrigues(view[:3, :3])[0], view[:3, 3], k, None)[0][:, 0]


@pytest.mark.parametrize("size", [(800, 600), (600, 800), (500, 500)])
@pytest.mark.parametrize("kind", ["project", "export", "export without suffix"])
def test_points_fall_on_the_pixels_of_fspy(tmp_path, size, kind):
    p = parameters(*size)
    path = tmp_path / {"project": "room.fspy", "export": "room.json"}.get(kind, "room")
    project(path, p) if kind == "project" else path.write_text(json.dumps(p, indent=2))
    given = read_camera(path, size)
    assert np.abs(given.camera.project(TO_OURS["z"](POINTS))[0] - pixels(p, POINTS)).max() < 0.01
    assert given.camera.position[1] == pytest.approx(2.5) and given.scaled
    assert any("no unit" in note for note in given.notes) == (kind != "project")


def test_the_field_of_view_is_that_of_either_side(tmp_path):
    """Versions of fSpy differ for upright pictures; the focal length does not. Where neither fits it is refused."""
    p = parameters(600, 800)
    for side in (1, 600 / 800):
        angle = {"horizontalFieldOfView": 2 * np.arctan(side / 1.9)}
        camera = read_camera(project(tmp_path / "a.fspy", p | angle)).camera
        assert np.abs(camera.project(TO_OURS["z"](POINTS))[0] - pixels(p, POINTS)).max() < 0.01
    with pytest.raises(SceneError, match="relativeFocalLength and horizontalFieldOfView disagree"):
        read_camera(project(tmp_path / "a.fspy", p | {"horizontalFieldOfView": 1.2}))


def test_numbers_that_fspy_wrote(tmp_path):
    """The focal length and fields of view of a photo by fSpy 1.0: its vertical angle is that of the camera."""
    p = parameters(4032, 3024, 1.2267259679457512) | {"horizontalFieldOfView": 1.3678550657796624}
    camera = read_camera(project(tmp_path / "a.fspy", p)).camera
    assert 2 * np.arctan(3024 / 2 / camera.focal_px) == pytest.approx(1.097495385241209, rel=1e-9)


@pytest.mark.parametrize("up, axis", [("y", (0.0, 1, 0)), ("-y", (0, -1.0, 0)), ("x", (1.0, 0, 0))])
def test_another_axis_points_up(tmp_path, up, axis):
    place, target = (TO_OURS_BACK(up, v) for v in (PLACE[[0, 2, 1]], TARGET[[0, 2, 1]]))
    p = parameters(up=axis, place=place, target=target)
    camera = read_camera(project(tmp_path / "a.fspy", p), None, up).camera
    assert np.abs(camera.project(TO_OURS[up](POINTS))[0] - pixels(p, POINTS)).max() < 0.01
    assert camera.position[1] == pytest.approx(2.5) and abs(camera.angles_deg[1]) < 1e-6


def TO_OURS_BACK(up, v):
    """Our (x, y, z) in fSpy's axes."""
    turn = TO_OURS[up](np.eye(3)).T
    return turn.T @ v


@pytest.mark.parametrize("unit, metres", [("Meters", 1), ("Centimeters", 0.01), ("Inches", 0.0254), ("Feet", 0.3048),
                                          ("Yards", 0.9144), ("Millimeters", 0.001)])
def test_units_of_the_reference_distance(tmp_path, unit, metres):
    """Points that are so many units apart are seen where they were."""
    p = parameters()
    given = read_camera(project(tmp_path / "a.fspy", p, unit))
    assert np.abs(given.camera.project(TO_OURS["z"](POINTS * metres))[0] - pixels(p, POINTS)).max() < 0.01
    assert given.camera.position[1] == pytest.approx(2.5 * metres) and given.notes == ()
    assert "no unit" in read_camera(project(tmp_path / "a.fspy", p, "No unit")).notes[0]


def test_without_a_reference_distance_the_height_is_guessed(tmp_path):
    """And said; a height that is given is kept, and no file is needed for that."""
    path = project(tmp_path / "a.fspy", parameters(), axis=None)
    plate = plate_from_tensor(torch.full((1, 3, 600, 800), 0.5))
    guessed = resolve_camera(plate, CameraOptions(file=path))
    assert guessed.camera.position[1] == 1.6 and "1.6 m above the ground" in guessed.notes[0]
    given = resolve_camera(plate, CameraOptions(file=path, height_m=0.9))
    assert given.camera.position[1] == 0.9 and given.notes == ()


def test_a_plate_of_another_size(tmp_path):
    path = project(tmp_path / "a.fspy", parameters())
    half = see(plate_from_tensor(torch.full((1, 3, 300, 400), 0.5)), CameraOptions(file=path))[1].camera
    assert np.abs(half.project(TO_OURS["z"](POINTS))[0] * 2 - pixels(parameters(), POINTS)).max() < 0.01
    with pytest.raises(SceneError, match="made for 800 x 600 pixels, but the plate has 800 x 500"):
        read_camera(path, (800, 500))
    with pytest.raises(SceneError, match="fSpy does not turn photos as EXIF says"):
        read_camera(path, (600, 800))


@pytest.mark.parametrize("change, text", [
    ({"version": 2}, "version 2; accepted is version 1"), ({"p": None}, "camera is not resolved"),
    ({"p": {}}, "not the camera parameters of fSpy"), ({"p": [1]}, "not the camera parameters of fSpy"),
    ({"p": parameters() | {"imageWidth": 0}}, "out of range"),
    ({"p": parameters() | {"imageWidth": None}}, "TypeError"),
    ({"p": parameters() | {"horizontalFieldOfView": 4}}, "out of range"),
    ({"p": parameters() | {"horizontalFieldOfView": 10**400}}, "not the camera parameters"),
    ({"p": parameters() | {"cameraTransform": {"rows": np.diag([2.0, 1, 1, 1]).tolist()}}}, "no rotation and place"),
    ({"p": parameters() | {"cameraTransform": {"rows": np.diag([-1.0, 1, 1, 1]).tolist()}}}, "no rotation and place"),
    ({"p": parameters() | {"cameraTransform": {"rows": [[1]]}}}, "out of range"),
    ({"p": parameters(place=PLACE * [1, 1, -1])}, "under the ground plane")])
def test_projects_that_cannot_be_used(tmp_path, change, text):
    path = project(tmp_path / "a.fspy", **{"p": parameters(), **change})
    with pytest.raises(SceneError, match=text) as error:
        read_camera(path)
    assert "a.fspy" in str(error.value) and len(str(error.value)) < 1000


def test_projects_that_are_cut_short_or_lie(tmp_path):
    path = project(tmp_path / "a.fspy", parameters())
    whole = path.read_bytes()
    for data in (whole[:7], whole[:200], whole[:-1], whole[:8] + b"\xff" * 8 + whole[16:],
                 whole[:16] + b"x" * (len(whole) - 16), struct.pack("<4sIII", b"fspy", 1, 2, 0) + b"[]",
                 struct.pack("<4sIII", b"fspy", 1, 200_000, 0) + b"[" * 200_000):
        path.write_bytes(data)
        with pytest.raises(SceneError, match="a.fspy: no complete fSpy project"):
            read_camera(path)
    with pytest.raises(ConfigError, match="a.fspy"):
        read_camera(project(path, parameters(), magic=b"fspi"))


def test_up_is_checked_and_only_for_fspy(tmp_path):
    path = project(tmp_path / "a.fspy", parameters())
    with pytest.raises(ValueError, match="up 'w' is unknown; accepted are y"):
        CameraOptions(file=path, up="w")
    with pytest.raises(ValueError, match="up says something of a camera file"):
        CameraOptions(up="z")
    (tmp_path / "plain.yaml").write_text("{width: 640, height: 480, fov_x_deg: 60, height_m: 1}")
    with pytest.raises(SceneError, match="up 'y' is for files of fSpy"):
        read_camera(tmp_path / "plain.yaml", None, "y")
    note = read_camera(project(path, parameters(place=np.array([2.0, 1.0, 1.5]), target=np.zeros(3))), None, "x").notes
    assert note[0].warning and "lies on its side" in note[0]
