"""What relighting networks learn from: rows for each light, sizes, what pixels count, which scenes."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dipir.priors.geometry import PLANES
from dipir.relight.layers import shrink
from dipir.workshop.relight import lessons as relight_lessons
from dipir.workshop.relight.lessons import held_out_photos, lessons, training_photos
from dipir.workshop.stored import join
from dipir.workshop.surfaces import photos
from dipir.workshop.surfaces.data import INDOOR
from dipir.workshop.surfaces.photos import Photos, ShotConfig
from tests.priors.test_geometry import random_geometry
from tests.support.surface_sets import backdrops, ball, balls


def drawn(count: int, targets: int = 2) -> Photos:
    return photos.draw(np.random.default_rng(3), balls(), backdrops(), count, ShotConfig(targets=targets))


@pytest.mark.parametrize("targets", [1, 2])
def test_each_light_of_a_photo_is_a_row_as_the_geometry_tells_it(targets):
    """More photos than are looked at together."""
    geometry, taken = random_geometry(), drawn(18, targets)
    made = lessons(taken, geometry, 32)
    assert len(made) == 18 * targets and made.told.shape == (18 * targets, PLANES, 32, 32)
    rows = torch.arange(18).repeat_interleave(targets)
    assert torch.equal(made.image, taken.image[rows]) and torch.equal(made.target, taken.target.flatten(0, 1))
    assert torch.equal(made.light, taken.light.flatten(0, 1))
    for k in (0, 17 * targets):
        alone = geometry.planes(made.image[k:k + 1], made.light[k:k + 1])
        torch.testing.assert_close(made.told[k:k + 1], alone, atol=1e-4, rtol=1e-3)
    part = made[3:5]
    assert len(part) == 2 and torch.equal(part.told, made.told[3:5])


def test_smaller_pictures_are_those_that_an_engine_would_show():
    taken = drawn(3)
    made = lessons(taken, random_geometry(), 16)
    assert made.target.shape == (6, 3, 16, 16) and made.told.shape == (6, PLANES, 16, 16)
    torch.testing.assert_close(made.image[::2], shrink(taken.image, (16, 16)))
    torch.testing.assert_close(made.told[:, 3:6], made.image * 2 - 1)


def test_what_is_not_known_counts_next_to_nothing():
    """Before a photographed place; a picture of which nothing is known counts alike everywhere."""
    taken = drawn(12)
    nothing = replace(taken, known=torch.cat([torch.zeros_like(taken.known[:1]), taken.known[1:]]))
    made = lessons(nothing, random_geometry(), 32).weight[::2]
    assert torch.equal(made > 0.5, nothing.known > 0.5) and float(made.max()) == 1
    assert float(made.min()) > 0 and float(made[nothing.known == 0].max()) < 1e-3
    assert float(made[0].min()) == float(made[0].max())


def test_scenes_whose_lamps_are_near_are_left_out(monkeypatch):
    room = ball((0.2, 0.9, 0.2), kind=INDOOR)
    made = join([balls(), room]), backdrops()
    monkeypatch.setattr(relight_lessons.surfaces, "training_scenes", lambda *args: made)
    monkeypatch.setattr(relight_lessons.surfaces, "validation_scenes", lambda *args: made)
    data, behind = training_photos(5)
    assert len(data) == 4 and not bool((data.kind == INDOOR).any()) and behind is made[1]
    held_out = held_out_photos(30)
    assert len(held_out) == 30 and held_out.target.shape[1] == 1
    assert torch.equal(held_out.image, held_out_photos(30).image)
    assert 0.5 < float(held_out.albedo[:, 1].max()) < 0.7  # The room has 0.9.
