"""Jobs: a method, a scene and a config; a local runner that yields Events. A process per job, because Mitsuba keeps the
memory of every scene it has loaded."""
from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from dipir import device
from dipir.errors import DeviceMemoryError, DipirError
from dipir.fit.loop import Event


@dataclass(frozen=True)
class Job:
    """method : module-level function ``method(scene, config, *, out, on_event)`` (it travels to another process by
    name);  scene, config : whatever it takes, must be picklable;  out : folder for its results"""

    method: Callable[..., object]
    scene: object
    config: object
    out: Path


class JobFailed(DipirError):
    """The job's process died, or ended with an error that is not the user's; text says how."""


def run(job: Job) -> Iterator[Event]:
    """Run ``job`` in a new process and yield its events as they come; the process ends with the iterator.

    Raises the job's own DipirError, or JobFailed. Closing the iterator early stops the job (SIGTERM: it saves first).
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender))
    process.start()
    # Only the job holds the sending end now, so that its death is seen here as the end of the stream.
    sender.close()
    try:
        while True:
            kind, value = _receive(receiver, process)
            if kind == "event":
                yield _with_images(value, torch.from_numpy)
            elif kind == "error":
                raise value
            else:
                return
    finally:
        # Closed first: a job that is told to stop must not wait for a reader of its last event.
        receiver.close()
        if process.is_alive():
            process.terminate()
        process.join()


def _receive(receiver: Connection, process: BaseProcess) -> tuple[str, object]:
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise JobFailed(f"the job's process ended with code {process.exitcode} without a word; -9 usually means that "
                        "the memory ran out. Try a smaller picture or --preset fast.") from None


def _work(job: Job, sender: Connection) -> None:
    """The other process. Tensors travel as arrays: torch would share file handles that die with this process."""
    def send(event: Event) -> None:
        sender.send(("event", _with_images(event, lambda image: image.detach().cpu().numpy())))
    try:
        job.method(job.scene, job.config, out=job.out, on_event=send)
        sender.send(("done", None))
    except DipirError as problem:
        sender.send(("error", problem))
    except BrokenPipeError:
        # Nobody listens any more; the checkpoint of this step is on disk.
        return
    except Exception as problem:
        memory = device.memory_text(problem)
        sender.send(("error", DeviceMemoryError(f"{memory} Choose a smaller picture, less memory (memory.*) or the "
                     "CPU.") if memory else JobFailed(f"the job failed:\n{traceback.format_exc()}")))


def _with_images(event: Event, convert: Callable) -> Event:
    return replace(event, images={name: convert(image) for name, image in event.images.items()},
                   scalars=dict(event.scalars))
