"""A resumable training loop for the priors: Adam, EMA, checkpoints, a time budget, the best weights on validation."""
from __future__ import annotations

import argparse
import copy
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dipir.errors import FitError
from dipir.fit.board import Board
from dipir.fit.loop import Event
from dipir.fit.muon import Muon

BatchLoss = Callable[[nn.Module, int], tuple[Tensor, Mapping[str, float]]]
Validate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    steps : of the whole run; the learning rate falls as a cosine from ``rate`` to ``rate * last`` over them
    warmup : steps of linear increase first;  decay : decoupled weight decay;  clip : largest gradient norm
    optimiser : "adamw", or "muon" for networks that are mostly matrices and convolutions
    ema : share of the old average kept at each step (less during the first steps);  bf16 : autocast the forward pass
    minutes : wall time of this call, after which it writes a checkpoint and returns;  checkpoint_minutes : between
    checkpoints;  validate_every, log_every : steps
    """

    steps: int = 10_000
    rate: float = 4e-4
    last: float = 0.02
    warmup: int = 200
    decay: float = 0.01
    clip: float = 1.0
    optimiser: Literal["adamw", "muon"] = "adamw"
    ema: float = 0.999
    bf16: bool = False
    minutes: float = math.inf
    checkpoint_minutes: float = 3.0
    validate_every: int = 500
    log_every: int = 50


@dataclass(frozen=True)
class Trained:
    """step : steps done;  finished : all of them;  best, best_score : EMA weights with the lowest validation score
    (the last EMA weights and NaN without validation)."""

    step: int
    finished: bool
    best: Mapping[str, Tensor]
    best_score: float


def folder(name: str) -> Path:
    """Where the run ``name`` keeps checkpoint and log: ``$DIPIR_CACHE/training/<name>`` (~/.cache/dipir)."""
    return Path(os.environ.get("DIPIR_CACHE") or Path.home() / ".cache" / "dipir") / "training" / name


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of the step number ``step`` (from 0)."""
    done = min(1.0, step / max(1, config.steps))
    cosine = config.last + (1 - config.last) * 0.5 * (1 + math.cos(math.pi * done))
    return config.rate * cosine * min(1.0, (step + 1) / max(1, config.warmup))


def train(model: nn.Module, batch_loss: BatchLoss, config: TrainConfig, *, validate: Validate | None = None,
          on_event: Callable[[Event], None] | None = None, name: str) -> Trained:
    """Trains ``model`` in place; goes on from the checkpoint of ``name`` if there is one.

    batch_loss(model, step) -> (loss, scalars) must draw its batch from ``step`` alone (``arrays.split_seed``); then
    a run that was stopped and resumed ends in the same weights as an unbroken one. ``validate(ema_model)`` returns
    scalars, among them ``score``, lower is better. SIGTERM and SIGINT end the run after the current step, with a
    checkpoint. FitError on a loss that is not finite, or on a checkpoint of another architecture.
    """
    run = _Run(model, config, folder(name))
    run.resume()
    notify = _Log(run.folder / "log.jsonl", on_event)
    began, saved = time.monotonic(), time.monotonic()
    with _stop_requested() as stop:
        while run.step < config.steps:
            first = run.step
            scalars = run.one_step(batch_loss)
            now = time.monotonic()
            if run.step % config.log_every == 0:
                left = (now - began) / (run.step - run.start) * (config.steps - run.step)
                notify(Event(name, run.step, config.steps, left, {**scalars, "rate": learning_rate(config, first)}))
            if validate and (run.step % config.validate_every == 0 or run.step == config.steps):
                notify(Event(f"{name}/val", run.step, config.steps, None, run.validate(validate)))
            if stop.is_set() or now - began > config.minutes * 60:
                break
            if now - saved > config.checkpoint_minutes * 60:
                run.save()
                saved = now
    run.save()
    best = run.best if run.best is not None else run.ema.state_dict()
    return Trained(run.step, run.step >= config.steps, best, run.best_score)


# ------------------------------------------------------------------------------------------------------- command line
def add_options(parser: argparse.ArgumentParser, config: TrainConfig, batch: int, name: str, path: Path) -> None:
    """The options that the trainers have in common; ``path`` : where the weights that ship lie."""
    parser.add_argument("--minutes", type=float, default=60, help="wall time of training (resumes next time)")
    parser.add_argument("--steps", type=int, default=config.steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=config.rate, help="learning rate at the start")
    parser.add_argument("--validate-every", type=int, default=config.validate_every, help="steps")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast, for processors that have it")
    parser.add_argument("--start", type=Path, help="weights that a new run begins with")
    parser.add_argument("--name", default=name, help="checkpoint folder below $DIPIR_CACHE/training")
    parser.add_argument("--workers", type=int, default=1, help="processes that make missing data")
    parser.add_argument("--out", type=Path, default=None, help="weights file (default: the one that ships)")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="also log there for TensorBoard")
    parser.add_argument("--evaluate", type=Path, nargs="?", const=path, help="only judge these weights")


def with_options(config: TrainConfig, args: argparse.Namespace) -> TrainConfig:
    """``config`` with what :func:`add_options` read."""
    return replace(config, steps=args.steps, rate=args.rate, bf16=args.bf16, validate_every=args.validate_every)


def reporter(board: Path | None) -> Callable[[Event], None]:
    """:func:`report`, with a folder for TensorBoard too. ConfigError without the extra."""
    return report if board is None else _Both(Board(board))


@dataclass(frozen=True)
class _Both:
    board: Board

    def __call__(self, event: Event) -> None:
        report(event)
        self.board(event)

    def close(self) -> None:
        self.board.close()


def report(event: Event) -> None:
    """One line on stdout."""
    scalars = " ".join(f"{k}={v:.4g}" for k, v in event.scalars.items())
    sys.stdout.write(f"{event.stage} {event.step}/{event.steps} {scalars}\n")
    sys.stdout.flush()


class _Run:
    """What a checkpoint holds: model, its moving average, optimiser, step, best weights so far."""

    def __init__(self, model: nn.Module, config: TrainConfig, path: Path) -> None:
        self.model, self.config, self.folder = model, config, path
        self.ema = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimiser = (Muon(model, config.rate, config.decay) if config.optimiser == "muon" else
                          torch.optim.AdamW(model.parameters(), lr=config.rate, weight_decay=config.decay))
        self.step = self.start = 0
        self.best: dict[str, Tensor] | None = None
        self.best_score = math.nan

    def one_step(self, batch_loss: BatchLoss) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step)
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            loss, scalars = batch_loss(self.model, self.step)
        if not torch.isfinite(loss):
            raise FitError(f"loss {float(loss.detach())} at step {self.step}; the last checkpoint is in {self.folder}; "
                           f"lower the rate or look at the data of this step")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.step += 1
        keep = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, value in zip(self.ema.state_dict().values(), self.model.state_dict().values(), strict=True):
                average.lerp_(value, 1 - keep) if average.is_floating_point() else average.copy_(value)
        return {"loss": float(loss.detach()), "gradient": float(norm), **scalars}

    def validate(self, validate: Validate) -> dict[str, float]:
        with torch.no_grad():
            scalars = dict(validate(self.ema))
        if not scalars["score"] >= self.best_score:  # also true while the best score is NaN
            self.best_score = scalars["score"]
            self.best = {key: value.clone() for key, value in self.ema.state_dict().items()}
        return {**scalars, "best": self.best_score}

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {"step": self.step, "model": self.model.state_dict(), "ema": self.ema.state_dict(),
                  "optimiser": self.optimiser.state_dict(), "rng": torch.get_rng_state(), "best": self.best,
                  "best_score": self.best_score, "config": asdict(self.config)}
        temporary = self.folder / f"checkpoint.{os.getpid()}.part"
        try:
            torch.save(values, temporary)
            os.replace(temporary, self.folder / "checkpoint.pt")
        finally:
            temporary.unlink(missing_ok=True)

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        try:
            values = torch.load(path, weights_only=True)
            self.model.load_state_dict(values["model"])
            self.ema.load_state_dict(values["ema"])
            self.optimiser.load_state_dict(values["optimiser"])
        except Exception as error:  # torch raises many kinds for a file that is cut short or of another network
            raise FitError(f"{path}: not a checkpoint of this network ({type(error).__name__}); "
                           f"remove it, or choose another run name") from error
        torch.set_rng_state(values["rng"])
        self.step = self.start = values["step"]
        self.best, self.best_score = values["best"], values["best_score"]


class _Log:
    """Passes events on and appends them as JSON lines to the run's folder."""

    def __init__(self, path: Path, on_event: Callable[[Event], None] | None) -> None:
        self.path, self.on_event = path, on_event
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, event: Event) -> None:
        line = {"time": round(time.time(), 1), "stage": event.stage, "step": event.step, **event.scalars}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.on_event:
            self.on_event(event)


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """A flag that SIGTERM and SIGINT raise; handlers exist in the main thread only, and are put back."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    kept = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
