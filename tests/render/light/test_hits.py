"""dipir.render.light.hits: what is kept is what the other renderers see."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.render.bridge import columns, flags, to_torch
from dipir.render.gbuffer import record_gbuffers
from dipir.render.light.hits import GroundHits, ObjectHits
from dipir.render.mitsuba_scene import build
from dipir.render.transport_record import Recorder, TransportSettings
from dipir.scene.assets.asset import Material
from dipir.scene.camera import Camera
from dipir.scene.scene import Scene
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import grey_plate, placed, scene_of, sphere_scene

SETTINGS = TransportSettings(samples=8, bsdf_samples=0, depth=1)


def coverage(scene) -> tuple[torch.Tensor, torch.Tensor]:
    """(of the hits, of the G-buffers), both (H W,)."""
    built, camera = build(scene), scene.camera
    hits = ObjectHits.trace(built, camera, SETTINGS)
    found = torch.zeros(camera.width * camera.height)
    found[hits.pixels] = flags(hits.si.is_valid()).reshape(-1, hits.lanes).mean(1)
    return found, record_gbuffers(built, camera, SETTINGS.samples, SETTINGS.seed).alpha.flatten()


def test_coverage_and_pixels_are_those_of_the_transport():
    scene = sphere_scene(size=32)
    found, alpha = coverage(scene)
    assert torch.equal(found, alpha) and 0 < int(((alpha > 0) & (alpha < 1)).sum())
    _, pixels = Recorder(build(scene), scene.camera, SETTINGS).object_map()
    assert torch.equal(pixels, (alpha > 0).nonzero()[:, 0])


def test_translucent_parts_are_met_as_often_as_they_are_opaque():
    found, alpha = coverage(scene_of(placed(simple_asset("sphere", Material(opacity=0.3))), size=32))
    whole, _ = coverage(scene_of(placed(simple_asset("sphere")), size=32))
    # Both sides of the ball may be met: 1 - 0.7^2.
    assert float(found[whole == 1].mean()) == pytest.approx(0.51, abs=0.03)
    assert float(found.sum()) == pytest.approx(float(alpha.sum()), rel=0.05)


def test_the_ground_is_met_where_it_is_and_nowhere_above_the_horizon():
    camera = Camera.looking(24, 32, 50, 1.2, 5.0)
    scene = Scene(grey_plate(24, 32), camera, sphere_scene().objects)
    built = build(scene)
    hits = GroundHits.trace(built, camera, SETTINGS)
    valid = flags(hits.valid).reshape(-1, 8)
    cover = record_gbuffers(built, camera, 8, SETTINGS.seed).ground.flatten()
    assert torch.equal(valid.mean(1), cover) and 0 < float(cover.mean()) < 1
    origin = columns(hits.origin, 3).reshape(-1, 8, 3)[cover == 1]
    assert float(origin[..., 1].abs().max()) < 2e-4 * built.radius
    uv, depth = camera.project(origin.double().numpy())
    pixel = to_torch(hits.slot).reshape(-1, 8)[cover == 1].numpy()
    assert (depth > 0).all() and np.mean(np.floor(uv[..., 1]) * 24 + np.floor(uv[..., 0]) == pixel) > 0.99
