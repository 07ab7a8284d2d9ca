"""What becomes of a request before the sampler sees it: noise, weights, rows, shifts."""
from __future__ import annotations

import pytest
import torch

from dipir.arrays import split_seed
from dipir.errors import SceneError
from dipir.layout.config import LayoutConfig
from dipir.layout.regions import Region
from dipir.layout.words import Wording
from dipir.layout.work import PictureTask, canvas_of, each_step, find_shift, find_weights, rows_of, start_noise
from dipir.settings import read
from tests.support.toy_layout import ColourToy

CONFIG = read.override(LayoutConfig(), ["width=8", "height=8", "sampler.steps=4"])
CANVAS = canvas_of(ColourToy(size=8), CONFIG)
LEFT, RIGHT, CORNER, ALL = (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 0.25, 0.25), (0, 0, 1, 1)


def task(*boxes, seed=3):
    regions = tuple(Region(f"a cube {k}", box) for k, box in enumerate(boxes))
    masks = [region.cover(8, 8) for region in regions]
    words = Wording("the whole", "the floor", "bad", "bad, a cube", tuple(f"bad {k}" for k in range(len(boxes))))
    return PictureTask(words, regions, torch.cat(masks) if masks else torch.zeros(0, 1, 8, 8), seed)


def test_noise_is_that_of_the_seed_and_the_layer():
    expected = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(split_seed(5, "layout noise", 0)))
    assert torch.equal(start_noise(CANVAS, 5), expected)
    others = [start_noise(CANVAS, 5, 1), start_noise(CANVAS, 6)]
    assert not any(torch.equal(other, expected) for other in others)


@pytest.mark.parametrize("kind", ["vision", "multidiffusion"])
def test_weights_of_a_picture_sum_to_one(kind):
    config = read.override(CONFIG, [f"guidance.kind={kind}", "layers.edge=1"])
    weights = find_weights(task(LEFT, CORNER), config)
    assert weights.shape == (3, 1, 8, 8) and torch.allclose(weights.sum(0), torch.ones(1, 8, 8))
    assert torch.equal(find_weights(task(), config), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("boxes, text", [([(0.01, 0.01, 0.03, 0.03)], "smaller than one"), ([LEFT, LEFT], "hidden")])
def test_regions_that_cannot_be_seen(boxes, text):
    with pytest.raises(SceneError, match=text):
        find_weights(task(*boxes), CONFIG)


def test_rows_are_background_and_regions_of_every_picture():
    tasks = [task(LEFT), task(seed=4), task(ALL, seed=5)]
    rows = rows_of(tasks, [find_weights(t, CONFIG) for t in tasks], kept=False)
    assert [(r.picture, r.number, r.seed, r.caption, r.negative) for r in rows] == [
        (0, 0, 3, "the floor", "bad, a cube"), (0, 1, 3, "a cube 0", "bad 0"), (1, 0, 4, "the whole", "bad"),
        (2, 1, 5, "a cube 0", "bad 0")]
    kept = rows_of(tasks[:1], [find_weights(tasks[0], CONFIG)], kept=True)
    assert [r.number for r in kept] == [1], "what is kept needs no layer"


def test_shifts_are_towards_delta_inside_and_away_outside():
    tasks = [task(LEFT)]
    rows = rows_of(tasks, [find_weights(tasks[0], CONFIG)], kept=False)
    config = read.override(CONFIG, ["guidance.strength=0.5", "guidance.outside=0.25"])
    xi = find_shift(rows, {1: torch.tensor([1.0, 0.0, -2.0])}, config)
    assert float(xi[0].abs().max()) == 0, "the background has no shift"
    assert xi[1, :, 0, 0].tolist() == [0.5, 0.0, -1.0] and xi[1, :, 0, 7].tolist() == [-0.25, 0.0, 0.5]
    assert find_shift(rows, {}, config) is None


@pytest.mark.parametrize("pair, every", [
    ("layers.composition=per_step", True), ("layers.composition=at_t0", False), ("guidance.kind=multidiffusion", True),
    ("guidance.kind=paste", False)])
def test_when_layers_are_put_together(pair, every):
    assert each_step(read.override(CONFIG, [pair])) is every
