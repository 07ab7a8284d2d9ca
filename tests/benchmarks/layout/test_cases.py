"""Cases of the layout benchmark."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.layout import __main__ as bench
from benchmarks.layout import cases as layout_cases
from dipir.errors import ConfigError
from dipir.layout.config import LayoutConfig
from dipir.layout.method import check
from dipir.priors.captions import COLOURS, SHAPES
from dipir.workshop.layout.data import MOST


def test_cases_are_what_the_layout_accepts(scenes):
    made = layout_cases.cases(24, scenes)
    assert [len(c.things) for c in made[:5]] == [1, 2, 3, 4, 1]
    for case in made:
        hues = [t.colour for t in case.things]
        assert len(set(hues)) == len(hues) and case.ground not in hues
        assert all(0.01 <= v <= 0.99 for box in case.boxes for v in box)
        assert all(layout_cases.shared(a, b) <= layout_cases.OVERLAP
                   for k, a in enumerate(case.boxes) for b in case.boxes[:k])
        request = case.request()
        assert check(request, LayoutConfig()).caption == request.caption == case.caption
        assert case.covers.shape == (len(hues), 64, 64) and case.covers.any((1, 2)).all()
    assert len({c.seed for c in made}) == 24 and {c.ground for c in made} > {None}


def test_a_case_depends_on_its_number_alone(scenes):
    few, many = layout_cases.cases(5, scenes), layout_cases.cases(9, scenes)
    assert layout_cases.digest(few) == layout_cases.digest(many[:5]) != layout_cases.digest(many)
    assert layout_cases.digest(few) != layout_cases.digest(layout_cases.cases(5, scenes, seed=bench.TUNING))


def test_boxes_have_the_size_of_their_shape(scenes):
    """All things are 14 x 18 pixels; boxes differ from that by at most a tenth."""
    for case in layout_cases.cases(16, scenes):
        for x0, y0, x1, y1 in case.boxes:
            assert 0.9 * 14 / 64 - 1e-3 < x1 - x0 < 1.1 * 14 / 64 + 1e-3
            assert 0.9 * 18 / 64 - 1e-3 < y1 - y0 < 1.1 * 18 / 64 + 1e-3


def test_mask_cases_are_held_out_silhouettes(scenes):
    rendered = scenes.cover[:, :MOST].numpy() > 127
    for case in layout_cases.cases(8, scenes, "mask"):
        candidates = [s for s in range(12) for side in (1, -1)
                      if np.array_equal(rendered[s, :len(case.masks), :, ::side], case.masks)
                      and [SHAPES[i] for i in scenes.shape[s, :len(case.masks)]] == [t.shape for t in case.things]]
        assert candidates
        assert np.array_equal(case.covers, case.masks)


def test_truth_shows_what_its_captions_say(scenes):
    images, made = layout_cases.truth(8, scenes)
    assert images.shape == (8, 3, 64, 64) and [len(c.things) for c in made] == [1, 2, 3, 4] * 2
    for image, case in zip(images, made, strict=True):
        assert len({t.colour for t in case.things}) == len(case.things)
        for thing, cover in zip(case.things, case.covers, strict=True):
            shown = image[:, torch.from_numpy(cover)].mean(1)
            nearest = min(COLOURS, key=lambda c, shown=shown: float((shown - torch.tensor(COLOURS[c])).norm()))
            assert nearest == thing.colour
    again = layout_cases.truth(8, scenes)[0]
    assert torch.equal(images, again)


@pytest.mark.parametrize("call", [lambda s: layout_cases.cases(0, s), lambda s: layout_cases.cases(4, s, "dot"),
                                  lambda s: layout_cases.cases(4, s.part(slice(0, 2))),
                                  lambda s: layout_cases.truth(4, s.part(slice(0, 2)))])
def test_unusable_sets(scenes, call):
    with pytest.raises(ConfigError):
        call(scenes)
