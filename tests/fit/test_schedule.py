"""Ends, middle and monotony of the schedules."""
import pytest

from dipir.fit.schedule import Constant, Cosine, Linear, WarmUp


@pytest.mark.parametrize("schedule", [Linear(2.0, 0.5), Cosine(2.0, 0.5)])
def test_ends_and_middle(schedule):
    values = [schedule.at(k, 11) for k in range(11)]
    assert values[0] == 2.0 and values[-1] == pytest.approx(0.5) and values[5] == pytest.approx(1.25)
    assert values == sorted(values, reverse=True)
    assert schedule.at(99, 11) == pytest.approx(0.5)


def test_cosine_is_flat_at_the_ends_and_linear_is_not():
    assert Cosine(1, 0).at(0, 101) - Cosine(1, 0).at(1, 101) < 0.1 * (Linear(1, 0).at(0, 101) - Linear(1, 0).at(1, 101))


def test_constant_and_single_step():
    assert Constant(3.0).at(5, 9) == 3.0
    assert Linear(1.0, 0.0).at(0, 1) == 1.0


def test_warm_up_rises_to_the_schedule():
    values = [WarmUp(3, Constant(2.0)).at(k, 10) for k in range(6)]
    assert values == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert WarmUp(0, Constant(2.0)).at(0, 10) == 2.0
