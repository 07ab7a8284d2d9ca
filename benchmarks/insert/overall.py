"""Figures of the insertion benchmark over all cases: means, medians and worst deciles, ratios, shares of the way to the
oracle, decisions, all with bootstrap intervals."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.insert.figures import FIGURES

DRAWS = 1000
NEAR_DEG = 30.0
HIGHER = ("ssim", "hardness")  # Figures that are better or more when higher.
RATIOS = (("fg_si_rmse", "ambient"), ("fg_si_rmse", "projected"))
WAYS = ("fg_si_rmse", "composite_rmse", "ssim", "shadow_rmse")
NOTHING, BEST = "ambient", "oracle-sg"
"""Where the way begins and ends: no light found, and the truth as our representation can hold it."""
Rows = Sequence[Mapping[str, Mapping[str, float | None]]]  # A case: method -> figure -> value or None.


def summary(rows: Rows, environments: Sequence[str], methods: Sequence[str],
            figures: Sequence[str] = tuple(FIGURES)) -> dict:
    """Method -> figure -> mean, median, their 95 % intervals, the worst decile (what a tenth of the cases exceeds, or
    stays below where more is better) and the number of cases where it is defined.

    environments : of each case; the bootstrap draws environments, then cases within each, because cases of one
        environment are not independent
    """
    draws = resamples(environments)
    out: dict = {}
    for m in methods:
        for f in figures:
            values = column(rows, m, f)
            if np.isfinite(values).any():
                worst = float(np.nanquantile(values, 0.1 if f in HIGHER else 0.9))
                out.setdefault(m, {})[f] = {"n": int(np.isfinite(values).sum()), **_interval(values, np.nanmean, draws),
                                            **_interval(values, np.nanmedian, draws, "median"), "worst": worst}
    return out


def ratios(rows: Rows, environments: Sequence[str], methods: Sequence[str]) -> dict:
    """Method -> "figure/baseline" -> ratio of the means over the cases that both have, with its 95 % interval."""
    draws = resamples(environments)
    out: dict = {}
    for m in methods:
        for f, base in RATIOS:
            pair = _common(rows, f, (m, base))
            if np.isfinite(pair).any():
                n = int(np.isfinite(pair).all(1).sum())

                def ratio(p):
                    return np.nanmean(p[:, 0]) / np.nanmean(p[:, 1])

                def typical(p):
                    return np.exp(np.nanmean(np.log(np.maximum(p[:, 0] / p[:, 1], 1e-6))))

                out.setdefault(m, {})[f"{f}/{base}"] = {"n": n, **_interval(pair, ratio, draws, "ratio"),
                                                        **_interval(pair, typical, draws, "typical")}
    return out


def ways(rows: Rows, environments: Sequence[str], methods: Sequence[str]) -> dict:
    """Method -> figure of :data:`WAYS` -> share of the way from :data:`NOTHING` to :data:`BEST` in the mean over the
    cases that all three have: 0 as the one, 1 as the other, negative when worse than both."""
    draws = resamples(environments)
    out: dict = {}

    def way(t):
        ours, nothing, best = np.nanmean(t, 0)
        return (nothing - ours) / (nothing - best) if nothing != best else np.nan

    for m in methods:
        for f in WAYS:
            three = _common(rows, f, (m, NOTHING, BEST))
            if np.isfinite(three).any() and np.isfinite(way(three)):
                n = int(np.isfinite(three).all(1).sum())
                out.setdefault(m, {})[f] = {"n": n, **_interval(three, way, draws, "way")}
    return out


def within(rows: Rows, environments: Sequence[str], methods: Sequence[str], figures: Sequence[str]) -> dict:
    """Method -> figure in degrees -> share of the cases that have it in which it is at most :data:`NEAR_DEG`."""
    draws = resamples(environments)
    out: dict = {}
    for m in methods:
        for f in figures:
            values = column(rows, m, f)
            if np.isfinite(values).any():
                near = np.where(np.isfinite(values), values <= NEAR_DEG, np.nan)
                out.setdefault(m, {})[f] = {"n": int(np.isfinite(values).sum()),
                                            **_interval(near, np.nanmean, draws, "share")}
    return out


def decisions(rows: Rows, hard: Sequence[bool | None], environments: Sequence[str], methods: Sequence[str]) -> dict:
    """Method -> AUC of its shadow's hardness as a score of whether the true shadow is hard (None = not known), with its
    interval and the numbers of both kinds. Left out where one kind is missing."""
    draws = resamples(environments)
    labels = np.array([np.nan if h is None else float(h) for h in hard])
    out: dict = {}
    for m in methods:
        pair = np.stack([column(rows, m, "hardness"), labels], 1)
        known = np.isfinite(pair).all(1)
        kinds = [int((pair[known, 1] == k).sum()) for k in (1, 0)]
        if all(kinds):
            out[m] = {"hard": kinds[0], "soft": kinds[1], **_interval(pair, lambda p: auc(*p.T), draws, "auc")}
    return out


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Chance that a positive (label 1) has a higher score than a negative (0), ties counting half; NaN without both.
    Pairs with NaN are left out."""
    known = np.isfinite(scores) & np.isfinite(labels)
    positive, negative = scores[known & (labels == 1)], scores[known & (labels == 0)]
    if not len(positive) or not len(negative):
        return float("nan")
    above = np.sign(positive[:, None] - negative[None, :])
    return float((above + 1).mean() / 2)


# ---- parts -----------------------------------------------------------------------------------------------------------

def column(rows: Rows, method: str, figure: str) -> np.ndarray:
    """(cases,) values; NaN where the method failed or the figure is not defined."""
    values = [row.get(method, {}).get(figure) for row in rows]
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _common(rows: Rows, figure: str, methods: Sequence[str]) -> np.ndarray:
    """(cases, methods) values; NaN in the whole row where one of them has none."""
    values = np.stack([column(rows, m, figure) for m in methods], 1)
    return np.where(np.isfinite(values).all(1, keepdims=True), values, np.nan)


def resamples(environments: Sequence[str], count: int = DRAWS, seed: int = 0) -> list[np.ndarray]:
    """Indices of cases, drawn in two stages with replacement: environments, then as many cases as each has."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(np.array(environments) == e) for e in dict.fromkeys(environments)]

    def pick(group):
        return group[rng.integers(len(group), size=len(group))]

    return [np.concatenate([pick(groups[g]) for g in rng.integers(len(groups), size=len(groups))])
            for _ in range(count)]


def _interval(values: np.ndarray, statistic: Callable[[np.ndarray], float], draws: Sequence[np.ndarray],
              name: str = "mean") -> dict[str, float]:
    """The statistic and quantiles 0.025, 0.975 of it over the draws; draws in which it is not defined are left out."""
    defined = np.isfinite(values.reshape(len(values), -1)).all(1)
    boot = np.array([statistic(values[d]) for d in draws if defined[d].any()])
    boot = boot[np.isfinite(boot)]
    low, high = np.quantile(boot, (0.025, 0.975)) if len(boot) else (np.nan, np.nan)
    return {name: float(statistic(values)), f"{name}_low": float(low), f"{name}_high": float(high)}
