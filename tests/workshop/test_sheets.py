"""Sheets of training data. The views' and the layouts' are drawn in ``tests/cli/verbs/test_synth.py``."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dipir.errors import DipirError
from dipir.priors.captions import Thing
from dipir.workshop import sheets


@pytest.mark.parametrize("kind", ["views", "panoramas", "relit", "surfaces", "sketches", "layouts"])
def test_nothing_to_draw(kind, tmp_path):
    with pytest.raises(DipirError, match="holds no"):
        sheets.draw_sheet(kind, tmp_path / "none", tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_photos_keep_their_shape_on_white(tmp_path):
    """Wide and tall photos in turn, spread over the tiles from the first to the last."""
    folder = tmp_path / "mug" / "a" / "images"
    folder.mkdir(parents=True)
    for k in range(2):
        Image.new("RGB", (64, 32) if k == 0 else (32, 64)).save(folder / f"{k}.jpg")
    sheets.draw_sheet("co3d", tmp_path, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (12 * 160, 4 * 160, 3)
    first, last = sheet[:160, :160], sheet[-160:, -160:]
    assert first[:80].max() < 10 and first[80:].min() == 255
    assert last[:, :80].max() < 10 and last[:, 80:].min() == 255


def test_a_layout_tile_has_its_box():
    image = torch.full((3, 64, 64), 0.5)
    tile = sheets.captioned(image, "a cube", [Thing("cube", "red")], torch.tensor([[0.25, 0.5, 0.75, 1.0]]))
    assert tile.shape == (3, 352, 256)
    assert tile[:, 200, 64].tolist() == [1] * 3 and tile[:, 200, 63].tolist() == [0] * 3
    assert tile[:, 200, 191].tolist() == [1] * 3 and tile[0, 200, 128] == pytest.approx(0.5, abs=0.01)
    assert torch.equal(tile[:, :120], torch.full((3, 120, 256), 128 / 255))
