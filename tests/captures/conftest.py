from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.posed_folders import SIZE


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), np.full((SIZE[1], SIZE[0], 3), 40 * k, np.uint8))
    return tmp_path
