"""dipir.render.rays against the camera, the plane and cut-outs whose answers are known."""
from __future__ import annotations

import drjit as dr
import numpy as np
import pytest
import torch

from dipir.render.backend import mitsuba
from dipir.render.bridge import columns, to_torch
from dipir.render.mitsuba_scene import build
from dipir.render.rays import camera_ray, first_hit, pixel_position, proxy_hit, stratified_offsets, stratified_sampler
from dipir.render.rays import transmittance as passed
from dipir.scene.assets.asset import Material
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of


def card(**material):
    """An upright card in front of the camera, 3 m away."""
    return scene_of(placed(simple_asset("plane_card", Material(**material)), yaw_rad=0.0), size=32)


def rays_of(camera):
    mi = mitsuba()
    pixel = dr.arange(mi.UInt32, camera.width * camera.height)
    return camera_ray(camera, *pixel_position(camera, pixel, 0.5, 0.5))


def test_rays_are_the_cameras():
    camera = card().camera
    np.testing.assert_allclose(columns(mitsuba().Vector3f(rays_of(camera).d), 3).cpu(),
                               camera.directions().reshape(-1, 3), atol=1e-6)


def test_the_plane_is_met_where_it_is():
    scene = card()
    valid, point, normal = proxy_hit(build(scene), scene.camera, rays_of(scene.camera))
    d = scene.camera.directions().reshape(-1, 3)
    below = d[:, 1] < 0
    assert np.array_equal(np.array(valid), below)
    wanted = scene.camera.position - d[below] * (scene.camera.position[1] / d[below, 1])[:, None]
    near = np.linalg.norm(wanted, axis=1) < 50
    np.testing.assert_allclose(columns(mitsuba().Vector3f(point), 3).cpu().numpy()[below][near], wanted[near],
                               rtol=1e-4, atol=1e-4)
    assert np.array(normal).ravel().tolist() == [0, 1, 0]


@pytest.mark.parametrize("opacity", [1.0, 0.3])
def test_a_thin_card_lets_one_minus_its_opacity_pass(opacity):
    scene = card(opacity=opacity)
    built, ray = build(scene), rays_of(scene.camera)
    hit = np.array(built.objects.ray_test(ray))
    share = to_torch(passed(built, ray, mitsuba().Bool(True))).cpu().numpy()
    assert 20 < hit.sum() < len(hit)
    np.testing.assert_allclose(share[hit], 1 - opacity, atol=1e-6)
    assert (share[~hit] == 1).all()


def test_first_hits_pass_what_is_cut_out():
    """The left half of the card's texture is closed: hits are there, counted once, and none in the open half."""
    hole = np.zeros((64, 64), np.float32)
    hole[:, :32] = 1
    scene, mi = card(opacity_texture=hole), mitsuba()
    built, ray = build(scene), rays_of(scene.camera)
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(3, 32 * 32)
    si, weight = first_hit(built, ray, sampler)
    met, whole = (np.array(v).reshape(32, 32) for v in (si.is_valid(), built.objects.ray_test(ray)))
    columns_met, columns_of_card = (np.flatnonzero(v.any(0)) for v in (met, whole))
    assert not (met & ~whole).any() and len(columns_met) == pytest.approx(len(columns_of_card) / 2, abs=1)
    assert (met == (whole & np.isin(np.arange(32), columns_met))).all()
    np.testing.assert_allclose(np.array(weight)[met.ravel()], 1, rtol=1e-5)


@pytest.mark.parametrize("opacity", [0.3, 0.8])
def test_first_hits_are_as_frequent_as_a_card_is_opaque(opacity):
    """Binomial: within five standard deviations; those that count are weighted by 1 / opacity."""
    scene, mi = card(opacity=opacity), mitsuba()
    built = build(scene)
    sampler = mi.load_dict({"type": "independent"})
    sampler.seed(3, 32 * 32)
    si, weight = first_hit(built, rays_of(scene.camera), sampler)
    whole = np.array(built.objects.ray_test(rays_of(scene.camera)))
    met, weight = np.array(si.is_valid()), np.array(weight)
    assert abs(met[whole].mean() - opacity) < 5 * np.sqrt(opacity * (1 - opacity) / whole.sum())
    np.testing.assert_allclose(weight[met], 1 / opacity, rtol=1e-5)


@pytest.mark.parametrize("count", [8, 64])
def test_offsets_cover_the_pixel_evenly(count):
    """Every half of the pixel holds half of them, up to two."""
    offsets = stratified_offsets(count, 5)
    assert offsets.shape == (count, 2) and offsets.min() >= 0 and offsets.max() < 1
    for half in ((offsets[:, 0] < 0.5), (offsets[:, 1] < 0.5)):
        assert abs(half.sum() - count / 2) <= 2
    assert not np.array_equal(offsets, stratified_offsets(count, 6))


@pytest.mark.parametrize("spp, strata", [(16, 16), (64, 64)])
def test_samples_of_a_pixel_lie_in_strata(spp, strata):
    """A (0, 2)-sequence of 2^k points has one in every one of 2^k intervals."""
    first = to_torch(stratified_sampler(spp, 1, 10).next_1d()).reshape(10, spp)
    assert torch.equal((first * strata).long().sort(1).values, torch.arange(strata, device=first.device).expand(10, -1))
