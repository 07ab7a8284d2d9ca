"""Child processes import nothing from the folder that they run in."""
from __future__ import annotations

import subprocess
import sys

import pytest

from dipir import child
from dipir.render import backend
from dipir.suite import job


@pytest.fixture
def trapped(tmp_path, monkeypatch):
    """A working folder whose modules leave a trace when they are imported; the trace's path."""
    trace = tmp_path / "imported"
    for name in ("ctypes", "yaml", "json", "runpy", "torch", "dipir", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({name!r})\nraise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    return trace


def test_the_trap_works(trapped):
    """Python by itself would take what lies there."""
    subprocess.run([sys.executable, "-c", "import yaml"], check=False)
    assert trapped.read_text() == "yaml"


def test_the_program_itself(trapped):
    run = subprocess.run(child.command("dipir", "--version"), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("dipir ") and not trapped.exists()
    first = subprocess.run(child.command("dipir", "--version", first="print(len(sys.argv))\n"), capture_output=True,
                           text=True, timeout=60)
    assert first.stdout.splitlines()[0] == "2", "the words are the module's arguments"


def test_llvm_is_asked_for_its_version(trapped):
    backend._major_version("/nowhere/libLLVM-19.so")
    assert not trapped.exists()


@pytest.mark.parametrize("words", [list(job.COMMAND), child.command("dipir.cli.selftest", "renderer")])
def test_jobs_and_self_tests(trapped, words):
    """Whatever they then say about their arguments."""
    subprocess.run(words, capture_output=True, timeout=120, check=False)
    assert not trapped.exists()
