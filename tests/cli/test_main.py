"""The command line as a whole: exit codes, one clear message and no traceback for bad input, output for programs.

The method itself is replaced by a small one (``stub``), so that only what the command line does is tested.
"""
from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dipir
from dipir import device, disk
from dipir.cli import main as cli
from dipir.errors import FitError, PriorError
from tests.support.command_line import fails, insert_words, parsed


# -------------------------------------------------------------------------------------------------------------- parser
def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and all those of its verbs."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_help_repeats_no_number_that_settings_decide():
    with_settings = [p for p in parsers(cli.build_parser()) if "--set" in p._option_string_actions]
    assert len(with_settings) == 4
    for parser in with_settings:
        for action in parser._actions:
            assert not re.search(r"default:? \d", action.help or ""), f"{parser.prog}: {action.help}"


def test_words_of_the_help_are_those_of_the_settings():
    """The parser is built without the settings, whose modules are heavy; here they are compared."""
    from dipir.insert import config as insert
    from dipir.layout.config import LayoutConfig
    from dipir.relight.config import RelightConfig

    by_name = {p.prog.split()[-1]: p._option_string_actions for p in parsers(cli.build_parser())
               if "--preset" in p._option_string_actions}
    for config, name in ((insert.InsertConfig(), "insert"), (RelightConfig(), "relight"), (LayoutConfig(), "layout")):
        assert f"default: {config.prior}" in by_name[name]["--prior"].help
    assert ",".join(insert.FITTED) in by_name["insert"]["--optimize"].help
    assert re.search(rf"{RelightConfig().engine}: [^;]*\(default\)", by_name["relight"]["--engine"].help)
    assert list(by_name["insert"]["--preset"].choices) == ["default", "fast", "paper"]


@pytest.mark.parametrize("words", [["relight", "p.png"], ["illuminet", "relight", "out"]])
@pytest.mark.parametrize("text, pair", [("-90,30", (-90, 30)), ("-.5,-30", (-0.5, -30)), ("45,-30", (45, -30))])
def test_directions_may_begin_with_a_minus(words, text, pair):
    assert parsed(*words, "--direction", text).direction == pair
    assert parsed(*words, f"--direction={text}").direction == pair


def options_with_a_value() -> list[tuple[str, ...]]:
    """(words of the command with its positionals, option) of every option of every verb that takes one value."""
    found = []
    for parser in parsers(cli.build_parser()):
        if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
            continue
        places = ["x" if action.choices is None else next(iter(action.choices)) for action in parser._actions
                  if not action.option_strings and action.nargs not in ("?", "*", argparse.REMAINDER)]
        found += [(*parser.prog.split()[1:], *places, action.option_strings[0]) for action in parser._actions
                  if action.option_strings and action.nargs is None]
    return found


@pytest.mark.parametrize("words", options_with_a_value(), ids=" ".join)
@pytest.mark.parametrize("text", ["-5", "-.5", "-90,30"])
def test_every_option_takes_a_negative_number_or_says_what_is_accepted(words, text, capsys):
    """Never "expected one argument", which names no remedy."""
    try:
        parsed(*words, text)
    except SystemExit as end:
        assert end.code == 2
    said = capsys.readouterr().err
    assert "expected one argument" not in said and "Traceback" not in said
    if f"argument {words[-1]}" in said:
        assert f"'{text}'" in said or "invalid" in said


@pytest.mark.parametrize("words, text", [
    (["insert", "s.yaml", "--yaw", "nan"], "'nan' is not a number"),
    (["insert", "s.yaml", "--pitch", "-inf"], "'-inf' is not a number"),
    (["insert", "s.yaml", "--at", "nan,3"], "'nan,3' is not X,Y in pixels"),
    (["relight", "p.png", "--size", "nan"], "'nan' is not a number"),
    (["relight", "p.png", "--direction", "-90"], "'-90' is not azimuth,elevation in degrees, for instance -45,30")])
def test_what_is_no_number_says_so(words, text, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(words)
    assert exit.value.code == 2 and text in capsys.readouterr().err


@pytest.mark.parametrize("words, text", [
    (["relight", "{photo}", "--direction", "-90,30", "--size", "-1"], "sizes from 1 to 60"),
    (["relight", "{photo}", "--direction", "-190,30"], "azimuths from -180 to 360"),
    (["init", "{photo}", "{cube}", "--pitch", "-95"], "pitch_deg must lie in -89 to 89, got -95"),
    (["insert", "{photo}", "{cube}", "--at", "-5,10"], "-5,10 is outside the plate")])
def test_negative_numbers_out_of_range(files, capsys, words, text):
    fails([w.format(photo=files / "photo.png", cube=files / "cube.obj") for w in words], capsys, text)


def test_a_word_that_begins_with_a_minus_is_still_an_option(capsys):
    with pytest.raises(SystemExit) as exit:
        parsed("relight", "p.png", "--direction", "-left")
    assert exit.value.code == 2 and "expected one argument" in capsys.readouterr().err


@pytest.mark.parametrize("words, text", [
    (["insert", "a.png", "b.glb", "--heigt", "3"], "Did you mean '--height'?"),
    (["insrt"], "Did you mean 'insert'?"), ([], "required: COMMAND"),
    (["insert", "s.yaml", "--at", "12"], "'12' is not X,Y in pixels, for instance 640,480"),
    (["insert", "s.yaml", "--at", "a,b"], "'a,b' is not X,Y"), (["insert", "s.yaml", "--height", "-1"], "number > 0"),
    (["insert", "s.yaml", "--height", "nan"], "number > 0"), (["insert", "s.yaml", "--scale", "0"], "number > 0"),
    (["insert", "s.yaml", "--seed", "x"], "whole number"),
    (["insert", "s.yaml", "--preset", "fst"], "Did you mean 'fast'"),
    (["render", "r", "--size", "10"], "W,H in pixels"),
    (["render", "r", "--size", "10.5,3"], "W,H in pixels")])
def test_bad_arguments_are_code_2_with_a_remedy(words, text, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(words)
    assert exit.value.code == 2 and text in capsys.readouterr().err


def test_an_option_of_another_command_is_not_offered_for_itself(capsys):
    with pytest.raises(SystemExit):
        cli.main(["insert", "a.png", "b.glb", "--asset", "c.glb"])
    said = capsys.readouterr().err
    assert "unrecognized arguments: --asset" in said and "Did you mean" not in said


@pytest.mark.parametrize("problem, text", [
    (PriorError("w.safetensors: truncated"), "w.safetensors: truncated"), (FitError("step 3: NaN"), "step 3: NaN"),
    (OSError(28, "No space left on device", "x.png"), "x.png: No space left on device"),
    (MemoryError(), "not enough memory")])
def test_errors_of_the_method(files, stub, capsys, problem, text):
    stub.fail = problem
    fails(insert_words(files, "--quiet"), capsys, text)
    assert "saved" not in stub.calls and not (files / "out" / "preview.png").exists()


def test_interrupted(files, stub, capsys):
    stub.fail = KeyboardInterrupt()
    assert cli.main(insert_words(files)) == 130
    assert "--resume" in capsys.readouterr().err


def test_a_bug_is_not_hidden(files, stub):
    stub.fail = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(insert_words(files))


def test_quiet_says_nothing(files, stub, capsys):
    assert cli.main(insert_words(files, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_json_lines(files, stub, capsys):
    assert cli.main(insert_words(files, "--log", "json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    chosen = device.current()
    assert lines.pop(0) == {"event": "device", "torch": chosen.kind, "renderer": chosen.variant, "asked": chosen.asked,
                            "why": chosen.why}
    said = [line for line in lines if line["event"] in ("note", "warning")]
    assert any("cube.obj: OBJ states no unit" in line["message"] for line in said)
    assert len({line["message"] for line in said}) == len(said), "each once"
    assert lines[:len(said)] == said, "before work"
    del lines[:len(said)]
    assert lines == [{"event": "progress", "stage": "fit", "step": 1, "steps": 2, "seconds_left": 3.0,
                      "preview": str(files / "out" / "preview.png"), "scalars": {"loss": 0.5, "bad": None}},
                     {"event": "done", "out": str(files / "out")}]


def test_json_errors(files, stub, capsys):
    assert cli.main(insert_words(files, "--log", "json", asset="missing.glb")) == 2
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert json.loads(line)["event"] == "error" and "missing.glb" in json.loads(line)["message"]
    assert captured.err.startswith("dipir: error:")


def test_threads_are_set_before_the_work(files, stub, monkeypatch):
    monkeypatch.setenv("DIPIR_THREADS", "9")
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    assert cli.main(insert_words(files, "--threads", "1", "--quiet")) == 0
    assert os.environ["DIPIR_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"


# ------------------------------------------------------------------------------------------------------------- device

@pytest.fixture
def undecided(monkeypatch):
    """A process that has decided nothing, on a machine without a GPU."""
    for name in ("DIPIR_DEVICE", "DIPIR_VARIANT", "DIPIR_GPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # So that monkeypatch puts back what the code under test writes.
        monkeypatch.delenv(name)
    device.current.cache_clear()
    monkeypatch.setattr(device, "why_not_torch", lambda: "no NVIDIA driver on this machine")
    yield
    device.current.cache_clear()


@pytest.mark.parametrize("verb", ["insert", "render", "relight", "layout", "doctor"])
def test_every_verb_that_computes_has_device(verb):
    words = {"insert": ["s.yaml"], "render": ["r"], "relight": ["p.png"], "layout": [], "doctor": []}[verb]
    assert parsed(verb, *words, "--device", "cuda:1").device == "cuda:1" and parsed(verb, *words).device is None


def test_device_is_said_once(files, stub, undecided, capsys):
    assert cli.main(insert_words(files)) == 0
    captured = capsys.readouterr()
    assert captured.err.count("device: cpu (no NVIDIA driver on this machine)\n") == captured.err.count("device:") == 1
    device.current.cache_clear()
    assert cli.main(insert_words(files, "--device", "cpu")) == 0
    assert "device: cpu (as asked)\n" in capsys.readouterr().err and device.current().asked == "cpu"


@pytest.mark.parametrize("asked", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there(files, stub, undecided, capsys, asked):
    fails(insert_words(files, "--device", asked, "--quiet"), capsys, f"device {asked}", "no NVIDIA driver",
          "--device cpu")
    assert "insert" not in stub.calls and not (files / "out").exists()


def test_a_device_of_another_kind(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["insert", "s.yaml", "--device", "gpu"])
    assert exit.value.code == 2 and "accepted are auto, cpu, cuda or cuda:N" in capsys.readouterr().err


def test_another_device_in_one_process(files, stub, undecided, capsys):
    assert cli.main(insert_words(files, "--quiet")) == 0
    fails(insert_words(files, "--device", "cuda"), capsys, "this process computes on cpu")


def test_sigterm_clears_up(files, stub, capsys):
    """As an exception does: nothing half-written is left, nor the folder that was made for it."""
    def stop(value, out, exr=None):
        with disk.written_aside(out) as aside:
            (aside / "half").write_text("x")
            os.kill(os.getpid(), signal.SIGTERM)

    importlib.import_module("dipir.insert.result").save = stop
    with pytest.raises(SystemExit) as end:
        cli.main(insert_words(files))
    assert end.value.code == 143 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not [p for p in (files / "out").iterdir() if p.name.startswith(".")]


def test_a_folder_that_another_run_writes_to(files, stub, capsys):
    (files / "out").mkdir()
    with disk.locked(files / "out"):
        fails(insert_words(files), capsys, "another run", "--out")
    assert "scene" not in stub.calls and cli.main(insert_words(files)) == 0


def test_run_as_a_module_nothing_of_the_current_folder_is_imported(tmp_path):
    """``python -m`` puts it first."""
    for name in ("argparse", "yaml", "numpy", "json", "ctypes"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken')")
    environ = {**os.environ, "PYTHONPATH": str(Path(dipir.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-m", "dipir", "--version"], cwd=tmp_path, capture_output=True, text=True,
                         timeout=60, env=environ)
    assert run.returncode == 0 and run.stdout == f"dipir {dipir.__version__}\n", run.stderr
