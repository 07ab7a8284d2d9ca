"""dipir.cli.terminal: no text of a file is obeyed by a terminal, and no encoding or closed stream ends a run."""
from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dipir.cli import main as cli
from dipir.cli import terminal
from dipir.cli.options import say
from dipir.cli.progress import Progress
from dipir.event import Event
from tests.support.command_line import insert_words

EVIL = "a\x1b]0;owned\x07\x1b[2Jb\rc\u202ed\u009bK"


@pytest.mark.parametrize("text, shown", [
    ("plain text", "plain text"), ("Würfel 日本\n\tb", "Würfel 日本\n\tb"),
    ("a\x1b[2J", "a\\x1b[2J"), ("a\rb", "a\\x0db"),
    ("\u202e", "\\u202e"), ("\x9b", "\\x9b"), ("W\udcfcrfel", "W\\udcfcrfel"),
    ("\0\x7f", "\\x00\\x7f"), (Path("a"), "a")])
def test_plain(text, shown):
    assert terminal.plain(text) == shown


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
