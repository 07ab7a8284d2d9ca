"""Glass: energy, refraction, and that both renderers and the files agree on it."""
from __future__ import annotations

import pytest
import torch

from dipir.errors import ConfigError
from dipir.image import latlong
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.assets.asset import Material
from dipir.scene.scene_file import MaterialOverride, override_material
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of

GLASS = Material(base_color=(1, 1, 1), roughness=0.05, specular=0.5, transmission=1.0)


def ball(depth: int = 12):
    scene = scene_of(placed(simple_asset("sphere", GLASS)))
    return scene, PathTracer(scene, settings=RenderSettings(depth=depth), gbuffer_samples=4)


def test_white_furnace():
    """Clear glass under even light shows that light: nothing is lost but what rough microfacets and the longest path
    lose."""
    _, tracer = ball()
    rgb, alpha = tracer.object_pass(torch.ones(16, 32, 3), seed=1, spp=256)
    seen = float((rgb * (alpha == 1)).sum() / (3 * (alpha == 1).sum()))
    assert 0.95 < seen < 1.005


def test_a_ball_turns_what_is_behind_it_upside_down():
    """Behind it light is red above and blue below; a solid ball of glass shows blue above. As a mirror ball it shows
    neither."""
    scene, tracer = ball()
    rays = latlong.directions(64, 128)
    behind = rays @ torch.from_numpy(scene.camera.to_world[:3, 2]).float() > 0.3
    up = torch.from_numpy(scene.camera.to_world[:3, 1]).float()
    light = torch.zeros(64, 128, 3)
    light[..., 0], light[..., 2] = behind & (rays @ up > 0), behind & (rays @ up <= 0)
    rgb, alpha = tracer.object_pass(light + 1e-6, seed=2, spp=256)
    rows = (alpha[0, 0] > 0.99).nonzero()[:, 0]
    middle = (int(rows.min()) + int(rows.max())) // 2
    top, bottom = rgb[0, :, :middle].sum((1, 2)), rgb[0, :, middle + 1:].sum((1, 2))
    assert top[2] > 3 * top[0] and bottom[0] > 3 * bottom[2]


def test_both_renderers_agree():
    scene, tracer = ball(depth=4)
    light = torch.rand(8, 16, 3, generator=torch.Generator().manual_seed(0)) + 0.2
    traced = sum(tracer.object_pass(light, seed=s, spp=256)[0] for s in range(4)) / 4
    recorded = Transport.record(scene, settings=TransportSettings(env_height=8, samples=32, bsdf_samples=8,
                                                                  depth=4)).passes(light).object_rgb
    assert float((traced - recorded).mean().abs() / traced.mean()) < 0.05


def test_a_scene_file_makes_glass():
    assert override_material(Material(), MaterialOverride(transmission=1.0)).transmission == 1
    assert override_material(GLASS, MaterialOverride(roughness=0.5)).transmission == 1
    with pytest.raises((ConfigError, ValueError), match="transmission"):
        MaterialOverride(transmission=1.5)
