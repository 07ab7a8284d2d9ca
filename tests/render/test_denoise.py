"""Denoising: nearer to the truth, edges and coverage as they were, nothing changed where nothing was noisy."""
from __future__ import annotations

import pytest
import torch

from dipir.errors import MissingExtra
from dipir.render import denoise
from dipir.render.path_traced import PathTracer
from dipir.render.renderer import RenderSettings
from dipir.scene.assets.asset import Material
from dipir.workshop.things.objects import simple_asset
from tests.support.scenes import placed, scene_of, sunny

pytestmark = pytest.mark.skipif(denoise.available() is None, reason="no denoiser on this machine")
ENV = sunny((0.5, 0.6, -0.6), height=32, peak=60.0)


@pytest.fixture(scope="module")
def rendered():
    """(truth, noisy, denoised, camera) of a chequered sphere on the ground."""
    grid = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    texture = (grid[..., None].repeat(1, 1, 3) * 0.6 + 0.2).float().numpy()
    asset = simple_asset("sphere", Material(base_color_texture=texture, roughness=0.4))
    tracer = PathTracer(scene_of(placed(asset), size=128), settings=RenderSettings(16, even=True), gbuffer_samples=64)
    with torch.no_grad():
        noisy = tracer.passes(ENV, seed=1, spp=16)
        truth = tracer.passes(ENV, seed=2, spp=2048)
    return truth, noisy, denoise.denoise_passes(noisy, tracer.camera), tracer.camera


def rmse(a, b, where):
    return float((a - b).square().mean(1, keepdim=True)[where].mean().sqrt())


def test_nearer_to_the_truth(rendered):
    truth, noisy, clean, _ = rendered
    inside, shade = truth.alpha > 0, (truth.shadow_ratio != 1).any(1, keepdim=True)
    assert rmse(clean.object_rgb, truth.object_rgb, inside) < 0.75 * rmse(noisy.object_rgb, truth.object_rgb, inside)
    assert rmse(clean.shadow_ratio, truth.shadow_ratio, shade) < 0.5 * rmse(noisy.shadow_ratio, truth.shadow_ratio,
                                                                             shade)
    assert abs(float((clean.shadow_ratio - truth.shadow_ratio)[shade.expand(-1, 3, -1, -1)].mean())) < 0.002


def test_outlines_and_coverage_stay(rendered):
    """On the pixels of the outline the picture is no further from the truth than it was: nothing was smeared."""
    truth, noisy, clean, _ = rendered
    outline = (truth.alpha > 0) & (truth.alpha < 0.999)
    assert torch.equal(clean.alpha, noisy.alpha) and int(outline.sum()) > 100
    assert rmse(clean.object_rgb, truth.object_rgb, outline) < 1.05 * rmse(noisy.object_rgb, truth.object_rgb, outline)
    assert float(clean.object_rgb[(noisy.alpha == 0).expand(-1, 3, -1, -1)].abs().max()) == 0


def test_texture_edges_stay(rendered):
    """Squares of a chequered texture keep their contrast."""
    truth, _, clean, _ = rendered
    inside = torch.nn.functional.max_pool2d(1 - (truth.alpha > 0.999).float(), 5, 1, 2) == 0
    def steep(p):
        return (p.object_rgb[..., 1:] - p.object_rgb[..., :-1]).abs().mean(1, keepdim=True)[inside[..., 1:]]
    top = steep(truth) > steep(truth).quantile(0.9)
    assert float(steep(clean)[top].mean() / steep(truth)[top].mean()) > 0.93


def test_untouched_ground_is_untouched(rendered):
    _, noisy, clean, _ = rendered
    far = (noisy.shadow_ratio == 1).all(1, keepdim=True).expand(-1, 3, -1, -1)
    assert far.any() and (clean.shadow_ratio[far] == 1).all()
    assert torch.equal(clean.ground_lit, noisy.ground_lit) and clean.gbuffers is noisy.gbuffers


def test_the_same_twice(rendered):
    _, noisy, clean, camera = rendered
    again = denoise.denoise_passes(noisy, camera)
    assert torch.equal(again.object_rgb, clean.object_rgb) and torch.equal(again.ground_shadowed, clean.ground_shadowed)


def test_without_objects_nothing_is_asked(monkeypatch):
    asset = simple_asset("sphere", Material())
    tracer = PathTracer(scene_of(placed(asset, z=-300.0)), gbuffer_samples=1)
    passes = tracer.passes(ENV, spp=4)
    monkeypatch.setattr(denoise, "_run_oidn", lambda *_: pytest.fail("nothing to denoise"))
    assert torch.equal(denoise.denoise_passes(passes, tracer.camera).object_rgb, passes.object_rgb)


def test_no_library_is_one_error(monkeypatch, rendered):
    monkeypatch.setattr(denoise, "_oidn", lambda: None)
    assert denoise.available() is None
    with pytest.raises(MissingExtra, match="pip install pyoidn"):
        denoise.denoise_passes(rendered[1], rendered[3])
