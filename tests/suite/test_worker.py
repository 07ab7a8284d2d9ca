"""The process of a job: what it answers, and what it makes of errors."""
from __future__ import annotations

import errno
import json
from dataclasses import asdict

import pytest

from benchmarks import suite_faults
from dipir.errors import ImageError
from dipir.suite.file import JobSpec
from dipir.suite.worker import full_disk, method_of, work


def answered(folder, fault: str) -> tuple[int, dict]:
    spec = JobSpec("j", "benchmarks.suite_faults:job", "", 3, {"fault": fault, "number": 2}, {})
    folder.mkdir(exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"key": "k", "spec": asdict(spec)}))
    code = work(folder)
    return code, json.loads((folder / "answer.json").read_text())


def test_methods_by_name_and_by_path():
    assert method_of("insert").__name__ == "insert" and method_of("benchmarks.suite_faults:job") is suite_faults.job


def test_figures_and_events(tmp_path):
    code, answer = answered(tmp_path / "a", "none")
    assert code == 0 and answer["key"] == "k" and answer["notes"] == []
    assert answer["figures"]["value"] == float((tmp_path / "a" / "work" / "value.txt").read_text())
    (line,) = (tmp_path / "a" / "events.jsonl").read_text().splitlines()
    assert json.loads(line) == {"stage": "faults", "step": 1, "steps": 1, "left": None, "fault": 0.0}


@pytest.mark.parametrize("fault, kind, again", [("error", "SceneError", False), ("bug", "ValueError", False),
                                                ("disk", "OSError", True)])
def test_errors_are_answers(tmp_path, fault, kind, again):
    """The text of a user's mistake, the traceback of one of ours; only a full disk is worth another attempt."""
    code, answer = answered(tmp_path / "a", fault)
    assert code == 1 and answer["kind"] == kind and answer["again"] is again
    assert ("Traceback" in answer["error"]) == (kind != "SceneError")


def test_a_checkpoint_that_was_cut_short_is_thrown_away(tmp_path):
    answered(tmp_path / "a", "none")
    (tmp_path / "a" / "work" / "checkpoint.pt").write_bytes(b"cut sh")
    code, answer = answered(tmp_path / "a", "none")
    assert code == 0 and "begun again without its checkpoint" in answer["notes"][0]


def test_a_full_disk_behind_other_errors():
    full = OSError(errno.ENOSPC, "full")
    outer = ImageError("cannot be written")
    outer.__cause__ = full
    assert full_disk(full) and full_disk(outer) and not full_disk(ImageError("no")) and not full_disk(None)
