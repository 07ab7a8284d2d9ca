"""Self-tests of the doctor: they pass here, and every way in which a child can end is told."""
from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dipir.cli import doctor, selftest
from dipir.errors import RenderError


def _child(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("code, said", [
    ("import os; os.abort()", "SIGABRT"),
    ("import os, sys; print('LLVM ERROR: Cannot select', file=sys.stderr, flush=True); os.abort()", "Cannot select"),
    ("import sys; print('a\\nOptiX: no', file=sys.stderr); sys.exit(2)", "OptiX: no"),
    ("import time; time.sleep(60)", "within 1 s"), ("print('hello')", "no report"),
    ("print('{}')", "no report"), ("pass", "no report")])
def test_a_self_test_that_goes_wrong(code, said):
    result = selftest.tried("renderer", 1 if "sleep" in code else 60, _child(code))
    assert not result.fine and result.seconds is None and said in result.said
    check = doctor._as_check("renderer", result)
    assert said in check.value and check.value.startswith("failed") and "--device cpu" in check.problem


def test_a_child_that_cannot_be_started():
    assert "could not be started" in selftest.tried("network", command=["/nowhere/python"]).said


@pytest.mark.parametrize("name", selftest.TESTS)
def test_self_tests_pass_here(name, monkeypatch, tmp_path):
    """From a folder that is not the checkout, as a user's is."""
    monkeypatch.setenv("DIPIR_DEVICE", "cpu")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    result = selftest.tried(name)
    assert result.fine, result.said
    assert result.seconds > 0
    assert f"in {result.seconds:.2f} s" in doctor._as_check(name, result).value


def test_a_wrong_picture_is_seen(monkeypatch):
    """What the renderer gives is looked at: without a shadow it is wrong."""
    from dipir.render.path_traced import PathTracer

    whole = PathTracer.shadow_pass

    def without(*args, **kwargs):
        made = whole(*args, **kwargs)
        return replace(made, shadowed=made.lit)
    monkeypatch.setattr(PathTracer, "shadow_pass", without)
    with pytest.raises(RenderError, match="darkest shadow 1.00"):
        selftest.renderer()


def test_errors_of_a_child_are_one_line(monkeypatch, capsys):
    def fails() -> str:
        raise ValueError("two\nlines")
    monkeypatch.setitem(selftest.TESTS, "network", fails)
    assert selftest.main(["network"]) == 2 and capsys.readouterr().err == "ValueError: two lines\n"
    assert selftest.main(["painter"]) == 2 and "renderer, network" in capsys.readouterr().err


def test_a_child_has_the_device_of_its_parent():
    """--device goes to the children through the environment."""
    run = subprocess.run([sys.executable, "-m", "dipir.cli.selftest", "network"], capture_output=True, text=True,
                         env={**os.environ, "DIPIR_DEVICE": "nonsense"})
    assert run.returncode == 2 and "nonsense" in run.stderr
