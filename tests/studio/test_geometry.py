"""What stands where, without rendering."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipir.errors import SceneError
from dipir.scene.camera import Camera
from dipir.scene.framing import projected_box
from dipir.studio.document.state import CameraNumbers, Document, Item, PlateFacts
from dipir.studio.geometry import (
    Setting,
    box_of,
    camera_of,
    camera_view,
    grid_of,
    height_of,
    horizon_of,
    hull_of,
    numbers_of,
    seen,
    stand,
)
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS

NUMBERS = CameraNumbers(50.0, 20.0, 3.0, 1.6)
SETTING = Setting(camera_of(Document("f1", NUMBERS), (640, 480), lambda id: None))
SPHERE = simple_asset("sphere", MATERIALS["diffuse"])


def test_the_camera_is_its_numbers():
    made = numbers_of(SETTING.camera)
    assert vars(made) == pytest.approx(vars(NUMBERS))


def test_a_camera_file_keeps_what_the_numbers_do_not_say(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text("width: 1280\nheight: 960\nfov_x_deg: 60\nheight_m: 1.2\npitch_deg: 10\nyaw_deg: 30\ncx: 600\n")

    def camera(height):
        return camera_of(Document("f1", CameraNumbers(60.0, 10.0, 0.0, height), "f2"), (640, 480), lambda id: path)

    plain, lower = camera(1.2), camera(0.8)
    assert plain.cx == 300 and plain.angles_deg[2] == pytest.approx(30)
    assert lower.position[1] == 0.8 and lower.cx == 300
    assert np.allclose(lower.to_world[:3, :3], plain.to_world[:3, :3])


@pytest.mark.parametrize("at, height", [((320, 400), 0.5), ((100, 300), 1.5), ((600, 460), 0.3)])
def test_hulls_are_seen_as_the_whole_asset_is(at, height):
    hull, item = hull_of(SPHERE), Item("o1", "f1", "ball", at, height)
    whole, bare = (stand(item, asset, SETTING) for asset in (SPHERE, hull))
    assert np.allclose(whole.to_world, bare.to_world, atol=1e-6)
    assert box_of(bare, SETTING.camera) == pytest.approx(box_of(whole, SETTING.camera), abs=0.02)
    box = np.clip(projected_box((whole,), SETTING.camera), 0, [640, 480]).flatten()
    assert box_of(bare, SETTING.camera) == pytest.approx(list(box), abs=0.02)
    assert sum(len(p.vertices) for p in hull.parts) <= sum(len(p.vertices) for p in SPHERE.parts)


def test_what_the_material_hides_counts_neither_for_height_nor_box():
    """A ball twice as high above the same ball, hidden by opacity 0; the page still lists it."""
    (ball,) = SPHERE.parts
    above = replace(ball, name="above", vertices=ball.vertices * 2 + np.float32([0, 2, 0]))
    both = replace(SPHERE, parts=(ball, above))
    item = Item("o1", "f1", "ball", (320, 400), scale=0.5, material={"above": {"opacity": 0.0}})
    alone, told = (seen(item, hull_of(asset), SETTING) for asset in (SPHERE, both))
    assert told["parts"] == [ball.name, "above"] and told["height_m"] == pytest.approx(alone["height_m"], rel=1e-5)
    assert told["box"] == pytest.approx(alone["box"], abs=0.02)
    assert seen(replace(item, material={}), hull_of(both), SETTING)["height_m"] > 2 * alone["height_m"]


def test_a_flat_asset_has_no_hull_and_stays_whole():
    flat = replace(SPHERE, parts=tuple(replace(p, vertices=p.vertices * np.float32([1, 0, 1])) for p in SPHERE.parts))
    assert len(hull_of(flat).parts[0].vertices) == len(flat.parts[0].vertices)


def test_what_cannot_stand_is_said_and_not_raised():
    hull = hull_of(SPHERE)
    level = Setting(Camera.looking(640, 480, 50, 1.6, 5.0))
    told = seen(Item("o1", "f1", "ball", (320, 5), 0.5), hull, level)
    assert told["box"] is None and "horizon" in told["error"] and told["height_m"] == 0.5
    fine = seen(Item("o1", "f1", "ball", (320, 400), None, 2.0), hull, SETTING)
    own = float(SPHERE.bounds[1, 1] - SPHERE.bounds[0, 1])
    assert fine["error"] is None and fine["height_m"] == pytest.approx(2 * own) and fine["parts"]
    assert seen(Item("o1", "f1", "ball", (320, 400)), None, SETTING)["error"]
    with pytest.raises(SceneError):
        stand(Item("o1", "f1", "ball", (320, 5), 0.5), hull, level)
    assert height_of(Item("o1", "f1", "ball", (0, 0)), hull) == pytest.approx(own)


@given(st.floats(20, 120), st.floats(-60, 60), st.floats(-40, 40), st.floats(0.1, 30))
def test_the_grid_lies_on_the_ground_and_in_the_picture(fov, pitch, roll, height):
    camera = Camera.looking(640, 480, fov, height, pitch, roll)
    for line in grid_of(camera, 15.0):
        for x, y in line:
            assert -0.11 <= x <= 640.11 and -0.11 <= y <= 480.11
            # A pixel of the ground looks down.
            assert camera.directions(np.array([x, y]))[1] < 1e-3


def test_the_horizon_is_where_the_camera_has_it():
    (x0, y0), (x1, y1) = horizon_of(SETTING.camera)
    assert (x0, x1) == (0, 640)
    for x, y in ((x0, y0), (x1, y1)):
        assert SETTING.camera.directions(np.array([x, y]))[1] == pytest.approx(0, abs=1e-9)
    assert horizon_of(Camera.looking(640, 480, 50, 1.6, 0.0, 90.0)) is None
    assert grid_of(Camera.looking(640, 480, 50, -1.0)) == []


def test_what_the_page_is_told_of_the_camera():
    facts = PlateFacts((640, 480), NUMBERS, 0.4, "estimated")
    told = camera_view(Document("f1", NUMBERS), SETTING.camera, facts)
    assert (told["confidence"], told["source"], told["fov_deg"]) == (0.4, "estimated", 50.0)
    moved = camera_view(Document("f1", CameraNumbers(50, 10, 3, 1.6)), SETTING.camera, facts)
    assert moved["confidence"] == 1.0 and moved["estimate"]["pitch_deg"] == 20.0
