"""The queue of child processes: events, order, cancel, failures; nothing is left running."""
from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dipir import child
from dipir.studio import jobs
from dipir.studio.jobs import Job, Jobs, Order, after
from dipir.studio.uploads import Refusal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
# The words of these jobs are a program.
LONG = ("import time; print('{\"event\": \"progress\", \"stage\": \"render\", \"step\": 0}', flush=True); "
        "time.sleep(600)")


@pytest.fixture(autouse=True)
def programs(monkeypatch):
    monkeypatch.setattr(child, "RUN", "exec(sys.argv[1])")


class Heard:
    """A queue, and all that it told."""

    def __init__(self) -> None:
        self.told, self.over = [], []
        self.jobs = Jobs(lambda job, event: self.told.append((job, dict(event))), self.ended)

    async def ended(self, job: Job, folder: Path) -> None:
        self.over.append((job.id, job.state, folder.name))

    def add(self, tmp_path: Path, id: str, program: str) -> None:
        folder = tmp_path / id
        folder.mkdir()
        self.jobs.add(Order(Job(id, "render"), [program], folder))

    async def until(self, ready) -> None:
        end = time.monotonic() + 30
        while not ready():
            assert time.monotonic() < end, self.told
            await asyncio.sleep(0.01)


def test_events_become_the_job(tmp_path):
    lines = [{"event": "device", "torch": "cpu"}, {"event": "progress", "stage": "fit", "step": 3, "steps": 9,
                                                   "seconds_left": 1.5, "preview": "p.png"}, {"event": "done"}]
    program = ("import json; print('no json'); print('[1]'); print('{}')\n"
               f"for line in {lines!r}: print(json.dumps(line))")

    async def run():
        heard = Heard()
        heard.add(tmp_path, "j1", program)
        await heard.until(lambda: heard.over)
        return heard

    heard = asyncio.run(run())
    assert heard.over == [("j1", "done", "j1")]
    assert [job.state for job, _ in heard.told][0] == "waiting" and heard.told[-1][0].state == "done"
    (fit,) = [job for job, event in heard.told if event.get("event") == "progress"]
    assert (fit.stage, fit.step, fit.steps, fit.seconds_left, fit.state) == ("fit", 3, 9, 1.5, "running")
    assert heard.jobs.shown.state == "done" and heard.jobs.all == []


def test_one_at_a_time_in_their_order_and_at_most_so_many(tmp_path):
    async def run():
        heard = Heard()
        heard.add(tmp_path, "j0", "import time; time.sleep(0.3)")
        await heard.until(lambda: heard.jobs.shown.state == "running")
        for k in range(1, 5):
            heard.add(tmp_path, f"j{k}", f"open('../log', 'a').write('{k}')")
        with pytest.raises(Refusal, match="4 jobs are waiting") as caught:
            heard.add(tmp_path, "j5", "")
        assert caught.value.status == 429
        await heard.until(lambda: len(heard.over) == 5)
        return heard

    heard = asyncio.run(run())
    assert [id for id, *_ in heard.over] == ["j0", "j1", "j2", "j3", "j4"] and (tmp_path / "log").read_text() == "1234"
    running = [job.id for job, _ in heard.told if job.state == "running"]
    assert running == sorted(running)


def test_cancel_ends_it_and_all_that_it_started_and_forgets_the_others(tmp_path):
    child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(601)']); {LONG}"

    async def run():
        heard = Heard()
        heard.add(tmp_path, "j1", child)
        heard.add(tmp_path, "j2", "open('ran', 'w')")
        await heard.until(lambda: heard.jobs.shown.stage == "render")
        top = psutil.Process(int((tmp_path / "j1" / "pid").read_text()))
        family = [top, *top.children(recursive=True)]
        assert len(family) == 2
        heard.jobs.cancel()
        await heard.until(lambda: heard.over)
        return heard, family

    heard, family = asyncio.run(run())
    assert heard.over == [("j1", "cancelled", "j1")] and not (tmp_path / "j2" / "ran").exists()
    assert "cancelled" in [job.state for job, _ in heard.told if job.id == "j2"]
    gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_what_ignores_the_request_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_PATIENCE_S", 0.3)

    async def run():
        heard = Heard()
        heard.add(tmp_path, "j1", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LONG}")
        await heard.until(lambda: heard.jobs.shown.stage == "render")
        process = psutil.Process(int((tmp_path / "j1" / "pid").read_text()))
        await heard.jobs.close()
        return heard, process

    heard, process = asyncio.run(run())
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    with pytest.raises(Refusal, match="no job to cancel"):
        heard.jobs.cancel()


@pytest.mark.parametrize("program, says", [
    ("import sys; print('a'); sys.stderr.write('dipir: error: no disk\\n'); sys.exit(2)", "code 2: dipir: error: no"),
    ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    ("import sys; print('{\"event\": \"error\", \"message\": \"the mesh is bad\"}'); sys.exit(2)", "the mesh is bad")])
def test_a_failure_says_why(tmp_path, program, says):
    async def run():
        heard = Heard()
        heard.add(tmp_path, "j1", program)
        heard.add(tmp_path, "j2", "")
        await heard.until(lambda: len(heard.over) == 2)
        return heard

    heard = asyncio.run(run())
    assert [state for _, state, _ in heard.over] == ["failed", "done"]
    (job,) = {job.error: job for job, _ in heard.told if job.state == "failed"}.values()
    assert says in job.error


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends orphans on Linux only")
def test_a_job_does_not_outlive_a_killed_server(tmp_path):
    code = (f"import asyncio, sys; from pathlib import Path; from dipir import child; from dipir.studio import jobs\n"
            "child.RUN = 'exec(sys.argv[1])'\n"
            "async def ended(*a): pass\n"
            "async def main():\n"
            f"    q = jobs.Jobs(lambda job, event: print(job.stage, flush=True), ended)\n"
            f"    q.add(jobs.Order(jobs.Job('j', 'render'), [{LONG!r}], Path({str(tmp_path)!r})))\n"
            "    await asyncio.sleep(600)\n"
            "asyncio.run(main())\n")
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": str(Path(jobs.__file__).parents[2])})
    while server.stdout.readline().strip() != "render":
        assert server.poll() is None
    orphan = psutil.Process(int((tmp_path / "pid").read_text()))
    assert orphan.is_running()
    server.send_signal(signal.SIGKILL)
    server.wait()
    gone, alive = psutil.wait_procs([orphan], timeout=10)
    assert alive == []


def test_other_events_change_nothing():
    job = Job("j1", "fit", "running", "fit", 1, 2)
    assert after(job, {"event": "device"}) == job and after(job, {"event": "error", "message": "x"}).error == "x"
    assert json.loads(json.dumps(vars(job)))["state"] == "running"
