"""Procedural scenes: the same for a seed, finite."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.workshop.worlds import rooms, scenes


@pytest.mark.parametrize("describe", [scenes.outdoor, scenes.night, rooms.indoor, rooms.studio])
def test_scenes_repeat_and_hold_only_finite_numbers(describe):
    for seed in range(4):
        (first, eye), (again, _) = (describe(np.random.default_rng(seed)) for _ in range(2))
        assert 1.2 <= eye[1] <= 1.8 and len(first["parts"]) <= 40
        assert len(first["parts"]) == len(again["parts"])
        for part, same in zip(first["parts"], again["parts"], strict=True):
            assert np.array_equal(part["vertices"], same["vertices"]) and np.isfinite(part["vertices"]).all()
            assert part["faces"].max() < len(part["vertices"]) == len(part["uv"])
            assert 0 < np.min(part["texture"]) and np.max(part["texture"]) <= 0.9
