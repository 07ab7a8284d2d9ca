"""Values over steps: learning-rate factors, noise ranges, weights."""
from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The same value at every step."""

    value: float = 1.0

    def at(self, step: int, steps: int) -> float:
        """Value at ``step`` of ``steps``."""
        return self.value


@dataclass(frozen=True)
class Linear:
    """From ``start`` at step 0 to ``end`` at the last step (steps - 1), in equal amounts."""

    start: float
    end: float

    def at(self, step: int, steps: int) -> float:
        """Value at ``step`` of ``steps``."""
        return self.start + (self.end - self.start) * _progress(step, steps)


@dataclass(frozen=True)
class Cosine:
    """From ``start`` at step 0 to ``end`` at the last step along half a cosine: flat at both ends."""

    start: float
    end: float

    def at(self, step: int, steps: int) -> float:
        """Value at ``step`` of ``steps``."""
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * _progress(step, steps)))


@dataclass(frozen=True)
class WarmUp:
    """``then``, multiplied by a ramp that reaches 1 after ``first`` steps; step 0 already gets 1 / (first + 1)."""

    first: int
    then: Constant | Linear | Cosine

    def at(self, step: int, steps: int) -> float:
        """Value at ``step`` of ``steps``."""
        return min(1.0, (step + 1) / (self.first + 1)) * self.then.at(step, steps)


Schedule = Constant | Linear | Cosine | WarmUp


def _progress(step: int, steps: int) -> float:
    """0 at the first step, 1 at the last; held at the ends outside."""
    return min(max(step / max(steps - 1, 1), 0.0), 1.0)
