"""Camera estimation: known cameras are recovered from drawn edges; every number can be held; honest fallbacks."""
from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dipir.scene.camera import Camera
from dipir.scene.photo_camera import vanishing
from dipir.scene.photo_camera.estimate import estimate_camera
from dipir.scene.plate import Plate, plate_from_tensor

DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[4] / "shared/data"))


def room() -> list[tuple]:
    """Edges of a box room with panelled walls and a tiled floor, metres."""
    x, top, z = 3.0, 3.0, 7.0
    edges = []
    for side in (-x, x):
        edges += [((side, 0, d), (side, top, d)) for d in np.linspace(-1, z, 9)]
        edges += [((side, h, -1), (side, h, z)) for h in (0, 1, 2, top)]
    edges += [((-x, h, z), (x, h, z)) for h in (0, 1, top)] + [((c, 0, z), (c, top, z)) for c in np.linspace(-2, 2, 4)]
    edges += [((c, 0, -1), (c, 0, z)) for c in np.linspace(-x, x, 7)]
    return edges + [((-x, 0, d), (x, 0, d)) for d in np.linspace(-1, z, 9)]


def street() -> list[tuple]:
    """Edges of two rows of houses and a paved street, metres."""
    edges = [((c, 0, 0), (c, 0, 40)) for c in (-4, -2, 0, 2, 4)] + [((-4, 0, d), (4, 0, d)) for d in range(2, 40, 4)]
    for side in (-4, 4):
        for d in range(4, 40, 5):
            edges += [((side, 0, d), (side, 6, d)), ((side, 1, d), (side, 2.5, d)),
                      ((side, 1, d + 2), (side, 2.5, d + 2)),
                      ((side, 1, d), (side, 1, d + 2)), ((side, 2.5, d), (side, 2.5, d + 2))]
        edges += [((side, h, 0), (side, h, 40)) for h in (3, 6)]
    return edges


def photograph(camera: Camera, edges: list[tuple], heading: float = 0.0, clutter: int = 0) -> Plate:
    """The edges, turned by ``heading`` degrees, and random strokes, drawn as that camera sees them."""
    image = np.full((camera.height, camera.width, 3), 120, np.uint8)
    c, s = math.cos(math.radians(heading)), math.sin(math.radians(heading))
    for a, b in edges:
        t = np.linspace(0, 1, 200)[:, None]
        points = (np.array(a) * (1 - t) + np.array(b) * t) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
        pixels, depth = camera.project(points)
        pixels = ((pixels[depth > 0.1] - 0.5) * 16).astype(np.int64)
        pixels = pixels[(np.abs(pixels) < 1e6).all(1)].astype(np.int32)
        if len(pixels) > 1:
            cv2.polylines(image, [pixels.reshape(-1, 1, 2)], False, (230,) * 3, 2, cv2.LINE_AA, 4)
    rng = np.random.default_rng(0)
    for _ in range(clutter):
        start, angle, length = rng.random(2) * [camera.width, camera.height], rng.random() * np.pi, rng.uniform(40, 120)
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(image, tuple(map(int, start)), tuple(map(int, end)), (20,) * 3, 2, cv2.LINE_AA)
    return plate_from_tensor(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)


CASES = [(room, 50, 5, 0, 20, 0), (room, 70, 15, 3, 35, 30), (room, 60, 25, -2, -30, 40), (room, 90, 10, 5, 15, 40),
         (room, 55, 8, 0, 4, 40), (room, 60, -8, 0, 35, 20), (street, 55, 6, 1, 8, 30), (street, 75, 12, -3, -25, 30),
         (street, 45, 2, 0, 30, 20)]


@pytest.mark.parametrize("edges, fov, pitch, roll, heading, clutter", CASES)
def test_known_cameras_are_recovered(edges, fov, pitch, roll, heading, clutter):
    truth = Camera.looking(800, 600, fov, 1.6, pitch, roll)
    e = estimate_camera(photograph(truth, edges(), heading, clutter))
    found_pitch, found_roll, _ = e.camera.angles_deg
    assert abs(found_pitch - pitch) < 2 and abs(found_roll - roll) < 1
    assert abs(e.camera.fov_x_deg - fov) < 0.1 * fov
    assert e.confidence > 0.5 and abs((e.heading_deg - heading + 45) % 90 - 45) < 4
    assert e.horizon == (e.camera.horizon_y(0), e.camera.horizon_y(800))


def test_a_portrait_photo_and_another_size_give_the_same_angles():
    truth = Camera.looking(600, 900, 50, 1.6, 9, -2)
    e = estimate_camera(photograph(truth, room(), 25))
    assert np.allclose(e.camera.angles_deg[:2], (9, -2), atol=1.5) and e.camera.fov_x_deg == pytest.approx(50, rel=0.1)


def test_predicted_frame_agrees_with_the_camera():
    rng = np.random.default_rng(0)
    theta = np.concatenate([rng.uniform(5, 7, (20, 1)), rng.uniform(-60, 60, (20, 2)), rng.uniform(0, 90, (20, 1))], 1)
    for t, rows in zip(theta, vanishing.frame(theta), strict=True):
        r = Camera.looking(8, 6, 60, 1.6, t[1], t[2]).to_world[:3, :3]
        assert np.allclose(rows @ rows.T, np.eye(3)) and np.allclose(r @ rows[0], [0, 1, 0])
        h = math.radians(t[3])
        assert np.allclose(r @ rows[1], [math.sin(h), 0, math.cos(h)])


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="DIPIR_DATA not there")
@pytest.mark.parametrize("name, fov", [("outdoor_lund_street_01", 52.6), ("outdoor_piazza_dscn0040", 63.4)])
def test_field_of_view_of_real_streets_agrees_with_their_exif(name, fov):
    image = cv2.imread(str(DATA / f"plates/{name}.jpg"))[..., ::-1].copy()
    e = estimate_camera(plate_from_tensor(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255))
    assert e.camera.fov_x_deg == pytest.approx(fov, rel=0.1) and e.confidence > 0.6
