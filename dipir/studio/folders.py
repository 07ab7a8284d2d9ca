"""Where sessions lie, which one goes on, and how many are kept."""
from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from pathlib import Path

from dipir.errors import ConfigError, nearest

MOST_SESSIONS, MOST_BYTES = 20, 4 * 2**30
SAVED = "session.json"
_LOCK = ".lock"


def home() -> Path:
    """``$DIPIR_STUDIO``, else ``~/.local/share/dipir/studio``."""
    return Path(os.environ.get("DIPIR_STUDIO") or Path.home() / ".local" / "share" / "dipir" / "studio")


def sessions() -> list[Path]:
    """Folders of sessions that something was saved of, the newest first."""
    if not home().is_dir():
        return []
    found = [folder for folder in home().iterdir() if (folder / SAVED).is_file()]
    return sorted(found, key=lambda folder: (folder / SAVED).stat().st_mtime, reverse=True)


def new() -> Path:
    """A folder for another session, for this user alone. ConfigError where it cannot be made."""
    folder = home() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
        home().chmod(0o700)
    except OSError as problem:
        raise ConfigError(f"{folder}: cannot be made ({problem.strerror}). Sessions lie there; name another place with "
                          "the environment variable DIPIR_STUDIO.") from problem
    return folder


def named(id: str) -> Path:
    """The session that a person names. ConfigError for one that is not there."""
    there = [folder.name for folder in sessions()]
    if not re.fullmatch(r"[\w-]+", id) or id not in there:
        raise ConfigError(f"--session {id}: no such session; there are {', '.join(there[:5]) or 'none'}"
                          f"{', ...' if len(there) > 5 else ''}.{nearest(id, there)}")
    return home() / id


class Lock:
    """A session is open in one program only. Given back when the program ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / _LOCK, "a+b")

    def taken(self) -> bool:
        """Whether it is ours now; false = another program has it open."""
        try:
            import fcntl
        except ImportError:
            # Windows: two programs on one session are not noticed there.
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


def bytes_in(folder: Path) -> int:
    """Of all files."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def make_room(kept: Path) -> list[str]:
    """Removes the oldest sessions beyond the limits, never ``kept`` nor one that is open; says which."""
    said, count, total = [], 1, bytes_in(kept)
    for folder in (f for f in sessions() if f != kept):
        count, size = count + 1, bytes_in(folder)
        total += size
        if count <= MOST_SESSIONS and total <= MOST_BYTES:
            continue
        lock = Lock(folder)
        if lock.taken():
            shutil.rmtree(folder, ignore_errors=True)
            count, total = count - 1, total - size
            said.append(f"the old session {folder.name} was removed: at most {MOST_SESSIONS} sessions and "
                        f"{MOST_BYTES // 2**30} GiB are kept in {home()}")
        lock.release()
    return said
