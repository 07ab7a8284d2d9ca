"""``dipir layout`` as a user types it: every way to say what stands where, whole results, one clear error for bad
input."""
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dipir.cli import main as cli
from dipir.cli.verbs.layout import request_of
from dipir.event import warn
from dipir.image.formats.ocio import BUILT_IN
from dipir.priors.layout import LayoutPrior
from dipir.scene import plate
from dipir.scene.scene_file import load_scene
from tests.support.command_line import CUBE, parsed
from tests.support.icc import P3_COLORANTS, curve, rgb_profile

FAST = ["--steps", "2", "--set", "layers.stage=1", "--quiet"]
BOX = ["--box", "a red cube: 0.1,0.5,0.4,0.9"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """photo.png 96 x 80, mug.png (a mask) of its size, square.png (a mask 64 x 64), black.png, cube.obj, layout files,
    weights of an untrained prior."""
    place = tmp_path_factory.mktemp("layout")
    photo = np.kron(np.random.default_rng(0).integers(90, 110, (5, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    Image.fromarray(photo).save(place / "photo.png")
    mask = np.zeros((80, 96), np.uint8)
    mask[40:70, 20:60] = 255
    Image.fromarray(mask).save(place / "mug.png")
    Image.fromarray(mask[:64, :64]).save(place / "square.png")
    Image.fromarray(mask * 0).save(place / "black.png")
    (place / "broken.png").write_bytes((place / "photo.png").read_bytes()[:60])
    (place / "cube.obj").write_text(CUBE)
    (place / "two.yaml").write_text("caption: a red cube and a mug\nregions:\n- {caption: a red cube, "
                                    "box: [0.1, 0.5, 0.4, 0.9]}\n- {caption: a mug, mask: square.png}\n")
    (place / "wrong.yaml").write_text("regions:\n- {caption: a red cube, box: [0.1, 0.5, 0.4, 1.9]}\n")
    LayoutPrior.untrained().save(place / "layout.safetensors")
    return place


def run(folder, *words) -> int:
    return cli.main(["layout", *(w.format(folder) for w in words), "--prior", str(folder / "layout.safetensors"),
                     *FAST])


def told(out):
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize("words, layers", [
    (["--caption", "a red cube on a grey floor", *BOX], {"00_background", "01_red_cube"}),
    ([*BOX, "--box", "a mug: 0.5,0.5,0.9,0.9"], {"00_background", "01_red_cube", "02_mug"}),
    (["--mask", "a mug: {}/square.png", "--background", "an empty blue floor"], {"00_background", "01_mug"}),
    (["{}/two.yaml"], {"00_background", "01_red_cube", "02_mug"}),
    (["{}/two.yaml", "--caption", "a mug", "--box", "a mug: 0.5,0.5,0.9,0.9"], {"00_background", "01_mug"}),
    (["--edit", "{}/photo.png", "--mask", "a mug: {}/mug.png", "--source", "an empty floor"], {"01_mug"}),
    (["--caption", "a red cube"], set())])
def test_ways_to_say_what_stands_where(folder, tmp_path, words, layers):
    assert run(folder, *words, "--out", str(tmp_path)) == 0
    names = {p.name for p in tmp_path.iterdir()}
    assert {n[6:-4] for n in names if n.startswith("layer_")} == layers
    assert {"image.png", "config.yaml", "result.json", "report.html"} <= names
    assert ({"regions.png", "attention.png"} <= names) == bool(layers)
    assert Image.open(tmp_path / "image.png").size == ((96, 80) if "--edit" in words else (64, 64))


def test_outside_of_an_edit_the_file_is_the_photo(folder, tmp_path):
    assert run(folder, "--edit", "{}/photo.png", "--mask", "a mug: {}/mug.png", "--out", str(tmp_path)) == 0
    before, after = (np.asarray(Image.open(p)).astype(int) for p in (folder / "photo.png", tmp_path / "image.png"))
    changed = (before != after).any(-1)
    assert changed[45:65, 25:55].mean() > 0.9
    changed[36:74, 16:64] = False
    assert not changed.any()


def test_the_config_of_a_result_makes_it_again(folder, tmp_path):
    assert run(folder, *BOX, "--seed", "5", "--out", str(tmp_path / "a")) == 0
    again = ["--config", str(tmp_path / "a" / "config.yaml"), "--quiet", "--out", str(tmp_path / "b")]
    assert cli.main(["layout", *BOX, *again]) == 0
    assert (tmp_path / "a" / "image.png").read_bytes() == (tmp_path / "b" / "image.png").read_bytes()
    assert told(tmp_path / "b")["seed"] == 5


def test_a_scene_for_insert(folder, tmp_path):
    assert run(folder, "--edit", "{}/photo.png", "--box", "a mug: 0.3,0.6,0.6,0.95", "--out", str(tmp_path / "out"),
               "--as-scene", str(tmp_path / "mug.yaml"), "--asset", "{}/cube.obj") == 0
    scene = load_scene(tmp_path / "mug.yaml")
    pixels, _ = scene.camera.project(scene.objects[0].parts[0].vertices.astype(float))
    assert pixels[:, 1].max() == pytest.approx(0.95 * 80, abs=1.5)
    assert scene.plate.size == (96, 80) and scene.prompt == "a mug"


def test_json_log(folder, tmp_path, capsys):
    words = ["layout", *BOX, "--prior", str(folder / "layout.safetensors"), "--steps", "2", "--log", "json"]
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines.pop(0)["event"] == "device"
    assert [(e["stage"], e["step"]) for e in lines[:-1]] == [("layout", 1), ("layout", 2)]
    assert lines[-1] == {"event": "done", "out": str(tmp_path)}
    assert not (tmp_path / "preview.png").exists()


@pytest.mark.parametrize("words, text", [
    ([], "nothing was asked for"),
    (["--box", "a red cube: 0.1,0.5,0.4,1.9"], "outside of the picture"),
    (["--box", "a red cube: 0.4,0.5,0.4,0.9"], "is empty"),
    (["--box", "a red cube"], "four numbers"),
    (["--box", "a red cube: 0.501,0.5,0.505,0.9"], "smaller than one of the 64 x 64 cells"),
    ([*BOX, "--box", "a mug: 0.1,0.5,0.4,0.9"], "hidden"),
    (["--caption", "a mug", *BOX], "more regions than the caption names"),
    (["--caption", "a red cube", *BOX, *BOX], "more regions than the caption names"),
    (["--box", "a red dog: 0.1,0.5,0.4,0.9"], "Accepted are"),
    (["--caption", "a red cueb"], "Did you mean 'cube'"),
    (["--mask", "a mug: {}/none.png"], "does not exist"),
    (["--mask", "a mug: {}/cube.obj"], "does not hold"),
    (["--mask", "a mug: {}/black.png"], "black everywhere"),
    (["--mask", "a mug: {}/mug.png"], "of that shape"),
    (["--edit", "{}/photo.png", "--mask", "a mug: {}/square.png"], "same size"),
    (["--edit", "{}/photo.png", "--caption", "a mug"], "no region"),
    (["--edit", "{}/broken.png", *BOX], "damaged"),
    (["--edit", "{}/none.png", *BOX], "does not exist"),
    (["--source", "a floor", *BOX], "--edit"),
    (["{}/none.yaml"], "no such file"),
    (["{}/wrong.yaml"], "outside of the picture"),
    ([*BOX, "--set", "guidance.strenght=3"], "strength"),
    ([*BOX, "--set", "sampler.steps=0"], "steps: 1 or more"),
    ([*BOX, "--set", "width=128"], "64 x 64"),
    ([*BOX, "--as-scene", "{}/new.yaml"], "--asset"),
    ([*BOX, "--place", "1"], "belong to --as-scene"),
    ([*BOX, "--as-scene", "{}/two.yaml", "--asset", "{}/cube.obj"], "exists already"),
    ([*BOX, "--as-scene", "{}/new.yaml", "--asset", "{}/cube.obj", "--place", "2"], "there are 1 regions"),
    ([*BOX, "--as-scene", "{}/new.yaml", "--asset", "{}/none.obj"], "none.obj"),
])
def test_bad_input(folder, tmp_path, capsys, words, text):
    out = tmp_path / "out"
    assert run(folder, *words, "--out", str(out)) == 2
    assert text in capsys.readouterr().err and not out.exists() and not (folder / "new.yaml").exists()


@pytest.mark.parametrize("prior, text", [("{}/none.safetensors", "no such file"), ("{}/photo.safetensors", "complete"),
                                         ("{}/two", "no such folder")])
def test_priors_that_cannot_be_used(folder, tmp_path, capsys, prior, text):
    (folder / "photo.safetensors").write_bytes((folder / "photo.png").read_bytes())
    words = ["layout", *BOX, "--prior", prior.format(folder), *FAST, "--out", str(tmp_path / "out")]
    assert cli.main(words) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_remarks_about_the_picture_and_the_asset(folder, tmp_path, monkeypatch, capsys):
    """Warnings of both are said, kept and shown, and errors where that is asked for."""
    real = plate.read_plate
    noted = (warn("its profile is ignored"),)
    monkeypatch.setattr(plate, "read_plate", lambda path, *more, **how: replace(real(path), notes=noted))
    (tmp_path / "bad.obj").write_text("mtllib gone.mtl\n" + CUBE)
    words = ["--edit", "{}/photo.png", *BOX, "--as-scene", str(tmp_path / "s.yaml"), "--asset",
             str(tmp_path / "bad.obj")]
    assert run(folder, *words, "--strict", "--out", str(tmp_path / "b")) == 2
    err = capsys.readouterr().err
    assert "2 warnings" in err and "photo.png: its profile is ignored" in err and "bad.obj" in err and "gone.mtl" in err
    assert not (tmp_path / "b").exists() and not (tmp_path / "s.yaml").exists()
    assert run(folder, *words[:4], "--out", str(tmp_path / "a")) == 0
    assert told(tmp_path / "a")["warnings"] == ["photo.png: its profile is ignored"]
    assert "<b>Warning:</b> photo.png: its profile is ignored" in (tmp_path / "a/report.html").read_text()


def test_the_photo_to_edit_has_its_profile_converted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=rgb_profile(P3_COLORANTS, "Wide", curve()))
    words = ["layout", "--edit", str(tmp_path / "a.png"), "--box", "a mug: 0.3,0.6,0.6,0.95"]
    args = cli.build_parser().parse_args(words)
    image = request_of(args).image
    assert float((image[0].permute(1, 2, 0) - torch.from_numpy(pixels / 255)).abs().max()) > 0.02


def test_colours_belong_to_a_picture_that_is_edited(folder, tmp_path, capsys):
    assert run(folder, *BOX, "--colourspace", "ACEScg", "--out", str(tmp_path / "a")) == 2
    assert "about the picture of --edit" in capsys.readouterr().err
    request = request_of(parsed("layout", "--edit", str(folder / "photo.png"), *BOX, "--colourspace",
                                "Display P3 - Display", "--ocio", BUILT_IN))
    assert request.kind.own.space.name == "Display P3 - Display"
    assert torch.equal(request.image, plate.read_plate(folder / "photo.png", plate.PlateColours(
        "Display P3 - Display", ocio=BUILT_IN)).disp)
