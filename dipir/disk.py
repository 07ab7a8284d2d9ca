"""Files on disk: written whole or not at all, found where the package keeps them, kept inside their folder."""
from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from dipir.errors import ConfigError, DipirError, ImageError, SceneError, printable

_FREE_BYTES = 64 * 2**20
_ASIDE, _LOCK = ".dipir-save-", ".dipir-lock"


# ------------------------------------------------------------------------------------------------------------- writing
@contextlib.contextmanager
def atomic_path(path: str | Path, error: type[DipirError] = ImageError) -> Iterator[Path]:
    """A temporary path beside ``path`` (same suffix) to write to; it replaces ``path`` when the block ends well and is
    removed otherwise. OSError in the block becomes an ``error`` with a remedy."""
    path = Path(path)
    # Not tempfile.mkstemp: its files are private to the user, and the mode would stay with the result.
    temporary = path.parent / f".dipir-{secrets.token_hex(6)}{path.suffix}"
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        yield temporary
        os.replace(temporary, path)
    except OSError as problem:
        raise error(f"cannot write {path}: {problem.strerror or problem}. Accepted is a file in an existing, writable "
                    "folder with enough free space. Free some space, or choose another output folder.") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: str | Path, data: bytes, error: type[DipirError] = ImageError, *, flush: bool = False) -> None:
    """Write a whole file or leave it as it was. ``flush`` : wait until it is on the disk. Raises ``error``."""
    with atomic_path(path, error) as temporary, open(temporary, "wb") as file:
        file.write(data)
        if flush:
            file.flush()
            os.fsync(file.fileno())


def write_text(path: str | Path, text: str, error: type[DipirError] = ImageError) -> None:
    """Write a whole UTF-8 text file or leave it as it was. What UTF-8 cannot hold (names of files in another encoding)
    is written as ``\\udcfc``, which JSON and quoted YAML read as that character. Raises ``error``."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"), error)


def prepare_out(out_dir: str | Path) -> Path:
    """Make the out folder and prove, before any work, that results can be written there.

    Raises ConfigError when it is a file, cannot be made or written, or the disk has less than 64 MiB left.
    """
    out = Path(out_dir)
    remedy = "Choose another folder with --out."
    probe = out / f".dipir-probe-{os.getpid()}"
    try:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out}: is a file; results need a folder. {remedy}")
        out.mkdir(parents=True, exist_ok=True)
        _clear_up(out)
        probe.write_bytes(b"dipir" * 1000)
        free = shutil.disk_usage(out).free
    except OSError as problem:
        raise ConfigError(f"{out}: results cannot be written there ({problem.strerror}). {remedy}") from problem
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    if free < _FREE_BYTES:
        raise ConfigError(f"{out}: {free // 2**20} MiB left on the disk; results need {_FREE_BYTES // 2**20} MiB. "
                          f"Free some space. {remedy}")
    return out


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Inside, ``out`` is ours: ConfigError where another run that is alive has it. A run that was killed holds nothing,
    since the system gives its locks back. Where locks cannot be had (Windows, some file systems) nothing is asked."""
    file = _taken(out / _LOCK)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                (out / _LOCK).unlink()
            os.close(file)


def _taken(path: Path) -> int | None:
    """The open lock file, held; None = locks cannot be had."""
    try:
        import fcntl
    except ImportError:
        return None
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may have taken the file away after we opened it.
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                os.truncate(file, 0)
                os.write(file, str(os.getpid()).encode())
                return file
            os.close(file)
        except BlockingIOError:
            who = os.read(file, 20).decode("ascii", "replace")
            os.close(file)
            raise ConfigError(f"{path.parent}: another run (process {who if who.isdigit() else 'unknown'}) writes there"
                              ". Wait for its end, stop it, or choose another folder with --out.") from None
        except OSError:
            os.close(file)
            return None


def _host() -> str:
    return re.sub(r"\W+", "_", platform.node())[:40] or "here"


def _clear_up(out: Path) -> None:
    """Takes away what runs of this machine that were killed while they saved have left in ``out``."""
    for left in out.glob(f"{_ASIDE}*"):
        match = re.fullmatch(rf"{re.escape(_ASIDE)}(?:{re.escape(_host())}-)?(\d{{1,9}})", left.name)
        if match and not left.is_symlink() and not _alive(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)


def _alive(process: int) -> bool:
    """Whether there is such a process, of whomever; where that cannot be asked, there is."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


@contextlib.contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` whose files are moved into ``out`` when the block ends well; taken away otherwise. Raises
    ImageError when something cannot be written."""
    aside = out / f"{_ASIDE}{_host()}-{os.getpid()}"
    try:
        aside.mkdir(exist_ok=True)
        yield aside
        for file in sorted(aside.iterdir()):
            os.replace(file, out / file.name)
    except OSError as problem:
        raise ImageError(f"{out}: results cannot be written ({problem.strerror or problem}). Free some space or choose "
                         "another folder with --out.") from problem
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------------- finding
def shipped(name: str) -> Path:
    """A folder or file that ships with the package: ``configs/insert``, ``assets/priors``, ``scenes/demo.yaml``. In an
    installed package they are in ``dipir/data``, in a checkout beside the package."""
    package = Path(__file__).resolve().parent
    data = package / "data"
    return (data if data.is_dir() else package.parent) / name


def checkout() -> Path | None:
    """The folder of the checkout that the package runs from; None when it is an installed package."""
    parent = Path(__file__).resolve().parents[1]
    return parent if (parent / "setup.cfg").is_file() and (parent / "benchmarks").is_dir() else None


def data_dir() -> Path:
    """Photographed environments, plates and meshes for training, benchmarks and tests: ``$DIPIR_DATA``, else the folder
    ``shared/data`` beside the checkout."""
    return Path(os.environ.get("DIPIR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def cache_dir() -> Path:
    """Where generated sets and training runs are kept: ``$DIPIR_CACHE``, else ``~/.cache/dipir``."""
    return Path(os.environ.get("DIPIR_CACHE") or Path.home() / ".cache" / "dipir")


def file_name(name: object, otherwise: str = "result") -> str:
    """``name`` as the name of one file or folder, at most 80 characters: what could lead to another place, that a
    terminal would obey or that this system cannot write becomes ``_``; ``otherwise`` where nothing is left."""
    kept = "".join(c if re.match(r"[\w .,+=@()&'-]", c) and _writable(c) else "_" for c in str(name))
    return re.sub("_{2,}", "_", kept)[:80].strip(" ._-") or otherwise


def _writable(text: str) -> bool:
    """Whether this system's file names and UTF-8 both hold ``text``."""
    try:
        os.fsencode(text)
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def path_text(path: str | Path) -> str:
    """A path as the same text whatever the encoding of this system's file names is; :func:`path_of` is the inverse."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def path_of(text: str | Path) -> Path:
    """The path that a file gives as text. Raises SceneError when no file of this system can have that name."""
    try:
        return Path(os.fsdecode(str(text).encode("utf-8", "surrogateescape")))
    except UnicodeError:
        raise SceneError(f"{str(text)[:200]!a} cannot be the name of a file here; accepted is text without lone "
                         "surrogates. Rename the file.") from None


def named_folder(root: str | Path, name: object, otherwise: str = "result") -> Path:
    """The folder directly below ``root`` for results of that name, which files decide: :func:`file_name`."""
    return Path(root) / file_name(name, otherwise)


def beside(owner: Path, name: str, what: str, remedy: str, *, error: type[DipirError],
           missing: type[DipirError]) -> Path:
    """The file that ``owner`` names by a path relative to its folder. Raises ``error`` for an absolute path, a web
    address or a place outside of that folder, ``missing`` where there is no such file; ``what`` names it in the texts.
    """
    label, folder = f"{owner}: {what} '{name[:200]}'", owner.resolve().parent
    if not name or name.startswith("/") or re.match(r"^[A-Za-z][A-Za-z0-9+.\-]*:", name) or "\0" in name:
        raise error(f"{label} is an absolute path or a web address, which is not read. {remedy}")
    try:
        target = (folder / name).resolve()
        within, there = target.is_relative_to(folder), target.is_file()
    except (OSError, RuntimeError) as problem:
        raise error(f"{label} is no usable file name ({problem}). {remedy}") from None
    if not within:
        raise error(f"{label} leads outside its folder, which is not read. {remedy}")
    if not there:
        raise missing(f"{label} is missing (looked for {target}). {remedy}")
    return target


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; False, too, for names that this system cannot have or look at."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def inside(folder: Path, relative: str) -> Path:
    """The file that a data set names by a path relative to its folder. SceneError when it lies outside."""
    try:
        path = (folder / relative).resolve()
        path.is_file()  # Names that this system cannot have raise here.
    except (OSError, RuntimeError, ValueError) as problem:
        raise SceneError(f"the data set names '{printable(relative, 200)}', which is no usable file name here ("
                         f"{getattr(problem, 'strerror', None) or problem}). Rename the file.") from None
    if not path.is_relative_to(folder.resolve()):
        raise SceneError(f"the data set names '{printable(relative, 200)}', which lies outside of {folder}; accepted "
                         "are paths below it. Do not use this data set.")
    return path
