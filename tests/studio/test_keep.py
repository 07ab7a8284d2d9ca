"""What a session leaves behind: files that `dipir` reads, the command, the zip."""
from __future__ import annotations

import shlex
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dipir.cli import main as cli
from dipir.cli.verbs.insert import overrides_of
from dipir.errors import ConfigError
from dipir.image.formats.ocio import find_space
from dipir.insert.config import load_config
from dipir.scene.plate import PlateColours
from dipir.scene.scene_file import load_scene, write_scene_file
from dipir.studio import keep
from dipir.studio.document.state import Document, LampNumbers, LightNumbers
from dipir.studio.uploads import Refusal
from tests.support.ocio import write_config
from tests.support.studio import SIZE, set_up

INCH = 0.0254


@pytest.fixture
def session(tmp_path):
    return set_up(tmp_path / "session", tmp_path)


def light(**changes) -> LightNumbers:
    return replace(LightNumbers("prior", "b1", lamps=(LampNumbers("sun", 0.0, 45.0, 0.53, 0.7),)), **changes)


def test_the_scene_file_is_the_scene_that_is_shown(session, tmp_path):
    session.edit({"op": "material", "object": "o1", "part": "*", "values": {"base_color": [0.5, 0.1, 0.1]}})
    session.edit({"op": "turn", "object": "o1", "yaw_deg": 30})
    session.edit({"op": "prompt", "text": "a red cube"})
    write_scene_file(keep.scene_file_of(session.document, session.store), tmp_path / "scene.yaml")
    scene = load_scene(tmp_path / "scene.yaml")
    shown = session.pictures.scene(session.document, SIZE)
    assert (scene.plate.size, scene.prompt, scene.name) == (SIZE, "a red cube", "scene")
    assert abs(scene.camera.to_world - shown.camera.to_world).max() < 1e-9
    assert abs(scene.objects[0].to_world - shown.objects[0].to_world).max() < 1e-9
    for made in (scene, shown):
        assert made.objects[0].parts[0].material.base_color == (0.5, 0.1, 0.1)


def test_what_was_stated_of_a_file_is_kept(session, tmp_path):
    """Half a metre of a cube in decimetres lying on its side: the scene shown, and the scene written."""
    (item,) = session.document.objects
    stated = replace(session.document, objects=(replace(item, height_m=None, scale=10.0, unit="in", up="x"),))
    shown = session.pictures.scene(stated, SIZE).objects[0]
    plain = session.pictures.scene(session.document, SIZE).objects[0].asset
    assert np.ptp(shown.asset.bounds, axis=0) == pytest.approx(INCH * np.ptp(plain.bounds, axis=0)[[1, 0, 2]], rel=1e-4)
    write_scene_file(keep.scene_file_of(stated, session.store), tmp_path / "scene.yaml")
    written = load_scene(tmp_path / "scene.yaml").objects[0]
    assert abs(written.to_world - shown.to_world).max() < 1e-9
    np.testing.assert_allclose(written.asset.bounds, shown.asset.bounds)


@pytest.mark.parametrize("document", [Document(), Document("f1")])
def test_there_is_no_scene_without_photo_and_object(session, document):
    with pytest.raises(ConfigError, match="open a photo and add an object"):
        keep.scene_file_of(document, session.store)


# ---------------------------------------------------------------------------------------------------------- commands
def parsed(words: list[str]):
    text = keep.command_text(words)
    assert text.endswith("\n") and shlex.split(text)[0] == "dipir"
    return cli.build_parser().parse_args(shlex.split(text)[1:])


def test_commands_are_accepted_by_the_command_line():
    folder, out = Path("a folder/now"), Path("out")
    document = Document("f1", light=light(contrast=0.25))
    args = parsed(keep.render_words(keep.command_words(document, None, folder, out), (640, 480), 8))
    config = load_config(args.preset, None, overrides_of(args))
    assert (config.final.size, config.final.spp, config.tone.contrast) == (640, 8, 0.25)
    assert args.inputs == [folder / "scene.yaml"] and args.light == folder / "light.json"
    args = parsed(keep.render_words(keep.command_words(document, Path("earlier"), folder, out), (640, 480), 8))
    assert (args.result, args.scene, args.size, args.spp, args.contrast) == (
        Path("earlier"), folder / "scene.yaml", (640, 480), 8, 0.25)
    assert "contrast" not in " ".join(keep.command_words(Document("f1", light=light()), None, folder, out))


def test_a_fit_leaves_alone_what_is_held():
    def config(**changes):
        args = parsed(keep.fit_words(Document("f1", light=light(**changes)), Path("now"), Path("out"), 40))
        return load_config(args.preset, None, overrides_of(args))

    free = config()
    assert (free.guidance.kind, free.fit.steps) == ("posterior", 40) and free.light.source_rate > 0 < free.light.rate
    held = config(held=("ambient",), lamps=(replace(light().lamps[0], held=True),))
    assert (held.light.rate, held.light.axis_rate, held.light.source_rate) == (0, 0, 0)


# --------------------------------------------------------------------------------------------------------- downloads
def test_only_what_is_listed_and_there_is_found(tmp_path):
    now, newest = tmp_path / "now", tmp_path / "out"
    now.mkdir()
    newest.mkdir()
    (now / "scene.yaml").write_text("x")
    (newest / "composite.png").write_text("x")
    (tmp_path / "secret").write_text("x")
    assert keep.find("scene.yaml", now, newest) == now / "scene.yaml"
    assert keep.find("composite.png", now, newest) == newest / "composite.png"
    for name, says in (("../secret", "accepted are"), ("session.json", "accepted are"), ("layers.exr", "has no")):
        with pytest.raises(Refusal, match=says) as caught:
            keep.find(name, now, newest)
        assert caught.value.status == 404
    with pytest.raises(Refusal, match="make a final render first"):
        keep.find("composite.png", now, None)


def test_the_zip_is_a_scene_of_its_own(session, tmp_path):
    material = tmp_path / "cube.mtl"
    material.write_text("newmtl red\nKd 0.8 0.1 0.1\nmap_Kd tex/red.png\n")
    (tmp_path / "tex").mkdir()
    (tmp_path / "photo.png").rename(tmp_path / "tex" / "red.png")
    (tmp_path / "photo.png").write_bytes((tmp_path / "tex" / "red.png").read_bytes())
    cube = tmp_path / "cube.obj"
    faces = cube.read_text().replace("f 1 4 3 2", "usemtl red\nf 1/1 4/1 3/1 2/1\nusemtl none")
    cube.write_text("mtllib cube.mtl\nvt 0 0\n" + faces)
    now = tmp_path / "now"
    now.mkdir()
    (now / "light.json").write_text("{}")
    session.edit({"op": "duplicate", "object": "o1"})
    keep.write_zip(session.folder / "result.zip", session.document, session.store, now, None)
    with zipfile.ZipFile(session.folder / "result.zip") as archive:
        assert sorted(archive.namelist()) == ["README.txt", "cube.mtl", "cube.obj", "light.json", "photo.png",
                                              "scene.yaml", "tex/red.png"]
        archive.extractall(tmp_path / "elsewhere")
        assert "dipir insert scene.yaml --light light.json" in archive.read("README.txt").decode()
        assert str(tmp_path) not in archive.read("scene.yaml").decode()
    scene = load_scene(tmp_path / "elsewhere" / "scene.yaml")
    assert len(scene.objects) == 2 and scene.plate.size == SIZE


def test_two_files_of_one_name_are_kept_apart(session, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cube.obj").write_text((tmp_path / "cube.obj").read_text().replace("v 1 1 1", "v 1 2 1"))
    other = session.store.adopt("asset", tmp_path / "b" / "cube.obj")
    item = replace(session.document.objects[0], id="o2", asset=other.id)
    document = replace(session.document, objects=(*session.document.objects, item))
    keep.write_zip(session.folder / "z.zip", document, session.store, tmp_path, None)
    with zipfile.ZipFile(session.folder / "z.zip") as archive:
        assert {"cube.obj", "cube_2.obj"} <= set(archive.namelist())
        assert b"v 1 2 1" in archive.read("cube_2.obj")


def test_references_that_lead_out_of_the_folder_are_left_out(tmp_path):
    (tmp_path / "secret.mtl").write_text("x")
    (tmp_path / "a").mkdir()
    mesh = tmp_path / "a" / "m.obj"
    mesh.write_text("mtllib ../secret.mtl\nmtllib /etc/passwd\nmtllib gone.mtl\n")
    assert keep.beside(mesh) == []
    tree = tmp_path / "a" / "m.gltf"
    (tmp_path / "a" / "m.bin").write_bytes(b"x")
    tree.write_text('{"buffers": [{"uri": "m.bin"}, {"uri": "data:x"}], "images": [{"uri": "../secret.mtl"}, {}]}')
    assert keep.beside(tree) == [tmp_path / "a" / "m.bin"]
    tree.write_text("broken")
    assert keep.beside(tree) == []


def test_colour_spaces_of_an_opened_result_are_kept(session, tmp_path):
    """The scene shown, the scene written, and the zip, which goes without a config that is a file."""
    config = write_config(tmp_path / "show")
    (item,) = session.document.objects
    document = replace(session.document, colour=PlateColours("ap1", ocio=str(config), output_colourspace="ap0"),
                       objects=(replace(item, texture_colourspace="film"),))
    shown = session.pictures.scene(document, SIZE)
    plain = session.pictures.scene(session.document, SIZE)
    wanted = find_space("ap1", str(config)).to_light(plain.plate.disp[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(shown.plate.lin[0].permute(1, 2, 0), wanted, atol=1e-5)
    scene = keep.scene_file_of(document, session.store)
    assert scene.colour == document.colour and scene.objects[0].texture_colourspace == "film"
    keep.write_zip(session.folder / "z.zip", document, session.store, tmp_path, None)
    with zipfile.ZipFile(session.folder / "z.zip") as archive:
        written = yaml.safe_load(archive.read("scene.yaml"))["colour"]
        assert written == {"colourspace": "ap1", "output_colourspace": "ap0"}
        assert "config config.ocio: add --ocio" in archive.read("README.txt").decode()
