"""``dipir render``: what it hands to the method, and folders that are no results."""
from __future__ import annotations

from pathlib import Path

import pytest

from dipir.cli import main as cli
from dipir.event import warn
from dipir.insert.again import Changes, Move
from dipir.scene.plate import PlateColours
from dipir.scene.scene_file import load_scene_file, write_scene_file
from tests.support.command_line import RENDERED, fails


def test_render_of_no_result(files, stub, capsys):
    fails(["render", str(files / "none")], capsys, "none", "no such folder")
    fails(["render", str(files)], capsys, "result.json")
    assert not (files / "render").exists() and "changes" not in stub.calls


@pytest.fixture()
def result(files, monkeypatch) -> Path:
    """A folder that passes for a result: the scene is there."""
    from dipir.insert import result

    monkeypatch.setattr(result, "load_result", lambda folder: None)
    write_scene_file(load_scene_file(files / "scene.yaml"), files / "scene.yaml")
    return files


def test_render_hands_everything_over(result, stub, capsys):
    other = result / "b.glb"
    other.write_bytes(b"any")
    assert cli.main(["render", str(result), "--asset", str(other), "--size", "640,480", "--spp", "256", "--quiet"]) == 0
    assert stub.calls["folder"] == result and callable(stub.calls["on_event"])
    assert stub.calls["changes"] == Changes(asset=other, size=(640, 480), spp=256)
    assert stub.calls["saved"] == (RENDERED, result / "render")
    assert capsys.readouterr().err == "", "quiet"
    assert load_scene_file(result / "render/scene.yaml").objects[0].at == (64, 70), "what it rendered can be rendered"
    assert cli.main(["render", str(result), "--no-denoise"]) == 0 and stub.calls["changes"].denoise is False
    assert "note: no denoiser" in capsys.readouterr().err


def test_objects_are_moved_and_changed(result, stub):
    words = ["--at", "30,70", "--height", "0.4", "--yaw", "-30", "--material", "roughness=0.1", "--material",
             "Wood.base_color=0.8,0.5,0.3", "--contrast", "-0.5", "--light", "l.json", "--object", "cube"]
    assert cli.main(["render", str(result), *words]) == 0
    move = Move((30, 70), 0.4, -30, {"*": {"roughness": 0.1}, "Wood": {"base_color": (0.8, 0.5, 0.3)}})
    assert stub.calls["changes"] == Changes(light=Path("l.json"), object="cube", move=move, contrast=-0.5)


def test_another_assets_unit_and_axis_reach_the_scene_that_is_kept(result, stub):
    (result / "b.obj").write_text("v 0 0 0\nv 10 0 0\nv 0 0 30\nf 1 2 3\n")
    words = ["--asset", str(result / "b.obj"), "--unit", "cm", "--up", "+Z"]
    assert cli.main(["render", str(result), *words]) == 0
    assert stub.calls["changes"] == Changes(move=Move(unit="cm", up="z"), asset=result / "b.obj")
    kept = load_scene_file(result / "render/scene.yaml").objects[0]
    assert (kept.asset.name, kept.unit, kept.up) == ("b.obj", "cm", "z")
    assert cli.main(["render", str(result / "render"), "--yaw", "5"]) == 0, "and stay"
    assert load_scene_file(result / "render/render/scene.yaml").objects[0].unit == "cm"


@pytest.mark.parametrize("words, text", [
    (["--unit", "furlong"], "unit 'furlong' is unknown"), (["--up", "w"], "up 'w' is unknown"),
    (["--material", "roughnes=0.1"], "roughness"), (["--material", "roughness"], "KEY=VALUE"),
    (["--material", "base_color=0.1"], "R,G,B"), (["--object", "cub", "--yaw", "3"], "cube"),
    (["--material", "roughness=7"], "0 to 1")])
def test_what_cannot_be_changed_ends_before_the_folder_is_made(result, stub, capsys, words, text):
    fails(["render", str(result), *words], capsys, text)
    assert not (result / "render").exists() and "changes" not in stub.calls


def test_warnings_about_the_inputs(result, stub, capsys):
    stub.remarks = ["a note", warn("b.glb: a part is invisible")]
    assert cli.main(["render", str(result)]) == 0
    assert "note: a note\nwarning: b.glb: a part is invisible\n" in capsys.readouterr().err
    words = ["render", str(result), "--strict", "--quiet", "--out", str(result / "strict")]
    fails(words, capsys, "--strict: 1 warning", "b.glb")
    assert not (result / "strict").exists()


def test_colours_can_be_changed(result, stub, monkeypatch):
    monkeypatch.delenv("OCIO", raising=False)
    assert cli.main(["render", str(result), "--output-colourspace", "ACEScg", "--quiet"]) == 0
    assert stub.calls["changes"] == Changes(colours=PlateColours(output_colourspace="ACEScg"))
