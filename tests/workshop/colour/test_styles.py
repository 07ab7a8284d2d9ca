"""Pairs of a drawing and a picture."""
from __future__ import annotations

import numpy as np
import torch

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.image.palette import NAMED
from dipir.workshop.colour import styles as sketch_styles
from tests.support.drawings import recorded_squares


def _pairs(seed: int = 0, count: int = 64, exact: bool = False) -> sketch_styles.Drawings:
    return sketch_styles.draw(np.random.default_rng(seed), recorded_squares(), np.arange(count) % 4, exact)


def test_pairs_are_pictures_and_follow_the_generator() -> None:
    pairs, again, other = _pairs(), _pairs(), _pairs(1)
    assert len(pairs) == 64 and pairs.drawing.shape == (64, 1, 64, 64) and pairs.picture.shape == (64, 3, 64, 64)
    assert pairs.vector.shape == (64, 12)
    for x in (pairs.drawing, pairs.picture):
        assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    assert torch.equal(pairs.drawing, again.drawing) and torch.equal(pairs.picture, again.picture)
    assert not torch.equal(pairs.drawing, other.drawing)


def test_a_region_shows_its_colour_in_its_light() -> None:
    pairs = _pairs()
    for k in range(3):
        inside = (pairs.regions[:, k:k + 1] > 0.99) & (pairs.lines > 0.999)
        light = pairs.shade[:, k:k + 1] * srgb_to_linear(pairs.colours[:, k])[..., None, None]
        wanted = linear_to_srgb(light).expand_as(pairs.picture)
        assert inside.sum() > 500
        torch.testing.assert_close(pairs.picture[inside.expand_as(wanted)], wanted[inside.expand_as(wanted)],
                                   atol=1e-4, rtol=0)


def test_palettes_are_told_by_decreasing_area() -> None:
    pairs = _pairs(count=200)
    area = pairs.regions.mean((2, 3))
    assert bool((area.diff(dim=1) <= 0).all()) and bool(pairs.present[area > 0].all())
    used, told = (area > 0).sum(1), pairs.present.sum(1)
    assert set(used.tolist()) == {1, 2, 3} and bool(((told - used >= 0) & (told - used <= 1)).all())
    assert 2 < (told > used).sum() < 40
    torch.testing.assert_close(area.sum(1), torch.full((200,), (32**2 + 20**2 + 12**2) / 64**2))


def test_exact_colours_have_names() -> None:
    named = torch.tensor(list(NAMED.values()))
    colours = _pairs(exact=True).colours
    assert (colours[:, :, None] - named).abs().sum(-1).amin(-1).max() < 1e-6
    assert (_pairs().colours[:, :, None] - named).abs().sum(-1).amin(-1).median() > 0.02


def test_paper_stays_paper_and_lines_stay_lines() -> None:
    pairs = _pairs()
    corner = pairs.picture[:, :, -2:, :20]
    assert corner.std(1).max() < 1e-6 and 0.84 < corner.amin() and corner.amax() <= 1
    assert (corner.mean((1, 2, 3)) - pairs.drawing[:, :, -2:, :20].mean((1, 2, 3))).abs().max() < 0.02
    assert bool((pairs.picture <= pairs.lines + 1e-6).all()) and pairs.lines.amin() < 0.2
    assert bool((pairs.drawing <= pairs.lines + 0.2).all())  # Paper grain is added to the drawing alone.


def test_styles_differ_in_what_they_say_of_the_light() -> None:
    """Some drawings leave the inside of the largest square as white as the paper, others do not."""
    pairs = _pairs(count=300)
    inside = (functional_erode(pairs.regions.sum(1, keepdim=True)) > 0.5) & (pairs.lines > 0.999)
    tone = (pairs.drawing * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))
    paper = pairs.drawing[:, :, -2:, :20].mean((1, 2, 3))
    plain = ((tone - paper).abs() < 0.02).float().mean()
    assert 0.2 < plain < 0.55 and (tone < 0.8 * paper).float().mean() > 0.2


def functional_erode(x: torch.Tensor) -> torch.Tensor:
    return 1 - torch.nn.functional.max_pool2d(1 - x, 5, 1, 2)


def test_shrunk_pairs_are_means_of_squares() -> None:
    pairs = _pairs(count=4)
    small = pairs.shrunk(16)
    assert small.picture.shape == (4, 3, 16, 16) and torch.equal(small.vector, pairs.vector)
    torch.testing.assert_close(small.drawing[1, 0, 3, 5], pairs.drawing[1, 0, 12:16, 20:24].mean())
    assert torch.equal(pairs.shrunk(64).picture, pairs.picture)
