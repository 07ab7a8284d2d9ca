"""Running suites: faults of jobs neither lose nor change anything."""
from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dipir.errors import ConfigError
from dipir.suite import file as suites
from dipir.suite import run as suite_run
from dipir.suite.file import load_suite
from dipir.suite.run import Local, job_folder, read_status, run_suite

FAULTS = "benchmarks.suite_faults:job"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(suite_run, "WAIT_S", 0.1)


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.yaml"
    path.write_text(text)
    return path


def of_faults(folder: Path, *faults: str, minutes: float = 1.0, memory_gib: float = 4.0) -> suites.Suite:
    listed = "".join(f"\n  - {{number: {k}, fault: {fault}}}" for k, fault in enumerate(faults))
    return load_suite(written(folder, f"method: {FAULTS}\nlist:{listed}\n"
                                      f"limits: {{minutes: {minutes}, memory_gib: {memory_gib}}}\n"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def statuses(suite: suites.Suite, out: Path) -> list[dict]:
    return [read_status(job_folder(out, job.name)) for job in suite.jobs]


def test_every_job_ends_as_done_or_with_its_cause(tmp_path):
    suite = of_faults(tmp_path, "none", "error", "bug", "kill", "killed", "disk", "checkpoint", "none")
    ended = run_suite(suite, tmp_path / "out", Local(2))
    got = statuses(suite, tmp_path / "out")
    states = [s["state"] for s in got]
    assert states == ["done", "failed", "failed", "done", "failed", "done", "done", "done"]
    assert "user's" in got[1]["cause"] and got[1]["kind"] == "SceneError" and got[1]["attempt"] == 1
    assert "mistake of ours" in got[2]["cause"] and "Traceback" in got[2]["cause"]
    assert got[3]["attempt"] == 2 and "signal 9" in got[3]["causes"][0]
    assert "signal 9" in got[4]["cause"] and len(got[4]["causes"]) == 2
    assert got[5]["attempt"] == 2 and "space" in got[5]["causes"][0]
    assert got[6]["attempt"] == 2 and "without its checkpoint" in got[6]["notes"][0]
    assert len(ended["done"]) == 5 and set(ended["failed"]) == {suite.jobs[k].name for k in (1, 2, 4)}
    plain = of_faults(tmp_path, *["none"] * 8)
    run_suite(plain, tmp_path / "plain", Local(2))
    for k, (one, other) in enumerate(zip(got, statuses(plain, tmp_path / "plain"), strict=True)):
        if states[k] == "done":
            assert one["figures"] == other["figures"], k
            result = job_folder(tmp_path / "out", suite.jobs[k].name) / "result"
            assert float((result / "value.txt").read_text()) == one["figures"]["value"]
            assert (result / "events.jsonl").is_file()


def test_limits(tmp_path):
    suite = of_faults(tmp_path, "hang", "none", minutes=0.1)
    began = time.monotonic()
    run_suite(suite, tmp_path / "time", Local(2))
    hung, fine = statuses(suite, tmp_path / "time")
    assert hung["state"] == "failed" and "0.1 minutes" in hung["cause"] and hung["attempt"] == 1
    assert fine["state"] == "done" and time.monotonic() - began < 60
    suite = of_faults(tmp_path, "memory", "none", memory_gib=0.8)
    run_suite(suite, tmp_path / "memory")
    large, fine = statuses(suite, tmp_path / "memory")
    assert large["state"] == "failed" and "0.8" in large["cause"] and large["peak_gib"] > 0.8
    assert fine["state"] == "done"


def test_what_is_done_is_not_done_again(tmp_path):
    suite = of_faults(tmp_path, "none", "error")
    run_suite(suite, tmp_path / "out")
    first = statuses(suite, tmp_path / "out")
    run_suite(suite, tmp_path / "out")
    again = statuses(suite, tmp_path / "out")
    assert again[0] == first[0] and again[1]["time"] > first[1]["time"]
    changed = of_faults(tmp_path, "none")
    changed = replace(changed, jobs=(replace(changed.jobs[0], settings={"number": 5}),))
    run_suite(changed, tmp_path / "out")
    assert statuses(changed, tmp_path / "out")[0]["figures"] != first[0]["figures"]


def test_a_runner_that_was_killed_is_gone_on_from(tmp_path):
    """Its jobs end with it, and the next run does what is left."""
    suite = of_faults(tmp_path, "none", "hang")
    code = ("from dipir.suite.file import load_suite\nfrom dipir.suite.run import run_suite\n"
            f"from pathlib import Path\nhere = Path('{tmp_path}')\n"
            "run_suite(load_suite(here / 'faults.yaml'), here / 'out')")
    runner = subprocess.Popen([sys.executable, "-c", code])
    deadline, second = time.monotonic() + 60, job_folder(tmp_path / "out", suite.jobs[1].name)
    while time.monotonic() < deadline and not (second / "events.jsonl").is_file():
        time.sleep(0.1)
    with pytest.raises(ConfigError, match="another"), suite_run.locked(tmp_path / "out"):
        pass
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    folder = str(second).encode()

    def alive():
        return [p for p in Path("/proc").glob("[0-9]*/cmdline") if folder in _bytes(p)]

    while time.monotonic() < deadline and alive():
        time.sleep(0.1)
    assert not alive()
    first = statuses(suite, tmp_path / "out")
    assert [s["state"] for s in first] == ["done", "running"]
    fine = replace(suite, jobs=(suite.jobs[0], replace(suite.jobs[1], settings={"number": 1})))
    run_suite(fine, tmp_path / "out")
    last = statuses(fine, tmp_path / "out")
    assert last[0] == first[0] and last[1]["state"] == "done"


def test_half_published_results_are_made_again(tmp_path):
    """Killed between the rename and the status."""
    suite = of_faults(tmp_path, "none")
    run_suite(suite, tmp_path / "out")
    folder = job_folder(tmp_path / "out", suite.jobs[0].name)
    before = json.loads((folder / "status.json").read_text())
    (folder / "status.json").unlink()
    run_suite(suite, tmp_path / "out")
    after = statuses(suite, tmp_path / "out")[0]
    assert after["state"] == "done" and after["figures"] == before["figures"]
    assert not (folder / "work").exists()


def test_another_suite_has_another_folder(tmp_path):
    suite = of_faults(tmp_path, "none")
    run_suite(suite, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds the suite"):
        run_suite(replace(suite, name="other"), tmp_path / "out")
