"""The insertion benchmark over all cases: means, bootstrap, ratios, ways to the oracle, decisions."""
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.insert import overall as o

ROWS = [{"m": {"fg_si_rmse": v, "direction_deg": d}, "ambient": {"fg_si_rmse": 2 * v}}
        for v, d in ((1.0, 10.0), (3.0, None), (5.0, 100.0), (7.0, 20.0))]
WHERE = ["a", "a", "b", "b"]


def test_means_medians_and_missing_values():
    s = o.summary(ROWS, WHERE, ["m", "ambient", "failed"])
    assert s["m"]["fg_si_rmse"]["mean"] == 4 and s["m"]["fg_si_rmse"]["n"] == 4
    assert s["m"]["direction_deg"]["median"] == 20 and s["m"]["direction_deg"]["n"] == 3
    assert s["m"]["direction_deg"]["mean"] == pytest.approx(130 / 3)
    assert "failed" not in s and "direction_deg" not in s["ambient"]


def test_draws_are_of_environments_and_cases_within():
    draws = o.resamples(["a", "b", "a", "c"], 400)
    counts = {tuple(sorted({"aba c".replace(" ", "")[i] for i in d})) for d in draws}
    assert len(counts) == 7  # Every non-empty set of environments occurs.
    assert all((np.isin(d, [0, 2]).sum() % 2) == 0 for d in draws)  # Environment a brings two cases each time.
    assert [list(d) for d in draws] == [list(d) for d in o.resamples(["a", "b", "a", "c"], 400)]


def test_intervals():
    """Cases that agree within their environment: the interval is that of the environments, from 2 to 6."""
    rows = [{"m": {"ssim": v}} for v in (2.0, 2.0, 6.0, 6.0)]
    got = o.summary(rows, WHERE, ["m"])["m"]["ssim"]
    assert (got["mean"], got["mean_low"], got["mean_high"]) == (4, 2, 6)
    alone = o.summary(rows[:1], WHERE[:1], ["m"])["m"]["ssim"]
    assert alone["mean_low"] == alone["mean"] == alone["mean_high"] == 2


def test_ratio_of_means_over_common_cases():
    rows = [dict(r) for r in ROWS]
    rows[3] = {"m": {"fg_si_rmse": 1000.0}}  # The baseline failed here.
    got = o.ratios(rows, WHERE, ["m", "ambient"])
    assert got["m"]["fg_si_rmse/ambient"]["ratio"] == pytest.approx(0.5) and got["m"]["fg_si_rmse/ambient"]["n"] == 3
    assert got["m"]["fg_si_rmse/ambient"]["ratio_low"] == pytest.approx(0.5)
    assert got["m"]["fg_si_rmse/ambient"]["typical"] == pytest.approx(0.5)
    assert got["ambient"]["fg_si_rmse/ambient"]["ratio"] == 1 and "fg_si_rmse/projected" not in got["m"]


def test_case_by_case_every_case_counts_alike():
    """Ratios 0.25 and 4: the geometric mean is 1, though the ratio of means follows the larger case."""
    rows = [{"m": {"fg_si_rmse": a}, "ambient": {"fg_si_rmse": b}} for a, b in ((1.0, 4.0), (400.0, 100.0))]
    got = o.ratios(rows, ["a", "b"], ["m"])["m"]["fg_si_rmse/ambient"]
    assert got["typical"] == pytest.approx(1) and got["ratio"] == pytest.approx(401 / 104)


def test_the_worst_decile_is_on_the_bad_side():
    """Eleven cases, 0 to 10: a tenth of the errors exceeds 9, a tenth of the similarities stays below 1."""
    rows = [{"m": {"ssim": float(v), "cast_deg": float(v)}} for v in range(11)]
    got = o.summary(rows, list("abcdefghijk"), ["m"], ("ssim", "cast_deg"))["m"]
    assert got["cast_deg"]["worst"] == 9 and got["ssim"]["worst"] == 1
    assert set(got) == {"ssim", "cast_deg"}


# --------------------------------------------------------------------------------------------------- way to the oracle
def test_shares_of_the_way():
    """From 10 to 2: 10 is nothing of the way, 6 a half, 2 all of it, 14 a half in the wrong direction."""
    rows = [{"ambient": {"shadow_rmse": 10.0}, "oracle-sg": {"shadow_rmse": 2.0}, "half": {"shadow_rmse": 6.0},
             "wrong": {"shadow_rmse": 14.0}} for _ in range(3)]
    got = o.ways(rows, list("abc"), ["ambient", "half", "wrong", "oracle-sg"])
    assert {m: v["shadow_rmse"]["way"] for m, v in got.items()} == {"ambient": 0, "half": 0.5, "wrong": -0.5,
                                                                  "oracle-sg": 1}
    assert got["half"]["shadow_rmse"] == {"n": 3, "way": 0.5, "way_low": 0.5, "way_high": 0.5}


def test_the_way_is_that_of_the_means_and_similarities_count_upwards():
    rows = [{"ambient": {"ssim": a}, "oracle-sg": {"ssim": b}, "m": {"ssim": c}}
            for a, b, c in ((0.5, 0.9, 0.8), (0.7, 1.0, 0.7))]
    got = o.ways(rows, ["a", "b"], ["m"])["m"]["ssim"]
    assert got["way"] == pytest.approx((0.75 - 0.6) / (0.95 - 0.6))
    rows[1]["m"] = {}  # It failed: neither baseline's case counts then.
    got = o.ways(rows, ["a", "b"], ["m"])["m"]["ssim"]
    assert got["n"] == 1 and got["way"] == pytest.approx(0.75)
    assert o.ways([{"m": {"ssim": 1.0}}], ["a"], ["m"]) == {}


# ------------------------------------------------------------------------------------------------------------ decisions
def test_auc_against_known_values():
    """Three of four pairs are in the right order; ties are half right; a score that is turned round is 1 - AUC."""
    labels, scores = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    assert o.auc(scores, labels) == 0.75 and o.auc(-scores, labels) == 0.25
    assert o.auc(np.ones(4), labels) == 0.5
    assert o.auc(np.array([0.1, np.nan, 0.35, 0.8]), labels) == 1
    assert np.isnan(o.auc(scores, np.ones(4)))


def test_decisions_are_about_cases_whose_truth_is_known():
    rows = [{"m": {"hardness": v}} for v in (0.9, 0.2, 0.3, 0.1)] + [{"m": {"hardness": 0.0}}, {}]
    hard = [True, True, False, False, None, True]
    got = o.decisions(rows, hard, list("abcdef"), ["m", "failed"])
    assert set(got) == {"m"} and got["m"]["hard"] == 2 and got["m"]["soft"] == 2
    assert got["m"]["auc"] == 0.75 and 0 <= got["m"]["auc_low"] <= 0.75 <= got["m"]["auc_high"] <= 1
    assert o.decisions(rows, [True] * 6, list("abcdef"), ["m"]) == {}


def test_shares_within_thirty_degrees():
    rows = [{"m": {"guesses_deg": v}} for v in (0.0, 30.0, 31.0, None)]
    got = o.within(rows, list("abcd"), ["m", "other"], ["guesses_deg"])
    assert got["m"]["guesses_deg"]["share"] == pytest.approx(2 / 3) and got["m"]["guesses_deg"]["n"] == 3
    assert "other" not in got
