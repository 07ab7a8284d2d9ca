"""Long work in processes of its own: final renders and fits by `dipir` itself, one at a time, others wait."""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dipir import child
from dipir.studio.uploads import Refusal

MOST_WAITING = 4
_PATIENCE_S = 5.0
_LAST_WORDS, _LONGEST_LINE = 40, 1 << 20
Over = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """A job as the page sees it."""

    id: str
    kind: str
    """render, fit or prepare."""
    state: str = "waiting"
    """waiting, running, done, failed or cancelled."""
    stage: str = ""
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Order:
    """What a job runs."""

    job: Job
    words: Sequence[str]
    """After ``dipir``."""
    folder: Path
    """Where it runs; its output is in ``out``."""


class Jobs:
    """The queue of one session. told : hears of every change (job, the event or {});  ended : is awaited when one has
    ended, whatever the end"""

    def __init__(self, told: Callable[[Job, Mapping[str, Any]], None], ended: Callable[[Job, Path], Any]) -> None:
        self._told, self._ended = told, ended
        self._waiting: deque[Order] = deque()
        self._process: asyncio.subprocess.Process | None = None
        self._runner: asyncio.Task | None = None
        self._cancelled = False
        self.shown: Job | None = None
        """The one that runs, or the last one."""

    @property
    def all(self) -> list[str]:
        """Ids of what runs and waits."""
        running = [self.shown.id] if self.shown and self.shown.state == "running" else []
        return [*running, *(order.job.id for order in self._waiting)]

    def add(self, order: Order) -> None:
        """At the end of the queue. Refusal when that is full."""
        if len(self._waiting) >= MOST_WAITING:
            raise Refusal(f"{MOST_WAITING} jobs are waiting already; cancel one, or wait until one is done.", 429)
        self._waiting.append(order)
        if self._runner is None or self._runner.done():
            self._tell(order.job)
            self._runner = asyncio.create_task(self._run())

    def cancel(self) -> None:
        """End the one that runs, and forget the others. Refusal when there is none."""
        if not self.all:
            raise Refusal("there is no job to cancel.", 409)
        self._cancelled = True
        for order in self._waiting:
            self._told(replace(order.job, state="cancelled"), {})
        self._waiting.clear()
        _signal(self._process, signal.SIGTERM)

    async def close(self) -> None:
        """End everything."""
        self._waiting.clear()
        self._cancelled = True
        if self._process is not None:
            await _end(self._process)
        if self._runner is not None:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(self._runner, _PATIENCE_S)

    # ---- one after the other ----
    async def _run(self) -> None:
        while self._waiting:
            order, self._cancelled = self._waiting.popleft(), False
            job = await self._do(order)
            await self._ended(job, order.folder)
            self._tell(job)

    async def _do(self, order: Order) -> Job:
        job = replace(order.job, state="running", stage="start")
        self._tell(job)
        words: deque[str] = deque(maxlen=_LAST_WORDS)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *child.command("dipir", *order.words, first=_tied()), cwd=order.folder,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE, start_new_session=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
            (order.folder / "pid").write_text(str(self._process.pid))
            if self._cancelled:
                _signal(self._process, signal.SIGTERM)
            reading = asyncio.create_task(_keep(self._process.stderr, words))
            job = await self._listen(job)
            await reading
            code = await self._process.wait()
        except OSError as problem:
            return replace(job, state="failed", error=f"dipir could not be started: {problem.strerror}.")
        finally:
            if self._process is not None:
                await _end(self._process)
            self._process = None
        if self._cancelled:
            return replace(job, state="cancelled", seconds_left=None)
        if code == 0:
            return replace(job, state="done", seconds_left=0.0)
        return replace(job, state="failed", seconds_left=None, error=job.error or _last(words, code))

    async def _listen(self, job: Job) -> Job:
        """Its events, until it has no more."""
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:
                # A line beyond the limit is no event of ours.
                continue
            if not line:
                return job
            with contextlib.suppress(ValueError, TypeError):
                event = json.loads(line)
                if isinstance(event, dict):
                    job = after(job, event)
                    self._tell(job, event)

    def _tell(self, job: Job, event: Mapping[str, Any] = {}) -> None:
        self.shown = job
        self._told(job, event)


def after(job: Job, event: Mapping[str, Any]) -> Job:
    """The job after one event of ``--log json``."""
    if event.get("event") == "progress":
        return replace(job, stage=str(event.get("stage", "")), step=int(event.get("step", 0)),
                       steps=int(event.get("steps", 0)), seconds_left=event.get("seconds_left"))
    return replace(job, error=str(event.get("message", ""))) if event.get("event") == "error" else job


async def _keep(stream: asyncio.StreamReader, words: deque[str]) -> None:
    """What it says to people, the end of it."""
    while piece := await stream.read(4096):
        words.extend(piece.decode("utf-8", "replace").splitlines())


def _last(words: deque[str], code: int) -> str:
    said = next((line.strip() for line in reversed(words) if line.strip()), "")
    return (f"dipir ended with code {code}" if code > 0 else f"dipir was ended by signal {-code}") + (
        f": {said[:300]}" if said else ".")


# ---- processes -------------------------------------------------------------------------------------------------------

def _tied() -> str:
    """On Linux the kernel ends the process when we are killed; elsewhere it goes on to its end."""
    # Said by the process itself: between fork and exec nothing may run in a process that has threads.
    return ("import ctypes, os\nctypes.CDLL(None).prctl(1, 9)\n"
            f"if os.getppid() != {os.getpid()}: sys.exit(1)\n") if sys.platform.startswith("linux") else ""


def _signal(process: asyncio.subprocess.Process | None, number: int) -> None:
    """To it and all that it started."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number) if hasattr(os, "killpg") else process.send_signal(number)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asked first, then made to."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.returncode is not None:
            return
        _signal(process, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _PATIENCE_S)
