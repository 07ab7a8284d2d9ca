"""Random materials cover their ranges."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.workshop.things.objects import random_material


def test_materials_cover_the_range():
    rng = np.random.default_rng(0)
    many = [random_material(rng) for _ in range(800)]
    metal = np.array([m.metallic for m in many])
    assert (metal == 0).mean() == pytest.approx(0.70, abs=0.06) and (metal == 1).mean() == pytest.approx(0.25, abs=0.06)
    assert np.mean([m.base_color_texture is not None for m in many]) == pytest.approx(0.4, abs=0.06)
    rough = np.array([m.roughness for m in many])
    assert 0.05 <= rough.min() < 0.1 and 0.95 < rough.max() <= 1
    color = np.array([m.base_color for m in many])
    assert color.min() < 0.01 and (color.min(1) > 0.7).any() and (color.max(1) < 0.02).any()
    strongest = {int(c.argmax()) for c in color if c.max() > 3 * c.min()}
    assert strongest == {0, 1, 2}
    for m in many:
        if m.base_color_texture is not None:
            t = m.base_color_texture
            assert t.dtype == np.float32 and t.ndim == 3 and 64 <= t.shape[0] <= 128
            assert t.min() >= 0 and t.max() <= 0.96
            assert t.reshape(-1, 3).mean(0) == pytest.approx(m.base_color, abs=1e-4)
