"""dipir.render.light.lamp_light: a lamp's direct light is what the recorder says, and what physics says."""
from __future__ import annotations

import gc
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from dipir.render.light.lamp_light import LampLight
from dipir.render.mitsuba_scene import build, moved
from dipir.render.transport import SourceColumn
from dipir.render.transport_record import TransportSettings
from dipir.scene.assets.asset import Asset, Material, Part
from dipir.scene.camera import Camera
from dipir.scene.light import azimuth_elevation_deg
from dipir.scene.proxy import PlacedAsset, Proxy
from dipir.scene.scene import Scene
from dipir.scene.source import Source
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, grey_plate, placed, scene_of, sphere_scene

HALF = np.zeros((16, 16), np.float32)
HALF[:, ::2] = 1
KINDS = {**MATERIALS, "glass": Material(base_color=(1, 1, 1), roughness=0.2, transmission=1.0),
         "shiny": Material(base_color=(0.9, 0.9, 0.9), roughness=0.2, metallic=1.0),
         "cut-out": Material(opacity_texture=HALF), "translucent": Material(opacity=0.5)}


def lamp(direction=(-0.6, 0.66, -0.5), sigma: float = 0.0023, irradiance=(1.0, 1.0, 1.0)) -> Source:
    return Source(normalize(torch.tensor(direction), dim=0), torch.tensor(irradiance), sigma)


def two_objects(material: Material, proxy: Proxy = Proxy()) -> Scene:
    box = simple_asset("box", Material(base_color=(0.15, 0.6, 0.2), roughness=0.6))
    return scene_of(placed(simple_asset("sphere", material), x=-0.2, name="s"), placed(box, x=0.5, z=3.1, name="b"),
                    proxy=proxy)


def slope() -> Part:
    """A catcher that rises to the left and away."""
    v = np.array([[-3, -0.5, 0], [3, 0.4, 0], [3, 0.6, 9], [-3, -0.3, 9]], np.float32)
    return Part("slope", v, np.array([[0, 2, 1], [0, 3, 2]], np.uint32))


def dense(column: SourceColumn, pixels: int) -> torch.Tensor:
    return torch.zeros(pixels).index_put((column.shadow_pixels,), column.blocked)


def both(scene: Scene, source: Source, samples: int = 32) -> tuple[SourceColumn, SourceColumn]:
    """(ours, the recorder's): the latter without bounces."""
    built, settings = build(scene), TransportSettings(samples=samples, depth=1, bsdf_samples=8)
    return (LampLight(built, scene.camera, settings).direct(source),
            SourceColumn.record(built, scene.camera, settings, source))


@pytest.mark.parametrize("sigma", [0.0023, 0.05])
@pytest.mark.parametrize("material", list(KINDS))
def test_direct_light_is_what_the_recorder_records_without_bounces(material, sigma):
    scene = two_objects(KINDS[material])
    ours, theirs = both(scene, lamp(sigma=sigma))
    assert ours.object_map.shape == theirs.object_map.shape
    torch.testing.assert_close(ours.object_map.sum(0), theirs.object_map.sum(0), rtol=0.05, atol=0)
    # A highlight is many times as bright as white and a pixel wide; in it both are noisy.
    gap = ours.object_map.clamp_max(0.5) - theirs.object_map.clamp_max(0.5)
    assert float(gap.square().mean().sqrt()) < 0.1 * float(theirs.object_map.clamp_max(0.5).square().mean().sqrt())
    dark, other = dense(ours, 576), dense(theirs, 576)
    assert float(ours.lit) == pytest.approx(float(theirs.lit), rel=3e-3)
    assert float(dark.sum()) == pytest.approx(float(other.sum()), rel=0.02)
    assert float((dark - other).square().mean().sqrt()) < 0.04 * float(theirs.lit)


def test_a_mesh_is_lit_by_its_slope_and_shadowed():
    scene = two_objects(KINDS["diffuse"], Proxy(slope()))
    ours, theirs = both(scene, lamp())
    torch.testing.assert_close(ours.lit, theirs.lit, rtol=5e-3, atol=5e-4)
    assert float(ours.lit.std()) > 0 and len(ours.lit) == 576
    gap = dense(ours, 576) - dense(theirs, 576)
    assert float(gap.square().mean().sqrt()) < 0.04 * float(ours.lit.max()) and float(ours.blocked.max()) > 0


def test_a_white_matte_surface_that_faces_the_sun_has_radiance_irradiance_over_pi():
    card = simple_asset("plane_card", Material(base_color=(1, 1, 1), roughness=1.0, specular=0.01))
    low, high = card.bounds
    scene = scene_of(PlacedAsset(card, np.eye(4) + np.array([[0, 0, 0, 0], [0, 0, 0, 0.4], [0, 0, 0, 3], [0] * 4])))
    column = LampLight(build(scene), scene.camera, TransportSettings(samples=4)).direct(lamp((0.0, 0.0, -1.0)))
    inside = column.object_map[(column.object_map > 0.3).all(1)]
    # Burley's term differs from Lambert's by what the card is seen aslant.
    assert len(inside) > 30 and float(inside.mean()) == pytest.approx(1 / math.pi, rel=0.01)


def pole(size: float, height: float) -> Scene:
    box = simple_asset("box")
    pose = np.diag([size, height, size, 1.0])
    pose[:3, 3] = (0.0, 0.0, 4.0)
    camera = Camera.looking(160, 120, 55, 2.5, 25)
    return Scene(grey_plate(160, 120), camera, (PlacedAsset(box, pose, "pole"),))


@pytest.mark.parametrize("azimuth, elevation", [(40, 45), (-70, 35), (150, 50), (100, 60)])
def test_the_tip_of_a_poles_shadow_is_where_geometry_puts_it(azimuth, elevation):
    """By azimuth and elevation in the words of a person: opposite to the light, height / tan(elevation) long."""
    scene, height = pole(0.03, 0.8), 0.8
    a, e = math.radians(azimuth), math.radians(elevation)
    # Azimuth 0 is at the camera (-Z), +90 at the picture's right (-X).
    foot, towards, length = np.array([0.0, 0.0, 4.0]), np.array([-math.sin(a), 0.0, -math.cos(a)]), height / math.tan(e)
    source = lamp(tuple(math.cos(e) * towards + [0, math.sin(e), 0]))
    assert azimuth_elevation_deg(source.direction) == pytest.approx((azimuth, elevation), abs=1e-3)
    column = LampLight(build(scene), scene.camera, TransportSettings(samples=16)).direct(source)
    (start, tip), _ = scene.camera.project(np.stack([foot, foot - length * towards]))
    dark = column.blocked > 0.3 * column.lit
    pixels = column.shadow_pixels[dark].numpy()
    points = np.stack([pixels % 160 + 0.5, pixels // 160 + 0.5], 1)
    along = (tip - start) / np.linalg.norm(tip - start)
    reach = ((points - start) @ along).max()
    across = np.abs((points - start) @ np.array([-along[1], along[0]]))
    assert abs(reach - np.linalg.norm(tip - start)) < 2.0 and across.max() < 3.0


@pytest.mark.parametrize("sigma", [0.02, 0.05, 0.1])
def test_a_wide_lamp_has_a_penumbra_of_the_right_width(sigma):
    """A level board 1 m above the ground under a lamp in the zenith: along a line across its edge the light comes back
    as the part of a disc beside a straight edge does, from a tenth to nine tenths within 1.374 radii."""
    corners = np.array([[-9, 1, 0], [0, 1, 0], [0, 1, 9], [-9, 1, 9]], np.float32)
    board = Part("board", corners, np.array([[0, 1, 2], [0, 2, 3]], np.uint32))
    camera = Camera.looking(256, 8, 40, 3.0, 60)
    scene = Scene(grey_plate(256, 8), camera, (PlacedAsset(Asset((board,)), np.eye(4)),))
    column = LampLight(build(scene), camera, TransportSettings(samples=16)).direct(lamp((0.0, 1.0, 0.0), sigma))
    lit = (1 - dense(column, 256 * 8) / column.lit).reshape(8, 256)
    x, y = np.meshgrid(np.arange(256) + 0.5, np.arange(8) + 0.5)
    rays = camera.directions(np.stack([x, y], -1))
    across = torch.from_numpy(camera.position[0] + rays[..., 0] * camera.position[1] / -rays[..., 1]).float()
    # Only where the board does not hide the ground from us: hidden pixels still know their shadow.
    edges = torch.linspace(-0.6, 0.6, 121)
    middle = (edges[1:] + edges[:-1]) / 2
    share = torch.stack([lit[(across >= a) & (across < b)].mean() for a, b in zip(edges[:-1], edges[1:], strict=True)])
    found = float(middle[share > 0.9].min() - middle[share < 0.1].max())
    assert found == pytest.approx(1.374 * math.tan(2 * sigma), abs=0.025)
    assert float(share[:10].max()) == 0 and float(share[-10:].min()) == 1


def test_kernels_are_played_back_and_a_lamp_is_the_same_lamp_again():
    scene = two_objects(KINDS["glossy"])
    light = LampLight(build(scene), scene.camera, TransportSettings(samples=4))
    first = light.direct(lamp())
    light.direct(lamp((0.5, 0.7, 0.1), 0.1))
    again = light.direct(lamp(irradiance=(9.0, 1.0, 2.0)))
    assert light._shine.able and light._shadow.able
    assert torch.equal(first.object_map, again.object_map) and torch.equal(first.blocked, again.blocked)
    traced = LampLight(light.built, scene.camera, TransportSettings(samples=4))
    traced._shine.able = traced._shadow.able = False
    plain = traced.direct(lamp())
    assert torch.equal(first.object_map, plain.object_map) and torch.equal(first.blocked, plain.blocked)


def test_grain_stands_still_while_a_lamp_is_dragged():
    """The noise of two lamps a hair apart is the same noise: their difference is far smaller than it."""
    scene = sphere_scene(size=48)
    light = LampLight(build(scene), scene.camera, TransportSettings(samples=2))
    one, two = (dense(light.direct(lamp((x, 0.66, -0.5), 0.1)), 48 * 48) for x in (-0.6, -0.6005))
    finer = LampLight(light.built, scene.camera, TransportSettings(samples=64))
    noise = one - dense(finer.direct(lamp(sigma=0.1)), 48 * 48)
    assert float((one - two).square().mean()) < 0.05 * float(noise.square().mean())


def test_a_lamp_below_the_horizon_reaches_no_ground():
    scene = sphere_scene()
    light = LampLight(build(scene), scene.camera, TransportSettings(samples=2))
    column = light.direct(lamp((0.3, -0.2, -0.9)))
    assert len(column.blocked) == 0 and float(column.lit) == 0 and float(column.object_map.max()) > 0
    # Half of a wide one is above it: a disc's half has a mean height of 4 / (3 pi) radii, halved by the other half.
    half = light.direct(lamp((0.0, 0.0, -1.0), 0.05))
    assert float(half.lit) * math.pi == pytest.approx(0.1 * 2 / (3 * math.pi), rel=0.02)


def test_bounces_add_light_where_things_stand_close():
    scene = two_objects(KINDS["diffuse"])
    light = LampLight(build(scene), scene.camera, TransportSettings(samples=16, bsdf_samples=16))
    direct, full = light.direct(lamp()), light.full(lamp())
    known = SourceColumn.record(light.built, scene.camera, light.settings, lamp())
    torch.testing.assert_close(full.object_map, known.object_map)
    assert torch.equal(full.blocked, direct.blocked) and torch.equal(full.shadow_pixels, direct.shadow_pixels)
    assert 1.01 < float(full.object_map.sum() / direct.object_map.sum()) < 1.5


def test_of_two_scenes_in_one_each_sees_its_own():
    scene = sphere_scene()
    there = Scene(scene.plate, scene.camera, (placed(scene.objects[0].asset, x=0.4, z=3.3),))
    here = LampLight(build(scene), scene.camera, TransportSettings(samples=4))
    before = here.direct(lamp())
    built = moved(here.built, there)
    shifted = LampLight(built, scene.camera, TransportSettings(samples=4)).direct(lamp())
    anew = LampLight(build(there), scene.camera, TransportSettings(samples=4)).direct(lamp())
    after = here.direct(lamp())
    for one, other in ((before, after), (shifted, anew)):
        assert torch.equal(one.object_map, other.object_map) and torch.equal(one.blocked, other.blocked)
    assert not torch.equal(before.shadow_pixels, shifted.shadow_pixels)


def test_scenes_that_are_given_back_meanwhile_do_no_harm():
    """Python collects scenes whenever it likes; in the middle of a recording that would abort the process."""
    known = gc.get_threshold()
    try:
        for _ in range(3):
            dropped = {"scene": LampLight(build(sphere_scene()), sphere_scene().camera, TransportSettings(samples=1))}
            dropped["scene"].direct(lamp())
            dropped["itself"] = dropped
            scene = two_objects(KINDS["glossy"])
            light = LampLight(build(scene), scene.camera, TransportSettings(samples=1))
            del dropped
            gc.set_threshold(1)
            column = light.direct(lamp())
            gc.set_threshold(*known)
            assert light._shine.able and float(column.object_map.sum()) > 0
    finally:
        gc.set_threshold(*known)
    assert gc.isenabled()
