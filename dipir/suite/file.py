"""Suites: YAML files that multiply methods, scenes, seeds and settings into jobs. Format: docs/benchmarks.md."""
from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dipir.disk import is_file
from dipir.errors import ConfigError, nearest
from dipir.settings import read
from dipir.settings.presets import versions
from dipir.settings.yaml import load_yaml

METHODS = {"insert": "dipir.suite.methods:insert"}
"""Name -> module:function(spec, folder, on_event) -> figures. Besides, functions of ``benchmarks`` by their path."""
MOST_JOBS = 100_000
_OURS = re.compile(r"benchmarks(\.[A-Za-z_]\w*)+:[A-Za-z_]\w*")
PACKAGES = ("dipir", "torch", "mitsuba", "drjit", "diffusers", "numpy")
"""Whose versions a result depends on."""


@dataclass(frozen=True)
class Limits:
    """Of one job."""

    minutes: float = 60.0
    """Beyond which it is ended."""
    memory_gib: float = 8.0
    """Beyond which it is ended."""
    tries: int = 2
    """When its process dies."""
    cpus: float = 1.0
    """That it is given on a cluster."""
    gpus: float = 0.0
    """That it is given on a cluster."""

    def __post_init__(self) -> None:
        if not (self.minutes > 0 and self.memory_gib > 0 and self.tries >= 1 and self.cpus > 0 and self.gpus >= 0):
            raise ConfigError("limits: accepted are minutes, memory_gib and cpus above 0, tries of 1 or more, gpus of "
                              "0 or more.")


@dataclass(frozen=True)
class SuiteFile:
    """As written."""

    method: str
    """Of ``METHODS``, or module:function below ``benchmarks``."""
    name: str = ""
    scenes: tuple[str, ...] = ()
    """Files relative to the suite's, with * for several."""
    seeds: tuple[int, ...] = (0,)
    """Each scene once with each."""
    set: dict[str, Any] = field(default_factory=dict)
    """Settings of all jobs."""
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """Setting -> values, all combinations."""
    list: tuple[dict[str, Any], ...] = ()
    """Sets of settings, one after the other, each with all of the grid."""
    limits: Limits = Limits()


@dataclass(frozen=True)
class JobSpec:
    """One job."""

    name: str
    """Unique in its suite, a folder's name."""
    method: str
    """As in the suite."""
    scene: str
    """An absolute path, or ""."""
    seed: int
    settings: Mapping[str, Any]
    varied: Mapping[str, Any]
    """The settings in which jobs of the suite differ."""

    @property
    def key(self) -> str:
        """Hash of all that its result depends on: itself, the scene's file, this version and the packages."""
        scene = hashlib.sha256(Path(self.scene).read_bytes()).hexdigest() if self.scene else ""
        facts = {**asdict(self), "scene": scene, "versions": versions(PACKAGES)}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """Read and multiplied out."""

    name: str
    jobs: tuple[JobSpec, ...]
    limits: Limits


def load_suite(path: str | Path) -> Suite:
    """The suite in a file. ConfigError with every unknown key, for a method that does not exist, scenes that are not
    there, and more than ``MOST_JOBS`` jobs."""
    path = Path(path)
    file = read.from_dict(SuiteFile, load_yaml(path), str(path))
    if file.method not in METHODS and not _OURS.fullmatch(file.method):
        raise ConfigError(f"{path}: method '{file.method}' is unknown; there are {', '.join(METHODS)}, and functions "
                          f"of benchmarks as benchmarks.module:function.{nearest(file.method, METHODS)}")
    scenes, chosen = _scenes(path, file.scenes), file.list or ({},)
    count = max(1, len(scenes)) * len(file.seeds) * len(chosen)
    for values in file.grid.values():
        count *= len(values)
    if not 1 <= count <= MOST_JOBS:
        raise ConfigError(f"{path}: makes {count} jobs; accepted are 1 to {MOST_JOBS}. Shorten seeds, grid or list.")
    jobs = []
    for extra in chosen:
        for combination in itertools.product(*file.grid.values()):
            varied = {**extra, **dict(zip(file.grid, combination, strict=True))}
            for scene, seed in itertools.product(scenes or ("",), file.seeds):
                jobs.append(JobSpec("", file.method, scene, seed, {**file.set, **varied}, varied))
    return Suite(file.name or path.stem, _named(jobs), file.limits)


def _scenes(path: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    found: list[str] = []
    for written in patterns:
        pattern = os.path.expandvars(written)
        matches = [path.parent / pattern]
        if "*" in pattern:
            matches = sorted(path.parent.glob(pattern)) if not Path(pattern).is_absolute() else []
        missing = [m for m in matches if not is_file(m)]
        if missing or not matches:
            raise ConfigError(f"{path}: scene '{written}' does not exist; accepted are files relative to "
                              f"{path.parent}, with * for several, and $NAME for variables of the environment.")
        found += [str(m.resolve()) for m in matches]
    return tuple(dict.fromkeys(found))


def _named(jobs: Sequence[JobSpec]) -> tuple[JobSpec, ...]:
    """Jobs by scene, settings and seed, shortened; a number where that says too little."""
    named, taken = [], set()
    for k, job in enumerate(jobs):
        words = [Path(job.scene).stem, *(f"{key.rsplit('.', 1)[-1]}={value}" for key, value in job.varied.items()),
                 f"seed={job.seed}"]
        name = re.sub(r"[^A-Za-z0-9=.+-]+", "_", "_".join(w for w in words if w))[:80].strip("._") or "job"
        name = name if name not in taken else f"{name}_{k:05d}"
        taken.add(name)
        named.append(replace(job, name=name))
    return tuple(named)
