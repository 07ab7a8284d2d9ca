"""Means with their errors, and differences of paired figures that are real: bootstrap, sign flips, Holm."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """B - A of one figure over the pairs."""

    figure: str
    pairs: int
    a: float
    """Mean of the first."""
    b: float
    """Mean of the second."""
    low: float
    """Lower end of the 95 % interval (BCa bootstrap) of B - A."""
    high: float
    """Upper end."""
    p: float
    """Of a sign flip test, two sided, corrected for the number of figures by Holm's method."""
    real: bool
    """p below 0.05."""


def mean_and_error(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Mean, and 1.96 standard deviations of the means of ``DRAWS`` bootstrap samples; NaN for one value."""
    v = np.asarray(values, float)
    if len(v) < 2:
        return float(v.mean()) if len(v) else float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    return float(v.mean()), 1.96 * float(v[rng.integers(len(v), size=(DRAWS, len(v)))].mean(1).std())


def differences(figures: Mapping[str, np.ndarray], seed: int = 0) -> list[Difference]:
    """Of figures whose pairs (n, 2) are given; those of fewer than three pairs are left out."""
    judged = {name: interval(both[:, 1] - both[:, 0], seed) for name, both in figures.items() if len(both) >= 3}
    corrected = holm([p for _, _, p in judged.values()])
    return [Difference(name, len(figures[name]), *map(float, figures[name].mean(0)), low, high, p, p < _LEVEL)
            for (name, (low, high, _)), p in zip(judged.items(), corrected, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the same order."""
    corrected, running = [0.0] * len(values), 0.0
    for rank, i in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, values[i] * (len(values) - rank)))
        corrected[i] = running
    return corrected


def interval(d: np.ndarray, seed: int) -> tuple[float, float, float]:
    """(low, high, p) of the mean of paired differences."""
    from scipy.stats import bootstrap, permutation_test

    if np.ptp(d) == 0:
        # The same everywhere: nothing to resample.
        return float(d[0]), float(d[0]), 1.0 if d[0] == 0 else 0.5 ** (len(d) - 1)
    rng = np.random.default_rng(seed)
    interval = bootstrap((d,), np.mean, n_resamples=DRAWS, method="BCa", random_state=rng).confidence_interval
    test = permutation_test((d,), np.mean, permutation_type="samples", n_resamples=DRAWS, random_state=rng)
    return float(interval.low), float(interval.high), float(test.pvalue)
