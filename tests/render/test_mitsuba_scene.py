"""dipir.render.mitsuba_scene: Mitsuba's scene says what ours says."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.errors import SceneError
from dipir.render.backend import mitsuba
from dipir.render.mitsuba_scene import (
    build,
    material_dict,
    material_names,
    moved,
    put,
    sensor_dict,
    shape_key,
)
from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.camera import Camera
from dipir.scene.proxy import PlacedAsset
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

CHECKER = np.indices((4, 4)).sum(0).astype(np.float32) % 2


@pytest.mark.parametrize("camera", [Camera.looking(40, 30, 55, 1.5, 14, 6, yaw_deg=25),
                                    Camera.looking(40, 30, 55, 1.5, 14).crop(-3, 5, 20, 24, 40, 48)])


def test_the_sensor_looks_where_the_camera_looks(camera):
    mi = mitsuba()
    sensor = mi.load_dict(sensor_dict(camera, 4))
    y, x = (g.ravel() for g in np.mgrid[0:camera.height, 0:camera.width] + 0.5)
    at = mi.Point2f(mi.Float(x / camera.width), mi.Float(y / camera.height))
    ray, _ = sensor.sample_ray(mi.Float(0), mi.Float(0), at, mi.Point2f(0.5))
    np.testing.assert_allclose(np.array(ray.d).T, camera.directions().reshape(-1, 3), atol=2e-6)


def test_materials_stay_within_what_the_renderer_can_take():
    plain = material_dict(Material(roughness=0.0, specular=0.0, metallic=2.0), False)["bsdf"]
    assert (plain["roughness"], plain["specular"], plain["metallic"]) == (0.05, 0.01, 1.0)
    textured = material_dict(Material(roughness_texture=CHECKER), True)["bsdf"]["roughness"]["data"]
    assert np.array(textured).min() == np.float32(0.05)
    # A texture without UVs counts as its mean.
    assert material_dict(Material(roughness=0.3, roughness_texture=CHECKER), False)["bsdf"]["roughness"] == 0.3


def test_cut_outs_glass_and_normals_wrap_the_surface():
    assert material_dict(Material(opacity=0.5), False)["type"] == "mask"
    mask = material_dict(Material(opacity_texture=CHECKER), True)
    assert mask["opacity"]["filter_type"] == "nearest" and mask["bsdf"]["type"] == "twosided"
    assert "filter_type" not in material_dict(Material(opacity_texture=CHECKER * 0.5), True)["opacity"]
    glass = material_dict(Material(transmission=1.0), False)
    assert glass["type"] == "principled" and glass["spec_trans"] == 1
    bumpy = material_dict(Material(normal_texture=np.full((4, 4, 3), 0.5, np.float32)), True)
    assert bumpy["bsdf"]["type"] == "normalmap"


def test_names_of_materials_say_what_they_are():
    lamp = simple_asset("sphere", Material(emission=(1, 1, 1), roughness_texture=CHECKER * 0.5 + 0.2))
    box = simple_asset("box", Material(opacity=0.5))
    built = build(scene_of(placed(lamp), placed(box, x=0.8, name="b")))
    names = material_names(built.params)
    assert {(n.part, n.kind) for n in names} == {
        ("object0_part0", k) for k in ("base_color", "roughness", "metallic", "emission")} | {
        ("object1_part0", k) for k in ("base_color", "roughness", "metallic")}
    assert all(n.key in built.params for n in names) and len({n.key for n in names}) == len(names)
    assert [n.key.rpartition(".")[2] for n in names if n.kind == "roughness"] == ["data", "value"]
    assert built.keys == (shape_key(0, 0), shape_key(1, 0)) and built.masked and built.emissive


def test_spheres_hold_their_objects():
    built = build(scene_of(placed(simple_asset("sphere")), placed(simple_asset("box"), x=1.5, name="b")))
    for (index, part) in built.parts:
        centre, radius = built.spheres[index]
        assert np.linalg.norm(part.vertices - centre, axis=1).max() <= radius * (1 + 1e-6)
        assert np.linalg.norm(part.vertices - built.center, axis=1).max() <= built.radius * (1 + 1e-6)


def test_vertices_that_are_not_finite_are_refused():
    bad = Part("p", np.array([[0, 0, 3], [1, 0, 3], [0, np.nan, 3]], np.float32), np.array([[0, 1, 2]], np.uint32))
    with pytest.raises(SceneError, match="NaN or infinite vertices"):
        build(scene_of(PlacedAsset(Asset((bad,)), np.eye(4))))


def test_objects_that_moved_stand_in_the_loaded_scene():
    ball, box = simple_asset("sphere"), simple_asset("box")
    here, there = scene_of(placed(ball), placed(box, x=0.8)), scene_of(placed(ball, x=0.3, yaw_rad=1.0), placed(box))
    built = build(here)
    again, anew = moved(built, there), build(there)
    assert again.objects is built.objects
    for key in (k for k in built.params.keys() if k.endswith(("vertex_positions", "vertex_normals"))):
        np.testing.assert_array_equal(np.array(built.params[key]), np.array(anew.params[key]))
    assert again.radius == anew.radius and again.spheres[0][1] == anew.spheres[0][1]
    put(built)
    np.testing.assert_array_equal(np.array(built.params["object0_part0.vertex_positions"]).reshape(-1, 3),
                                  here.objects[0].parts[0].vertices)


def test_other_objects_do_not_stand_in_it():
    ball = simple_asset("sphere")
    built = build(scene_of(placed(ball)))
    others = (placed(simple_asset("box")), placed(simple_asset("sphere", Material(roughness=0.9))))
    assert all(moved(built, scene_of(one)) is None for one in others)
    assert moved(built, scene_of(placed(ball), placed(ball))) is None
    with pytest.raises(SceneError, match="finite"):
        moved(built, scene_of(placed(ball, x=float("nan"))))
