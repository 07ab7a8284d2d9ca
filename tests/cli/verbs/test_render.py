"""``dipir render``: what it hands to the method, and folders that are no results."""
from __future__ import annotations

from pathlib import Path

from dipir.cli import main as cli
from tests.support.command_line import RENDERED, fails


def test_render_of_no_result(files, stub, capsys):
    fails(["render", str(files / "none")], capsys, "none", "no such folder")
    fails(["render", str(files)], capsys, "light.json")
    assert not (files / "render").exists() and "render" not in stub.calls


def test_render_hands_everything_over(files, stub, monkeypatch, capsys):
    from dipir.insert import result

    monkeypatch.setattr(result, "load_result", lambda folder: None)
    assert cli.main(["render", str(files), "--asset", "b.glb", "--size", "640,480", "--spp", "256", "--quiet"]) == 0
    folder, asset, size, spp, on_event = stub.calls["render"]
    assert (folder, asset, size, spp) == (files, Path("b.glb"), (640, 480), 256) and callable(on_event)
    assert stub.calls["saved"] == (RENDERED, files / "render")
    assert capsys.readouterr().err == "", "quiet"
    assert cli.main(["render", str(files), "--no-denoise"]) == 0 and stub.calls["denoise"] is False
    assert "note: no denoiser" in capsys.readouterr().err
