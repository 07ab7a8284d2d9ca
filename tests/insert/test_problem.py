"""The working problem: framed, lit by the plate, composed without the object as the plate itself."""
from __future__ import annotations

from dataclasses import replace

import torch

from dipir.image.color import linear_to_srgb
from dipir.insert.problem import (
    LEAK,
    composite,
    concept_renders,
    prepare,
    random_lights,
    start_of,
    with_light,
)
from dipir.priors.plate_light import decided
from tests.support.insertions import quick
from tests.support.looks import SayingPrior, look
from tests.support.scenes import sphere_scene


def made(*settings: str):
    return prepare(sphere_scene("diffuse", size=48), quick(*settings), 32, None)


def test_the_window_is_framed_and_weighed():
    work = made()
    assert work.plate_disp.shape == work.plate_lin.shape == (1, 3, 32, 32) and work.tracer is None
    region, alpha = work.region(), work.transport.gbuffers.alpha
    assert region.shape == (1, 1, 32, 32) and float(region.min()) >= 0 and float(region.max()) <= 1
    assert torch.equal(region[alpha == 1], alpha[alpha == 1])
    # The ground under the shadow counts half of the object at most, the rest not at all.
    ground = region[alpha == 0]
    assert 0 < float(ground.max()) <= 0.5 and bool((ground == 0).any())


def test_a_material_fit_has_its_path_tracer():
    assert made("optimize=[material]", "material.spp=1").tracer is not None


def test_without_object_the_composite_is_the_plate_and_beyond_white_it_leaks():
    work = made()
    passes = work.transport.passes(work.start)
    gone = replace(passes, object_rgb=torch.zeros_like(passes.object_rgb), ground_shadowed=passes.ground_lit,
                   gbuffers=replace(passes.gbuffers, alpha=torch.zeros_like(passes.alpha)))
    torch.testing.assert_close(composite(work, gone, None, None), work.plate_disp, atol=2e-6, rtol=0)
    bright = replace(gone, object_rgb=torch.full_like(passes.object_rgb, 4.0),
                     gbuffers=replace(passes.gbuffers, alpha=torch.ones_like(passes.alpha)))
    over = linear_to_srgb(torch.full_like(work.plate_lin, 4.0))
    torch.testing.assert_close(composite(work, bright, None, None), 1 + LEAK * (over - 1), atol=1e-5, rtol=0)


def test_concepts_are_lit_by_turned_and_rescaled_starts():
    work = made()
    lights = random_lights(work, 3, torch.Generator().manual_seed(2))
    images = concept_renders(work, 3, torch.Generator().manual_seed(2))
    assert images.shape == (3, 3, 32, 32) and float(images.min()) >= 0 and float(images.max()) <= 1
    for env, image in zip(lights, images, strict=True):
        expected = composite(work, work.transport.passes(env), None, None).clamp(0, 1)[0]
        torch.testing.assert_close(image, expected, atol=1e-6, rtol=0)
    # Turned about the vertical: every row keeps its mean but for the exposure, which is one number.
    gains = lights.mean((2, 3)) / work.start.mean((1, 2))
    torch.testing.assert_close(gains, gains.mean(1, keepdim=True).expand_as(gains), rtol=1e-3, atol=0)


def test_another_light_brings_the_column_of_its_own_sun():
    """Begun with the second guess the shadow falls where the second sun throws it; soft light has no column."""
    scene, config = sphere_scene("diffuse", size=48), quick()
    first, second = (decided(look(), torch.zeros(16, 32, 3), guess) for guess in (1, 2))
    work = prepare(scene, config, 32, None, first)
    other = with_light(work, scene, config, second)
    direct = prepare(scene, config, 32, None, second)
    assert torch.equal(other.transport.column.blocked, direct.transport.column.blocked)
    assert torch.equal(other.transport.object_map, work.transport.object_map)
    def middle(w):
        shade = w.transport.column.shade(32 * 32).reshape(32, 32) * (w.transport.gbuffers.alpha[0, 0] == 0)
        return float((shade.sum(0) * torch.arange(32.0)).sum() / shade.sum())
    # The first sun stands on the right (azimuth +63), the second on the left.
    assert middle(other) > middle(work) + 4
    assert with_light(work, scene, config, decided(look(0.2), torch.zeros(16, 32, 3))).transport.column is None
    assert float(work.region()[work.transport.gbuffers.alpha == 0].max()) == 0.5


def test_the_settings_say_whether_the_light_commits():
    scene = sphere_scene("diffuse", size=48)
    def source(*settings):
        return start_of(scene, quick("light.start=prior", *settings), SayingPrior()).source
    assert source() is not None and source("light.commit=false") is None
    assert torch.equal(source("light.guess=3").direction, look().sources[2].direction)
