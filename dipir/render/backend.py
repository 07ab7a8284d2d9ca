"""Finds LLVM, loads Mitsuba in the variant of the run's device (``dipir.device``), sets threads; the only place that
imports mitsuba first.

Dr.Jit 1.5 with LLVM < 16 aborts the whole process on its first kernel ("Cannot select: fminimum"), so the version is
asked of the library itself, through ctypes in a child process, before Dr.Jit is imported.
"""
from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import functools
import glob
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dipir import device
from dipir.errors import RenderError

MIN_LLVM = 16
_REMEDY = ("Install LLVM 16 or newer (Debian/Ubuntu: `apt-get install libllvm19`), or set DRJIT_LIBLLVM_PATH to the "
           "full path of a libLLVM.so of version 16 or newer.")


@dataclass(frozen=True)
class Llvm:
    """An LLVM of this machine."""

    path: str  # shared library file
    version: int  # major


def _major_version(path: str) -> int | None:
    """Major version of a libLLVM, or None when it cannot be loaded; asked in a child process (loading two LLVMs into
    one process can clash)."""
    code = ("import ctypes,sys; l=ctypes.CDLL(sys.argv[1]); a=[ctypes.c_uint() for _ in range(3)]; "
            "l.LLVMGetVersion(*map(ctypes.byref,a)); print(a[0].value)")
    try:
        run = subprocess.run([sys.executable, "-I", "-S", "-c", code, path], capture_output=True, text=True, timeout=60)
        return int(run.stdout)
    except (ValueError, OSError, subprocess.TimeoutExpired):
        match = re.search(r"libLLVM[-.](?:so\.)?(\d+)", os.path.basename(path))
        return int(match[1]) if match and os.path.exists(path) else None


def _candidates() -> list[str]:
    """Library files in the places where Dr.Jit looks as well, highest version in the name first."""
    patterns = ["/usr/lib/*-linux-gnu/libLLVM*.so*", "/lib/*-linux-gnu/libLLVM*.so*", "/usr/lib64/libLLVM*.so*",
                "/usr/lib/llvm-*/lib/libLLVM*.so*", "/usr/lib/libLLVM*.so*", "/usr/local/lib/libLLVM*.so*",
                "/opt/homebrew/opt/llvm/lib/libLLVM*.dylib"]
    files = {os.path.realpath(f): f for p in patterns for f in glob.glob(p)}
    found = ctypes.util.find_library("LLVM")
    if found and os.path.isabs(found):
        files.setdefault(os.path.realpath(found), found)

    def rank(path: str) -> int:
        match = re.search(r"(\d+)", os.path.basename(path))
        return int(match[1]) if match else 0
    return sorted(files.values(), key=rank, reverse=True)


@functools.lru_cache(maxsize=1)
def find_llvm() -> Llvm | None:
    """The newest LLVM on this machine (or the one in DRJIT_LIBLLVM_PATH); None when there is none."""
    wanted = os.environ.get("DRJIT_LIBLLVM_PATH")
    if wanted:
        version = _major_version(wanted)
        return Llvm(wanted, version) if version is not None else None
    for path in _candidates():
        version = _major_version(path)
        if version is not None:
            return Llvm(path, version)
    return None


def require_llvm() -> Llvm:
    """The LLVM to use. Raises RenderError when it is missing or too old."""
    llvm = find_llvm()
    if llvm is None:
        given = os.environ.get("DRJIT_LIBLLVM_PATH")
        raise RenderError(f"{given or 'LLVM'}: not found or not loadable; "
                          f"the renderer needs LLVM {MIN_LLVM} or newer. {_REMEDY}")
    if llvm.version < MIN_LLVM:
        raise RenderError(f"{llvm.path} is LLVM {llvm.version}; the renderer needs {MIN_LLVM} or newer "
                          f"(older ones abort the process). {_REMEDY}")
    return llvm


def available_threads() -> int:
    """CPU cores this process may run on (its affinity mask), at least 1; DIPIR_THREADS overrides it."""
    override = os.environ.get("DIPIR_THREADS", "")
    if override.isdigit() and int(override) > 0:
        return int(override)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_gpu() -> bool:
    """Whether the renderer computes on the GPU."""
    return device.current().variant.startswith("cuda")


def private_cache() -> Path:
    """A folder among the system's temporary ones that nobody but us can write to: kernels in it are run. The same each
    time, unless someone else made it before us."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"dipir-drjit-{user}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700)
    with contextlib.suppress(OSError):
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
            return folder
    folder = Path(tempfile.mkdtemp(prefix="dipir-drjit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.lru_cache(maxsize=1)
def mitsuba() -> ModuleType:
    """The mitsuba module with variant and thread count set. Raises RenderError when no backend can be used."""
    variant = device.current().variant
    if variant.startswith("llvm"):
        os.environ["DRJIT_LIBLLVM_PATH"] = require_llvm().path
    cache = Path(os.environ.get("DRJIT_CACHE_DIR", Path.home() / ".drjit"))
    if not os.access(cache if cache.exists() else cache.parent, os.W_OK):
        # A read-only home (render farms) would make every kernel compile anew with a warning.
        os.environ["DRJIT_CACHE_DIR"] = str(private_cache())
    try:
        import torch  # noqa: F401, I001  # torch first: the other order has crashed (see docs/architecture.md)
        import drjit as dr
        import mitsuba as mi

        mi.set_variant(variant)
    except ImportError as problem:
        raise RenderError(f"mitsuba with variant {variant} cannot be loaded ({problem}). "
                          "Install it with `pip install mitsuba==3.9.1 drjit==1.5.0`.") from problem
    dr.set_thread_count(available_threads())
    mi.set_log_level(mi.LogLevel.Error)
    return mi
