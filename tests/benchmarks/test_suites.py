"""The benchmark of the runner: simulated machines against closed forms, what is called met."""
import pytest

from benchmarks.suites import met, simulate, suite_of


@pytest.mark.parametrize("nodes", [1, 10])
def test_a_runner_without_cost_keeps_machines_busy(nodes):
    """What is missing is the wait for the last jobs: less than 1.2 jobs of 20."""
    assert 1 - 1.2 / 20 < simulate(nodes, 30.0, 0.0) <= 1


def test_a_slow_runner_is_the_bottleneck():
    """With a second a job and jobs of ten, no more than ten of a hundred machines work."""
    assert simulate(100, 10.0, 1.0) == pytest.approx(0.1, rel=0.05)


def test_bars():
    faults = {"neither": 0, "different": 0, "twice": 0}
    assert met({}) and met({"faults": faults}) and not met({"faults": {**faults, "twice": 1}})
    assert met({"overhead": {"share": 0.05}}) and not met({"overhead": {"share": 0.06}})


def test_jobs_differ_in_number_alone():
    first, second = suite_of("x", [{"fault": "none"}] * 2).jobs
    assert first.key != second.key and first.settings == {"number": 0, "fault": "none"}
