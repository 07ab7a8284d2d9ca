"""Tiles and contact sheets of the insertion benchmark."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from benchmarks.insert import sheet as insert_sheet
from dipir.image.files import write_png


def test_the_ring_marks_the_dominant_direction():
    """A lamp in column 12 of 64, row 8 of 32: a quarter of the way down, 19.5 % from the left."""
    light = torch.full((32, 64, 3), 0.2)
    light[8, 12] = 500.0
    image = insert_sheet.light_picture(light)[0]
    red = (image[0] > 0.9) & (image[1] < 0.4)
    rows, columns = red.nonzero(as_tuple=True)
    assert float(columns.float().mean()) / insert_sheet.WIDTH == pytest.approx(12.5 / 64, abs=0.01)
    assert float(rows.float().mean()) / (insert_sheet.WIDTH // 2) == pytest.approx(8.5 / 32, abs=0.02)


def test_sheets_have_pages_and_survive_missing_tiles(tmp_path):
    rows = []
    for k in range(insert_sheet.PAGE + 1):
        (tmp_path / str(k)).mkdir()
        write_png(tmp_path / str(k) / "plate-tile.png", insert_sheet.tile(torch.rand(1, 3, 48, 64), None))
        rows.append({"name": f"case {k}", "folder": tmp_path / str(k), "notes": {"ambient": "failed"}})
    paths = insert_sheet.contact_sheets(tmp_path, rows, ["ambient", "truth"])
    assert [p.name for p in paths] == ["sheet.png", "sheet-2.png"]
    first, second = (cv2.imread(str(p)) for p in paths)
    assert first.shape[0] == insert_sheet.PAGE * second.shape[0] and first.shape[1] == second.shape[1]
    assert np.ptp(second) > 100


def test_truth_ambient_and_ours_stand_beside_the_plate(tmp_path):
    """Columns by their grey; what is missing is red."""
    for name, level in (("plate-tile", 0.2), ("truth-tile", 0.4), ("ambient", 0.6), ("default", 0.8)):
        write_png(tmp_path / f"{name}.png", insert_sheet.tile(torch.full((1, 3, 48, 64), level), None))
    row = {"name": "case", "folder": tmp_path, "notes": {}}
    (path,) = insert_sheet.contact_sheets(tmp_path, [row], ["ambient", "oracle-sg", "default", "truth"])
    image, step = cv2.imread(str(path)), insert_sheet.WIDTH + insert_sheet.GAP
    seen = [image[100, insert_sheet.GAP + k * step + 50].tolist() for k in range(5)]
    assert [round(c[0] / 255, 1) for c in seen[:4]] == [0.2, 0.4, 0.6, 0.8]
    assert tuple(seen[4]) == insert_sheet.MISSING


def test_the_shadow_from_above_is_beside_the_light():
    plan = torch.ones(1, 3, 32, 32)
    plan[..., 8:24, 8:24] = 0.0
    low, width = insert_sheet.WIDTH // 3, insert_sheet.WIDTH
    image = insert_sheet.tile(torch.rand(1, 3, 48, 64), torch.ones(16, 32, 3), plan)
    assert image.shape[-1] == width
    assert float(image[0, :, -low // 2, width - low // 2].max()) < 0.01
    assert float(image[0, :, -5, width - 5].min()) > 0.9
