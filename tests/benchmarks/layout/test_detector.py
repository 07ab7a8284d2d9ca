"""The detector: what it sees, by hand, and that it learns."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.layout import cases as layout_cases
from benchmarks.layout import detector as layout_detector
from benchmarks.layout import measures as layout_measures
from dipir.priors.captions import MATERIALS, SHAPES
from tests.support.layout_seen import HUES, MUG, case_of, square


def planes(*things: tuple[str, str, np.ndarray, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities of (shape, colour, mask, probability of the shape); what is left of it is background."""
    shape, colour, material = np.zeros((9, 64, 64)), np.zeros((10, 64, 64)), np.zeros((3, 64, 64))
    shape[0], colour[HUES.index("green")], material[2] = 1, 0.1, 1
    for name, hue, mask, probability in things:
        shape[0][mask] = 1 - probability
        shape[1 + SHAPES.index(name)][mask] = probability
        colour[HUES.index(hue)][mask] = 0.7
    return shape, colour, material


def test_what_is_seen_by_hand():
    """A cube, a mug with 0.6, a speck below the limit, background elsewhere."""
    cube, mug, speck = square(4, 8), square(36, 40, 8), square(60, 0, 3)
    seen = layout_detector.seen_in(*planes(("cube", "red", cube, 0.9), ("mug", "blue", mug, 0.6),
                                           ("cube", "red", speck, 0.9), ("cone", "red", square(50, 10), 0.4)))
    first, second = seen.things
    assert (first.shape, first.colour, first.score) == (SHAPES.index("cube"), HUES.index("red"), pytest.approx(0.9))
    assert (second.shape, second.colour, second.score) == (SHAPES.index("mug"), HUES.index("blue"), pytest.approx(0.6))
    assert np.array_equal(first.mask, cube) and first.box == (4 / 64, 8 / 64, 20 / 64, 24 / 64)
    assert (seen.shape >= 0).sum() == cube.sum() + mug.sum() + 9 and len(seen.blobs) == 2
    assert first.material == 2


def test_parts_of_one_colour_vote():
    """Left half surely a cube, right half perhaps a mug: one red cube, with the mean of its probabilities. With the
    right half blue the halves vote apart; when both say cube they are one thing in two colours."""
    left, right = square(4, 8), square(20, 8)
    one = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("mug", "red", right, 0.6)))
    assert [(t.shape, t.score) for t in one.things] == [(SHAPES.index("cube"), pytest.approx(0.45))]
    assert np.array_equal(one.things[0].mask, left | right)
    two = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("mug", "blue", right, 0.6)))
    assert {t.shape for t in two.things} == {SHAPES.index("cube"), SHAPES.index("mug")} and len(two.blobs) == 1
    mixed = layout_detector.seen_in(*planes(("cube", "red", left, 0.9), ("cube", "blue", right, 0.6)))
    leaked = layout_measures.judged_case(case_of(("cube", "red", left | right), MUG), mixed)["leakage_things"]
    assert len(mixed.things) == 1 and leaked[0] == pytest.approx(0.5)


def test_parts_touch_at_corners():
    mask = square(0, 0, 8) | square(8, 8, 8) | square(30, 30, 5)
    assert [int(p.sum()) for p in layout_detector.parts(mask)] == [128, 25]


def test_labels_by_hand(scenes):
    drawn = layout_cases.layouts.draw(np.random.default_rng(0), scenes, 6)
    shape, colour, material = layout_detector.labels(drawn)
    for b, things in enumerate(drawn.things):
        for k, thing in enumerate(things):
            inside = drawn.masks[b, k] > 0.5
            assert (shape[b][inside] == 1 + SHAPES.index(thing.shape)).all()
            assert (colour[b][inside] == HUES.index(thing.colour)).all()
            assert (material[b][inside] == MATERIALS.index(thing.material)).all()
        outside = drawn.masks[b].sum(0) < 0.5
        assert (shape[b][outside] == 0).all() and (colour[b][outside] < 0).all()


def test_the_detector_learns_and_is_kept(scenes, monkeypatch, tmp_path):
    """Flat colours are told apart after a few steps; a second call takes the kept weights."""
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    monkeypatch.setattr(layout_detector, "CHANNELS", (8, 16, 16, 24))
    before = layout_detector.accuracy(layout_detector.Detector().eval(), scenes, 32)
    net = layout_detector.trained(scenes, steps=60, batch=8)
    after = layout_detector.accuracy(net, scenes, 32)
    assert after["colour_pixels"] > 0.35 > 0.2 > before["colour_pixels"]
    assert after["pixels"] > 0.6
    again = layout_detector.trained(scenes, steps=60, batch=8)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    seen, features = layout_detector.look(net, layout_cases.truth(5, scenes)[0])
    assert len(seen) == 5 and features.shape == (5, layout_detector.CHANNELS[-1]) and np.ptp(features, 0).max() > 0
