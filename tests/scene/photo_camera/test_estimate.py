"""dipir.scene.photo_camera.estimate: what is given is kept, what is not is estimated or guessed."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import SceneError
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.estimate import CameraOptions, estimate_camera, resolve_camera
from dipir.scene.plate import Plate, plate_from_tensor
from tests.scene.photo_camera.test_vanishing import photograph, room


def write(tmp_path, text, name="camera.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_options_override_single_numbers_of_a_file(tmp_path):
    pose = "height_m: 2, pitch_deg: 10, roll_deg: 3, yaw_deg: 40"
    path = write(tmp_path, f"{{width: 64, height: 48, fov_x_deg: 60, {pose}}}")
    gray = torch.full((1, 3, 48, 64), 0.5)
    e = resolve_camera(Plate(gray, gray), CameraOptions(file=path, pitch_deg=-5))
    assert np.allclose(e.camera.angles_deg, (-5, 3, 40)) and e.camera.position[1] == 2 and e.confidence == 1
    assert e.camera.fov_x_deg == pytest.approx(60)
    e = resolve_camera(Plate(gray, gray), CameraOptions(file=path, fov_deg=80, height_m=0.5, roll_deg=0))
    assert np.allclose(e.camera.angles_deg, (10, 0, 40)) and e.camera.position[1] == 0.5
    assert e.camera.fov_x_deg == pytest.approx(80)


@pytest.mark.parametrize("bad", [{"fov_deg": 0.0}, {"pitch_deg": 90.0}, {"height_m": -1.0}, {"roll_deg": 120.0}])
def test_options_are_bounded(bad):
    with pytest.raises(ValueError, match="must lie in"):
        CameraOptions(**bad)


def test_given_numbers_are_kept_and_the_others_follow_them():
    plate = photograph(Camera.looking(800, 600, 60, 1.6, 12, 2), room(), 30)
    e = resolve_camera(plate, CameraOptions(fov_deg=75.0, roll_deg=0.0, height_m=0.7))
    assert e.camera.fov_x_deg == pytest.approx(75) and e.camera.angles_deg[1] == pytest.approx(0)
    assert e.camera.position[1] == 0.7 and not any("--camera-height" in n for n in e.notes)
    exact = resolve_camera(plate, CameraOptions(fov_deg=75.0, pitch_deg=-3.0, roll_deg=1.0))
    assert np.allclose(exact.camera.angles_deg[:2], (-3, 1)) and exact.confidence == 1


def test_exif_fixes_the_field_of_view_and_nonsense_is_not_believed():
    plate = photograph(Camera.looking(800, 600, 60, 1.6, 12, 2), room(), 30)
    with_exif = estimate_camera(Plate(plate.disp, plate.lin, fov_x_deg=60.0))
    assert with_exif.camera.fov_x_deg == pytest.approx(60) and "EXIF" in with_exif.source
    assert abs(with_exif.camera.angles_deg[0] - 12) < 1
    assert estimate_camera(Plate(plate.disp, plate.lin, fov_x_deg=0.01)).camera.fov_x_deg == pytest.approx(60, rel=0.1)


@pytest.mark.parametrize("kind", ["flat", "noise", "strokes"])
def test_without_lines_it_falls_back_or_says_that_it_is_unsure(kind):
    if kind == "strokes":
        plate = photograph(Camera.looking(800, 600, 60), [], clutter=80)
    else:
        torch.manual_seed(0)
        plate = plate_from_tensor(torch.rand(1, 3, 300, 400) if kind == "noise" else torch.full((1, 3, 300, 400), 0.4))
    e = estimate_camera(plate)
    assert e.confidence <= 0.35 and any("--pitch" in n for n in e.notes)
    if kind == "flat":
        assert e.confidence == 0.1 and np.allclose(e.camera.angles_deg, (12, 0, 0))
        assert e.camera.fov_x_deg == pytest.approx(60) and "only 0 straight lines" in e.notes[0]


def test_the_same_photo_gives_the_same_camera_and_a_tiny_one_is_refused():
    plate = photograph(Camera.looking(400, 300, 60, 1.6, 12, 2), room(), 30, 30)
    a, b = estimate_camera(plate), estimate_camera(plate)
    assert (a.camera.to_world == b.camera.to_world).all() and a.confidence == b.confidence
    with pytest.raises(SceneError, match="16 x 16"):
        estimate_camera(plate_from_tensor(torch.zeros(1, 3, 8, 200)))
