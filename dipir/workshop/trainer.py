"""A resumable training loop for the priors: Adam, EMA, checkpoints, a time budget, the best weights on validation.

The device is that of the model. On a GPU the forward pass is in bfloat16 unless told otherwise, the optimiser is fused,
and nothing is read back between two log lines: numbers to log and a flag for losses that are not finite stay there.
Checkpoints of either device go on on the other.
"""
from __future__ import annotations

import copy
import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dipir import device, disk
from dipir.errors import FitError
from dipir.event import Event, Notify
from dipir.fit.muon import Muon, adamw, restore
from dipir.fit.training import Turns, annealed_rate, descend
from dipir.workshop.captured import Captured, Staged, averaged

T = TypeVar("T")
BatchLoss = Callable[[nn.Module, int], tuple[Tensor, Mapping[str, "float | Tensor"]]]
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 10_000
    """Of the whole run; the learning rate falls as a cosine from ``rate`` to ``rate * last`` over them."""
    rate: float = 4e-4
    last: float = 0.02
    warmup: int = 200  # steps of linear increase first
    decay: float = 0.01  # decoupled weight decay
    clip: float = 1.0  # largest gradient norm
    optimiser: Literal["adamw", "muon"] = "adamw"
    """Adamw, or muon for networks that are mostly matrices and convolutions."""
    ema: float = 0.999  # share of the old average kept at each step (less during the first steps)
    bf16: bool | None = None  # autocast the forward pass to bfloat16; None = on a GPU only
    minutes: float = math.inf  # wall time of this call, after which it writes a checkpoint and returns
    checkpoint_minutes: float = 3.0  # between checkpoints
    validate_every: int = 500  # validate_every, log_every: steps
    log_every: int = 50
    slow: tuple[tuple[str, float], ...] = ()
    """(beginning of names, part): parameters that learn at a part of the rate, such as a pretrained backbone."""
    by_time: bool = False
    """The rate falls over ``minutes`` instead of steps, where the speed of a machine is not known before; such a run is
    resumed, but not to the same weights."""


@dataclass(frozen=True)
class Trained:
    """How a run of :func:`train` ended."""

    step: int  # steps done
    finished: bool  # all of them
    best: Mapping[str, Tensor]
    best_score: float
    """best, best_score: EMA weights with the lowest validation score, on the CPU (the last EMA weights and NaN without
    validation)."""


def folder(name: str) -> Path:
    """Where the run ``name`` keeps checkpoint and log: ``$DIPIR_CACHE/training/<name>`` (~/.cache/dipir)."""
    return disk.cache_dir() / "training" / name


def learning_rate(config: TrainConfig, step: int, elapsed_s: float = 0.0) -> float:
    """Rate of the step number ``step`` (from 0), so many seconds after the begin of the call."""
    done = elapsed_s / (60 * config.minutes) if config.by_time else step / max(1, config.steps)
    done = min(1.0, done)
    return annealed_rate(config.rate, config.last, math.pi * done, step, config.warmup)


def train(model: nn.Module, batch_loss: BatchLoss | Staged, config: TrainConfig, *, validate: Validate | None = None,
          on_event: Notify = None, name: str) -> Trained:
    """Trains ``model`` in place; goes on from the checkpoint of ``name`` if there is one.

    batch_loss(model, step) -> (loss, scalars) must draw its batch from ``step`` alone (``arrays.split_seed``); then
    a run that was stopped and resumed ends in the same weights as an unbroken one. Scalars may be tensors of one
    number; they are read when they are logged. ``validate(ema_model)`` returns scalars, among them ``score``, lower is
    better. SIGTERM and SIGINT end the run after the current step, with a checkpoint. FitError on a loss that is not
    finite (on a GPU at the next log line, validation or checkpoint), or on a checkpoint of another architecture.
    """
    run = _Run(model, config, folder(name))
    run.resume()
    notify = _Log(run.folder / "log.jsonl", on_event)
    saved = 0.0
    with Turns(run.step, config.steps, minutes=config.minutes) as turns:
        for step in turns:
            rate = learning_rate(config, step, turns.elapsed_s)
            scalars = run.one_step(batch_loss, rate)
            turns.finish()
            if run.step % config.log_every == 0:
                left = turns.elapsed_s / (run.step - run.start) * (config.steps - run.step)
                numbers = run.read(scalars) | {"rate": rate}
                notify(Event(name, run.step, config.steps, left, numbers))
            if validate and (run.step % config.validate_every == 0 or run.step == config.steps):
                notify(Event(f"{name}/val", run.step, config.steps, None, run.validate(validate)))
            if turns.elapsed_s - saved > config.checkpoint_minutes * 60:
                run.save()
                saved = turns.elapsed_s
    run.save()
    best = run.best if run.best is not None else run.ema.state_dict()
    return Trained(run.step, run.step >= config.steps, device.moved(dict(best), torch.device("cpu")), run.best_score)


def speed(model: nn.Module, batch_loss: BatchLoss | Staged, config: TrainConfig, steps: int, warm: int) -> float:
    """Steps a second of this loop, ``steps`` timed after ``warm`` ones; no files are read or written."""
    run = _Run(model, config, folder("speed"))
    finish = torch.cuda.synchronize if run.where.type == "cuda" else lambda: None
    began = 0.0
    for step in range(warm + steps):
        if step == warm:
            finish()
            began = time.perf_counter()
        scalars = run.one_step(batch_loss, learning_rate(config, step))
        if run.step % config.log_every == 0:
            run.read(scalars)
    finish()
    run.check()
    return steps / (time.perf_counter() - began)


def autocast(where: torch.device, bf16: bool | None) -> AbstractContextManager[Any]:
    """bfloat16 for what is computed on ``where``; ``bf16`` None = on a GPU only."""
    wanted = where.type == "cuda" if bf16 is None else bf16
    return torch.autocast(where.type, torch.bfloat16) if wanted else nullcontext()


SHARE = 0.4
"""Of a GPU's free memory: what a training set may take to be kept there as a whole."""


def keep_on(data: T, where: torch.device) -> T:
    """A training set on ``where``, or as it is when it would take more than ``SHARE`` of the GPU's free memory; then
    each batch goes there by ``device.sent``."""
    if where.type == "cuda" and size_of(data) > SHARE * torch.cuda.mem_get_info()[0]:
        return data
    return device.moved(data, where)


def size_of(data: Any) -> int:
    """Bytes of all tensors in dataclasses, tuples, lists and dicts."""
    if isinstance(data, Tensor):
        return data.nbytes
    if isinstance(data, (tuple, list)):
        return sum(map(size_of, data))
    return sum(map(size_of, (data if isinstance(data, dict) else getattr(data, "__dict__", {})).values()))


def _groups(model: nn.Module, slow: tuple[tuple[str, float], ...]) -> list[dict[str, Any]]:
    """Groups of parameters for an optimiser, each with its ``part`` of the rate."""
    parts: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = next((part for start, part in slow if name.startswith(start)), 1.0)
        parts.setdefault(part, []).append(parameter)
    return [{"params": members, "part": part} for part, members in parts.items()]


class _Run:
    """What a checkpoint holds: model, its moving average, optimiser, step, best weights so far."""

    def __init__(self, model: nn.Module, config: TrainConfig, path: Path) -> None:
        self.model, self.config, self.folder = model, config, path
        self.where = next(model.parameters()).device
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(self.ema.state_dict().values(), model.state_dict().values(), strict=True))
        # Views of the networks' own memory, collected once: all of them are averaged in one call.
        self.averages, self.values = ([p[k] for p in pairs if p[0].is_floating_point()] for k in (0, 1))
        self.counters = [p for p in pairs if not p[0].is_floating_point()]
        self.optimiser = (Muon(model, config.rate, config.decay) if config.optimiser == "muon" else
                          adamw(_groups(model, config.slow), config.rate, config.decay))
        self.captured: Captured | None = None
        self.step = self.start = self.sound = 0
        self.broken = torch.zeros((), dtype=torch.bool, device=self.where)
        self.best: dict[str, Tensor] | None = None
        self.best_score = math.nan

    def one_step(self, batch_loss: BatchLoss | Staged, rate: float) -> dict[str, float | Tensor]:
        self.model.train()
        keep = min(self.config.ema, (2 + self.step) / (11 + self.step))
        if isinstance(batch_loss, Staged) and self.where.type == "cuda":
            scalars = self._replayed(batch_loss, rate, keep)
            self.step += 1
            return scalars
        with autocast(self.where, self.config.bf16):
            loss, scalars = batch_loss(self.model, self.step)
        self.broken |= ~torch.isfinite(loss.detach())
        if self.where.type == "cpu":
            self.check(f"{float(loss.detach())} at step {self.step}")
        norm = descend(self.optimiser, self.model.parameters(), loss, rate, self.config.clip)
        self.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.values, 1 - keep)
            for average, value in self.counters:
                average.copy_(value)
        return {"loss": loss.detach(), "gradient": norm, **scalars}

    def _replayed(self, staged: Staged, rate: float, keep: float) -> dict[str, Tensor]:
        """The same step, captured once and then replayed."""
        if self.captured is None:
            for group in self.optimiser.param_groups:
                group |= {"capturable": True, "lr": torch.tensor(rate, device=self.where)}
            for state in self.optimiser.state.values():
                state["step"] = state["step"].to(self.where)
            self.captured = Captured(functools.partial(self._body, staged), self.where)
        staged.before(self.step)
        numbers = {**staged.numbers(self.step), "_rate": np.array([rate]), "_part": np.array([1 - keep])}
        return self.captured.step(numbers, lambda: self.optimiser.zero_grad(set_to_none=True))

    def _body(self, staged: Staged, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.autocast("cuda", torch.bfloat16, enabled=self.config.bf16 is not False, cache_enabled=False):
            loss, scalars = staged.loss(self.model, numbers)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        for group in self.optimiser.param_groups:
            group["lr"].copy_(numbers["_rate"][0] * group.get("part", 1.0))
        self.optimiser.step()
        with torch.no_grad():
            self.broken |= ~torch.isfinite(loss.detach())
            averaged(self.averages, self.values, numbers["_part"][0])
        return {"loss": loss.detach(), "gradient": norm, **scalars}

    def check(self, what: str | None = None) -> None:
        """FitError when a loss since the last check was not finite."""
        if bool(self.broken):
            what = what or f"not finite in one of the steps {self.sound} to {self.step - 1}"
            raise FitError(f"loss {what}; the last checkpoint is in {self.folder}; "
                           f"lower the rate or look at the data of this step")
        self.sound = self.step

    def read(self, scalars: Mapping[str, float | Tensor]) -> dict[str, float]:
        """All as numbers; what lies on a GPU comes in one read."""
        there = [value.detach().reshape(()).double() for value in scalars.values() if isinstance(value, Tensor)]
        numbers = iter(torch.stack([self.broken.double(), *there]).tolist())
        if next(numbers):
            self.check()
        self.sound = self.step
        return {key: next(numbers) if isinstance(value, Tensor) else value for key, value in scalars.items()}

    def validate(self, validate: Validate) -> dict[str, float]:
        self.check()
        with torch.no_grad():
            scalars = dict(validate(self.ema))
        if not scalars["score"] >= self.best_score:  # also true while the best score is NaN
            self.best_score = scalars["score"]
            self.best = {key: value.clone() for key, value in self.ema.state_dict().items()}
        return {**scalars, "best": self.best_score}

    def save(self) -> None:
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {"step": self.step, "model": self.model.state_dict(), "ema": self.ema.state_dict(),
                  "optimiser": self.optimiser.state_dict(), "rng": torch.get_rng_state(), "best": self.best,
                  "best_score": self.best_score, "config": asdict(self.config),
                  "rng_gpu": torch.cuda.get_rng_state() if self.where.type == "cuda" else None}
        with disk.atomic_path(self.folder / "checkpoint.pt", FitError) as temporary:
            torch.save(device.moved(values, torch.device("cpu")), temporary)

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        try:
            values = torch.load(path, weights_only=True, map_location="cpu")
            self.model.load_state_dict(values["model"])
            self.ema.load_state_dict(values["ema"])
            restore(self.optimiser, values["optimiser"])
        except Exception as error:  # torch raises many kinds for a file that is cut short or of another network
            raise FitError(f"{path}: not a checkpoint of this network ({type(error).__name__}); "
                           f"remove it, or choose another run name") from error
        torch.set_rng_state(values["rng"])
        if self.where.type == "cuda" and values.get("rng_gpu") is not None:
            torch.cuda.set_rng_state(values["rng_gpu"])
        self.step = self.start = self.sound = values["step"]
        self.best, self.best_score = values["best"], values["best_score"]


class _Log:
    """Passes events on and appends them as JSON lines to the run's folder."""

    def __init__(self, path: Path, on_event: Notify) -> None:
        self.path, self.on_event = path, on_event
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: Event) -> None:
        line = {"time": round(time.time(), 1), "stage": event.stage, "step": event.step, **event.scalars}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.on_event:
            self.on_event(event)
