"""Things put into given pictures: cases and measures by hand."""
from __future__ import annotations

import pytest
import torch

from benchmarks.layout import cases as layout_cases
from benchmarks.layout import edits as layout_edits
from dipir.errors import ConfigError
from dipir.layout.config import LayoutConfig
from dipir.layout.method import check
from dipir.priors.captions import COLOURS
from dipir.workshop.layout.data import MOST
from tests.support.layout_seen import seen_of


def test_edits_put_a_new_thing_on_free_ground_or_in_place_of_another(scenes):
    made = layout_edits.edit_cases(8, scenes)
    assert [c.kind for c in made] == ["insert", "replace"] * 4
    for case in made:
        (new,) = case.things
        assert new.colour not in {t.colour for t in case.shown} and new.colour != case.ground
        request = case.request()
        assert check(request, LayoutConfig()).caption == case.caption and request.source == case.source
        assert len(case.caption.split(" and ")[0].split(",")) <= MOST
        assert new.phrase in case.caption and new.phrase not in case.source
        # What stands there before is the thing that goes, and nothing else.
        inside = case.before[0][:, torch.from_numpy(case.covers[0])]
        hues = {min(COLOURS, key=lambda c, p=p: float((p - torch.tensor(COLOURS[c])).norm())) for p in inside.T}
        if case.kind == "replace":
            assert case.shown[case.replaced].phrase not in case.caption and new.shape != case.shown[case.replaced].shape
            assert hues == {case.shown[case.replaced].colour}
        else:
            assert not hues & {t.colour for t in case.shown} - {case.ground}
    again = layout_edits.edit_cases(5, scenes)
    assert layout_cases.digest(again) == layout_cases.digest(made[:5])
    with pytest.raises(ConfigError):
        layout_edits.edit_cases(0, scenes)


def test_measures_of_an_edit_by_hand(scenes):
    case = layout_edits.edit_cases(2, scenes)[1]
    new, old, cover = case.things[0], case.shown[case.replaced], case.covers[0]
    done = seen_of((new.shape, new.colour, cover))
    got = layout_edits.judged(case, done, case.before[0])
    assert got == {"iou": 1, "class_right": 1, "colour_right": 1, "attributes": 1, "text": 1, "placed": 1,
                   "old_colour": 0, "kept": 1}
    undone = layout_edits.judged(case, seen_of((old.shape, old.colour, cover)), case.before[0])
    assert undone["old_colour"] == 1 and undone["attributes"] == undone["iou"] == undone["placed"] == 0
    x, y = (int(64 * v) for v in case.boxes[0][:2])
    near, far = case.before[0].clone(), case.before[0].clone()
    near[:, max(y - 2, 0), x] += 0.1
    assert layout_edits.judged(case, done, near)["kept"] == 1
    far[0, (y + 40) % 64, (x + 40) % 64] += 1 / 255
    assert layout_edits.judged(case, done, far)["kept"] == 0
    figures = layout_edits.figures([got, undone])
    assert figures["figures"]["old_colour"] == 0.5 and figures["error"]["kept"] == 0
