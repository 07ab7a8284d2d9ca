"""Contact sheets of the layout benchmark."""
from __future__ import annotations

import numpy as np

from benchmarks.layout import figures as layout_figures
from dipir.priors.captions import COLOURS
from tests.support.layout_seen import CUBE, MUG, case_of, seen_of, square


def test_the_sheet_shows_what_was_asked():
    tile = layout_figures.asked(case_of(("cube", "red", square(4, 8, 24)), MUG))
    x, y = 2 * 20, 2 * 28
    assert np.abs(tile[y, x] / 255 - COLOURS["red"]).max() < 0.01
    shown = layout_figures.coloured(seen_of(CUBE, MUG))
    assert np.abs(shown[45, 40] / 255 - COLOURS["blue"]).max() < 0.01 and (shown[0, 0] == shown[0, 1]).all()
