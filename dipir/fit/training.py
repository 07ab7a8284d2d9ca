"""What all loops over steps have in common: their turns, the rate of a step, the step of a network."""
from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from dipir.fit.checkpoint import graceful_stop


class Turns:
    """The turns of a loop: steps and time are counted, a signal ends it after the step in progress.

        with Turns(done, steps, minutes=5) as turns:
            for step in turns:          # done, done + 1, ... steps - 1
                ...                     # the step
                turns.finish()          # counts it; then ``late`` and ``stopped`` say whether it was the last
                ...                     # save, report
        turns.leave()

    done, steps : finished and planned in all;  minutes : after which no other turn begins;  spent_s : seconds of
    earlier calls that count as well;  stoppable : whether signals wait for the step to be finished
    """

    def __init__(self, done: int, steps: int, *, minutes: float = math.inf, spent_s: float = 0.0,
                 stoppable: bool = True) -> None:
        self.done, self.steps, self.minutes = done, steps, minutes
        self._signals = graceful_stop() if stoppable else contextlib.nullcontext([])
        self._caught: list[int] = []
        self._now = time.monotonic()
        self._began = self._now - spent_s

    def __enter__(self) -> Turns:
        self._caught = self._signals.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._signals.__exit__(*problem)

    def __iter__(self) -> Iterator[int]:
        while self.done < self.steps:
            yield self.done
            if self.late or self.stopped:
                break

    def finish(self) -> None:
        """The step is taken."""
        self.done, self._now = self.done + 1, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds to the end of the last step, earlier calls included."""
        return self._now - self._began

    @property
    def late(self) -> bool:
        """Whether the minutes are over."""
        return self.elapsed_s > self.minutes * 60

    @property
    def stopped(self) -> bool:
        """Whether a signal asked to stop."""
        return bool(self._caught)

    def leave(self) -> None:
        """As the signal wanted, if there was one: KeyboardInterrupt, or SystemExit with 128 + its number."""
        if self._caught:
            raise KeyboardInterrupt if self._caught[0] == signal.SIGINT else SystemExit(128 + self._caught[0])


def annealed_rate(rate: float, last: float, phase_rad: float, step: int, warm_up: int) -> float:
    """Half a cosine from ``rate`` at phase 0 to ``rate * last`` at pi, after ``warm_up`` steps of linear increase."""
    cosine = last + (1 - last) * 0.5 * (1 + math.cos(phase_rad))
    return rate * cosine * min(1.0, (step + 1) / max(1, warm_up))


def descend(optimiser: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], loss: Tensor, rate: float,
            clip: float) -> Tensor:
    """One step down the gradient of ``loss``, its norm cut to ``clip``; the norm before. Groups of parameters that have
    a ``part`` learn at that part of the rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("part", 1.0)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    return norm
