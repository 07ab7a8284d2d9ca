"""A first scene file: it loads, its object is seen, and what was guessed is said."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import SceneError
from dipir.image.files import read_image, write_png
from dipir.scene.photo_camera.estimate import CameraOptions
from dipir.scene.photo_camera.starter import init_scene
from dipir.scene.scene_file import load_scene
from tests.support.command_line import CUBE


def cube(size: float) -> str:
    """A cube of ``size`` metres."""
    lines = [line.split() for line in CUBE.splitlines()]
    return "\n".join(" ".join([k, *(str(size * float(n)) for n in numbers)]) if k == "v" else " ".join([k, *numbers])
                     for k, *numbers in lines)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_png(tmp_path / "plate.png", torch.rand(1, 3, 240, 320, generator=torch.Generator().manual_seed(0)))
    return tmp_path


@pytest.mark.parametrize("size, own, kept", [(0.5, 0.5, True), (0.08, 0.08, True), (200.0, 2.0, True),
                                              (8.0, 8.0, False), (0.005, 0.005, False)])
def test_init_writes_a_scene_that_loads_and_a_grid(folder, size, own, kept):
    """200 of a file's units are taken for centimetres by the reader of assets."""
    (folder / "my cube #1.obj").write_text(cube(size))
    given = folder / "plate.png", folder / "my cube #1.obj", folder / "new.yaml", CameraOptions(pitch_deg=14.0)
    out, notes = init_scene(*given)
    scene = load_scene(out)
    assert scene.camera.angles_deg[0] == pytest.approx(14, abs=0.01) and scene.objects[0].name == "my cube #1"
    pixels = scene.camera.project(scene.objects[0].parts[0].vertices)[0]
    assert (0.02 if size == 0.08 else 0.1) < np.ptp(pixels[:, 1]) / 240 < 0.8
    assert pixels[:, 0].mean() == pytest.approx(160, abs=8)
    height = np.ptp(scene.objects[0].parts[0].vertices[:, 1])
    assert (height == pytest.approx(own, rel=1e-2)) == kept
    assert ("keeps the height" if kept else "is a guess") in notes[-1] and f"{height:.2g}" in notes[-1]
    assert ("--camera-height)" in notes[-1]) == (size == 0.08)
    grid, state, info = read_image(folder / "new.grid.png")
    assert (info.width, info.height) == (320, 240) and not torch.equal(grid, scene.plate.disp)
    with pytest.raises(SceneError, match="exists already"):
        init_scene(*given)


def test_a_corrected_camera_draws_the_grid_again(folder):
    (folder / "cube.obj").write_text(cube(0.5))
    given = folder / "plate.png", folder / "cube.obj", folder / "new.yaml"
    init_scene(*given, CameraOptions(pitch_deg=14.0))
    before = (folder / "new.grid.png").read_bytes()
    out, _ = init_scene(*given, CameraOptions(pitch_deg=20.0, height_m=1.2), overwrite=True)
    assert (folder / "new.grid.png").read_bytes() != before
    assert load_scene(out).camera.angles_deg[0] == pytest.approx(20) and load_scene(out).camera.position[1] == 1.2


def test_init_without_ground_says_so(folder):
    (folder / "cube.obj").write_text(cube(0.5))
    with pytest.raises(SceneError, match="shows no ground"):
        init_scene(folder / "plate.png", folder / "cube.obj", folder / "new",
                   CameraOptions(pitch_deg=-60.0, fov_deg=50.0))
    assert not list(folder.glob("new*"))


@pytest.mark.parametrize("name, words", [("wooden_table_02_1k", "wooden table"), ("red-chair", "red chair"),
                                         ("007", "007")])
def test_the_prompt_leaves_numbers_out(folder, name, words):
    (folder / f"{name}.obj").write_text(cube(0.5))
    out, _ = init_scene(folder / "plate.png", folder / f"{name}.obj", folder / "new", CameraOptions(pitch_deg=14.0))
    assert load_scene(out).prompt == f"a photo of a {words}"
