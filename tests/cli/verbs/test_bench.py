"""``dipir bench``: named benchmarks are those of the checkout; suites are in ``test_suite``."""
from __future__ import annotations

import sys
import types

import pytest

from dipir import disk
from dipir.cli import main as cli


@pytest.fixture
def benchmarks(monkeypatch) -> list:
    """The lists of words that the benchmarks' main was given."""
    given = []
    monkeypatch.setitem(sys.modules, "benchmarks", types.ModuleType("benchmarks"))
    monkeypatch.setitem(sys.modules, "benchmarks.__main__", types.SimpleNamespace(main=lambda w: given.append(w) or 1))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return given


def test_a_benchmark_gets_its_words_and_gives_its_code(benchmarks):
    assert cli.main(["bench", "insert", "--size", "20"]) == 1
    assert benchmarks == [["insert", "--size", "20"]] and sys.path[0] == str(disk.checkout())


def test_an_installed_package_has_none(benchmarks, monkeypatch, capsys):
    monkeypatch.setattr(disk, "checkout", lambda: None)
    assert cli.main(["bench", "insert"]) == 2
    assert "pip install -e ." in capsys.readouterr().err and benchmarks == []
