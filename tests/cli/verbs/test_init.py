"""``dipir init``: its file is one that ``dipir insert`` reads, and it can be written again with a better camera."""
from __future__ import annotations

from dipir.cli import main as cli
from dipir.scene.scene_file import load_scene_file
from tests.support.command_line import fails


def test_init_writes_a_scene_that_insert_reads(files, stub, capsys):
    words = ["init", str(files / "photo.png"), str(files / "cube.obj"), "--out", str(files / "new.yaml")]
    assert cli.main(words) == 0 and "new.grid.png" in capsys.readouterr().out
    assert cli.main(["insert", str(files / "new.yaml"), "--out", str(files / "out"), "--quiet"]) == 0
    fails(words, capsys, "new.yaml")
    assert cli.main([*words, "--overwrite", "--fov", "70", "--pitch", "-2", "--camera-height", "1.1"]) == 0
    assert "keeps the height of its file, 1 m" in capsys.readouterr().err
    camera = load_scene_file(files / "new.yaml").camera
    assert (camera.fov_deg, camera.pitch_deg, camera.height_m) == (70, -2, 1.1)
    fails([*words, "--overwrite", "--fov", "700"], capsys, "fov_deg must lie in 5 to 170")
