"""Cases of the relighting benchmark."""
from __future__ import annotations

import pytest
import torch

from benchmarks.relight import cases as relight_cases
from dipir.image.color import srgb_to_linear
from dipir.scene.direction import LightDirection
from dipir.workshop.relight.data import decode


def test_cases_have_the_true_light_at_the_inputs_brightness(scenes, all_cases):
    assert len(all_cases) == 16 and all(c.open for c in all_cases)
    first = [c for c in all_cases if c.scene == 0]
    assert all(torch.equal(c.image, first[0].image) for c in first)
    mixed = decode(scenes.lit[0]) + relight_cases.AMBIENT * decode(scenes.sky[0])
    for picture, light in ((first[0].image, 0), (first[2].target, -8 + 2)):
        inside = picture[0] < 0.99
        gain = (srgb_to_linear(picture)[0] / mixed[light])[inside]
        assert float(gain.std() / gain.mean()) < 2e-3
    assert float(srgb_to_linear(first[2].target).mean() / srgb_to_linear(first[0].image).mean()) == pytest.approx(
        1, abs=0.05)
    assert first[2].direction == LightDirection(90.0, 25.0)


def test_the_ramp_is_brighter_on_the_asked_side():
    grey = torch.full((1, 3, 32, 32), 0.4)
    right = relight_cases.ramp(grey, LightDirection(90, 0), 0.3)
    assert float(right[..., -1].mean()) > 0.45 > 0.35 > float(right[..., 0].mean())
    above = relight_cases.ramp(grey, LightDirection(0, 80), 0.3)
    assert float(above[..., 0, :].mean()) > 0.45 > float(above[..., -1, :].mean())
