"""Drawn textures are albedos."""
from __future__ import annotations

import numpy as np
import pytest

from dipir.workshop.worlds import scenes


@pytest.mark.parametrize("name", sorted(scenes.GROUNDS))
def test_textures_are_albedos(name):
    texture = scenes.ground_texture(np.random.default_rng(1), name)
    assert texture.dtype == np.float32 and texture.min() >= 0.015 and texture.max() <= 0.9 and texture.std() > 0.003
