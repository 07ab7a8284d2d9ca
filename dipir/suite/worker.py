"""The process of one job: ``python -m dipir.suite.worker FOLDER PARENT``. Reads job.json, works in work/, leaves
answer.json. What goes wrong is said there too; a process that leaves no answer has died."""
from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dipir.disk import write_text
from dipir.errors import DipirError, FitError
from dipir.event import Event
from dipir.suite.file import METHODS, JobSpec

JOB, ANSWER, EVENTS, WORK = "job.json", "answer.json", "events.jsonl", "work"


def method_of(name: str) -> Callable:
    """The function that a suite's method names."""
    module, function = METHODS.get(name, name).split(":")
    return getattr(importlib.import_module(module), function)


def die_with(parent: int) -> None:
    """End this process as soon as its parent has ended, however that came: two must never work in one folder. Linux
    only; elsewhere the process goes on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def work(folder: Path) -> int:
    """Do the job. 0 = the answer has figures, 1 = it has an error."""
    job = json.loads((folder / JOB).read_text())
    out, notes = folder / WORK, []
    out.mkdir(exist_ok=True)

    board = None
    if job.get("board"):
        from dipir.fit.board import Board

        board = Board(out / "board")

    def log(event: Event) -> None:
        if board is not None:
            board(event)
        line = {"stage": event.stage, "step": event.step, "steps": event.steps, "left": event.seconds_left,
                **event.scalars}
        with (folder / EVENTS).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def attempt() -> dict:
        return method_of(job["spec"]["method"])(JobSpec(**job["spec"]), out, log)

    try:
        try:
            figures = attempt()
        except FitError as problem:
            checkpoints = list(out.rglob("checkpoint*"))
            if not checkpoints:
                raise
            # A checkpoint that was cut short must not cost the job.
            for path in checkpoints:
                path.unlink()
            notes.append(f"begun again without its checkpoint: {str(problem)[:300]}")
            figures = attempt()
        answer = {"key": job["key"], "figures": figures, "notes": notes}
    except DipirError as problem:
        answer = {"key": job["key"], "error": str(problem), "kind": type(problem).__name__,
                  "again": full_disk(problem), "notes": notes}
    except Exception as problem:
        answer = {"key": job["key"], "error": traceback.format_exc(), "kind": type(problem).__name__,
                  "again": full_disk(problem), "notes": notes}
    if board is not None:
        board.close()
    write_text(folder / ANSWER, json.dumps(answer))
    return 0 if "figures" in answer else 1


def full_disk(problem: BaseException | None) -> bool:
    """Whether a full disk is behind an error: room may come."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        problem = problem.__cause__ or problem.__context__
    return False


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    sys.exit(work(Path(sys.argv[1])))
