"""Jobs that go wrong on purpose, to test runners with: a suite's ``fault`` says how."""
from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dipir.errors import FitError, SceneError
from dipir.event import Event
from dipir.suite.file import JobSpec


def job(spec: JobSpec, folder: Path, on_event: Callable[[Event], None]) -> dict[str, float]:
    """A figure of scene, seed and ``number`` after so many ``seconds`` and the ``fault``: none, error, bug, kill (the
    first time), killed (every time), hang, memory, disk (the first time), checkpoint, device (an error that
    says which it was given)."""
    fault, before = spec.settings.get("fault", "none"), (folder / "been_here").exists()
    (folder / "been_here").touch()
    time.sleep(float(spec.settings.get("seconds", 0)))
    on_event(Event("faults", 1, 1, None, {"fault": float(fault != "none")}))
    if fault == "error":
        raise SceneError("a mistake of the user's; accepted is none.")
    if fault == "device":
        raise SceneError(f"device of this job: {os.environ.get('DIPIR_DEVICE')}.")
    if fault == "bug":
        raise ValueError("a mistake of ours")
    if fault == "killed" or (fault == "kill" and not before):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "hang":
        time.sleep(1000)
    if fault == "memory":
        block = bytearray(2**30)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(1000)
    if fault == "disk" and not before:
        raise OSError(errno.ENOSPC, "No space left on device")
    checkpoint = folder / "checkpoint.pt"
    if fault == "checkpoint" and not before:
        checkpoint.write_bytes(b"cut sh")
        os.kill(os.getpid(), signal.SIGKILL)
    if checkpoint.exists():
        raise FitError(f"{checkpoint}: is no checkpoint.")
    text = f"{spec.scene}{spec.seed}{spec.settings.get('number', 0)}"
    value = int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 2**24
    (folder / "value.txt").write_text(f"{value}\n")
    return {"value": value}
