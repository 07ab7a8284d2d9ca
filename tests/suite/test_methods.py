"""Methods of suites: settings are checked before work starts."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.suite import methods
from dipir.suite.file import JobSpec


def job(name: str, method: str = "insert", **settings) -> JobSpec:
    return JobSpec(name, method, "", 5, {key.replace("__", "."): value for key, value in settings.items()}, {})


def test_the_job_with_wrong_settings_is_named():
    with pytest.raises(ConfigError, match="(?s)job second: .*stepz"):
        methods.check([job("first", fit__steps=3), job("second", fit__stepz=3)])


def test_other_methods_have_settings_of_their_own():
    methods.check([job("a", "benchmarks.suite_faults:job", fault="none")])


def test_seed_preset_and_settings_reach_the_fit():
    config = methods._config(job("a", preset="fast", fit__steps=7))
    assert (config.seed, config.fit.steps) == (5, 7)
    assert config.transport == methods._config(job("b", preset="fast")).transport
