"""dipir.scene.photo_camera.lens: every model against OpenCV or its published formula, there and back, pictures."""
from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch

from dipir.errors import MissingExtra
from dipir.image.formats.spaces import ColourSpace, OwnPicture, PlateKind
from dipir.scene.camera import Camera
from dipir.scene.photo_camera.files import read_camera
from dipir.scene.photo_camera.lens import (
    Lens,
    models,
    parameter_count,
    straightened,
    to_photo,
    to_straight,
    warped,
)
from dipir.scene.plate import Plate, plate_from_tensor

SIZE, FOCAL, CENTRE = (640, 480), (500.0, 490.0), (330.0, 235.0)


# ---- the oracles: (N, 2) normalised points -> (N, 2) normalised, through the lens ----

def opencv(p, *k):
    k = np.array([*k, *[0.0] * (4 - len(k))] if len(k) < 4 else k)
    pixels, _ = cv2.projectPoints(np.c_[p, np.ones(len(p))], np.zeros(3), np.zeros(3), np.eye(3), k)
    return pixels[:, 0]


def fisheye(p, *k):
    k, still = np.array([*k, *[0.0] * (4 - len(k))]), np.zeros(3)
    return cv2.fisheye.projectPoints(np.c_[p, np.ones(len(p))][:, None], still, still, np.eye(3), k)[0][:, 0]


def fov(p, omega):
    """Devernay and Faugeras 2001."""
    r = np.linalg.norm(p, axis=1, keepdims=True)
    return p * np.arctan(2 * r * np.tan(omega / 2)) / (omega * r)


def thin_prism(p, k1, k2, p1, p2, k3, k4, sx, sy):
    """COLMAP's: a fisheye whose angles are then bent by a polynomial of r^2, decentring and a thin prism."""
    u, v = fisheye(p).T
    r = u * u + v * v
    radial = 1 + k1 * r + k2 * r**2 + k3 * r**3 + k4 * r**4
    return np.stack([u * radial + 2 * p1 * u * v + p2 * (r + 2 * u * u) + sx * r,
                     v * radial + 2 * p2 * u * v + p1 * (r + 2 * v * v) + sy * r], 1)


def aria(p, k0, k1, k2, k3, k4, k5, p0, p1, s0, s1, s2, s3):
    """Project Aria's Fisheye624."""
    theta = np.arctan(np.linalg.norm(p, axis=1, keepdims=True))
    t = theta**2
    radial = theta * (1 + t * (k0 + t * (k1 + t * (k2 + t * (k3 + t * (k4 + t * k5))))))
    x, y = (p / np.linalg.norm(p, axis=1, keepdims=True) * radial).T
    r = x * x + y * y
    dot = p0 * x + p1 * y
    return np.stack([x + 2 * x * dot + p0 * r + s0 * r + s1 * r * r, y + 2 * y * dot + p1 * r + s2 * r + s3 * r * r], 1)


def division(p, k):
    """Fitzgibbon 2001: the undistorted point is the distorted one over 1 + k r_d^2; its root is Lenz's."""
    r = np.linalg.norm(p, axis=1, keepdims=True)
    return 2 * p / (1 + np.sqrt(1 - 4 * k * r * r))


def eucm(p, alpha, beta):
    """Khomutenko et al. 2016."""
    return p / (alpha * np.sqrt(beta * (p**2).sum(1, keepdims=True) + 1) + 1 - alpha)


BROWN = (-0.2, 0.06, 0.002, -0.003)
ORACLES = {
    "SIMPLE_PINHOLE": ((), opencv), "PINHOLE": ((), opencv), "SIMPLE_RADIAL": ((-0.15,), opencv),
    "RADIAL": ((-0.2, 0.07), opencv), "OPENCV": (BROWN, opencv),
    "FULL_OPENCV": ((*BROWN, 0.01, 0.05, 0.02, 0.003), opencv),
    "OPENCV_FISHEYE": ((0.05, -0.02, 0.01, -0.003), fisheye), "SIMPLE_RADIAL_FISHEYE": ((0.05,), fisheye),
    "RADIAL_FISHEYE": ((0.05, -0.02), fisheye), "SIMPLE_FISHEYE": ((), fisheye), "FISHEYE": ((), fisheye),
    "FOV": ((0.9,), fov), "THIN_PRISM_FISHEYE": ((0.03, -0.01, 0.002, -0.001, 0.004, 0.001, 0.003, -0.002), thin_prism),
    "RAD_TAN_THIN_PRISM_FISHEYE": ((0.03, -0.01, 0.002, 0.001, -0.001, 0.0002, 0.002, -0.001, 0.003, 0.001, -0.002,
                                    0.0005), aria),
    "SIMPLE_DIVISION": ((-0.2,), division), "DIVISION": ((-0.2,), division), "EUCM": ((0.6, 1.1), eucm)}


def lens_of(model):
    single = parameter_count(model) == 3 + len(ORACLES[model][0])
    return Lens.of(model, SIZE, (FOCAL[0], FOCAL[0] if single else FOCAL[1]), CENTRE, ORACLES[model][0])


@pytest.mark.parametrize("model", models())
def test_every_model_is_that_of_its_formula(model):
    """Pixels of the straight picture, where the photo shows them: 0.001 pixels."""
    lens = lens_of(model)
    camera, stretch = lens.pinhole(np.eye(4))
    to = to_photo(lens, camera)
    y, x = np.mgrid[0:camera.height:17, 0:camera.width:13]
    points = np.stack([x.ravel() + 0.5 - camera.cx, y.ravel() + 0.5 - camera.cy], 1) / camera.focal_px
    expected = ORACLES[model][1](points, *ORACLES[model][0]) * lens.focal + lens.centre
    got = np.stack([t[::17, ::13].ravel() for t in to], 1)
    assert np.abs(got - expected).max() < 1e-3
    bent = np.abs(expected - (points * lens.focal + lens.centre)).max()
    assert lens.bends == (bent > 1) and not lens.folds(camera)
    assert stretch == pytest.approx(lens.focal[0] / lens.focal[1])


@pytest.mark.parametrize("model", models())
def test_there_and_back(model):
    """A straight line through the lens and out again: 0.1 pixels, and far less."""
    lens = lens_of(model)
    camera, _ = lens.pinhole(np.eye(4))
    line = np.linspace([20.3, 30.1], [camera.width - 40.7, camera.height - 61.9], 200)
    there = lens.seen((line - [camera.cx, camera.cy]) / camera.focal_px)
    back = lens.looks(there) * camera.focal_px + [camera.cx, camera.cy]
    assert np.abs(back - line).max() < 1e-3
    to = to_straight(lens, camera)
    at = there[(there >= 1).all(1) & (there <= np.array(SIZE) - 1).all(1)]
    read = np.stack([cv2.remap(t, *(at.T[:, :, None] - 0.5).astype(np.float32), cv2.INTER_LINEAR)[:, 0] for t in to], 1)
    off = line[len(line) - 1] - line[0]
    away = np.abs((read - line[0]) @ [off[1], -off[0]]) / np.linalg.norm(off)
    assert len(at) > 100 and away.max() < 0.1


def test_a_lens_of_another_resolution():
    lens, half = lens_of("OPENCV"), lens_of("OPENCV").resized(320, 240)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    assert np.abs(half.seen(points) * 2 - lens.seen(points)).max() < 1e-9


@pytest.mark.parametrize("model, params, text", [
    ("PERISCOPE", (1, 2, 3), "not supported; accepted are SIMPLE_PINHOLE"),
    ("OPENCV_FISHEY", (), "mean 'OPENCV_FISHEYE'"), ("EQUIRECTANGULAR", (640, 480), "not supported"),
    ("OPENCV", (500, 500, 1, 2), "4 parameters of a OPENCV camera"),
    ("PINHOLE", (500, -1, 320, 240), "focal lengths"), ("PINHOLE", (500, np.nan, 320, 240), "nan"),
    ("PINHOLE", (500, 1, 320, 240), "focal lengths 500 and 1")])
def test_lenses_that_are_none(model, params, text):
    with pytest.raises(ValueError, match=text):
        Lens(model, SIZE, params)


def test_a_lens_that_shows_a_place_twice():
    lens = Lens.of("OPENCV", SIZE, FOCAL, CENTRE, (-1.5, 0, 0, 0))
    assert lens.folds(lens.pinhole(np.eye(4))[0])
    assert np.isnan(lens.looks(np.array([[0.5, 0.5]]))).all()


def test_a_picture_made_straight():
    """A photo of a smooth picture, drawn through OpenCV's own fisheye, is that picture again; the photo is kept bit for
    bit; a barrel's edges are in the photo, those of a cushion are not, which is said."""
    lens = lens_of("OPENCV_FISHEYE")
    camera, _ = lens.pinhole(np.eye(4))
    y, x = np.mgrid[0:SIZE[1], 0:SIZE[0]] + 0.5
    flat = np.stack([x.ravel(), y.ravel()], 1)[:, None]
    k = np.array([[FOCAL[0], 0, CENTRE[0]], [0, FOCAL[1], CENTRE[1]], [0, 0, 1]])
    rays = cv2.fisheye.undistortPoints(flat, k, np.array(ORACLES["OPENCV_FISHEYE"][0]))[:, 0]

    def picture(rays):
        return np.stack([0.5 + 0.4 * np.sin(9 * rays[:, 0] + c) * np.cos(7 * rays[:, 1]) for c in range(3)])

    photo = torch.from_numpy(picture(rays).reshape(1, 3, *SIZE[::-1])).float()
    plate = straightened(plate_from_tensor(photo), lens, camera)
    v, u = np.mgrid[0:camera.height, 0:camera.width] + 0.5
    straight = np.stack([u.ravel() - camera.cx, v.ravel() - camera.cy], 1) / camera.focal_px
    expected = picture(straight).reshape(1, 3, camera.height, camera.width)
    assert plate.size == (camera.width, camera.height)
    assert np.abs(plate.disp.numpy() - expected)[..., 2:-2, 2:-2].max() < 2e-3
    assert np.abs(photo.numpy()[..., 2:-12, 2:-2] - expected[..., 2:478, 2:-2][..., :466, :]).max() > 0.05
    assert torch.equal(plate.original.disp, photo) and len(plate.notes) == 1
    cushion = Lens.of("OPENCV", SIZE, FOCAL, CENTRE, (0.2, 0, 0, 0))
    notes = straightened(plate_from_tensor(photo), cushion, cushion.pinhole(np.eye(4))[0]).notes
    assert notes[1].warning and "outside the photo" in notes[1]


def test_outside_is_nothing_or_the_edge():
    image = torch.ones(1, 1, 4, 5)
    to = (np.array([[-3.0, 2.5, np.nan]], np.float32), np.array([[1.5, 1.5, np.nan]], np.float32))
    assert warped(image, to)[0, 0].tolist() == [[0, 1, 0]]
    assert warped(image, to, repeat=True)[0, 0].tolist() == [[1, 1, 1]]


def test_without_the_library_it_is_named(monkeypatch, tmp_path):
    """And cameras without a lens are read all the same."""
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(MissingExtra, match="pip install pycolmap"):
        Lens("PINHOLE", SIZE, (500, 500, 320, 240))
    (tmp_path / "c.yaml").write_text("{width: 640, height: 480, fov_x_deg: 60, height_m: 1}")
    assert read_camera(tmp_path / "c.yaml").lens is None


def test_a_straight_picture_has_no_values_of_the_file():
    """Its pixels are others; those of the photo itself, kept beside, are the file's still, wide colours too."""
    codes = np.random.default_rng(0).integers(0, 65535, (40, 60, 3), np.uint16)
    space = ColourSpace("wide", "display", lambda v: v, lambda v: v)
    lin = torch.full((1, 3, 40, 60), 0.5)
    lin[:, 0] = 1.4
    plate = Plate(lin.clamp(0, 1), lin, kind=PlateKind(16, False, OwnPicture(space, codes)))
    lens = Lens("SIMPLE_RADIAL", (60, 40), (50.0, 30.0, 20.0, -0.1))
    straight = straightened(plate, lens, Camera.looking(60, 40, 62.0))
    assert straight.kind.own.codes is None and straight.kind.own.space is space
    assert straight.original.kind.own.codes is codes
    assert float(straight.lin[0, 0].max()) == pytest.approx(1.4)
