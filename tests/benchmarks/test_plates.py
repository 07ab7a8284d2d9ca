"""Contact sheets of the photos: what stands where, and that something missing is seen."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import plates
from benchmarks.common import DATA, DEMO
from dipir.scene.scene_file import SceneFile


def picture(path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((60, 80, 3), level, np.uint8))


def test_plate_before_and_after_stand_side_by_side(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / "out" / name / "plate.png", 50)
        picture(tmp_path / "before" / name / "composite.png", 100)
    picture(tmp_path / "out" / "a" / "composite.png", 200)
    columns = {"plate": (tmp_path / "out", "plate"), "before": (tmp_path / "before", "composite"),
               "after": (tmp_path / "out", "composite")}
    (page,) = plates.sheets(["a", "b"], columns, tmp_path, 80)
    image = cv2.imread(str(page))
    assert page.with_suffix(".jpg").is_file()
    row, step = 60 + plates.HEAD, 80 + plates.GAP
    middle = [[int(image[k * row + plates.HEAD + 30, c * step + 40, 0]) for c in range(3)] for k in range(2)]
    assert middle == [[50, 100, 200], [50, 100, 24]]  # The last is missing and stays dark.
    heads = [image[k * row:k * row + plates.HEAD, 2 * step:].sum() for k in range(2)]
    assert heads[1] > heads[0]  # It says so.


def test_pages(tmp_path):
    names = [f"n{k}" for k in range(plates.PAGE + 1)]
    assert len(plates.sheets(names, {"plate": (tmp_path, "plate")}, tmp_path, 40)) == 2


def test_a_sheet_alone_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plates, "run_apart", lambda *_: pytest.fail("a scene was run"))
    plates.main(["--sheet", "--out", str(tmp_path), "--before", str(tmp_path), "--size", "40"])
    assert "sheet-1.png" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no such folder"):
        plates.main(["--sheet", "--out", str(tmp_path), "--before", str(tmp_path / "x")])


def test_every_photo_has_a_scene():
    if not (DATA / "plates").is_dir():
        pytest.skip("needs DIPIR_DATA")
    scenes = [plates.located(p.stem) for p in plates.SCENES.glob("*.yaml")]
    assert {s.plate.name for s in scenes} == {p.name for p in (DATA / "plates").iterdir()} and len(scenes) == 27
    assert all(o.asset.is_file() for s in scenes for o in s.objects)
    demo = plates.located(DEMO.stem)
    assert isinstance(demo, SceneFile) and demo.plate.is_file()


def test_assets_have_the_name_that_tells_them_apart():
    folder = DATA / "meshes"
    assert plates._asset_name(folder / "barrel" / "barrel.glb") == "barrel"
    assert plates._asset_name(folder / ".." / "meshes_more" / "jug_01.glb") == "jug_01"
