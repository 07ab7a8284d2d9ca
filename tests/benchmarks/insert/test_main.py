"""The insertion benchmark's command: mistakes, files, exit codes."""
from __future__ import annotations

import json

import pytest

from benchmarks.insert import __main__ as insert
from dipir.cli import main as cli
from dipir.errors import ConfigError


def test_relative_paths_are_those_of_the_user(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    words = ["bench", "insert", "--environments", "envs", "--meshes", "meshes", "--views", "3", "--plan"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "lamp--box--2" in text and "3 cases x 6 methods" in text
    assert not (tiny / "out").exists()


def test_mistakes_are_known_before_any_work(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny)
    for words, match in ((["--methods", "deflaut"], "Did you mean 'default'"), (["--meshes", "none"], "no such folder"),
                         (["--set", "fit.stps=3", "--meshes", "meshes"], "stps")):
        assert cli.main(["bench", "insert", "--environments", "envs", *words]) == 2
        assert match in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", "insert", "--size", "20"])
    assert left.value.code == 2 and not (tiny / "out").exists()


def test_results_of_a_run(tiny, child, monkeypatch, capsys):
    """results.json, table, settings and sheet; nothing is committed for a folder of one's own."""
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    monkeypatch.setattr(insert, "write", lambda *_, **__: pytest.fail("the committed table was written"))
    out = child / "run"
    words = ["--environments", "envs", "--meshes", "meshes", "--views", "1", "--out", str(out), "--quiet"]
    assert insert.main(words) == 0 and capsys.readouterr().out == ""
    result = json.loads((out / "results.json").read_text())
    assert result["schema"] == "dipir.bench.insert.2" and result["settings"]["size"] == 256
    (only,) = result["cases"]
    assert only["figures"]["default"] == {"ssim": 1.0, "hardness": 0.5} and only["errors"] == {}
    assert only["true_shadow"]["hard"] and result["hard_shadow"]["cases"] == [only["name"]]
    (lamp,) = result["environments"]
    assert lamp["single_light"] == (lamp["light_share"] >= 0.2) == (result["single_light"]["environments"] == ["lamp"])
    assert result["summary"]["truth"]["ssim"]["n"] == 1
    assert result["methods"]["ambient"]["settings"] is None and result["methods"]["default"]["settings"]["seed"] == 0
    assert "default:" in (out / "methods.yaml").read_text() and (out / "sheet.png").is_file()
    assert "--environments envs" in (out / "table.md").read_text()


def test_a_failed_row_is_loud(tiny, child, monkeypatch, capsys):
    """Exit code 1, the reason on stderr, in the table and in results.json."""
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    (tiny / "bad").mkdir(exist_ok=True)
    (tiny / "bad" / "bad.hdr").write_bytes((tiny / "envs" / "lamp.hdr").read_bytes())
    out = child / "run"
    words = ["--environments", str(tiny / "bad"), "--meshes", str(tiny / "meshes"), "--out", str(out), "--quiet"]
    assert insert.main(words) == 1
    assert "bad--box--0, default: FitError: no" in capsys.readouterr().err
    table = (out / "table.md").read_text()
    assert "1 row failed" in table and "`bad--box--0`, default: FitError: no" in table
    assert json.loads((out / "results.json").read_text())["cases"][0]["errors"] == {"default": "FitError: no"}


def test_other_weights_are_methods(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    (tiny / "w.safetensors").write_bytes(b"-")
    words = ["--environments", "envs", "--meshes", "meshes", "--plan"]
    assert insert.main([*words, "--weights", "data-26=w.safetensors"]) == 0
    assert "light-prior, data-26, truth" in capsys.readouterr().out
    for text, match in (("x=none.safetensors", "not there"), ("lds=w.safetensors", "taken"), ("x", "NAME=FILE")):
        with pytest.raises(ConfigError, match=match):
            insert.main([*words, "--weights", text])


def test_quiet_errors(tmp_path):
    with pytest.raises(ConfigError):
        insert.main(["--environments", str(tmp_path / "x"), "--meshes", str(tmp_path), "--quiet"])
