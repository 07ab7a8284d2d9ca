"""The final picture: how many samples, and what is said where nothing can denoise."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.tone import ToneCurve
from dipir.insert import final as insert_final
from dipir.insert.config import FinalSettings, load_config
from dipir.render import denoise
from dipir.render.gbuffer import PixelBox
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.render.transport import Transport, TransportSettings
from dipir.scene.light import SphericalGaussians
from dipir.scene.source import SUN_SIGMA, Source
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import MATERIALS, placed, scene_of, sphere_scene

PLAIN = (ToneCurve.identity(), ToneCurve.identity())


@pytest.mark.parametrize("side, samples", [(64, 128), (700, 64), (4000, 32)])
def test_small_objects_get_more_samples(side, samples):
    """Four times as many at most, what the budget gives between, never fewer than the shadow's."""
    assert insert_final.object_samples(32, PixelBox(0, 0, side, side, (side, side))) == samples


def test_without_a_denoiser_there_are_more_samples_and_a_remark(monkeypatch):
    monkeypatch.setattr(denoise, "available", lambda: None)
    spp, denoised, (note,) = insert_final.final_quality(FinalSettings(spp=8))
    assert (spp, denoised) == (32, False) and "32 samples a pixel instead of 8" in note and "pyoidn" in note
    assert insert_final.final_quality(FinalSettings(spp=8, denoise=False)) == (8, False, [])


@pytest.mark.skipif(denoise.available() is None, reason="no denoiser")
def test_denoising_is_a_setting(monkeypatch):
    """The denoiser is asked once, or not at all."""
    asked = []
    real = denoise.denoise_passes
    monkeypatch.setattr(denoise, "denoise_passes", lambda *given: asked.append(1) or real(*given))
    light, pictures = SphericalGaussians.uniform(torch.ones(3), 8), {}
    for wanted in ("true", "false"):
        config = load_config("default", None, [f"final.denoise={wanted}", "final.spp=4", "final.env_height=32"])
        passes = insert_final.final_picture(sphere_scene(size=48), light, PLAIN, config, lambda event: None).passes
        pictures[wanted] = passes.object_rgb
    assert asked == [1] and not torch.equal(pictures["true"], pictures["false"])


def sun_at(elevation_deg: float) -> Source:
    """From behind the subject."""
    e = math.radians(elevation_deg)
    return Source(torch.tensor([0.0, math.sin(e), math.cos(e)]), torch.tensor([3.0, 2.5, 2.0]))


def test_the_final_map_is_finer_for_a_sun_alone():
    """As many rows as ever without one; with one the same energy, the rest as it was, the sun within a texel or two."""
    wide, sun = SphericalGaussians.uniform(torch.tensor([0.3, 0.4, 0.5])), sun_at(45)
    plain = insert_final.final_map(wide, 64, 256)
    assert torch.equal(plain, wide.envmap(64, 128))
    fine = insert_final.final_map(wide.joined(sun.lobe()), 64, 256)
    share = latlong.solid_angles(256, 512)[..., None]
    torch.testing.assert_close((fine * share).sum((0, 1)), wide.energy.sum(0) + sun.irradiance, rtol=1e-3, atol=0)
    rays = latlong.directions(256, 512)
    away = rays @ sun.direction < math.cos(math.radians(4))
    torch.testing.assert_close(fine[away], plain.repeat_interleave(4, 0).repeat_interleave(4, 1)[away])
    ground = (fine * share * rays[..., 1:2].clamp_min(0)).sum((0, 1))
    around = (wide.envmap(256, 512) * share * rays[..., 1:2].clamp_min(0)).sum((0, 1))
    exact = around + sun.irradiance * sun.direction[1]
    torch.testing.assert_close(ground, exact, rtol=0.005, atol=0)


@pytest.mark.parametrize("direction", [(0.3, 0.5, -0.8), (0.0, 1.0, -0.05), (-0.001, 0.4, -0.9)])
def test_a_surface_receives_of_a_sun_in_a_map_what_the_sun_sends(direction):
    """Path traced under the final map, beside its disc recorded without any map: less than 1 % apart; also near the
    pole and at the seam."""
    sun = Source(torch.nn.functional.normalize(torch.tensor(direction), dim=0), torch.tensor([3.0, 2.5, 2.0]))
    scene = sphere_scene(size=32)
    traced = PathTracer(scene).passes(insert_final.final_map(sun.lobe(), 256, 1536), spp=512)
    recorded = Transport.record(scene, settings=TransportSettings(samples=32), source=sun).passes(
        torch.zeros(16, 32, 3), irradiance=sun.irradiance)
    got, want = (p.object_rgb.sum((2, 3)) / p.alpha.sum() for p in (traced, recorded))
    torch.testing.assert_close(got, want, rtol=0.01, atol=0)


def test_the_penumbra_is_the_suns():
    """The shadow of a box's upper edge on the ground, 1.1 m away, looked at from near: width and place against the
    sun's disc; in the default number of rows no more than 1.35 times as wide."""
    sun, scene = sun_at(45), scene_of(placed(simple_asset("box", MATERIALS["diffuse"]), yaw_rad=0.0), size=256)
    corners = np.concatenate([p.vertices for p in scene.objects[0].parts])
    height, tip = corners[:, 1].max(), corners[:, 2].min() - corners[:, 1].max()
    (x, y), = scene.camera.project(np.array([[0.0, 0.0, tip]]))[0]
    near = scene.camera.crop(float(x) - 3, float(y) - 3, 6, 6, 48, 48)
    radiance = insert_final.final_map(sun.lobe(), 256, FinalSettings().sun_rows)
    ratio = PathTracer(scene, near, RenderSettings(even=True)).passes(radiance, spp=256).shadow_ratio[0, 1, :, 20:28]
    rays = near.directions(np.stack([np.full(48, 24.0), np.arange(48) + 0.5], -1))
    z = torch.from_numpy(near.position[2] - near.position[1] / rays[:, 1] * rays[:, 2])
    step, middle = ratio.mean(1).double().diff().abs(), (z[1:] + z[:-1]) / 2
    place = (step * middle).sum() / step.sum()
    width = ((step * (middle - place) ** 2).sum() / step.sum()).sqrt()
    # On the ground: the angle times the distance, over the sine of the elevation.
    exact = SUN_SIGMA * height / math.sin(math.radians(45)) ** 2
    assert 0.9 * exact < float(width) < 1.35 * exact
    assert abs(float(place) - tip) < 0.2 * exact
    assert float(ratio.max()) > 0.99 and float(ratio.min()) < 0.01


def test_a_sun_makes_no_fireflies():
    """Few samples of a shiny thing and its shadow under a sun of one texel or two: no pixel far above the same with
    many."""
    scene, light = sphere_scene("glossy", size=48), SphericalGaussians.uniform(torch.full((3,), 0.2))
    radiance = insert_final.final_map(light.joined(sun_at(50).lobe()), 256, 1024)
    tracer = PathTracer(scene, settings=RenderSettings(even=True))
    few, many = (tracer.passes(radiance, spp=spp) for spp in (16, 512))
    assert float(few.object_rgb.max()) < 2 * float(many.object_rgb.max())
    assert float((few.shadow_ratio - many.shadow_ratio).abs().max()) < 0.5
    assert float((few.object_rgb - many.object_rgb).abs().mean()) < 0.2 * float(many.object_rgb.mean())
