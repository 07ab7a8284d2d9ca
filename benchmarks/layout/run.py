"""Methods of the layout benchmark and their pictures: made in chunks of cases, in worker processes, kept by what they
depend on, so that a run that was stopped goes on and methods with the same settings share them."""
from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from benchmarks.common import ROOT
from benchmarks.layout.cases import Case, digest
from dipir.disk import write_text
from dipir.errors import ConfigError, nearest
from dipir.fit.loop import Event
from dipir.layout.config import LayoutConfig, load_config
from dipir.layout.method import find_prior, layouts
from dipir.settings.read import from_dict
from dipir.settings.yaml import to_dict
from dipir.workshop import shards

PARTS = ("methods", "strength", "t0", "composition")
METHODS: dict[str, tuple[str, ...]] = {
    "none": ("guidance.kind=none",), "multidiffusion": ("guidance.kind=multidiffusion",),
    "paste": ("guidance.kind=paste",), "constant": ("guidance.kind=vision", "guidance.delta=constant"),
    "dynamic": ("guidance.kind=vision", "guidance.delta=dynamic")}
"""By name, the settings over those of the run."""
OURS = ("constant", "dynamic")
SAME = ", same cases"
"""Ends the names of the methods that ablations are compared with, over as many cases as they."""
STRENGTHS = (0.0, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2)
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
CHUNK = 25
"""Cases that are made together. A picture may differ in its last bits when others are made beside it, so this is part
of what it depends on."""
_METADATA = {"format": "dipir layout bench"}
CODE = ("arrays.py", "priors/captions.py", "priors/nets/text_unet.py", "priors/nets/blocks.py", "diffusion/denoiser.py",
        "priors/layout.py", "diffusion/sampler.py", "diffusion/schedule.py", "diffusion/attention.py",
        "layout/attention_guidance.py", "layout/layers.py", "layout/regions.py", "layout/method.py",
        "layout/edit.py", "layout/words.py", "layout/work.py")


@dataclass(frozen=True)
class Method:
    """One column of the tables."""

    name: str  # unique
    part: str  # of ``PARTS``
    settings: tuple[str, ...]  # over those of the run
    line: str = ""  # line, x: of a curve: what it belongs to, and where on it
    x: float | None = None


def methods(parts: Sequence[str], added: Sequence[str] = ()) -> list[Method]:
    """Those of the parts. added : more of the first part, as ``NAME:key=value,key=value``. ConfigError for unknown
    parts and for names that cannot be used."""
    unknown = [p for p in parts if p not in PARTS]
    if unknown:
        raise ConfigError(f"part '{unknown[0]}' is unknown; there are {', '.join(PARTS)}, speed."
                          f"{nearest(unknown[0], PARTS)}")
    made = [Method(name, "methods", settings) for name, settings in METHODS.items()]
    for text in added:
        name, colon, settings = text.partition(":")
        if not colon or not settings or name in ["truth", *(m.name for m in made)]:
            raise ConfigError(f"--add '{text[:100]}': accepted is a new name, a colon and settings with commas between "
                              "them, for instance 'weak:guidance.strength=0.1'.")
        made.append(Method(name, "methods", tuple(settings.split(","))))
    made += [Method(f"{name}{SAME}", "strength", METHODS[name]) for name in METHODS if name not in OURS]
    for delta in OURS:
        for strength in STRENGTHS:
            # Without strength there is no delta: one and the same for both lines.
            kind = METHODS["dynamic" if strength == 0 else delta]
            made.append(Method(f"{delta} strength {strength:g}", "strength",
                               (*kind, f"guidance.strength={strength:g}"), delta, strength))
    made += [Method(f"constant t0 {share:g}", "t0",
                    (*METHODS["constant"], "layers.stage=null", f"layers.share={share:g}"), "constant", share)
             for share in SHARES]
    made += [Method(f"{delta} {way}", "composition", (*METHODS[delta], f"layers.composition={way}"), delta)
             for delta in OURS for way in ("per_step", "at_t0")]
    return [m for m in made if m.part in parts]


def config_of(method: Method | None, overrides: Sequence[str] = (), prior: str = "embedded") -> LayoutConfig:
    """The settings of a method; of the run itself without one."""
    return load_config("default", (), ["attention=false", f"prior={prior}", *overrides,
                                       *(method.settings if method else ())])


def code_digest() -> str:
    """Hex hash of the code that pictures depend on."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update(name.encode() + (ROOT / "dipir" / name).read_bytes())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------ pictures
@dataclass(frozen=True)
class Job:
    """The pictures of one method."""

    method: Method
    config: LayoutConfig
    cases: int  # how many of the list
    folder: Path  # of its chunks


def job_of(method: Method, config: LayoutConfig, count: int, out: Path, prior_hash: str, chunk: int = CHUNK) -> Job:
    """The folder is named by what all of its pictures have in common."""
    common = {"config": to_dict(config), "prior": prior_hash, "code": code_digest(), "chunk": chunk}
    key = hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()[:16]
    return Job(method, config, count, out / "pictures" / key)


def run(jobs: Sequence[Job], all_cases: Sequence[Case], workers: int = 1, chunk: int = CHUNK,
        on_event: Callable[[Event], None] | None = None) -> None:
    """Make the chunks that are missing, each on one thread, ``workers`` at a time. RenderError when a worker fails."""
    waiting: dict[Path, range] = {}
    for job in jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / "config.json", json.dumps(to_dict(job.config), indent=1) + "\n")
        for path, numbers in chunks(job, all_cases, chunk):
            if shards.stored(path, _METADATA, "images") < len(numbers):
                waiting[path] = numbers
    began, items = time.monotonic(), list(waiting.items())
    for done, _ in enumerate(_worked(items, list(all_cases), workers), 1):
        if on_event is not None:
            left = (time.monotonic() - began) / done * (len(items) - done)
            on_event(Event("layout pictures", done, len(items), left))


def _worked(items: list[tuple[Path, range]], all_cases: list[Case], workers: int):
    if workers > 1:
        yield from shards.work(items, workers, make_chunk, (all_cases,))
        return
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for path, numbers in items:
            make_chunk(path, numbers, all_cases)
            yield numbers
    finally:
        torch.set_num_threads(threads)


def chunks(job: Job, all_cases: Sequence[Case], chunk: int = CHUNK) -> list[tuple[Path, range]]:
    """The files of a job and the cases in each, by whose numbers and digest the files are named."""
    ranges = [range(first, min(first + chunk, job.cases)) for first in range(0, job.cases, chunk)]
    return [(job.folder / f"cases_{r.start:05d}_{digest(all_cases[r.start:r.stop])}.safetensors", r) for r in ranges]


def make_chunk(path: Path, numbers: range, all_cases: Sequence[Case]) -> None:
    """Pictures of some cases by the settings that lie beside ``path``, with the time that they took."""
    config = from_dict(LayoutConfig, json.loads((path.parent / "config.json").read_text()))
    prior = find_prior(config)
    began = time.perf_counter()
    made = layouts([all_cases[k].request() for k in numbers], config, prior=prior)
    seconds = time.perf_counter() - began
    images = torch.cat([m.image for m in made])
    shards.save(path, {"images": (images * 255).round().byte(), "seconds": torch.tensor([seconds])},
                _METADATA)


def pictures(job: Job, all_cases: Sequence[Case], chunk: int = CHUNK) -> tuple[Tensor, float]:
    """((N, 3, 64, 64) display, seconds a picture) of a job that was run."""
    images, seconds = [], 0.0
    for path, _ in chunks(job, all_cases, chunk):
        with safe_open(path, "pt") as file:
            images.append(file.get_tensor("images").float() / 255)
            seconds += float(file.get_tensor("seconds"))
    return torch.cat(images), seconds / job.cases
