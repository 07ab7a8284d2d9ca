"""Colours of the layout pictures stay with their words."""
from __future__ import annotations

import numpy as np
import torch

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.captions import GROUNDS
from dipir.workshop.layout.colours import coloured, wall_colours


def test_a_varied_colour_is_still_nearest_to_its_word():
    words = np.array(list(GROUNDS.values()))
    made = linear_to_srgb(torch.from_numpy(coloured(np.random.default_rng(0), np.repeat(words[None], 500, 0)))).numpy()
    away = np.linalg.norm(made[:, :, None] - words, axis=-1)
    assert (away.argmin(-1) == np.arange(len(words))).all()
    assert (made.std(0).max(-1) > 0.004).all() and made.std(0).max() > 0.015
    assert np.allclose(coloured(np.random.default_rng(0), words, False), srgb_to_linear(torch.from_numpy(words)))


def test_walls_are_muted_and_differ_from_things():
    white = srgb_to_linear(torch.tensor([0.85, 0.85, 0.85])).double().expand(400, 1, 3).numpy()
    def value(there):
        return linear_to_srgb(torch.from_numpy(
            wall_colours(np.random.default_rng(0), white, np.full((400, 1), there)))).numpy()
    alone, before = value(False), value(True)
    assert np.ptp(alone, axis=1).max() < 0.25 and 0.2 < alone.min() and alone.max() < 1
    assert before.mean() < alone.mean() - 0.08  # Darker behind something bright.
