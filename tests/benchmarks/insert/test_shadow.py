"""The cast shadow's measures against shadows that are known: drawn ones of a box, and a rendered one under a sun."""
from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmarks.insert import shadow as s
from dipir.scene.assets.asset import Asset, Part
from dipir.scene.proxy import PlacedAsset
from tests.support.scenes import sphere_scene, sunny


def box(width: float = 1.0, height: float = 1.0, at=(0.0, 0.0), name: str = "box") -> PlacedAsset:
    """A box that stands on the ground, seen from +Z by nobody."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (0, 2) for z in (-1, 1)], np.float32) / 2
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
             [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    part = Part("box", corners * np.float32([width, height, width]), np.array(faces, np.uint32))
    pose = np.eye(4)
    pose[[0, 2], 3] = at
    return PlacedAsset(Asset((part,)), pose, name)


def drawn(plan: s.Plan, objects, direction_deg: float, elevation_deg: float, ratio: float, blur: float = 0.0):
    """(1, 3, H, W): the shadow of boxes that falls to ``direction_deg`` (about +Y from +Z towards +X), its edge blurred
    by ``blur`` heights."""
    fine = 4
    dark = np.zeros((s.SIDE * fine, s.SIDE * fine), np.uint8)
    reach = 1 / math.tan(math.radians(elevation_deg))
    towards = np.array([math.sin(math.radians(direction_deg)), math.cos(math.radians(direction_deg))])
    for o in objects:
        v = np.concatenate([p.vertices for p in o.parts]).astype(float)
        ground = np.stack([v[:, 0], np.zeros(len(v)), v[:, 2]], 1)
        ground[:, [0, 2]] += v[:, 1:2] * reach * towards
        uv, _ = plan.camera.project(ground)
        hull = cv2.convexHull((uv * fine).astype(np.float32))
        cv2.fillConvexPoly(dark, hull.round().astype(np.int32), 1)
    small = dark.reshape(s.SIDE, fine, s.SIDE, fine).mean((1, 3))
    small = ndimage.gaussian_filter(small, blur * plan.height_px) if blur else small
    return torch.from_numpy(1 - (1 - ratio) * small).float().expand(1, 3, -1, -1)


BOX = box()
PLAN = s.Plan.of([BOX])


@pytest.mark.parametrize("direction_deg", [-170.0, -60.0, 0.0, 45.0, 100.0])
@pytest.mark.parametrize("elevation_deg", [30.0, 50.0])
def test_direction_and_darkness_of_a_drawn_shadow(direction_deg, elevation_deg):
    got = s.cast(drawn(PLAN, [BOX], direction_deg, elevation_deg, 0.2), PLAN)
    assert abs((got.direction_deg - direction_deg + 180) % 360 - 180) < 3
    assert got.darkest == pytest.approx(0.2, abs=0.01) and got.hard and 0.6 < got.hardness <= 0.82


@pytest.mark.parametrize("blur", [0.1, 0.2])
def test_penumbra_of_a_blurred_edge(blur):
    """An edge blurred by a Gaussian goes from 20 to 80 % over 1.683 of its sigmas."""
    wide = box(3.0, 1.0)
    plan = s.Plan.of([wide])
    got = s.cast(drawn(plan, [wide], 45, 35, 0.3, blur), plan)
    assert got.penumbra == pytest.approx(2 * 0.8416 * blur, rel=0.15)
    assert got.hardness < s.cast(drawn(plan, [wide], 45, 35, 0.3), plan).hardness


def test_a_sharp_edge_is_a_pixel_wide_and_a_deep_shadow_harder():
    got = [s.cast(drawn(PLAN, [BOX], 30, 40, ratio), PLAN) for ratio in (0.1, 0.5, 0.9)]
    assert all(g.penumbra < 3 / PLAN.height_px for g in got)
    assert got[0].hardness > got[1].hardness > got[2].hardness
    assert [g.hard for g in got] == [True, True, False]


def test_no_shadow_points_nowhere():
    got = s.cast(torch.ones(1, 3, s.SIDE, s.SIDE), PLAN)
    assert got == s.CastShadow(None, 1.0, s.WIDEST, 0.0)
    ring = ndimage.gaussian_filter((~PLAN.beside).astype(float), 6)
    got = s.cast(torch.from_numpy(1 - 0.5 * ring).float().expand(1, 3, -1, -1), PLAN)
    assert got.direction_deg is None and not got.hard


def test_what_even_light_does_has_no_direction():
    """A lopsided contact shadow alone points nowhere; a sun beside it points where it should."""
    lopsided = np.zeros((s.SIDE, s.SIDE))
    lopsided[80:100, 100:125] = 0.5
    contact = torch.from_numpy(1 - lopsided).float()
    alone = s.cast(contact.expand(1, 3, -1, -1), PLAN, even=lopsided)
    assert alone.direction_deg is None and s.cast(contact.expand(1, 3, -1, -1), PLAN).direction_deg is not None
    both = s.cast(torch.minimum(contact, drawn(PLAN, [BOX], 120, 40, 0.1)), PLAN, even=lopsided)
    assert abs(both.direction_deg - 120) < 8


def test_pieces_throw_their_own_shadows():
    """Two boxes far apart: the taller one's longer shadow does not turn the direction towards its place."""
    pair = [box(0.5, 1.0, (-1.2, 0.0)), box(0.5, 0.6, (1.2, 0.4))]
    plan = s.Plan.of(pair)
    got = s.cast(drawn(plan, pair, 0.0, 50, 0.2), plan)
    assert abs(got.direction_deg) < 4


def test_the_tone_curve_counts():
    ratio = drawn(PLAN, [BOX], 30, 40, 0.4)
    assert s.cast(ratio, PLAN, lambda x: x**2).darkest == pytest.approx(0.16, abs=0.01)


def test_the_plan_is_seen_from_above():
    """World +Z is up in the picture, +X left, the object in the middle; the ground below it is left out."""
    uv, _ = PLAN.camera.project(np.array([[0.0, 0, 0], [0.0, 0, 1.0], [1.0, 0, 0]]))
    assert uv[0] == pytest.approx([s.SIDE / 2, s.SIDE / 2], abs=1e-6)
    assert uv[1] == pytest.approx([s.SIDE / 2, s.SIDE / 2 - PLAN.height_px], abs=1e-3)
    assert uv[2] == pytest.approx([s.SIDE / 2 - PLAN.height_px, s.SIDE / 2], abs=1e-3)
    middle = s.SIDE // 2
    assert not PLAN.beside[middle, middle] and PLAN.beside[0, 0]
    assert PLAN.area_px == pytest.approx(PLAN.height_px**2, rel=0.1)


def test_errors_by_hand():
    want = s.CastShadow(179.0, 0.2, 0.05, 0.7)
    row = s.shadow_figures(s.CastShadow(-178.0, 0.4, 0.2, 0.3), want)
    assert row == {"hardness": 0.3, "cast_deg": pytest.approx(3), "penumbra_log2": pytest.approx(2),
                   "darkest_log2": pytest.approx(1)}
    assert s.shadow_figures(s.CastShadow(None, 1.0, 1.0, 0.0), want)["cast_deg"] == s.NOWHERE_DEG
    soft = s.shadow_figures(want, replace(want, hardness=0.1))
    assert soft["cast_deg"] is None and soft["penumbra_log2"] is None and soft["darkest_log2"] == 0
    black = s.shadow_figures(replace(want, darkest=0.0), replace(want, darkest=0.001))
    assert black["darkest_log2"] == 0  # Both are black to an eye.


def test_a_rendered_shadow_falls_away_from_the_sun():
    """Physics: the sun's azimuth turned by half a circle, and as dark as the share of the sky that is left."""
    from dipir.render.mitsuba_scene import build
    from dipir.scene.light import dominant_direction

    scene = sphere_scene("diffuse", size=48)
    plan, built = s.Plan.of(scene.objects), build(scene)
    ratios = []
    for sun in ((0.6, 0.7, 0.3), (-0.5, 0.8, 0.2)):
        true = sunny(sun, 64)
        x, _, z = dominant_direction(true).tolist()
        got = s.cast(plan.ratio(built, true, 0, 32), plan)
        off = got.direction_deg - math.degrees(math.atan2(-x, -z))
        assert abs((off + 180) % 360 - 180) < 6 and got.hard
        ratios.append(plan.ratio(built, true, 1, 32))
    assert not torch.allclose(*ratios, atol=0.1)
    assert not s.cast(plan.ratio(built, torch.ones(16, 32, 3), 0, 32), plan).hard
