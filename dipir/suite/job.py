"""One attempt at a job of a suite: its process, its limits, how it ended. Runners start attempts and look at them."""
from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from dipir import child
from dipir.suite.file import Limits
from dipir.suite.worker import ANSWER, JOB

LOG = "log.txt"
COMMAND = tuple(child.command("dipir.suite.worker"))
_BETWEEN_S = 0.5  # Memory is looked at this often: a look at all processes takes a millisecond or two.


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    answer: dict[str, Any]
    """What the process said, {} when it died."""
    cause: str
    """The limit it was ended for, or how it died, or ""."""
    seconds: float
    """From start to end."""
    peak: int = 0
    """Bytes of memory of it and all that it started, at most."""

    @property
    def again(self) -> bool:
        """Whether another attempt may end otherwise: it died, or something passing was in its way."""
        return bool(self.answer.get("again")) if self.answer else not self.ended_for_limit

    @property
    def ended_for_limit(self) -> bool:
        return "(limits." in self.cause


class Attempt(Protocol):
    """poll : how it ended, None while it runs;  end : end it and all that it started, now."""

    def poll(self) -> Outcome | None: ...
    def end(self) -> None: ...


@dataclass
class ProcessAttempt:
    """An attempt in a process of this machine."""

    folder: Path
    """Of the job, with its job.json."""
    limits: Limits
    process: subprocess.Popen
    begun: float = field(default_factory=time.monotonic)
    _peak: int = 0
    _looked: float = 0.0

    @staticmethod
    def start(folder: Path, limits: Limits, device: str | None = None, *, command: Sequence[str] = COMMAND,
              environment: Mapping[str, str] = {}) -> ProcessAttempt:
        """device : for it (``--device``), None = what our environment says;  command : is given the folder and our
        number;  environment : over ours. OSError when there is no room for it."""
        (folder / ANSWER).unlink(missing_ok=True)
        own = {**environment, **({} if device is None else {"DIPIR_DEVICE": device})}
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen([*command, str(folder), str(os.getpid())], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True, env=_environment(own))
        return ProcessAttempt(folder, limits, process)

    def poll(self) -> Outcome | None:
        """Ends the process when it has gone beyond a limit."""
        cause = ""
        if self.process.poll() is None:
            cause = self._beyond()
            if not cause:
                return None
        # Children of a dead process too.
        self.end()
        answer = {} if cause else _answer(self.folder)
        return Outcome(answer, cause or ("" if answer else self._death()), time.monotonic() - self.begun, self._peak)

    def end(self) -> None:
        """Its whole process group: asked first, then made to."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2.0 if number == signal.SIGTERM else 10.0)

    def _beyond(self) -> str:
        now, limits = time.monotonic(), self.limits
        if now - self.begun > 60 * limits.minutes:
            return f"it took longer than {limits.minutes:g} minutes (limits.minutes)"
        if now - self._looked > _BETWEEN_S:
            self._looked, self._peak = now, max(self._peak, resident(self.process.pid))
        if self._peak > limits.memory_gib * 2**30:
            return (f"it needed {self._peak / 2**30:.2f} GiB of memory, more than {limits.memory_gib:g} "
                    "(limits.memory_gib)")
        return ""

    def _death(self) -> str:
        code = self.process.returncode
        died = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the process {died} without a word; see {LOG}"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the folder of this package first: the process finds ``benchmarks`` beside it, wherever it runs."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    return {**os.environ, "PYTHONPATH": path, **own}


def resident(pid: int) -> int:
    """Bytes of memory of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in [top, *top.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _answer(folder: Path) -> dict[str, Any]:
    try:
        answer = json.loads((folder / ANSWER).read_text())
        return answer if answer["key"] == json.loads((folder / JOB).read_text())["key"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
