"""Composites: geometry of plate and window, identity where nothing was inserted, light by hand, determinism."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.image import latlong
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.workshop import crops
from dipir.workshop.insertion import composites
from dipir.workshop.insertion.composites import CompositeConfig, Composites, draw, of_stage
from dipir.workshop.insertion.photo import PhotoConfig
from dipir.workshop.insertion.surroundings import Panoramas, Views
from tests.support.stages import card_stage

PLAIN = CompositeConfig(photo=PhotoConfig(stops=0, balance=0, saturation=0, response=0, noise=0, jpeg=0))
WORN = CompositeConfig(photo=PhotoConfig(response=1, noise=1, jpeg=1, quality=(30, 50)))


def _smooth(directions: torch.Tensor) -> torch.Tensor:
    return 0.5 + 0.3 * directions


def _panoramas(height: int = 128) -> Panoramas:
    return Panoramas([crops.prepare(_smooth(latlong.directions(height, 2 * height)))])


def _patchwork(seed: int = 0) -> Panoramas:
    coarse = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(seed)) ** 3 * 4
    envmap = torch.nn.functional.interpolate(coarse, (64, 128), mode="bilinear")[0].permute(1, 2, 0)
    return Panoramas([crops.prepare(envmap)])


def test_too_few_views_are_filled_up_with_panoramas() -> None:
    views = Views(torch.ones(1, 3, 96, 128), torch.tensor([[90.0, 10.0, 0.0]]), torch.ones(1, 16, 32, 3))
    batch = of_stage(np.random.default_rng(0), card_stage(), [(0.01, _panoramas()), (0.99, views)], 5, PLAIN)
    flat = batch.plate.flatten(1).std(1) < 1e-3
    assert len(batch) == 5 and int(flat.sum()) == 1


@pytest.mark.parametrize("config", [PLAIN, WORN], ids=["plain", "worn"])
def test_pixels_without_object_and_shadow_are_the_plates(config: CompositeConfig) -> None:
    batch = of_stage(np.random.default_rng(1), card_stage(), [(1.0, _patchwork())], 4, config)
    touched = (batch.gbuffers[:, :1] > 0) | (batch.ratio < 1).any(1, keepdim=True)
    apart = (batch.target - batch.plate).abs() * ~touched
    assert apart.max() < 1e-5 and (batch.hint - batch.plate).abs().mul(~touched).max() < 1e-4
    assert (batch.target - batch.plate).abs().amax((1, 2, 3)).min() > 0.02
    steps = batch.plate * 255
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_object_and_shadow_by_hand() -> None:
    """In even surroundings the card shows albedo times the plate, and its shadow is three quarters as bright."""
    even = Panoramas([crops.prepare(torch.full((64, 128, 3), 7.0))])
    batch = of_stage(np.random.default_rng(2), card_stage(), [(1.0, even)], 6, PLAIN)
    level = srgb_to_linear(batch.plate[:, :, 0, 0])
    kept = level[:, 0] < 0.99
    assert kept.sum() >= 2
    expected = linear_to_srgb(level * torch.tensor([0.8, 0.4, 0.2]))
    torch.testing.assert_close(batch.target[kept, :, 32, 32], expected[kept], atol=6e-3, rtol=0)
    torch.testing.assert_close(batch.target[kept, :, 45, 32], linear_to_srgb(0.75 * level)[kept], atol=6e-3, rtol=0)
    torch.testing.assert_close(batch.env[kept].mean((1, 2)), level[kept], atol=6e-3, rtol=0)


def test_draw_follows_from_its_generator_even_under_autocast() -> None:
    stages, sources = [card_stage(), card_stage((0.1, 0.6, 0.9))], [(0.7, _patchwork()), (0.3, _panoramas())]
    config = CompositeConfig(lights=3)
    a = draw(np.random.default_rng(3), stages, sources, 7, config)
    with torch.autocast("cpu", torch.bfloat16):
        b = draw(np.random.default_rng(3), stages, sources, 7, config)
    c = draw(np.random.default_rng(4), stages, sources, 7, config)
    assert len(a) == 7 and a.target.dtype == torch.float32
    assert all(torch.equal(getattr(a, f), getattr(b, f)) for f in Composites.__dataclass_fields__)
    assert not torch.equal(a.target, c.target)
    assert not torch.equal(a.target[0], a.target[1])


def test_mirroring_turns_pictures_light_and_normals() -> None:
    batch = of_stage(np.random.default_rng(5), card_stage(), [(1.0, _patchwork())], 2, PLAIN)
    turned = batch.mirrored(torch.tensor([True, False]))
    assert torch.equal(turned.target[0], batch.target[0].flip(-1)) and torch.equal(turned.target[1], batch.target[1])
    assert torch.equal(turned.env[0], batch.env[0].flip(1))
    assert torch.equal(turned.gbuffers[0, 2], -batch.gbuffers[0, 2].flip(-1))
    assert torch.equal(turned.gbuffers[0, 3], batch.gbuffers[0, 3].flip(-1))
    both = turned.mirrored(torch.tensor([True, False]))
    assert all(torch.equal(getattr(both, f), getattr(batch, f)) for f in Composites.__dataclass_fields__)


def test_a_mirrored_stage_is_lit_by_the_mirrored_light() -> None:
    """The convention of the flip: light from the left becomes light from the right (u -> 1 - u is x -> -x)."""
    env = torch.rand(16, 32, 3, generator=torch.Generator().manual_seed(0))
    flipped = latlong.sample(env.flip(1), latlong.directions(16, 32) * torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(flipped, env, atol=1e-4, rtol=0)


def test_photo_settings_change_the_plate_only_as_told() -> None:
    stage, sources = card_stage(), [(1.0, _patchwork())]
    noisy = replace(PLAIN, photo=replace(PLAIN.photo, noise=1.0))
    a, b = (composites.of_stage(np.random.default_rng(6), stage, sources, 1, c) for c in (PLAIN, noisy))
    assert 1e-4 < float((a.plate - b.plate).abs().mean()) < 0.03
