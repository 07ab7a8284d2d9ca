"""``dipir insert``: arguments -> scene and settings; bad input makes no folder. The method is replaced by ``stub``."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipir import disk
from dipir.cli import main as cli
from dipir.cli.verbs import insert
from dipir.errors import ConfigError
from dipir.event import warnings_in
from dipir.image.formats.ocio import BUILT_IN
from dipir.insert import method
from dipir.insert.config import GuidanceSettings, InsertConfig, load_config
from dipir.scene import plate as plates
from dipir.scene.plate import PlateColours
from dipir.scene.scene_file import load_scene_file
from tests.support.asset_samples import gltf, write
from tests.support.command_line import fails, insert_words, parsed


def test_plate_and_asset_become_a_scene():
    args = parsed("insert", "a/photo.jpg", "b/chair.glb", "--at", "640.5,700", "--height", "0.9", "--yaw", "-30",
                 "--prompt", "a chair", "--fov", "52", "--pitch", "-3", "--roll", "1", "--camera-height", "1.7",
                 "--camera", "c.yaml")
    scene = insert.scene_file_of(args)
    (item,) = scene.objects
    assert (scene.plate, item.asset, item.at) == (Path("a/photo.jpg"), Path("b/chair.glb"), (640.5, 700.0))
    assert (item.height_m, item.scale, item.yaw_deg, scene.prompt) == (0.9, None, -30.0, "a chair")
    c = scene.camera
    assert (c.fov_deg, c.pitch_deg, c.roll_deg, c.height_m, c.file) == (52, -3, 1, 1.7, Path("c.yaml"))
    assert scene.name == "photo-chair"


def test_flags_of_a_camera_file():
    words = ("insert", "p.jpg", "c.glb", "--at", "1,2", "--camera", "room.fspy")
    camera = insert.scene_file_of(parsed(*words, "--camera-up", "+Y", "--redistort")).camera
    assert (camera.file, camera.up, camera.redistort) == (Path("room.fspy"), "y", True)
    assert insert.scene_file_of(parsed(*words)).camera.redistort is False
    with pytest.raises(ConfigError, match="redistort says something of a camera file, and none is given"):
        insert.scene_file_of(parsed("insert", "p.jpg", "c.glb", "--at", "1,2", "--redistort"))
    assert "prior_config=\"d\"" in insert.overrides_of(parsed(*words, "--prior-config", "d"))


def test_flags_replace_what_the_scene_file_says(files):
    plain = insert.scene_file_of(parsed("insert", str(files / "scene.yaml")))
    assert plain.objects[0].height_m == 0.5 and plain.camera.fov_deg == 50 and plain.prompt == "a cube"
    flags = ("--scale", "2", "--fov", "60", "--prompt", "")
    changed = insert.scene_file_of(parsed("insert", str(files / "scene.yaml"), *flags))
    assert (changed.objects[0].height_m, changed.objects[0].scale, changed.objects[0].yaw_deg) == (None, 2.0, 20.0)
    assert changed.camera.fov_deg == 60 and changed.camera.pitch_deg == 15 and changed.prompt == ""


def test_placing_one_of_several_objects_by_flag_is_ambiguous(files):
    scene = files / "scene.yaml"
    scene.write_text(scene.read_text() + "  - {asset: cube.obj, at: [30, 80]}\n")
    assert len(insert.scene_file_of(parsed("insert", str(scene), "--fov", "60")).objects) == 2
    with pytest.raises(ConfigError, match="2 objects"):
        insert.scene_file_of(parsed("insert", str(scene), "--yaw", "3"))


def test_settings_from_flags_come_before_set():
    args = parsed("insert", "s.yaml", "--seed", "7", "--guess", "2", "--optimize", "light,tone", "--set", "fit.steps=5",
                 "--set", "seed=9")
    assert insert.overrides_of(args) == ["seed=7", 'optimize=["light", "tone"]', "light.guess=2", "fit.steps=5",
                                         "seed=9"]
    assert load_config(overrides=insert.overrides_of(args)).optimize == ("light", "tone")


@pytest.mark.parametrize("words, text", [("lihgt", "Did you mean 'light'?"), (",", "nothing given; accepted are")])
def test_what_cannot_be_fitted(words, text):
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=insert.overrides_of(parsed("insert", "s.yaml", "--optimize", words)))
    assert text in str(caught.value)


@pytest.mark.parametrize("inputs", [["photo.png"], ["scene.yaml", "cube.obj"], ["photo.png", "cube.obj", "cube.obj"]])
def test_wrong_number_of_inputs(inputs, capsys):
    fails(["insert", *inputs], capsys, "give one scene file (.yaml), or a plate and an asset")


def test_at_is_needed(capsys):
    fails(["insert", "photo.png", "cube.obj"], capsys, "--at X,Y is needed", "dipir init photo.png cube.obj")


@pytest.mark.parametrize("name, content", [("missing.png", None), ("zero.png", b""),
                                           ("corrupt.png", b"\x89PNG\r\n\x1a\nx"), ("text.jpg", b"hello"),
                                           ("short.exr", b"v/1\x01\x02")])
def test_bad_plates(files, stub, capsys, name, content):
    if content is not None:
        (files / name).write_bytes(content)
    fails(insert_words(files, plate=name), capsys, name)
    assert not (files / "out").exists()


@pytest.mark.parametrize("name, content", [
    ("missing.glb", None), ("zero.glb", b""), ("cube.xyz", b"1 2 3"), ("none.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
    ("nan.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), ("short.glb", b"glTF\x02\x00\x00\x00"),
    ("far.gltf", b'{"asset":{"version":"2.0"},"buffers":[{"byteLength":9,"uri":"../../../etc/passwd"}]}')])
def test_bad_assets(files, stub, capsys, name, content):
    if content is not None:
        (files / name).write_bytes(content)
    fails(insert_words(files, asset=name), capsys, name)
    assert not (files / "out").exists()


@pytest.mark.parametrize("at", ["500,70", "64,2"])
def test_object_outside_the_view(files, stub, capsys, at):
    fails(insert_words(files, "--at", at), capsys, at if at == "500,70" else "horizon")
    assert not (files / "out").exists()


def test_bad_scene_files(files, stub, capsys):
    scene = files / "scene.yaml"
    text = scene.read_text()
    scene.write_text(text.replace("prompt:", "promt:").replace("yaw_deg: 20", "yaw_deg: left"))
    fails(["insert", str(scene), "--out", str(files / "out")], capsys, "scene.yaml", "2 problems",
           "Did you mean 'prompt'", "objects[0].yaw_deg")
    scene.write_text("plate: [")
    fails(["insert", str(scene)], capsys, "scene.yaml", "YAML")
    fails(["insert", str(files / "none.yaml")], capsys, "none.yaml", "no such file")
    fails(insert_words(files, "--fov", "500"), capsys, "fov_deg")
    assert not (files / "out").exists()


def test_out_that_cannot_be_written(files, stub, capsys):
    (files / "taken").write_text("mine")
    fails(insert_words(files, "--out", str(files / "taken")), capsys, "taken", "--out")
    fails(insert_words(files, "--out", "/proc/dipir/out"), capsys, "/proc/dipir/out", "--out")
    assert "insert" not in stub.calls and "scene" not in stub.calls, "the work must not have begun"


def test_insert_hands_everything_over(files, stub, capsys):
    words = ["insert", str(files / "scene.yaml"), "--out", str(files / "out"), "--prior", "w", "--preset", "fast",
             "--config", "a.yaml", "--config", "b.yaml", "--seed", "4", "--resume"]
    assert cli.main(words) == 0
    calls = stub.calls
    assert (calls["preset"], calls["overrides"]) == ("fast", ['prior="w"', "seed=4"])
    assert calls["paths"] == [Path("a.yaml"), Path("b.yaml")]
    assert calls["scene"].prompt == "a cube" and calls["scene"].camera.width == 128 and len(calls["scene"].objects) == 1
    assert calls["config"] == InsertConfig() and calls["resume"] is True
    assert (calls["prior"], calls["light_prior"]) == ("prior", "light prior")
    assert calls["saved"] == ("result", files / "out") and calls["preview"]
    out = capsys.readouterr().out
    assert out.strip() == str(files / "out" / "composite.png")
    assert {f.name for f in (files / "out").iterdir()} == {"composite.png", "camera.png", "scene.yaml"}


@pytest.mark.parametrize("words, exr", [([], None), (["--composite", "exr"], True), (["--composite", "png"], False)])
def test_the_form_of_the_composite_is_handed_over(files, stub, words, exr):
    assert cli.main(["insert", str(files / "scene.yaml"), "--out", str(files / "out"), *words]) == 0
    assert stub.calls["exr"] is exr


@pytest.mark.parametrize("kind, words, named", [
    ("none", ["--prior", "w", "--optimize", "light", "--set", "fit.steps=9", "--set", "final.spp=2", "--resume"],
     "note: prior, optimize, fit.steps, resume: without effect"),
    ("none", ["--set", "guidance.kind=none", "--set", "final.spp=2"], None), ("posterior", ["--prior", "w"], None)])
def test_settings_of_a_fit_that_is_not_made_are_named(files, stub, monkeypatch, capsys, kind, words, named):
    monkeypatch.setattr(method, "load_config", lambda *_: InsertConfig(guidance=GuidanceSettings(kind)))
    assert cli.main(insert_words(files, *words)) == 0
    said = capsys.readouterr().err
    assert (named in said and "final.spp" not in said) if named else "without effect" not in said


def test_the_written_scene_file_gives_the_same_scene(files, stub):
    assert cli.main(insert_words(files, "--quiet")) == 0
    again = insert.scene_file_of(parsed("insert", str(files / "out" / "scene.yaml")))
    assert again.objects[0].asset.resolve() == files / "cube.obj" and again.objects[0].at == (64, 70)
    assert again.camera.fov_deg == 50


def test_the_plate_is_read_once(files, stub, monkeypatch):
    read, whole = [], plates.read_plate
    for module in ("dipir.scene.plate", "dipir.scene.scene_file"):
        monkeypatch.setattr(f"{module}.read_plate", lambda path, *more: read.append(path) or whole(path))
    assert cli.main(insert_words(files, "--quiet")) == 0
    assert read == [files / "photo.png"]


def test_remarks_about_assets_are_said(files, stub, capsys):
    write(files, gltf(), "cube.gltf")
    assert cli.main(insert_words(files, asset="cube.gltf")) == 0
    assert capsys.readouterr().err.count("cube.gltf: a primitive without material was given a grey one") == 1


def broken_materials(files) -> None:
    """The cube with a material that hides something, and one that is not there."""
    text = (files / "cube.obj").read_text()
    (files / "cube.obj").write_text(f"mtllib none.mtl\nusemtl gone\n{text}")


def test_warnings_are_said_as_such(files, stub, capsys):
    broken_materials(files)
    assert cli.main(insert_words(files, "--log", "json")) == 0
    out, err = capsys.readouterr()
    line, other = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert "cube.obj: " in line and "none.mtl" in line and "'gone'" in other
    (told,) = [json.loads(line) for line in out.splitlines() if "none.mtl" in line]
    assert told == {"event": "warning", "message": line.removeprefix("warning: ")}
    notes = stub.calls["scene"].notes
    assert told["message"] in notes and warnings_in(notes)[0] == told["message"]


def test_strict_makes_warnings_errors_before_any_work(files, stub, capsys):
    assert cli.main(insert_words(files, "--strict")) == 0, "notes are no warnings"
    shutil.rmtree(files / "out")
    stub.calls.clear()
    broken_materials(files)
    capsys.readouterr()
    assert cli.main(insert_words(files, "--strict", "--quiet")) == 2
    err = capsys.readouterr().err
    assert "--strict: 2 warnings;" in err and "none.mtl" in err and "cube.obj" in err
    assert "scene" not in stub.calls and not (files / "out").exists()


def test_unit_and_up_reach_the_asset(files, stub):
    assert cli.main(insert_words(files, "--unit", "cm", "--up", "-y", "--quiet")) == 0
    (placed,) = stub.calls["scene"].objects
    assert np.ptp(placed.asset.bounds, axis=0) == pytest.approx([0.01] * 3)
    assert not [note for note in placed.asset.notes if "--unit" in note or "--up" in note]
    scene = load_scene_file(files / "out/scene.yaml")
    assert (scene.objects[0].unit, scene.objects[0].up) == ("cm", "-y")


@pytest.mark.parametrize("words", [("--unit", "furlong"), ("--up", "w")])
def test_units_and_axes_that_are_none(files, stub, capsys, words):
    fails(insert_words(files, *words), capsys, words[1], "accepted are")


def test_the_shipped_scene_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scene = insert.scene_file_of(parsed("insert", "scenes/demo.yaml"))
    assert scene.plate.resolve() == disk.shipped("assets/demo/plate.png")
    assert capsys.readouterr().err.count("the one that comes with dipir is used") == 1
    (tmp_path / "scenes").mkdir()
    for name in ("plate.png", "cube.obj"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "scenes" / "demo.yaml").write_text("plate: ../plate.png\nobjects: [{asset: ../cube.obj, at: [1, 1]}]")
    assert insert.scene_file_of(parsed("insert", "scenes/demo.yaml")).plate.resolve() == tmp_path / "plate.png"
    fails(["insert", "scenes/none.yaml"], capsys, "scenes/none.yaml", "no such file")
    fails(["insert", "scenes/../setup.yaml"], capsys, "no such file")


@pytest.mark.parametrize("name", ["../../x", "{files}/elsewhere", "..", "W\\udcfcrfel"])
def test_the_name_of_a_scene_stays_below_out(files, stub, monkeypatch, name):
    (files / "here").mkdir()
    monkeypatch.chdir(files / "here")
    before = {path.name for path in files.iterdir()}
    scene = files / "scene.yaml"
    scene.write_text(scene.read_text() + f'name: "{name.format(files=files)}"\n')
    assert cli.main(["insert", str(scene)]) == 0
    assert stub.calls["saved"][1].resolve().parent == files / "here" / "out"
    assert {path.name for path in files.iterdir()} == before


def test_colours_become_part_of_the_scene(files, stub, monkeypatch):
    monkeypatch.delenv("OCIO", raising=False)
    words = ("--colourspace", "ACEScg", "--layer", "beauty", "--output-colorspace", "lin_rec709",
             "--texture-colourspace", "srgb_tx")
    scene = insert.scene_file_of(parsed(*insert_words(files, *words)))
    assert scene.colour == PlateColours("ACEScg", "beauty", BUILT_IN, "lin_rec709")
    assert scene.objects[0].texture_colourspace == "srgb_tx"
    monkeypatch.setenv("OCIO", str(files / "show.ocio"))
    assert insert.scene_file_of(parsed(*insert_words(files, *words))).colour.ocio == str(files / "show.ocio")
    assert insert.scene_file_of(parsed(*insert_words(files))).colour == PlateColours()


@pytest.mark.parametrize("words, text", [
    (["--colourspace", "ACEScq"], "'ACEScg'"), (["--output-colourspace", "ACEScq"], "'ACEScg'"),
    (["--layer", "beauty"], "has no layers"), (["--colourspace", "ACEScg", "--ocio", "none.ocio"], "none.ocio"),
    (["--texture-colourspace", "Raw"], "holds data")])
def test_colours_that_cannot_be_used_end_before_the_folder_is_made(files, stub, capsys, words, text, monkeypatch):
    monkeypatch.delenv("OCIO", raising=False)
    fails(insert_words(files, *words), capsys, text)
    assert not (files / "out").exists()


@pytest.mark.parametrize("alpha, code", [(255, 0), (9, 2)])
def test_alpha_that_is_left_out_is_an_error_under_strict(files, stub, alpha, code, capsys):
    Image.open(files / "photo.png").convert("RGB").save(files / "opaque.png")
    picture = Image.open(files / "opaque.png")
    picture.putalpha(alpha)
    picture.save(files / "cut.png")
    assert cli.main(insert_words(files, "--strict", plate="cut.png")) == code
    assert ("cut.png: alpha ignored" in capsys.readouterr().err)
