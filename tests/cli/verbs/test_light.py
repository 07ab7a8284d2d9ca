"""``dipir light``: what it hands over, and what it refuses before anything is made."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dipir.cli import main as cli
from dipir.cli.options import free_folder
from dipir.cli.verbs.light import changes_of
from dipir.event import warn
from dipir.image.color import blackbody
from dipir.scene.light import SphericalGaussians
from dipir.scene.plate import PlateColours
from dipir.scene.rig import Lamp, Rig
from dipir.scene.source import Source
from tests.support.command_line import RENDERED, fails, parsed

SUN = Lamp("sun", Source(torch.tensor([0.0, 1, 0]), torch.ones(3)))
RIG = Rig(SphericalGaussians.uniform(torch.ones(3), 4), (SUN,))


@pytest.fixture()
def result(files, monkeypatch) -> Path:
    """A folder that passes for a result with a sun."""
    from dipir.insert import result

    monkeypatch.setattr(result, "load_result", lambda folder: SimpleNamespace(light=RIG))
    return files


def test_every_option_is_handed_over(result, stub, capsys):
    words = ["--sun", "-60,35", "--strength", "0.8", "--size", "4", "--colour", "4500K", "--rotate", "-15",
             "--exposure", "-0.5", "--ambient", "1", "--add", "window:-90,20,0.3,15,6500", "--remove", "sun", "--spp",
             "8"]
    assert cli.main(["light", str(result), *words]) == 0
    changes = stub.calls["changes"]
    edit = changes.edit
    assert (edit.sun.azimuth_deg, edit.sun.elevation_deg, edit.sun.share, edit.sun.size_deg) == (-60, 35, 0.8, 4)
    assert torch.equal(edit.sun.colour, blackbody(4500)) and changes.spp == 8
    assert (edit.rotate_deg, edit.exposure_stops, edit.ambient_stops, edit.remove) == (-15, -0.5, 1, ("sun",))
    (name, lamp), = edit.add
    assert name == "window" and (lamp.azimuth_deg, lamp.elevation_deg, lamp.share, lamp.size_deg) == (-90, 20, 0.3, 15)
    assert stub.calls["saved"] == (RENDERED, result / "light_1")
    assert "around: soft light" in capsys.readouterr().err, "says what the light is now"
    assert (result / "light_1/scene.yaml").is_file()


def test_the_old_result_is_kept(result, stub):
    for number in (1, 2):
        assert cli.main(["light", str(result), "--guess", "2"]) == 0
        assert stub.calls["saved"] == (RENDERED, result / f"light_{number}") and stub.calls["changes"].guess == 2
    assert free_folder(result, "light") == result / "light_3"


def test_a_probe_and_another_light(result, stub):
    (result / "probe.exr").touch()
    assert cli.main(["light", str(result), "--hdri", str(result / "probe.exr"), "--rotate", "90"]) == 0
    assert stub.calls["changes"].light == result / "probe.exr" and stub.calls["changes"].edit.rotate_deg == 90


@pytest.mark.parametrize("words, texts", [
    ([], ["nothing to change", "--sun"]), (["--guess", "1", "--hdri", "x.exr"], ["--guess and --hdri"]),
    (["--hdri", "none.exr"], ["none.exr", "no such file"]), (["--colour", "blue"], ["blue", "5500K"]),
    (["--colour", "-1,0,0"], ["-1,0,0"]), (["--sun", "0,91"], ["91", "elevation"]),
    (["--add", "window"], ["window", "NAME:AZ,EL"]), (["--add", "w:1,2"], ["w:1,2"]),
    (["--remove", "lamp"], ["no lamp 'lamp'", "sun"]), (["--exposure", "40"], ["40", "stops"]),
    (["--rotate", "nan"], ["nan"])])
def test_what_cannot_be_done_ends_before_the_folder_is_made(result, stub, capsys, words, texts):
    fails(["light", str(result), *words], capsys, *texts)
    assert not (result / "light_1").exists() and "changes" not in stub.calls


def test_no_result(files, stub, capsys):
    fails(["light", str(files / "none"), "--guess", "1"], capsys, "no such folder")


def test_warnings_about_the_inputs(result, stub, capsys):
    stub.remarks = [warn("b.glb: a part is invisible")]
    assert cli.main(["light", str(result), "--guess", "1"]) == 0
    assert "warning: b.glb: a part is invisible\n" in capsys.readouterr().err
    fails(["light", str(result), "--guess", "1", "--strict", "--quiet"], capsys, "--strict: 1 warning", "b.glb")
    assert not (result / "light_2").exists()


def test_colours_can_be_changed():
    args = parsed("light", "out/demo", "--guess", "1", "--colourspace", "ACEScg", "--layer", "rgba")
    assert changes_of(args).colours == PlateColours("ACEScg", "rgba")
