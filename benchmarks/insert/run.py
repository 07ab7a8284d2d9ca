"""Running the cases of the insertion benchmark: what a row depends on, one process for the meshes of a plate,
resuming."""
from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.common import ONE_THREAD, ROOT
from benchmarks.insert.case import finished, true_shadow
from benchmarks.insert.cases import Case
from benchmarks.insert.methods import settings_of, weights_digest
from dipir.disk import write_text
from dipir.fit.loop import Event
from dipir.settings.yaml import to_dict
from dipir.suite.file import Limits
from dipir.suite.job import LOG, Outcome, ProcessAttempt

PROTOCOL = 2  # Raise it when a figure's meaning changes without a change of the code hashed below.
CODE = ("arrays.py", "priors", "image", "fit", "scene", "diffusion", "render", "guidance", "workshop/crops.py",
        "workshop/insertion/composites.py", "insert/*.py")
OWN = ("case", "cases", "figures", "methods", "shadow")
"""Code that makes a row: of the package, and of this folder."""
CHILD = (sys.executable, "-m", "benchmarks.insert.case")
LIMITS = Limits(minutes=60, memory_gib=math.inf)  # Of a case; one that takes longer hangs.
POLL_S = 0.1


@dataclass(frozen=True)
class RunSettings:
    """What all cases of a run have in common."""

    size: int = 256  # plate rows
    spp: int = 64  # samples a pixel (``insert/case.py`` says what of)
    seed: int = 0
    overrides: tuple[str, ...] = ()  # ``key=value`` for our methods
    lpips: Path | None = None  # folder of weights or None
    weights: Mapping[str, Path] = field(default_factory=dict)  # method -> file of another light prior


def job_of(case: Case, methods: Sequence[str], settings: RunSettings, code: str) -> dict:
    """What the process of a case reads. A method's key is a hash of all that its row depends on: files, settings,
    weights, the program's code and the packages that compute."""
    base = {"name": case.name, "yaw_deg": case.yaw_deg, "size": settings.size, "spp": settings.spp,
            "seed": settings.seed, "lpips": str(settings.lpips.resolve()) if settings.lpips else None}
    facts = {**base, "environment": case.environment.digest, "mesh": case.mesh.digest, "protocol": PROTOCOL,
             "code": code, "packages": {p: importlib.metadata.version(p) for p in ("torch", "mitsuba", "drjit")}}
    entries = {}
    for m in methods:
        config, file = settings_of(m, settings.seed, settings.overrides, settings.weights), settings.weights.get(m)
        own = {"method": m, "settings": None if config is None else to_dict(config),
               "weights": None if config is None else weights_digest(config, file)}
        key = hashlib.sha256(json.dumps({**facts, **own}, sort_keys=True).encode()).hexdigest()
        entries[m] = {"key": key, "settings": own["settings"], **({"weights": str(file)} if file else {})}
    return {**base, "environment": str(case.environment.path), "mesh": str(case.mesh.path), "methods": entries}


def code_digest() -> str:
    """Hex hash of the code that makes a row."""
    digest = hashlib.sha256()
    files = [f for entry in CODE for p in sorted((ROOT / "dipir").glob(entry))
             for f in (sorted(p.rglob("*.py")) if p.is_dir() else [p])]
    for f in [*files, *(ROOT / "benchmarks" / "insert" / f"{n}.py" for n in OWN)]:
        digest.update(str(f.relative_to(ROOT)).encode() + f.read_bytes())
    return digest.hexdigest()


def run_all(jobs: Mapping[str, dict], out: Path, workers: int, on_event: Callable[[Event], None]) -> dict[str, dict]:
    """Case name -> method -> row ("figures" or "error"). Rows that ``out`` holds already are not computed again.

    Raises SystemExit(143) on SIGTERM and KeyboardInterrupt on SIGINT, after ending the processes it started.
    """
    folders = {name: out / "cases" / name for name in jobs}
    plates: dict[tuple, list[str]] = {}
    for name, job in jobs.items():
        folders[name].mkdir(parents=True, exist_ok=True)
        rows = finished(folders[name], job)
        if set(rows) < set(job["methods"]):
            write_text(folders[name] / "job.json", json.dumps(job, indent=1) + "\n")
            # Errors of another time are tried again and must not look like those of this one.
            write_text(folders[name] / "case.json", json.dumps(
                {"rows": rows, "true_shadow": true_shadow(folders[name])}, indent=1) + "\n")
            plates.setdefault((job["environment"], job["yaw_deg"]), []).append(name)
    ends: dict[str, str] = {}
    total = sum(map(len, plates.values()))
    done, began = len(jobs) - total, time.monotonic()
    on_event(Event("insert", done, len(jobs)))
    for name, end in _processes(list(plates.values()), jobs, folders, out / "plates", workers):
        ends[name] = end
        left = (time.monotonic() - began) / len(ends) * (total - len(ends))
        failed = sum(bool(e) for e in ends.values())
        on_event(Event("insert", done + len(ends), len(jobs), left, {"failed": float(failed)}))
    return {name: _rows(folders[name], job, ends.get(name, "")) for name, job in jobs.items()}


def _rows(folder: Path, job: dict, end: str) -> dict[str, dict]:
    """The rows of a case; methods that are missing get the reason why."""
    rows = _answered(folder, job)
    return {m: rows.get(m, {"error": end or "the process ended without a result"}) for m in job["methods"]}


def _answered(folder: Path, job: dict) -> dict[str, dict]:
    """Method -> row with figures or an error, of these very settings."""
    rows = finished(folder, job)
    with contextlib.suppress(OSError, ValueError, KeyError):
        recorded = json.loads((folder / "case.json").read_text())["rows"]
        rows |= {m: r for m, r in recorded.items() if m not in rows and m in job["methods"] and "error" in r
                 and r["key"] == job["methods"][m]["key"]}
    return rows


def _processes(plates: list[list[str]], jobs: Mapping[str, dict], folders: Mapping[str, Path], place: Path,
               workers: int) -> Iterator[tuple[str, str]]:
    """(case, "" or what went wrong) as the process of its plate ends; each computes with one thread, so that the
    figures do not depend on the number of workers. The case in which a process died is given up, and the cases after it
    are done by another one."""
    queue, running = list(plates), {}
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while queue or running:
            while queue and len(running) < workers:
                names = queue.pop(0)
                running[names[0]] = names, _start(names, folders, place / names[0])
            time.sleep(POLL_S)
            for first, (names, attempt) in list(running.items()):
                outcome = attempt.poll()
                if outcome is None:
                    continue
                del running[first]
                end = _end(attempt.folder, attempt.process.returncode, outcome)
                open_ = [n for n in names if set(_answered(folders[n], jobs[n])) < set(jobs[n]["methods"])]
                if end and len(open_) > 1:
                    queue.insert(0, open_[1:])
                for name in names:
                    if not end or name not in open_[1:]:
                        yield name, end if name in open_[:1] else ""
    finally:
        signal.signal(signal.SIGTERM, before)
        for _, attempt in running.values():
            attempt.end()


def _start(names: Sequence[str], folders: Mapping[str, Path], folder: Path) -> ProcessAttempt:
    """The process of a plate; ``folder`` gets its list of cases and its log."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).unlink(missing_ok=True)
    write_text(folder / "job.json", json.dumps({"cases": [str(folders[n].resolve()) for n in names]}, indent=1) + "\n")
    limits = replace(LIMITS, minutes=LIMITS.minutes * len(names))
    return ProcessAttempt.start(folder, limits, command=CHILD, environment=ONE_THREAD)


def _end(folder: Path, code: int, outcome: Outcome) -> str:
    if outcome.ended_for_limit:
        return outcome.cause
    if code == 0:
        return ""
    lines = (folder / LOG).read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return f"the process ended with code {code}: {lines[-1][:300]}"
