"""Running a suite: what is to do, what is done, nothing done twice. Where attempts run is a ``Starter``'s business:
this machine, or a cluster.

A folder per job holds job.json, work/ (where the method writes and resumes from), answer.json, log.txt, and in the end
status.json and result/. A job is done when its status says so and ``result`` is there: work/ is renamed to it in one
step, and only by the runner that holds the suite's lock.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dipir.disk import write_text
from dipir.errors import ConfigError, DipirError
from dipir.event import Event
from dipir.settings.presets import versions
from dipir.suite.file import PACKAGES, JobSpec, Limits, Suite
from dipir.suite.job import Attempt, Outcome, ProcessAttempt
from dipir.suite.worker import ANSWER, EVENTS, JOB, WORK, full_disk

STATUS, RESULT, SUITE, LOCK = "status.json", "result", "suite.json", "runner.lock"
POLL_S, WAIT_S = 0.05, 2.0


class Starter(Protocol):
    """slots : how many attempts may run at a time, now."""

    @property
    def slots(self) -> int: ...
    def start(self, folder: Path, limits: Limits) -> Attempt: ...


@dataclass(frozen=True)
class Local:
    """Processes of this machine, ``slots`` at a time."""

    slots: int = 1

    def start(self, folder: Path, limits: Limits) -> Attempt:
        return ProcessAttempt.start(folder, limits)


@dataclass
class Entry:
    """A job that is not done."""

    spec: JobSpec
    folder: Path
    key: str
    tries: int = 0
    """Attempts begun."""
    causes: list[str] = field(default_factory=list)
    """Why earlier ones ended."""
    after: float = 0.0
    """Not before this time (monotonic)."""
    attempt: Attempt | None = None


def run_suite(suite: Suite, out: Path, starter: Starter | None = None,
              on_event: Callable[[Event], None] | None = None, board: bool = False) -> dict:
    """Run what is not done: {"done": names, "failed": {name: cause}}. Jobs that failed before are tried again. Ends its
    attempts on the way out. ConfigError when another runner works in ``out``, or it holds another suite.

    board : each job also logs for TensorBoard, to ``board`` in its folder
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        _write_suite(suite, out)
        return _Run(suite, out, starter or Local(), on_event, board).run()


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """One runner a folder. ConfigError when there is one already."""
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise ConfigError(f"{out}: another `dipir bench run` works here. Wait for it, or choose another "
                              "--out.") from problem
        yield


def _write_suite(suite: Suite, out: Path) -> None:
    if (out / SUITE).is_file():
        before = json.loads((out / SUITE).read_text())
        if before["name"] != suite.name:
            raise ConfigError(f"{out}: holds the suite '{before['name']}', not '{suite.name}'; choose another --out.")
    jobs = [{"name": job.name, "method": job.method, "scene": job.scene, "seed": job.seed, "varied": dict(job.varied)}
            for job in suite.jobs]
    write_text(out / SUITE, json.dumps({"schema": "dipir.suite.1", "name": suite.name, "jobs": jobs,
                                        "limits": asdict(suite.limits),
                                        "versions": versions(PACKAGES)}, indent=1) + "\n")


def job_folder(out: Path, name: str) -> Path:
    """Where a job lives."""
    return out / "jobs" / name


def read_status(folder: Path) -> dict[str, Any]:
    """{"state": "done" | "failed" | "running" | "waiting", ...}"""
    try:
        return json.loads((folder / STATUS).read_text())
    except (OSError, ValueError):
        return {"state": "waiting"}


def prepare(folder: Path, spec: JobSpec, board: bool = False) -> str | None:
    """Make the folder ready for attempts: the job's key, or None when it is done. What another key left is taken
    away."""
    key, status = spec.key, read_status(folder)
    if status.get("state") == "done" and status.get("key") == key and (folder / RESULT).is_dir():
        return None
    old = folder / JOB
    if old.is_file() and _key_of(old) != key:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ANSWER, STATUS):
        (folder / name).unlink(missing_ok=True)
    if (folder / RESULT).is_dir():
        # Renamed, but killed before the status was written: the answer has gone with it.
        shutil.rmtree(folder / RESULT)
    job = {"key": key, "spec": asdict(spec), "board": board}
    write_text(folder / JOB, json.dumps(job, indent=1, default=str) + "\n")
    return key


def _key_of(job: Path) -> str | None:
    try:
        return json.loads(job.read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _Run:
    def __init__(self, suite: Suite, out: Path, starter: Starter, on_event: Callable[[Event], None] | None,
                 board: bool) -> None:
        self.suite, self.out, self.starter, self.on_event, self.board = suite, out, starter, on_event, board
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.waiting: list[Entry] = []
        self.running: list[Entry] = []

    def run(self) -> dict:
        for spec in self.suite.jobs:
            folder = job_folder(self.out, spec.name)
            key = self._patient(lambda spec=spec, folder=folder: prepare(folder, spec, self.board))
            if key is None:
                self.done.append(spec.name)
            else:
                self.waiting.append(Entry(spec, folder, key))
        began, before = time.monotonic(), len(self.done)
        try:
            while self.waiting or self.running:
                self._start()
                if self._collect():
                    self._tell(time.monotonic() - began, before)
                time.sleep(POLL_S)
        finally:
            for entry in self.running:
                entry.attempt.end()
        return {"done": self.done, "failed": self.failed}

    def _tell(self, seconds: float, before: int) -> None:
        if self.on_event is not None:
            ended, total = len(self.done) + len(self.failed), len(self.suite.jobs)
            left = seconds / max(1, ended - before) * (total - ended)
            self.on_event(Event("jobs", ended, total, left, {"failed": len(self.failed)}))

    def _start(self) -> None:
        free, now = self.starter.slots - len(self.running), time.monotonic()
        for entry in [e for e in self.waiting if e.after <= now][:max(0, free)]:
            entry.tries += 1
            self._status(entry, {"state": "running", "pid": os.getpid()})
            entry.attempt = self._patient(lambda e=entry: self.starter.start(e.folder, self.suite.limits))
            self.waiting.remove(entry)
            self.running.append(entry)

    def _collect(self) -> bool:
        """Take in what has ended; whether anything has."""
        before = len(self.running)
        for entry in list(self.running):
            outcome = entry.attempt.poll()
            if outcome is not None:
                self.running.remove(entry)
                self._take_in(entry, outcome)
        return len(self.running) < before

    def _take_in(self, entry: Entry, outcome: Outcome) -> None:
        answer, name = outcome.answer, entry.spec.name
        facts = {"seconds": round(outcome.seconds, 3), "peak_gib": round(outcome.peak / 2**30, 3),
                 "notes": answer.get("notes", [])}
        if "figures" in answer:
            self._patient(lambda: _publish(entry.folder))
            self._status(entry, {"state": "done", "figures": answer["figures"], **facts})
            self.done.append(name)
            return
        cause = outcome.cause or answer["error"]
        entry.causes.append(cause)
        if outcome.again and entry.tries < self.suite.limits.tries:
            entry.after = time.monotonic() + (WAIT_S if answer else 0)
            self.waiting.insert(0, entry)
            return
        self._status(entry, {"state": "failed", "cause": cause, "kind": answer.get("kind", "died"), **facts})
        self.failed[name] = cause

    def _status(self, entry: Entry, facts: dict) -> None:
        record = {"name": entry.spec.name, "key": entry.key, "attempt": entry.tries, "causes": entry.causes,
                  "time": round(time.time(), 1), **facts}
        self._patient(lambda: write_text(entry.folder / STATUS, json.dumps(record, indent=1) + "\n"))

    def _patient(self, act: Callable[[], Any]) -> Any:
        """Full disks are waited for: what is known must not be lost."""
        while True:
            try:
                return act()
            except (OSError, DipirError) as problem:
                if not full_disk(problem):
                    raise
                if self.on_event is not None:
                    ended = len(self.done) + len(self.failed)
                    self.on_event(Event("jobs, waiting for room on the disk", ended, len(self.suite.jobs)))
                time.sleep(WAIT_S)


def _publish(folder: Path) -> None:
    """work/ becomes result/. May be called again after it was cut short."""
    if (folder / WORK).is_dir():
        for name in (EVENTS, ANSWER):
            with contextlib.suppress(FileNotFoundError):
                os.replace(folder / name, folder / WORK / name)
        os.replace(folder / WORK, folder / RESULT)
    elif not (folder / RESULT).is_dir():
        raise OSError(errno.ENOENT, "neither work nor result is there", str(folder))
