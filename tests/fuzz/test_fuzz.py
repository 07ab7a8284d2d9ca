"""Files that were valid, changed: whoever reads them takes them or raises an error of ours, in bounded time and memory.

100 inputs, always the same ones; ``make fuzz`` makes 10,000 others (``FUZZ=N``). What was found once lies in ``found``.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dipir.errors import DipirError
from tests.fuzz import server as faults
from tests.fuzz.changes import changed, changes
from tests.fuzz.seeds import READERS, write

COUNT = int(os.environ.get("FUZZ", "0"))
FOUND = Path(__file__).parent / "found"
ROOT = Path(__file__).resolve().parents[2]


class Server:
    """A process that reads files in processes of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "tests.fuzz.server"], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, cwd=ROOT,
                                        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        assert self._answer()[0] == "ready"

    def __call__(self, name: str, path: Path) -> tuple[str, str]:
        self.process.stdin.write(json.dumps([name, str(path)]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> tuple[str, str]:
        return tuple(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.process.stdin.close()
    made.process.wait(30)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("fuzz") / "files")


def test_the_files_are_valid(server, files):
    """Otherwise nothing is tested but the first check of each reader."""
    assert {name: server(name, path) for name, path in files.items()} == dict.fromkeys(READERS, ("read", ""))


@settings(max_examples=COUNT or 100, deadline=None, database=None, derandomize=not COUNT,
          suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(READERS)), many=changes)
def test_changed_files(server, files, name, many):
    path = files[name]
    good = path.read_bytes()
    bad = changed(good, many, path.suffix == ".jgz")
    try:
        path.write_bytes(bad)
        end, text = server(name, path)
    finally:
        path.write_bytes(good)
    if end not in ("read", "refused") and COUNT:
        FOUND.mkdir(exist_ok=True)
        (FOUND / f"new.{name.replace(' ', '-')}").write_bytes(bad)
    assert end in ("read", "refused"), f"{name}: {end}: {text}"


@pytest.mark.parametrize("found", sorted(FOUND.glob("*")) if FOUND.is_dir() else [], ids=lambda path: path.name)
def test_what_was_found(server, files, found):
    """``WHAT.FORMAT``, blanks in the format's name written as ``-``."""
    name = found.name.split(".")[-1].replace("-", " ")
    good = files[name].read_bytes()
    try:
        files[name].write_bytes(found.read_bytes())
        end, text = server(name, files[name])
    finally:
        files[name].write_bytes(good)
    assert end in ("read", "refused"), f"{end}: {text}"


@pytest.mark.parametrize("name, end", [("traceback", "traceback"), ("endless", "endless text"), ("hang", "hang"),
                                       ("memory", "traceback"), ("death", "death"), ("user", "refused")])
def test_the_harness_sees_every_fault(monkeypatch, name, end):
    """A reader that goes wrong in that way."""
    def read(path: Path) -> None:
        if name == "hang":
            time.sleep(60)
        if name == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "memory":
            bytearray(4 * faults.BYTES)
        if name in ("user", "endless"):
            raise Endless("x" * 9000 if name == "endless" else "mend it")
        raise KeyError("x")

    class Endless(DipirError):
        __str__ = Exception.__str__

    monkeypatch.setitem(READERS, name, ("a", read))
    monkeypatch.setattr(faults, "SECONDS", 2 if name == "hang" else 30)
    assert faults.forked(name, "a")[0] == end
