"""``dipir init``: its file is one that ``dipir insert`` reads, and it can be written again with a better camera."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from dipir.cli import main as cli
from dipir.scene.scene_file import load_scene_file
from tests.support.command_line import fails, parsed
from tests.support.ocio import write_config


def words(files, *more: str, out: str = "new.yaml") -> list[str]:
    return ["init", str(files / "photo.png"), str(files / "cube.obj"), "--out", str(files / out), *more]


def test_init_writes_a_scene_that_insert_reads(files, stub, capsys):
    assert cli.main(words(files)) == 0 and "new.grid.png" in capsys.readouterr().out
    assert cli.main(["insert", str(files / "new.yaml"), "--out", str(files / "out"), "--quiet"]) == 0
    fails(words(files), capsys, "new.yaml")
    assert cli.main(words(files, "--overwrite", "--fov", "70", "--pitch", "-2", "--camera-height", "1.1")) == 0
    assert "keeps the height of its file, 1 m" in capsys.readouterr().err
    camera = load_scene_file(files / "new.yaml").camera
    assert (camera.fov_deg, camera.pitch_deg, camera.height_m) == (70, -2, 1.1)
    fails(words(files, "--overwrite", "--fov", "700"), capsys, "fov_deg must lie in 5 to 170")


def test_force_is_overwrite(files, stub, capsys):
    assert cli.main(words(files)) == 0
    assert cli.main(words(files, "--force", "--pitch", "9")) == 0
    assert load_scene_file(files / "new.yaml").camera.pitch_deg == 9
    capsys.readouterr()
    # What tells to give an option names one that is there.
    fails(words(files), capsys, "exists already", "--force", "--grid-only", "--out")


def test_what_is_given_of_the_object_is_written(files, stub, capsys):
    assert cli.main(words(files, "--at", "60,80", "--height", "0.3", "--yaw", "-20", "--prompt", "a crate", "--pitch",
                          "15", "--roll", "-1.5")) == 0
    scene = load_scene_file(files / "new.yaml")
    spec = scene.objects[0]
    assert (spec.at, spec.height_m, spec.yaw_deg, scene.prompt) == ((60, 80), 0.3, -20, "a crate")
    assert scene.camera.roll_deg == -1.5 and "as given" in capsys.readouterr().err
    fails(words(files, "--height", "1", "--scale", "1", out="b.yaml"), capsys, "--height and --scale")
    fails(words(files, "--at", "60,2", "--pitch", "15", "--fov", "50", "--roll", "0", out="b.yaml"), capsys,
          "above the horizon")
    assert not list(files.glob("b.*"))


@pytest.mark.parametrize("by_photo", [False, True])
def test_only_the_grid(files, stub, capsys, by_photo):
    """With the scene's camera, or with another one that is only tried, which is said."""
    assert cli.main(words(files, "--pitch", "12")) == 0
    scene, grid = files / "new.yaml", files / "new.grid.png"
    text, first = scene.read_bytes(), grid.read_bytes()
    again = words(files, "--grid-only") if by_photo else ["init", str(scene), "--grid-only"]
    grid.unlink()
    capsys.readouterr()
    assert cli.main(again) == 0 and grid.is_file()
    said = capsys.readouterr()
    assert "new.grid.png" in said.out and "stays as it is" in said.out and "only tried" not in said.err
    same = grid.read_bytes()
    assert cli.main([*again, "--pitch", "-5", "--camera-height", "2", "--at", "64,80"]) == 0
    said = capsys.readouterr().err
    assert "--pitch, --camera-height, --at: only tried" in said and "was not changed" in said
    assert "camera.pitch_deg: -5.0" in said and "camera.height_m: 2.0" in said and "at: [64.0, 80.0]" in said
    assert grid.read_bytes() != same and scene.read_bytes() == text and first
    assert sorted(f.name for f in files.iterdir()) == sorted(
        ["photo.png", "cube.obj", "scene.yaml", "new.yaml", "new.grid.png"])


def test_only_the_grid_of_what(files, stub, capsys):
    fails(["init", str(files / "scene.yaml")], capsys, "--grid-only", "--force")
    fails(words(files, "--grid-only"), capsys, "no such scene", "--grid-only")
    fails(["init", str(files / "none.yaml"), "--grid-only"], capsys, "none.yaml")
    fails(["init", str(files / "scene.yaml"), "--grid-only", "--out", "x.yaml"], capsys, "--out and --force")
    fails(["init", str(files / "photo.png")], capsys, "a photo and an asset")
    fails(["init", str(files / "scene.yaml"), str(files / "cube.obj")], capsys, "a photo and an asset")
    (files / "other.obj").write_text((files / "cube.obj").read_text())
    fails(["init", str(files / "photo.png"), str(files / "other.obj"), "--grid-only", "--out",
           str(files / "scene.yaml")], capsys, "cube.obj", "not", "other.obj")
    assert not list(files.glob("*.grid.png"))


def test_a_camera_file_is_tried_too(files, stub, capsys):
    (files / "camera.yaml").write_text("width: 128\nheight: 96\nfov_x_deg: 52\nheight_m: 1.6\npitch_deg: 20\n")
    assert cli.main(words(files, "--camera", str(files / "camera.yaml"))) == 0
    assert load_scene_file(files / "new.yaml").camera.file.name == "camera.yaml"
    assert cli.main(["init", str(files / "scene.yaml"), "--grid-only", "--camera", str(files / "camera.yaml")]) == 0
    assert "--camera: only tried" in capsys.readouterr().err


def test_options_that_are_named_by_what_is_printed_are_accepted(files, stub, capsys):
    """Whatever `init` printed in a plain run: as a command, or as an option to give."""
    assert cli.main(words(files)) == 0
    said = capsys.readouterr()
    commands = [line.split() for line in said.out.splitlines() if line.startswith("dipir ")]
    assert [c[1] for c in commands] == ["init", "insert"]
    for command in commands:
        parsed(*command[1:])
    known = cli.build_parser()._subparsers._group_actions[0].choices["init"]._option_string_actions
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", said.err))
    assert "--camera-height" in named and named <= set(known)


@pytest.mark.parametrize("option", ["--pitch", "--roll", "--yaw", "--fov"])
@pytest.mark.parametrize("text, value", [("-5", -5), ("-.5", -0.5), ("-1e1", -10)])
def test_negative_numbers(option, text, value):
    assert getattr(parsed("init", "p.png", "c.glb", option, text), option[2:]) == value


def test_unit_and_up_are_kept_in_the_scene(files, stub, capsys):
    assert cli.main(words(files, "--unit", "ft", "--up", "z", "--pitch", "15")) == 0
    spec = load_scene_file(files / "new.yaml").objects[0]
    assert (spec.unit, spec.up, spec.height_m) == ("ft", "z", pytest.approx(0.3048, abs=0.005))
    err = capsys.readouterr().err
    assert "as given" in err and "--unit" not in err and "--up" not in err
    assert cli.main(words(files, out="b.yaml")) == 0
    err = capsys.readouterr().err
    assert err.count("cube.obj: OBJ states no unit: m was assumed") == 1 and "--unit" in err and "--up" in err


def test_strict_writes_nothing_where_something_is_missing(files, stub, capsys):
    assert cli.main(words(files, "--strict")) == 0
    (files / "cube.obj").write_text("mtllib none.mtl\nusemtl gone\n" + (files / "cube.obj").read_text())
    capsys.readouterr()
    assert cli.main(words(files, "--strict", out="b.yaml")) == 2
    assert "none.mtl" in capsys.readouterr().err and not list(files.glob("b.*"))


def test_colours_are_written_into_the_scene(files, stub, capsys):
    config = write_config(files / "show")
    assert cli.main(words(files, "--colourspace", "film", "--ocio", str(config), "--texture-colourspace", "ap1")) == 0
    scene = load_scene_file(files / "new.yaml")
    assert scene.colour.colourspace == "film" and Path(scene.colour.ocio).samefile(config)
    assert scene.objects[0].texture_colourspace == "ap1" and str(files) not in (files / "new.yaml").read_text()
    assert "converted from film" in capsys.readouterr().err
    again = ["init", str(files / "new.yaml"), "--grid-only", "--colourspace", "ap1"]
    assert cli.main(again) == 0 and "colour.colourspace: ap1" in capsys.readouterr().err
    fails(words(files, "--colourspace", "fil", "--ocio", str(config), out="b.yaml"), capsys, "'film'")
