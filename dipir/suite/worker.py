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
from collections.abc import Callable, Iterator
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
    job, notes = json.loads((folder / JOB).read_text()), []
    (folder / WORK).mkdir(exist_ok=True)
    try:
        with logged(folder, job.get("board", False)) as log:
            answer = {"figures": figures_of(JobSpec(**job["spec"]), folder / WORK, log, notes)}
    except Exception as problem:
        ours = not isinstance(problem, DipirError)
        answer = {"error": traceback.format_exc() if ours else str(problem), "kind": type(problem).__name__,
                  "again": full_disk(problem)}
    write_text(folder / ANSWER, json.dumps({"key": job["key"], **answer, "notes": notes}))
    return 0 if "figures" in answer else 1


def figures_of(spec: JobSpec, out: Path, log: Callable[[Event], None], notes: list[str]) -> dict[str, float]:
    """What the method gives; begun again, with a note, when a checkpoint that was cut short is in its way."""
    method = method_of(spec.method)
    try:
        return method(spec, out, log)
    except FitError as problem:
        checkpoints = list(out.rglob("checkpoint*"))
        if not checkpoints:
            raise
        for path in checkpoints:
            path.unlink()
        notes.append(f"begun again without its checkpoint: {str(problem)[:300]}")
    return method(spec, out, log)


@contextlib.contextmanager
def logged(folder: Path, for_board: bool) -> Iterator[Callable[[Event], None]]:
    """A receiver of events: a line of ``events.jsonl`` each, and TensorBoard's files when wanted."""
    with contextlib.ExitStack() as stack:
        board = None
        if for_board:
            from dipir.fit.board import Board

            board = stack.enter_context(contextlib.closing(Board(folder / WORK / "board")))

        def log(event: Event) -> None:
            if board is not None:
                board(event)
            line = {"stage": event.stage, "step": event.step, "steps": event.steps, "left": event.seconds_left,
                    **event.scalars}
            with (folder / EVENTS).open("a") as file:
                file.write(json.dumps(line) + "\n")

        yield log


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
