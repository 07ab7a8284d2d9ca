"""Means with errors and differences, against closed forms."""
import numpy as np
import pytest

from dipir.suite.statistics import differences, holm, interval, mean_and_error


def test_error_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(values.mean()) and error == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_one_value_has_no_error():
    assert mean_and_error([3.0]) == (3.0, pytest.approx(np.nan, nan_ok=True)) and np.isnan(mean_and_error([])[0])


def test_holm_by_hand():
    """Smallest times three, next times two, never falling, never above one."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_every_sign_flip_of_few_pairs_is_tried():
    """Of the 2^5 flips of five positive differences two are as far from 0 as the mean itself."""
    low, high, p = interval(np.array([1.0, 1.1, 1.2, 1.3, 1.4]), 0)
    assert p == pytest.approx(2 / 32) and 1.0 <= low < 1.2 < high <= 1.4
    assert interval(np.full(4, 2.0), 0) == (2.0, 2.0, 1 / 8) and interval(np.zeros(4), 0) == (0.0, 0.0, 1.0)


def test_too_few_pairs_are_no_difference():
    pairs = np.array([[0.0, 1.0], [0.0, 1.5], [0.0, 2.0]])
    (only,) = differences({"a": pairs, "b": pairs[:2]})
    assert only.figure == "a" and only.pairs == 3 and (only.a, only.b) == (0.0, 1.5)
