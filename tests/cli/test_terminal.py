"""dipir.cli.terminal: no text of a file is obeyed by a terminal, and no encoding or closed stream ends a run."""
from __future__ import annotations

import ast
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dipir.cli import doctor, terminal
from dipir.cli import main as cli
from dipir.cli.options import say
from dipir.cli.progress import Progress
from dipir.event import Event
from tests.support.command_line import insert_words

EVIL = "a\x1b]0;owned\x07\x1b[2Jb\rc\u202ed\u009bK"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_every_encoding_takes_every_text(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    terminal.say("Würfel \udcfc 日本", stream)
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown.startswith("W") and shown.endswith("\n") and "rfel \\udcfc " in shown


def test_nothing_of_a_file_is_obeyed(files, stub, capsys):
    """Errors, remarks and events."""
    say([EVIL], quiet=False)
    progress = Progress()
    progress(Event("fit", 1, 1, note=EVIL))
    progress.done(Path(EVIL))
    (files / "scene.yaml").write_text(f"plate: {json.dumps(EVIL)}\n{json.dumps(EVIL)}: 1\n")
    assert cli.main(["insert", str(files / "scene.yaml")]) == 2
    shown = "".join(capsys.readouterr())
    assert "\\x1b[2J" in shown and not set(shown) & set("\x1b\x07\r\u202e\x9b")


def test_every_line_of_the_command_line_goes_through_here():
    """Nothing below dipir/cli prints by itself, but JSON, whose text is ASCII."""
    bare = [f"{path.name}:{node.lineno}" for path in (Path(terminal.__file__).parent).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
            and not ast.unparse(node.args[0]).startswith("json.dumps(")]
    assert bare == []


def test_doctor_shows_what_a_machine_is_called_and_obeys_nothing(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check(EVIL, EVIL, EVIL), doctor.Check("x", "y")])
    assert doctor.report() == 1
    shown = "".join(capsys.readouterr())
    assert shown.count("\\x1b[2J") == 3 and not set(shown) & set(EVIL) & set("\x1b\x07\r\u202e\x9b")


def test_the_verdict_of_an_rti_fit(monkeypatch, capsys, tmp_path):
    """Its lines name what was in the capture."""
    from dipir.cli.verbs import rti
    from dipir.rti import method

    monkeypatch.setattr("dipir.captures.rti.read_capture", lambda *given: SimpleNamespace(
        notes=[EVIL], directions=None, images=None))
    monkeypatch.setattr(method, "train", lambda *given, **more: SimpleNamespace(verdict=EVIL))
    monkeypatch.setattr(rti, "summary", str)
    assert cli.main(["illuminet", "train", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    shown = "".join(capsys.readouterr())
    assert shown.count("\\x1b[2J") == 2 and not set(shown) & set("\x1b\x07\r\u202e\x9b")


@pytest.mark.parametrize("closing", ["2>&-", "2>&- >&-", "2> >(true)"])
def test_nobody_listens(tmp_path, closing):
    """Closed streams change neither the exit code nor what is written."""
    words = f"{sys.executable} -m dipir insert {tmp_path}/none.yaml"
    run = subprocess.run(["bash", "-c", f"{words} {closing}; echo $? > {tmp_path}/code"], capture_output=True,
                         env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}, timeout=120)
    assert (tmp_path / "code").read_text() == "2\n" and b"Traceback" not in run.stderr + run.stdout


def test_a_reader_that_went_away_ends_no_run(files, stub, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    assert cli.main(insert_words(files)) == 0 and (files / "out" / "composite.png").exists()


def test_a_stderr_that_takes_nothing_ends_no_run(monkeypatch):
    """A full disk, say."""
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    terminal.say("hello")
    terminal.say("once more")
    with pytest.raises(OSError):
        terminal.say("a result", Full())
