"""Attempts on a Ray cluster: the same process a job as on this machine, started by Ray wherever there is room.

A job's folder travels as one archive each way, so that machines need no common disk for results; scenes and what they
name must be found under the same paths on all of them.
"""
from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipir.errors import ConfigError
from dipir.suite.file import Limits
from dipir.suite.job import Outcome, ProcessAttempt

_NOTES = Path("/tmp/ray/ray_current_cluster")
_POLL_S, _ANSWER_S = 0.1, 10.0
_NOBODY = ("--ray {}: no Ray cluster answers there ({}). Start one with `ray start --head`, or give HOST:PORT of its "
           "head.")


@dataclass(frozen=True, eq=False)
class Cluster:
    """A ``Starter`` for Ray; `connect` gives one that is connected."""

    ray: Any
    limits: Limits

    @property
    def slots(self) -> int:
        """What all machines together have room for, and as many again that wait: no machine idles between two jobs."""
        total = self.ray.cluster_resources()
        rooms = [total.get("CPU", 0) / self.limits.cpus]
        if self.limits.gpus:
            rooms.append(total.get("GPU", 0) / self.limits.gpus)
        return 2 * int(min(rooms))

    def start(self, folder: Path, limits: Limits) -> RayAttempt:
        """Raises what Ray raises when the head cannot be reached."""
        task = self.ray.remote(_attempt).options(num_cpus=limits.cpus, num_gpus=limits.gpus, max_retries=0,
                                                 name=folder.name)
        ref = task.remote(packed(folder), limits, os.environ.get("DIPIR_DEVICE"))
        return RayAttempt(self.ray, ref, folder, time.monotonic())


@dataclass(frozen=True, eq=False)
class RayAttempt:
    """An attempt somewhere on the cluster."""

    ray: Any
    ref: Any
    folder: Path
    begun: float

    def poll(self) -> Outcome | None:
        """As in ``Attempt``. The folder has come back when there is an outcome; not when the worker was lost."""
        ready, _ = self.ray.wait([self.ref], timeout=0)
        if not ready:
            return None
        try:
            outcome, data = self.ray.get(self.ref)
        except self.ray.exceptions.RayError as problem:
            said = str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
            return Outcome({}, f"its worker was lost ({type(problem).__name__}: {said[:300]})",
                           time.monotonic() - self.begun)
        unpacked(data, self.folder)
        return outcome

    def end(self) -> None:
        """Ask Ray to; the job's process goes with its worker."""
        self.ray.cancel(self.ref, force=True)


def connect(address: str, limits: Limits) -> Cluster:
    """address : "auto", "local" (a cluster of this machine only), HOST:PORT or ray://HOST:PORT. ConfigError when Ray
    is not installed or does not answer, and for a ``--device`` that Ray would not give to a job."""
    _check_device(os.environ.get("DIPIR_DEVICE") or "auto", limits)
    try:
        import ray
    except ImportError as problem:
        raise ConfigError("--ray: Ray is not installed. `pip install dipir[ray]` brings it.") from problem
    _check_answer(address)
    main = threading.current_thread() is threading.main_thread()
    kept = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False,
                 ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as problem:
        raise ConfigError(_NOBODY.format(address, str(problem).splitlines()[0][:200])) from problem
    finally:
        # Ray puts its own in: SIGTERM shall go on to mean here what it means everywhere.
        if main:
            signal.signal(signal.SIGTERM, kept)
    return Cluster(ray, limits)


def _check_device(asked: str, limits: Limits) -> None:
    """Ray shows a job the GPUs that it was given, and no others."""
    if ":" in asked:
        raise ConfigError(f"--device {asked} with --ray: Ray chooses which GPU a job is given. Ask for cuda, or auto.")
    if asked == "cuda" and limits.gpus == 0:
        raise ConfigError("--device cuda with --ray: the suite's limits.gpus is 0, so no job is given a GPU. Set it to "
                          "1, or to 0.5 for two jobs on one.")


def _check_answer(address: str) -> None:
    """ConfigError when nobody listens at HOST:PORT, or where Ray's notes of this machine's cluster lead ("auto"), as
    after a crash: Ray itself would try for minutes."""
    found = address
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS", "")
        with contextlib.suppress(OSError):
            found = found or _NOTES.read_text().strip()
    host, _, port = found.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as problem:
        raise ConfigError(_NOBODY.format(address, problem)) from problem


def _attempt(data: bytes, limits: Limits, device: str | None) -> tuple[Outcome, bytes]:
    """What runs on the cluster's machine. device : that was asked for where the suite runs."""
    with tempfile.TemporaryDirectory(prefix="dipir-job-") as name:
        folder = Path(name)
        unpacked(data, folder)
        attempt = ProcessAttempt.start(folder, limits, device)
        try:
            while True:
                outcome = attempt.poll()
                if outcome is not None:
                    return outcome, packed(folder)
                time.sleep(_POLL_S)
        finally:
            attempt.end()


def packed(folder: Path) -> bytes:
    """A folder as one archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(folder, arcname=".")
    return stream.getvalue()


def unpacked(data: bytes, folder: Path) -> None:
    """Write an archive's files into ``folder``. Paths that lead out of it are refused by tarfile's "data" filter."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
