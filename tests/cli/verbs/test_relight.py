"""``dipir relight`` as a user types it: every way to name a light, whole results, and one clear error for bad input."""
from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dipir.cli import main as cli
from dipir.event import warn
from dipir.image import files
from dipir.image.formats.png import png_bytes, profile_chunk
from dipir.priors.picture import RELIGHT, PicturePrior
from dipir.priors.relit import relighting
from dipir.scene.light import SphericalGaussians, towards
from dipir.scene.rig import Rig
from dipir.scene.source import Source
from dipir.settings.yaml import load_yaml
from tests.support.icc import P3_COLORANTS, curve, rgb_profile

FAST = ["--set", "fit.steps=4", "--set", "layers.size=32", "--set", "guidance.samples=1", "--set",
        "guidance.sampler_steps=2", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """photo.png 60 x 44, cutout.png, mask.png of its size, weights of an untrained prior."""
    place = tmp_path_factory.mktemp("relight")
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(40, 220, (4, 5, 3)), np.ones((11, 12, 1))).astype(np.uint8)
    Image.fromarray(pixels).save(place / "photo.png")
    alpha = np.zeros((44, 60, 1), np.uint8)
    alpha[8:36, 10:50] = 255
    Image.fromarray(np.concatenate([pixels, alpha], -1)).save(place / "cutout.png")
    Image.fromarray(alpha[..., 0]).save(place / "mask.png")
    Image.fromarray(np.zeros((44, 60), np.uint8)).save(place / "black.png")
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(place / "small_mask.png")
    sky, sun = SphericalGaussians.uniform(torch.ones(3)), Source(towards(200, 30), torch.tensor([9.0, 7, 5]))
    for name, rig in (("light", Rig.of(sky, sun)), ("soft", Rig(sky))):
        (place / f"{name}.json").write_text(json.dumps(rig.to_dict()))
    (place / "other.json").write_text("{}")
    PicturePrior.untrained(RELIGHT).save(place / "relight.safetensors")
    relighting.save_guess(relighting.GuessNet(), place / "relighting.safetensors")
    return place


@pytest.fixture(autouse=True)
def untrained_geometry(folder, monkeypatch):
    monkeypatch.setattr(relighting, "DEFAULT_PATH", folder / relighting.DEFAULT_PATH.name)


def relight(folder, *words) -> int:
    return cli.main(["relight", *words, "--prior", str(folder / "relight.safetensors"), *FAST])


@pytest.mark.parametrize("words, azimuth", [
    (["--prompt", "soft light from the upper left"], -60), (["--direction", "30,45"], 30),
    (["--light", "{}/light.json"], -160)])
def test_ways_to_name_a_light(folder, tmp_path, words, azimuth):
    words = [w.format(folder) for w in words]
    assert relight(folder, str(folder / "photo.png"), *words, "--out", str(tmp_path)) == 0
    told = json.loads((tmp_path / "result.json").read_text())["direction"]
    assert told["azimuth_deg"] == pytest.approx(azimuth, abs=0.01)
    assert {"relit.png", "layers.exr", "layers.psd", "report.html", "config.yaml", "history.csv"} <= {
        p.name for p in tmp_path.iterdir()}
    assert Image.open(tmp_path / "relit.png").size == (60, 44)


def test_mask_and_cut_out(folder, tmp_path):
    assert relight(folder, str(folder / "cutout.png"), "--mask", str(folder / "mask.png"), "--direction", "0,30",
                   "--size", "30", "--out", str(tmp_path)) == 0
    assert Image.open(tmp_path / "relit.png").mode == "RGBA"
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["direction"]["size_deg"] == 30 and "alpha ignored" not in " ".join(told["notes"])


def test_strength_and_fill_of_the_first_guess(folder, tmp_path):
    """Settings like others; without guidance the report says how many stops it is."""
    words = ["relight", str(folder / "photo.png"), "--direction", "60,20", "--quiet", "--out", str(tmp_path)]
    assert cli.main([*words, "--strength", "0.5", "--key-to-fill", "8"]) == 0
    config = load_yaml(tmp_path / "config.yaml")
    assert (config["strength"], config["fill"]) == (0.5, 0.125)
    told = json.loads((tmp_path / "result.json").read_text())
    assert len(told["stops"]) == 2 and "stops (5 to 95 %" in (tmp_path / "report.html").read_text()
    assert len((tmp_path / "history.csv").read_text().splitlines()) <= 1


def test_a_whole_light(folder, tmp_path, capsys):
    """It is said once, with what of it is left out; --size and --key-to-fill change it."""
    words = ["relight", str(folder / "photo.png"), "--light", str(folder / "light.json"), "--out"]
    assert cli.main([*words, str(tmp_path / "a"), "--size", "30", "--key-to-fill", "3"]) == 0
    said = capsys.readouterr().err
    assert said.count("light.json: key from azimuth -160, elevation 30, half width 30") == 1
    assert said.count("its colour is left out") == 1 and said.count("key to fill 3 as asked") == 1
    told = json.loads((tmp_path / "a/result.json").read_text())
    assert told["direction"]["size_deg"] == 30 and told["light"]["name"] == "light.json"
    assert cli.main([*words, str(tmp_path / "b"), "--strict", "--quiet"]) == 0
    other = json.loads((tmp_path / "b/result.json").read_text())
    assert other["direction"]["size_deg"] == 1 and other["light"]["key_share"] != told["light"]["key_share"]


def test_the_config_of_a_result_makes_it_again(folder, tmp_path):
    words = [str(folder / "photo.png"), "--direction", "30,45"]
    assert relight(folder, *words, "--out", str(tmp_path / "a")) == 0
    again = ["--config", str(tmp_path / "a" / "config.yaml"), "--quiet", "--out", str(tmp_path / "b")]
    assert cli.main(["relight", *words, *again]) == 0
    assert (tmp_path / "a" / "relit.png").read_bytes() == (tmp_path / "b" / "relit.png").read_bytes()


@pytest.mark.parametrize("words, text", [
    (["{}/none.png", "--direction", "0,0"], "does not exist"),
    (["{}/relight.safetensors", "--direction", "0,0"], "does not hold"),
    (["{}/photo.png"], "no light given"),
    (["{}/photo.png", "--direction", "400,0"], "out of range"),
    (["{}/photo.png", "--direction", "0,95"], "out of range"),
    (["{}/photo.png", "--direction", "nan,0"], "out of range"),
    (["{}/photo.png", "--direction", "0,0", "--size", "0"], "out of range"),
    (["{}/photo.png", "--direction", "0,0", "--prompt", "left"], "accepted is one of"),
    (["{}/photo.png", "--prompt", "from the lefft"], "Did you mean 'left'"),
    (["{}/photo.png", "--prompt", "cosy evening"], "Understood are"),
    (["{}/photo.png", "--light", "{}/other.json"], "other.json: light.json: not a light of ours"),
    (["{}/photo.png", "--light", "{}/photo.png"], "no light; accepted are light.json"),
    (["{}/photo.png", "--light", "{}/none"], "no light; accepted are light.json"),
    (["{}/photo.png", "--light", "{}/soft.json", "--key-to-fill", "5"], "no lamp stands out in it"),
    (["{}/photo.png", "--light", "{}/light.json", "--size", "70"], "out of range"),
    (["{}/photo.png", "--direction", "0,0", "--mask", "{}/small_mask.png"], "same size"),
    (["{}/photo.png", "--direction", "0,0", "--mask", "{}/black.png"], "black everywhere"),
    (["{}/black.png", "--direction", "0,0"], "black everywhere"),
    (["{}/photo.png", "--colourise", "--direction", "0,0"], "--colourise needs --prompt"),
    (["{}/photo.png", "--colourise", "--prompt", "a dog"], "colour"),
    (["{}/photo.png", "--direction", "0,0", "--set", "layers.sise=3"], "size"),
    (["{}/photo.png", "--direction", "0,0", "--strength", "2"], "accepted are 0.0 to 1.0"),
    (["{}/photo.png", "--direction", "0,0", "--key-to-fill", "1000"], "--key-to-fill"),
    (["{}/photo.png", "--direction", "0,0", "--set", "guidance.kind=none"], "asks no prior"),
    (["{}/photo.png", "--colourise", "--prompt", "blue", "--set", "guidance.kind=none"], "no guess at colours"),
    (["{}/photo.png", "--direction", "0,0", "--engine", "net"], "architecture"),
])
def test_bad_input(folder, tmp_path, capsys, words, text):
    out = tmp_path / "out"
    assert relight(folder, *(w.format(folder) for w in words), "--out", str(out)) == 2
    assert text in capsys.readouterr().err and not out.exists()


def test_a_direction_that_is_no_pair(folder, capsys):
    with pytest.raises(SystemExit) as end:
        relight(folder, str(folder / "photo.png"), "--direction", "30")
    assert end.value.code == 2 and "azimuth,elevation" in capsys.readouterr().err


def test_remarks_about_the_picture(folder, tmp_path, monkeypatch, capsys):
    """A warning is said, kept and shown, and an error where that is asked for."""
    real = files.read_image

    def with_a_warning(path, **more):
        pixels, state, info = real(path, **more)
        return pixels, state, replace(info, notes=("a note", warn("its profile is ignored")))

    monkeypatch.setattr(files, "read_image", with_a_warning)
    words = [str(folder / "photo.png"), "--prompt", "soft light from the left"]
    assert relight(folder, *words, "--out", str(tmp_path / "a")) == 0
    told = json.loads((tmp_path / "a/result.json").read_text())
    assert told["notes"] == ["photo.png: a note", "photo.png: its profile is ignored"]
    assert told["warnings"] == ["photo.png: its profile is ignored"]
    assert (tmp_path / "a/report.html").read_text().count("<b>Warning:</b> photo.png: its profile is ignored") == 1
    capsys.readouterr()
    assert relight(folder, *words, "--strict", "--out", str(tmp_path / "b")) == 2
    assert "photo.png: its profile is ignored" in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_a_picture_in_display_p3_of_16_bits_comes_back_as_one(folder, tmp_path):
    """Outside of the mask bit for bit, and with the same profile."""
    icc = rgb_profile(P3_COLORANTS, "Display P3", curve())
    size = Image.open(folder / "photo.png").size
    codes = np.random.default_rng(0).integers(20000, 40000, (size[1], size[0], 3)).astype(np.uint16)
    (tmp_path / "wide.png").write_bytes(png_bytes(codes, (profile_chunk(icc),)))
    mask = np.zeros(codes.shape[:2], np.uint8)
    mask[:, :10] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert relight(folder, str(tmp_path / "wide.png"), "--prompt", "from the left", "--mask",
                   str(tmp_path / "mask.png"), "--out", str(tmp_path / "out")) == 0
    made = cv2.imread(str(tmp_path / "out" / "relit.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert made.dtype == np.uint16 and Image.open(tmp_path / "out" / "relit.png").info["icc_profile"] == icc
    np.testing.assert_array_equal(made[:, 10:], codes[:, 10:])
    assert (made[:, :10] != codes[:, :10]).any()


@pytest.fixture
def shot(folder, tmp_path):
    """s.0001.png to s.0003.png."""
    for k in (1, 2, 3):
        (tmp_path / f"s.{k:04d}.png").write_bytes((folder / "photo.png").read_bytes())
    return tmp_path / "s.%04d.png"


def test_frames_of_a_shot(shot, tmp_path, capsys):
    words = ["relight", str(shot), "--direction", "-80,20", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert {f"relit.{k:04d}.png" for k in (1, 2, 3)} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert cli.main([*words, "--resume"]) == 0 and "3 frames are whole" in capsys.readouterr().err
    assert cli.main(["relight", str(tmp_path / "s.####.png"), "--frames", "1-3x2", "--direction", "0,20", "--quiet",
                     "--out", str(tmp_path / "two")]) == 0
    assert not (tmp_path / "two/relit.0002.png").exists() and (tmp_path / "two/relit.0003.png").is_file()


@pytest.mark.parametrize("words, text", [
    (["{}", "--frames", "1-5"], "frames 4-5 are missing"), (["{}", "--frames", "5-1"], "FIRST-LASTxSTEP"),
    (["{}", "--preset", "paper"], "flicker"), (["{}", "--set", "guidance.kind=posterior"], "flicker"),
    (["{}.jpg"], "no such frames"), (["{folder}/photo.png", "--frames", "1-2"], "with one picture")])
def test_frames_that_cannot_be(folder, shot, tmp_path, capsys, words, text):
    words = [w.format(shot, folder=folder) for w in words]
    assert cli.main(["relight", *words, "--direction", "0,20", "--out", str(tmp_path / "out")]) == 2
    assert text in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_missing_frames_are_an_error_where_warnings_are(shot, tmp_path, capsys):
    (tmp_path / "s.0002.png").rename(tmp_path / "s.0005.png")
    (tmp_path / "s.0003.png").rename(tmp_path / "s.0006.png")
    words = ["relight", str(shot), "--direction", "0,20", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--strict"]) == 2 and "frames 2-4 are not there" in capsys.readouterr().err
    assert cli.main(words) == 0 and "frames 2-4 are not there" in capsys.readouterr().err


def test_a_premultiplied_cut_out_is_said(folder, tmp_path, capsys):
    words = [str(folder / "cutout.png"), "--premultiplied", "--direction", "0,30", "--out", str(tmp_path)]
    assert cli.main(["relight", *words]) == 0
    assert "premultiplied: its colours are divided by alpha" in capsys.readouterr().err
