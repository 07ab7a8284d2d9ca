"""``python -m benchmarks``: names, options, exit codes."""
from __future__ import annotations

from benchmarks import __main__ as suites


def test_suites(monkeypatch, capsys):
    calls = []

    def fake(name, committed):
        return type("Suite", (), {
            "COMMITTED": committed, "main": staticmethod(lambda given: calls.append((name, given)))})

    monkeypatch.setattr(suites.importlib, "import_module", lambda n: fake(n, ("--all",) if "insert" in n else ()))
    assert suites.main(["insert", "--views", "1"]) == 0 and calls == [("benchmarks.insert.__main__", ["--views", "1"])]
    assert suites.main(["speed", "plates", "--x"]) == 2 and suites.main(["inset"]) == 2
    assert "Did you mean 'insert'" in capsys.readouterr().err and len(calls) == 1
    assert suites.main([]) == 0 and calls[1] == ("benchmarks.insert.__main__", ["--all"])
    assert len(calls) == 1 + len(suites.NAMES)
