"""dipir.scene.proxy: assets stand where they are put, at their size, turned as asked; impossible places are refused."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import SceneError
from dipir.scene.assets.asset import Asset, Part
from dipir.scene.camera import Camera
from dipir.scene.proxy import Proxy, contact_point, place, ray_mesh

CUBE_FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                       [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.uint32)


def box(width=1.0, height=1.0, depth=1.0) -> Asset:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0, 1) for z in (-0.5, 0.5)], np.float32)
    return Asset((Part("box", corners * np.float32([width, height, depth]), CUBE_FACES),))


def quad(y, size=10.0, name="floor") -> Part:
    corners = np.array([[-size, y, -size], [size, y, -size], [size, y, size], [-size, y, size]], np.float32)
    return Part(name, corners, np.array([[0, 2, 1], [0, 3, 2]], np.uint32))


CAMERA = Camera.looking(640, 480, 60, 1.6, 15, 2)


@settings(max_examples=60, deadline=None)
@given(st.floats(30, 610), st.floats(230, 470), st.floats(-180, 180), st.floats(0.1, 0.6))
def test_the_foot_projects_to_the_pixel_and_the_height_is_met(x, y, yaw, height):
    placed = place(box(0.5, 2.0, 0.5), CAMERA, (x, y), height_m=height, yaw_deg=yaw)
    points = np.concatenate([p.vertices for p in placed.parts])
    assert points[:, 1].min() == pytest.approx(0, abs=1e-5) and points[:, 1].max() == pytest.approx(height, rel=1e-5)
    foot = points[:, [0, 2]].mean(0)
    assert np.allclose(CAMERA.project(np.array([foot[0], 0, foot[1]]))[0], (x, y), atol=0.05)
    r = placed.to_world[:3, :3] / (height / 2)
    assert np.allclose(r @ r.T, np.eye(3), atol=1e-9) and np.allclose(r[:, 1], [0, 1, 0])


@pytest.mark.parametrize("heading", [0, 70, -150])
def test_yaw_zero_faces_the_camera_and_yaw_turns_to_its_right(heading):
    camera = Camera.looking(640, 480, 60, 1.6, 15, 0, yaw_deg=heading)
    front = place(box(), camera, (320, 400), height_m=0.3).to_world[:3, 2]
    towards = camera.position * [1, 0, 1] - contact_point(camera, (320, 400))
    assert np.allclose(front / np.linalg.norm(front), towards / np.linalg.norm(towards), atol=1e-9)
    turned = place(box(), camera, (320, 400), height_m=0.3, yaw_deg=90).to_world[:3, 2]
    # Camera +X is its left; an object that faces us and turns by +90 degrees about +Y looks to our right.
    assert (turned / 0.3) @ camera.to_world[:3, 0] == pytest.approx(-1, abs=1e-6)


def test_straight_below_the_camera_the_front_is_towards_the_lower_edge():
    camera = Camera.looking(640, 480, 60, 3.0, 90)
    front = place(box(), camera, (320, 240), height_m=0.3).to_world[:3, 2] / 0.3
    base = contact_point(camera, (320, 240))
    pixel = camera.project(base + 0.2 * front)[0]
    assert pixel[1] > 245 and pixel[0] == pytest.approx(320, abs=1e-3)


def test_scale_is_a_factor_and_one_by_default():
    assert np.cbrt(np.linalg.det(place(box(0.2, 0.2, 0.2), CAMERA, (320, 400)).to_world[:3, :3])) == pytest.approx(1)
    assert place(box(), CAMERA, (320, 400), scale=0.25).to_world[1, 1] == pytest.approx(0.25)


def test_an_asset_off_its_origin_still_rests_on_the_ground():
    part = box(0.2, 0.2, 0.2).parts[0]
    asset = Asset((Part("box", part.vertices + np.float32([0, 3, 0]), part.faces),))
    placed = place(asset, CAMERA, (320, 400))
    assert placed.parts[0].vertices[:, 1].min() == pytest.approx(0, abs=1e-5)


def test_a_mesh_proxy_carries_the_object_at_its_own_height():
    table = Proxy(quad(0.7))
    placed = place(box(), CAMERA, (320, 400), height_m=0.2, proxy=table)
    points = placed.parts[0].vertices
    assert points[:, 1].min() == pytest.approx(0.7, abs=1e-5)
    center = points.mean(0) * [1, 0, 1] + [0, 0.7, 0]
    assert np.allclose(CAMERA.project(center)[0], (320, 400), atol=0.05)


def test_the_nearest_triangle_is_hit_whatever_its_winding():
    rng = np.random.default_rng(0)
    low, high = quad(0.0), quad(0.5)
    vertices = np.concatenate([low.vertices, high.vertices])
    faces = np.concatenate([low.faces, high.faces[:, ::-1] + 4]).astype(np.uint32)
    for _ in range(50):
        origin, direction = np.array([0, 2.0, 0]), rng.normal(size=3)
        direction[1] = -abs(direction[1])
        direction /= np.linalg.norm(direction)
        distance, face = ray_mesh(origin, direction, vertices, faces)
        t = -1.5 / direction[1]
        inside = np.abs((origin + t * direction)[[0, 2]]).max() < 10
        if inside:
            assert distance == pytest.approx(t) and face >= 2
    assert ray_mesh(np.array([0, 2.0, 0]), np.array([0, 1.0, 0]), vertices, faces) == (np.inf, -1)
    # In the plane of the triangles: no hit, and no warning about the division.
    assert ray_mesh(np.array([-20, 0.5, 0.1]), np.array([1.0, 0, 0]), vertices, faces)[1] == -1


@pytest.mark.parametrize("at, message", [((640, 300), "outside the plate, which has 640 x 480"), ((-1, 300), "outside"),
                                         ((float("nan"), 3), "outside"),
                                         ((320, 20), "above the horizon, which lies at y = 91")])
def test_pixels_without_ground(at, message):
    with pytest.raises(SceneError, match=message):
        place(box(), CAMERA, at, height_m=0.3)


def test_the_horizon_itself_is_the_boundary():
    y = CAMERA.horizon_y(320)
    assert contact_point(CAMERA, (320, y + 1))[2] > 50
    with pytest.raises(SceneError, match="give a pixel below it"):
        contact_point(CAMERA, (320, y - 1))
    with pytest.raises(SceneError, match="no ground is visible"):
        contact_point(Camera.looking(640, 480, 40, 1.6, -40), (320, 400))


def test_a_camera_under_the_plane():
    with pytest.raises(SceneError, match="0.5 m under the ground plane"):
        place(box(), Camera.looking(640, 480, 60, -0.5, 15), (320, 400), height_m=0.3)


def test_walls_and_misses_of_a_mesh_proxy():
    wall = Part("wall", np.array([[-9, -9, 5], [9, -9, 5], [9, 9, 5], [-9, 9, 5]], np.float32), quad(0).faces)
    with pytest.raises(SceneError, match="shows a wall of the proxy mesh 'wall'"):
        place(box(), CAMERA, (320, 300), height_m=0.3, proxy=Proxy(wall))
    with pytest.raises(SceneError, match="does not show the proxy mesh 'floor'"):
        place(box(), CAMERA, (320, 20), height_m=0.3, proxy=Proxy(quad(0)))


@pytest.mark.parametrize("asset, options, message", [
    (box(), {"height_m": 0.001}, "pixels large"), (box(), {"height_m": 30}, "camera is inside it"),
    (box(), {"height_m": 1, "scale": 1}, "give one of them"), (box(), {"height_m": -1}, "positive number, got -1"),
    (box(), {"scale": float("nan")}, "positive number, got nan"), (box(1, 0, 1), {"height_m": 1}, "flat"),
    (box(1, 0.4, 0.01), {"scale": 3}, "fills the whole picture")])
def test_impossible_sizes(asset, options, message):
    camera = Camera.looking(640, 480, 20, 0.5, 10) if "fills" in message else CAMERA
    with pytest.raises(SceneError, match=message):
        place(asset, camera, (320, 478), **options)


def test_an_object_that_rises_out_of_the_picture():
    # Contact at the upper edge of a picture that looks down: only a sliver of a tall pole is seen.
    camera = Camera.looking(640, 480, 40, 3.0, 50)
    place(box(0.1, 0.2, 0.1), camera, (320, 100))
    with pytest.raises(SceneError, match="out of view: 9[0-9]% of its outline|out of view: 100%"):
        place(box(0.1, 2.6, 0.1), camera, (320, 2))
