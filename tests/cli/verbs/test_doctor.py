"""``dipir doctor`` from the command line: text, JSON, exit code."""
from __future__ import annotations

import json

import pytest

from dipir.cli import doctor
from dipir.cli import main as cli


@pytest.mark.parametrize("problem, code", [(None, 0), ("do this", 1)])
def test_exit_code_text_and_json(monkeypatch, capsys, problem, code):
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Check("a", "1"), doctor.Check("b", "2", problem)])
    assert cli.main(["doctor"]) == code
    text = capsys.readouterr().out
    assert ("do this" in text) == bool(problem) and ("All is well" in text) == (problem is None)
    assert cli.main(["doctor", "--json"]) == code
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] == (problem is None) and data["checks"][1] == {"name": "b", "value": "2", "problem": problem}
