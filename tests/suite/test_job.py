"""Attempts: how they end, what they are given, how much memory they are said to need."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from dipir.suite.file import Limits
from dipir.suite.job import LOG, Outcome, ProcessAttempt, resident


def ended(folder, code: str, limits: Limits = Limits(), **given) -> Outcome:
    """How an attempt ends whose process runs some Python; a job of the key "k"."""
    (folder / "job.json").write_text(json.dumps({"key": "k"}))
    attempt = ProcessAttempt.start(folder, limits, command=(sys.executable, "-S", "-c", code), **given)
    try:
        deadline = time.monotonic() + 60
        while (outcome := attempt.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        return outcome
    finally:
        attempt.end()


@pytest.mark.parametrize("outcome, again", [
    (Outcome({"figures": {}}, "", 1.0), False), (Outcome({"error": "", "again": True}, "", 1.0), True),
    (Outcome({}, "died", 1.0), True), (Outcome({}, "too long (limits.minutes)", 1.0), False)])
def test_who_is_tried_again(outcome, again):
    assert outcome.again is again


def test_an_answer_counts_only_with_the_jobs_key(tmp_path):
    code = ("import sys, json; answer = {{'key': {!r}, 'figures': {{}}}}; "
            "open(sys.argv[1] + '/answer.json', 'w').write(json.dumps(answer))")
    assert ended(tmp_path, code.format("k")).answer == {"key": "k", "figures": {}}
    other = ended(tmp_path, code.format("of another job"))
    assert other.answer == {} and "code 0 without a word" in other.cause and LOG in other.cause


def test_a_process_is_told_its_folder_parent_and_device(tmp_path):
    code = "import os, sys; print(sys.argv[1:], os.environ['DIPIR_DEVICE'], os.environ['OWN']); sys.exit(3)"
    outcome = ended(tmp_path, code, device="cpu", environment={"OWN": "1"})
    assert "ended with code 3" in outcome.cause
    assert (tmp_path / LOG).read_text().strip() == f"{[str(tmp_path), str(os.getpid())]} cpu 1"


def test_a_signal_is_named(tmp_path):
    assert "signal 9" in ended(tmp_path, "import os; os.kill(os.getpid(), 9)").cause


def test_children_end_with_their_attempt(tmp_path):
    code = ("import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); "
            "open(sys.argv[1] + '/child', 'w').write(str(p.pid)); time.sleep(60)")
    outcome = ended(tmp_path, code, Limits(minutes=0.02))
    assert "limits.minutes" in outcome.cause and outcome.seconds < 30
    status = f"/proc/{(tmp_path / 'child').read_text()}/stat"
    assert not os.path.exists(status) or open(status).read().split()[2] == "Z"


def test_memory_of_children_counts():
    code = "b = bytearray(64 * 2**20); b[::4096] = b'x' * len(b[::4096]); print(1, flush=True); input()"
    before = resident(os.getpid())
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert resident(child.pid) > 64 * 2**20 and resident(os.getpid()) - before > 60 * 2**20
        child.communicate(b"\n")
    assert resident(child.pid) == 0
