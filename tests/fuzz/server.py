"""Reads files that were changed, each in a process of its own with limits. Lines on stdin: JSON [format, path]; on
stdout: JSON [how it ended, text]."""
from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path

from dipir.errors import DipirError
from tests.fuzz.seeds import READERS

SECONDS, BYTES = 10, 2 * 2**30
MOST_TEXT = 4000
"""Characters of an error: those of ours, and the path of the file."""


def judged(name: str, path: str) -> tuple[str, str]:
    """("read" or "refused", text) as it shall be; anything else is a fault."""
    try:
        READERS[name][1](Path(path))
    except DipirError as problem:
        return ("refused", str(problem)) if len(str(problem)) <= MOST_TEXT else ("endless text", str(problem)[:300])
    except BaseException:
        return "traceback", traceback.format_exc(limit=-4)[-1500:]
    return "read", ""


def forked(name: str, path: str) -> tuple[str, str]:
    """:func:`judged` in a child; killed after ``SECONDS``, with ``BYTES`` more than this process has."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        os.write(write, json.dumps(judged(name, path)).encode())
        os._exit(0)
    os.close(write)
    try:
        if not select.select([read], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            return "hang", f"more than {SECONDS} s"
        text = os.read(read, 65536)
        return tuple(json.loads(text)) if text else ("death", "the process ended by a signal")
    finally:
        os.close(read)
        os.waitpid(child, 0)


if __name__ == "__main__":
    print(json.dumps(["ready", ""]), flush=True)
    for line in sys.stdin:
        print(json.dumps(forked(*json.loads(line))), flush=True)
