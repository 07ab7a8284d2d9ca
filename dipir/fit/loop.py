"""minimise(): steps, events, stop, NaN guard.

Resuming is exact because a step depends on nothing but the parameters, Adam's moments and the step number: an objective
must draw all randomness from ``split_seed(seed, ..., step)``. As a second line of defence torch's global generator is
seeded from the step as well.
"""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dipir.arrays import split_seed
from dipir.errors import FitError
from dipir.event import Event
from dipir.fit import checkpoint as files
from dipir.fit.checks import require, together
from dipir.fit.parameters import Parameters, describe
from dipir.fit.training import Turns, annealed_rate


@dataclass(frozen=True)
class FitConfig:
    """One run of :func:`minimise`."""

    steps: int = 200
    """Planned in all."""
    warm_up: int = 5
    """Steps of rising rate."""
    final_rate: float = 0.1
    """Factor on every rate at the end (half a cosine from 1)."""
    beta1: float = 0.9
    beta2: float = 0.99
    """Adam's memory."""
    clip: float = 0.0
    """Largest gradient norm per parameter, 0 = no limit."""
    preview_every: int = 10
    """Steps between preview images, 0 = none."""
    seed: int = 0
    """Of this run."""


Images = Mapping[str, Tensor]
Objective = Callable[[int], tuple[Tensor, Mapping[str, float | Tensor], "Images | Callable[[], Images]"]]


def minimise(objective: Objective, parameters: Parameters, config: FitConfig, *,
             on_event: Callable[[Event], None] | None = None, stage: str = "fit",
             checkpoint: files.Checkpoint | None = None, start_step: int = 0) -> list[dict[str, float]]:
    """Adam on ``parameters`` in place; returns the history, per step one dict (step, loss, rate, logged scalars).

    ``objective(step)`` gives the loss (scalar tensor), numbers to log (tensors of one element are read together with
    the loss) and preview images (or a function that makes them, called only when they are wanted). Steps ``start_step``
    ... ``config.steps - 1`` are made; with a checkpoint to resume, its step decides. With a checkpoint, SIGTERM and
    SIGINT finish the step, save and then leave (SystemExit 143, KeyboardInterrupt).

    Raises FitError when a loss or gradient is not finite (it names the parameter) and for a checkpoint of another run.
    """
    optimiser = _adam(parameters, config)
    step, history = start_step, []
    if checkpoint and checkpoint.resume and checkpoint.path.exists():
        state = files.load(checkpoint.path, checkpoint.run_hash)
        parameters.load_state_dict(state.raw)
        _restore(optimiser, parameters, state.moments)
        step, history = state.step, list(state.history)
    clock = _Clock()
    with Turns(step, config.steps, stoppable=checkpoint is not None) as turns:
        for step in turns:
            row, images = _step(objective, parameters, optimiser, config, stage, step)
            history.append(row)
            turns.finish()
            if checkpoint and (turns.stopped or turns.done % checkpoint.every == 0 or turns.done == config.steps):
                state = files.State(turns.done, parameters.raw, _moments(optimiser, parameters), history)
                files.save(checkpoint.path, state, checkpoint.run_hash)
            if on_event:
                on_event(Event(stage, turns.done, config.steps, clock.left(config.steps - turns.done), row, images))
    turns.leave()
    return history


def rate_factor(config: FitConfig, step: int) -> float:
    """Factor on every rate at ``step``: a ramp that starts at 1 / (warm_up + 1), times half a cosine from 1 at step 0
    to ``final_rate`` at the last."""
    progress = min(max(step / max(config.steps - 1, 1), 0.0), 1.0)
    return annealed_rate(1.0, config.final_rate, math.pi * progress, step, config.warm_up + 1)


def _step(objective: Objective, parameters: Parameters, optimiser: torch.optim.Adam, config: FitConfig, stage: str,
          step: int) -> tuple[dict[str, float], Images]:
    """One step; the row for the history and the preview images (mostly none)."""
    factor = rate_factor(config, step)
    optimiser.zero_grad(set_to_none=True)
    with together() as checks:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(split_seed(config.seed, stage, step))
            loss, scalars, images = objective(step)
            _check_loss(loss, parameters, stage, step)
            loss.backward()
        for group in optimiser.param_groups:
            _check_gradient(group["name"], group["params"][0], stage, step)
        # The only look at the device in a step; everything that could be wrong is known before a parameter moves.
        logged = {"loss": loss, **{name: v for name, v in scalars.items() if isinstance(v, Tensor)}}
        logged = dict(zip(logged, checks.read(*logged.values()), strict=True))
    for group in optimiser.param_groups:
        if config.clip > 0:
            torch.nn.utils.clip_grad_norm_(group["params"], config.clip)
        group["lr"] = group["base"] * factor
    optimiser.step()
    parameters.retract()
    row = {"step": step, "loss": logged["loss"], "rate": factor,
           **{name: logged[name] if isinstance(v, Tensor) else float(v) for name, v in scalars.items()}}
    wanted = config.preview_every > 0 and ((step + 1) % config.preview_every == 0 or step + 1 == config.steps)
    with torch.no_grad():
        shown = (images() if callable(images) else images) if wanted else {}
        return row, {name: image.cpu() for name, image in shown.items()}


def _check_loss(loss: Tensor, parameters: Parameters, stage: str, step: int) -> None:
    if loss.numel() != 1 or not loss.requires_grad:
        raise FitError(f"{stage}, step {step}: the loss must be one number that depends on a fitted parameter "
                       f"({', '.join(parameters) or 'there are none'})")
    value = loss.detach()

    def problem() -> FitError:
        values = "; ".join(f"{name}: {describe(raw)}" for name, raw in parameters.raw.items())
        return FitError(f"{stage}, step {step}: the loss is {float(value)}. Raw parameters: {values}. "
                        "Try a lower learning rate; if it is the first step, look for NaN in the plate or the asset.")
    require(torch.isfinite(value).all(), problem)


def _check_gradient(name: str, raw: Tensor, stage: str, step: int) -> None:
    if raw.grad is not None:
        require(torch.isfinite(raw.grad).all(), lambda: FitError(
            f"{stage}, step {step}: gradient of '{name}' is not finite ({describe(raw.grad)}; the parameter: "
            f"{describe(raw)}). Try a lower learning rate for it; checkpoints stay valid."))


def _adam(parameters: Parameters, config: FitConfig) -> torch.optim.Adam:
    """Adam with one group per name; ``foreach`` off, so that the order of sums does not depend on the device."""
    rates = parameters.rates
    groups = [{"params": [raw], "name": name, "lr": rates[name], "base": rates[name]}
              for name, raw in parameters.raw.items() if rates[name] > 0]
    if not groups:
        raise FitError("nothing to fit: every learning rate is 0 or no parameter was chosen")
    return torch.optim.Adam(groups, betas=(config.beta1, config.beta2), foreach=False)


def _moments(optimiser: torch.optim.Adam, parameters: Parameters) -> dict[str, Tensor]:
    """Adam's state as ``name/key`` -> tensor."""
    return {f"{name}/{key}": value for name, raw in parameters.raw.items() if raw in optimiser.state
            for key, value in optimiser.state[raw].items()}


def _restore(optimiser: torch.optim.Adam, parameters: Parameters, moments: dict[str, Tensor]) -> None:
    raw = parameters.raw
    for path, value in moments.items():
        name, key = path.rsplit("/", 1)
        # Adam counts its steps on the CPU; the moments live beside their parameter.
        optimiser.state[raw[name]][key] = value if key == "step" else value.to(raw[name].device)


class _Clock:
    """Time left from a running mean of step times; the first step is left out (it compiles kernels)."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._mean: float | None = None
        self._first = True

    def left(self, steps: int) -> float | None:
        """Seconds for ``steps`` more steps, or None after the first one."""
        now = time.monotonic()
        took, self._last = now - self._last, now
        if self._first:
            self._first = False
            return None
        self._mean = took if self._mean is None else 0.9 * self._mean + 0.1 * took
        return self._mean * steps
