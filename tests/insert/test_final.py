"""The final picture: how many samples, and what is said where nothing can denoise."""
from __future__ import annotations

import pytest
import torch

from dipir.image.tone import ToneCurve
from dipir.insert import final as insert_final
from dipir.insert.config import FinalSettings, load_config
from dipir.render import denoise
from dipir.render.gbuffer import PixelBox
from dipir.scene.light import SphericalGaussians
from tests.support.scenes import sphere_scene

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
