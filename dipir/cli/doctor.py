"""``dipir doctor``: what is installed, what is wrong, what to do. Never imports Dr.Jit (LLVM < 16 would abort it): the
renderer and the network are tried in child processes (``selftest``), so that "ok" means that they work."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from dipir import device, disk
from dipir.cli import selftest, terminal
from dipir.errors import DipirError
from dipir.render import backend

_MIN_MEMORY, _MIN_DISK = 4 * 2**30, 2**30
_REMEDIES = {
    "renderer": "try --device cpu, which keeps the renderer off the GPU; on the CPU name another LLVM with "
                "DRJIT_LIBLLVM_PATH (16 or newer). Kernels damaged on disk: delete ~/.drjit (or DRJIT_CACHE_DIR)",
    "network": "try --device cpu; on a GPU see that torch's CUDA suits the driver (nvidia-smi) and that the card is "
               "free (another program may hold its memory)"}


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    value: str
    problem: str | None = None  # What is wrong and what to do.


def examine() -> list[Check]:
    """All checks, in the order in which a person would fix things."""
    parts: tuple[Callable[[], list[Check]], ...] = (_python, _packages, _device, _llvm, _tried, _threads, _memory,
                                                    _disk, _priors, _data)
    return [check for part in parts for check in part()]


def report(as_json: bool = False) -> int:
    """Print the report; 0 when all is well, 1 when something is wrong."""
    checks = examine()
    wrong = [c for c in checks if c.problem]
    if as_json:
        print(json.dumps({"ok": not wrong, "checks": [asdict(c) for c in checks]}, indent=1))
        return 1 if wrong else 0
    width = max(len(c.name) for c in checks)
    for c in checks:
        terminal.say(f"{'!!' if c.problem else 'ok'}  {c.name:<{width}}  {c.value}", sys.stdout)
        if c.problem:
            terminal.say(f"    {'':<{width}}  -> {c.problem}", sys.stdout)
    end = f"{len(wrong)} thing{'s' if len(wrong) != 1 else ''} to mend (marked !!)." if wrong else "All is well."
    terminal.say(f"\n{end}", sys.stdout)
    return 1 if wrong else 0


def _python() -> list[Check]:
    return [Check("python", f"{platform.python_version()}, {platform.platform()}")]


def _packages() -> list[Check]:
    """Versions of what setup.cfg asks for; exact pins are compared, the rest must be there."""
    try:
        wanted = metadata.requires("dipir") or []
    except metadata.PackageNotFoundError:
        return [Check("dipir", "not installed as a package", "run `pip install -e .` in the source folder")]
    checks = [Check("dipir", metadata.version("dipir"))]
    for requirement in wanted:
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)[0]
        pin = re.search(r"==\s*([\w.]+)", requirement)
        remedy = f'run `pip install "{requirement}"`'
        try:
            version = metadata.version(name)
            wrong = pin is not None and version != pin[1]
            checks.append(Check(name, version, f"version {pin[1]} is needed; {remedy}" if wrong else None))
        except metadata.PackageNotFoundError:
            checks.append(Check(name, "missing", remedy))
    return checks


def _device() -> list[Check]:
    """Both halves: torch's and the renderer's."""
    try:
        import torch
    except ImportError as problem:
        return [Check("device", "unknown", f"torch cannot be loaded ({problem}); install it again")]
    driver = _driver()
    seen = [Check("device", _gpu_text() if torch.cuda.is_available() else f"CPU ({_processor()})"),
            Check("torch build", f"{torch.__version__}, "
                                 + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA")),
            Check("NVIDIA driver", driver or "none")]
    try:
        chosen = device.decide()
    except DipirError as problem:
        return [*seen, Check("mitsuba variant", os.environ.get("DIPIR_VARIANT", "none"), str(problem))]
    missing = device.why_not_optix() if driver else "not looked for: no NVIDIA driver"
    return [*seen, Check("OptiX", missing or "found"), Check("computes on", chosen.describe()),
            Check("mitsuba variant", chosen.variant)]


def _gpu_text() -> str:
    """Name and memory of the GPU that a run would take."""
    import torch

    name, count = torch.cuda.get_device_name(0), torch.cuda.device_count()
    try:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
    except RuntimeError as problem:
        return f"{name}, memory unknown ({str(problem).splitlines()[0]})"
    more = f"; {count - 1} more (choose with --device cuda:N)" if count > 1 else ""
    return f"{name}, {free:.1f} of {total:.1f} GiB free{more}"


def _driver() -> str | None:
    """Version of the NVIDIA driver, e.g. 580.65.06; None without one."""
    with contextlib.suppress(OSError):
        if found := re.search(r"\s(\d{3}\.[\d.]+)", Path("/proc/driver/nvidia/version").read_text()):
            return found[1]
    # Some sandboxes have no /proc/driver.
    try:
        run = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], text=True,
                             capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = run.stdout.split() if run.returncode == 0 else []
    return lines[0] if lines else None


def _tried() -> list[Check]:
    """A tiny render and a tiny network step, each in a child process."""
    try:
        device.decide()
    except DipirError:
        return []  # Reported with the device.
    return [_as_check(name, selftest.tried(name)) for name in selftest.TESTS]


def _as_check(name: str, result: selftest.Tried) -> Check:
    if result.fine:
        return Check(f"{name} self-test", f"{result.said} in {result.seconds:.2f} s")
    return Check(f"{name} self-test", f"failed: {result.said}", _REMEDIES[name])


def _llvm() -> list[Check]:
    llvm, wrong = backend.find_llvm(), None
    try:
        backend.require_llvm()
    except DipirError as problem:
        wrong = None if _renders_on_gpu() else str(problem)
    return [Check("LLVM", "none found" if llvm is None else f"{llvm.version} ({llvm.path})", wrong)]


def _renders_on_gpu() -> bool:
    """There the renderer does not need LLVM."""
    try:
        return device.decide().variant == device.CUDA
    except (DipirError, ImportError):
        return False


def _threads() -> list[Check]:
    return [Check("threads", f"{backend.available_threads()} (of {os.cpu_count()} cores; follows the CPU affinity, "
                             "DIPIR_THREADS or --threads)")]


def _memory() -> list[Check]:
    total = _memory_bytes()
    if total is None:
        return [Check("memory", "unknown")]
    problem = "the default preset needs 4 GiB; use --preset fast" if total < _MIN_MEMORY else None
    return [Check("memory", f"{total / 2**30:.1f} GiB", problem)]


def _memory_bytes() -> int | None:
    """Memory this process may use: that of the machine, or less when a control group limits it."""
    sizes = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            sizes.append(int(Path(file).read_text()))
    return min(sizes) if sizes else None


def _disk() -> list[Check]:
    free = shutil.disk_usage(Path.cwd()).free
    problem = "results need space; free some" if free < _MIN_DISK else None
    return [Check("free disk here", f"{free / 2**30:.1f} GiB", problem)]


def _priors() -> list[Check]:
    """Every weights file is opened (its header says how long it must be)."""
    folder = disk.shipped("assets/priors")
    files = sorted(folder.glob("*.safetensors"))
    remedy = "get them again (git checkout -- assets, or install dipir anew), or run `dipir prior train light`"
    return [_prior(file) for file in files] or [Check("prior weights", f"none in {folder}", remedy)]


def _prior(file: Path) -> Check:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as weights:
            count = len(list(weights.keys()))
        return Check(f"prior {file.stem}", f"{file.stat().st_size / 2**20:.1f} MiB, {count} tensors ({file})")
    except (SafetensorError, OSError, ValueError) as problem:
        return Check(f"prior {file.stem}", f"damaged ({problem})",
                     f"get {file} again: git checkout -- {file}, or install dipir anew")


def _data() -> list[Check]:
    folder = disk.data_dir()
    state = str(folder) if folder.is_dir() else f"{folder} is not there (only some tests and benchmarks need it)"
    wrong = "DIPIR_DATA" in os.environ and not folder.is_dir()
    return [Check("data folder", state, "set DIPIR_DATA to an existing folder, or unset it" if wrong else None)]


def _processor() -> str:
    with contextlib.suppress(OSError):
        if match := re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()):
            return match[1].strip()
    return platform.machine()
