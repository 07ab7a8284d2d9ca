"""``dipir studio``: which session it opens, what it says; bad input before anything is started."""
from __future__ import annotations

import importlib.util
import sys
import types

import pytest

from dipir.cli import main as cli
from dipir.cli.verbs import studio
from tests.support.command_line import fails, make_inputs, parsed

pytest.importorskip("starlette")
from dipir.studio import folders, server


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_STUDIO", str(tmp_path / "studio"))
    return tmp_path / "studio"


@pytest.fixture
def started(home, monkeypatch):
    """What the server was started with; it ends at once, as by Ctrl+C."""
    starts = []

    def serve(start, say, opened):
        starts.append(start)
        opened("http://127.0.0.1:1/?token=x")
        (start.folder / folders.SAVED).write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", serve)
    return starts


def test_it_prints_the_address_and_ends_well_and_says_how_to_go_on(started, capsys):
    assert cli.main(["studio", "--no-browser", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert said.out == "http://127.0.0.1:1/?token=x\n"
    assert f"dipir studio --session {started[0].folder.name}" in said.err and started[0].port == 0


def test_the_newest_session_goes_on_unless_something_else_is_asked_for(started, tmp_path, capsys):
    make_inputs(tmp_path)
    photo, cube = str(tmp_path / "photo.png"), str(tmp_path / "cube.obj")
    for words in ([], [], ["--new"], [photo, cube, cube]):
        assert cli.main(["studio", "--no-browser", *words]) == 0
    first, second, new, with_photo = (start.folder for start in started)
    assert first == second and len({first, new, with_photo}) == 3
    assert started[3].plate.name == "photo.png" and len(started[3].assets) == 2
    assert "going on with session" in capsys.readouterr().err
    assert cli.main(["studio", "--no-browser", "--session", new.name]) == 0 and started[4].folder == new


def test_a_session_that_is_open_elsewhere_is_left_alone(started, capsys):
    if sys.platform == "win32":
        pytest.skip("locks are POSIX")
    cli.main(["studio", "--no-browser"])
    lock = folders.Lock(started[0].folder)
    assert lock.taken()
    cli.main(["studio", "--no-browser"])
    assert started[1].folder != started[0].folder and "open in another program" in capsys.readouterr().err
    fails(["studio", "--session", started[0].folder.name], capsys, "open in another program; close that one first")
    lock.release()


@pytest.mark.parametrize("words, says", [
    (["--session", "nothing"], "no such session"), (["none.jpg"], "none.jpg: no such file"),
    (["photo.png", "none.glb"], "none.glb: no such file"), (["--result", "none"], "no such folder"),
    (["photo.png", "--session", "x"], "Give one of them")])
def test_bad_input_is_said_before_a_session_is_made(home, tmp_path, monkeypatch, capsys, words, says):
    make_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    fails(["studio", *words], capsys, says)
    assert not home.exists()


def test_a_session_that_nothing_came_of_leaves_no_folder(home, capsys):
    fails(["studio", "--host", "203.0.113.7", "--no-browser"], capsys, "--host 203.0.113.7", "give another one")
    assert list(home.iterdir()) == []


def test_without_its_packages_it_says_how_to_get_them(monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(studio, "importlib", types.SimpleNamespace(util=types.SimpleNamespace(
        find_spec=lambda name: None if name == "uvicorn" else real(name))))
    fails(["studio"], capsys, "needs uvicorn", "pip install 'dipir[studio]'")


@pytest.mark.parametrize("display, quiet, opens", [("", False, 0), (":0", False, 1), (":0", True, 0)])
def test_the_browser_is_opened_where_there_is_one(monkeypatch, capsys, display, quiet, opens):
    opened = []
    monkeypatch.setattr(studio.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(studio.webbrowser, "open", opened.append)
    studio._opened("http://x", quiet)
    assert len(opened) == opens and capsys.readouterr().out == "http://x\n"


def test_its_options():
    args = parsed("studio", "a.jpg", "b.glb", "c.obj", "--host", "0.0.0.0", "--port", "9000")
    assert (args.plate.name, [a.name for a in args.assets], args.host, args.port) == (
        "a.jpg", ["b.glb", "c.obj"], "0.0.0.0", 9000)
    with pytest.raises(SystemExit):
        parsed("studio", "--session", "x", "--new")
