"""Bar, lines and previews, on in-memory streams."""
import io
import json

import pytest
import torch

from dipir.cli import progress
from dipir.cli.progress import Progress, clock
from dipir.device import Device
from dipir.errors import DipirError, SceneError
from dipir.event import Event, warn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _event(step: int, images=None, **scalars) -> Event:
    return Event("fit", step, 10, 65.0, scalars, images or {})


@pytest.mark.parametrize("seconds, text", [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"),
                                           (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_bar_on_a_terminal_is_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    with Progress(terminal=terminal) as show:
        show(_event(5, loss=0.25))
        assert terminal.getvalue() == "\r\x1b[Kfit  [##########..........]  5/10  1:05 left  loss 0.25"
        show(_event(10))
    assert terminal.getvalue().count("\n") == 1


def test_bar_is_cut_to_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    Progress(terminal=terminal)(_event(5, loss=0.25))
    assert len(terminal.getvalue().removeprefix("\r\x1b[K")) == 29


def test_without_a_terminal_one_line_per_stage():
    log = io.StringIO()
    with Progress(terminal=log) as show:
        for step in range(1, 11):
            show(_event(step))
    assert log.getvalue() == "fit: 10 of 10\n"


def test_quiet():
    log, out = Terminal(), io.StringIO()
    with Progress(quiet=True, stream=out, terminal=log) as show:
        show(_event(10))
    assert log.getvalue() == out.getvalue() == ""


def test_json_has_no_nan_and_nothing_else_on_the_stream():
    out = io.StringIO()
    show = Progress(log="json", stream=out, terminal=Terminal())
    show(Event("fit", 1, 2, float("inf"), {"a": float("nan"), "b": float("-inf"), "c": 1.5}))
    line = json.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(name))
    assert line["scalars"] == {"a": None, "b": None, "c": 1.5} and line["seconds_left"] is None


def test_previews_come_at_intervals_and_go_at_the_end(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    written = []
    import dipir.image.files as files
    real = files.write_png
    monkeypatch.setattr(files, "write_png", lambda path, image: (written.append(image), real(path, image)))
    first, other = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    with Progress(tmp_path, quiet=True) as show:
        for seconds in (0.0, 0.5, 1.9, 2.1, 3.0):
            now[0] = 100.0 + seconds
            show(_event(1, {"other": other, "composite": first}))
        assert (tmp_path / "preview.png").exists()
    assert len(written) == 2 and written[0] is first
    assert list(tmp_path.iterdir()) == []


def test_preview_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(DipirError, match="preview.png"):
        Progress(tmp_path / "gone", quiet=True)(_event(1, {"x": torch.zeros(1, 3, 4, 4)}))


GPU = Device("cuda", "llvm_ad_rgb", "cuda", "OptiX is missing")


@pytest.mark.parametrize("chosen, text", [
    (Device("cpu", "llvm_ad_rgb", "auto", "no NVIDIA driver on this machine"),
     "device: cpu (no NVIDIA driver on this machine)\n"),
    (Device("cuda", "cuda_ad_rgb"), "device: cuda\n"), (GPU, "device: cuda, renderer on the CPU (OptiX is missing)\n")])
def test_device_is_one_line(chosen, text):
    log, out = io.StringIO(), io.StringIO()
    Progress(stream=out, terminal=log).device(chosen)
    assert (log.getvalue(), out.getvalue()) == (text, "")


def test_device_quiet_and_json():
    log, out = io.StringIO(), io.StringIO()
    Progress(quiet=True, stream=out, terminal=log).device(GPU)
    assert log.getvalue() == out.getvalue() == ""
    Progress(log="json", stream=out, terminal=log).device(GPU)
    assert json.loads(out.getvalue()) == {"event": "device", "torch": "cuda", "renderer": "llvm_ad_rgb",
                                          "asked": "cuda", "why": "OptiX is missing"} and log.getvalue() == ""


def test_what_was_decided_is_said_once_on_a_line_of_its_own():
    log, quiet, stream = io.StringIO(), io.StringIO(), io.StringIO()
    event = Event("prepare", 1, 1, note="light: soft")
    Progress(terminal=log)(event)
    Progress(terminal=quiet, quiet=True)(event)
    Progress(log="json", stream=stream, terminal=quiet)(event)
    assert log.getvalue() == "prepare: 1 of 1\nlight: soft\n" and quiet.getvalue() == ""
    assert json.loads(stream.getvalue())["note"] == "light: soft"


def test_remarks_are_said_once_and_as_what_they_are():
    notes = ["a.obj: no unit", warn("a.obj: a part is \x1b[31minvisible")]
    for log in ("text", "json"):
        stream, terminal = io.StringIO(), io.StringIO()
        show = Progress(log=log, stream=stream, terminal=terminal)
        show(Event.about(notes))
        show.remarks([*notes, "late"])
        assert terminal.getvalue() == ("note: a.obj: no unit\nwarning: a.obj: a part is \\x1b[31minvisible\n"
                                       "note: late\n")
        told = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert told == ([] if log == "text" else [
            {"event": "note", "message": notes[0]}, {"event": "warning", "message": notes[1]},
            {"event": "note", "message": "late"}])
    quiet = io.StringIO()
    Progress(quiet=True, terminal=quiet).remarks(notes)
    assert quiet.getvalue() == ""


def test_strict_refuses_all_warnings_at_once():
    terminal = io.StringIO()
    show = Progress(strict=True, terminal=terminal)
    show.remarks(["a note"])
    with pytest.raises(SceneError, match=r"--strict: 2 warnings;.*\n  - one\n  - two$"):
        show(Event.about([warn("one"), "a note", warn("two")]))
    assert terminal.getvalue() == "note: a note\n"
