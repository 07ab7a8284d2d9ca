"""Suites: what a file means."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dipir.errors import ConfigError
from dipir.suite import file as suites
from dipir.suite.file import Limits, load_suite

FAULTS = "benchmarks.suite_faults:job"


def written(folder: Path, text: str) -> Path:
    path = folder / "faults.yaml"
    path.write_text(text)
    return path


def test_a_suite_multiplies(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.scene.yaml").write_text("x: 1")
    suite = load_suite(written(tmp_path, """
method: insert
scenes: ["*.scene.yaml"]
seeds: [0, 1]
set: {preset: fast, fit.steps: 5}
grid: {fusion.schedule: [linear, step], light.count: [4, 8, 16]}
list: [{}, {fit.steps: 7}]
limits: {minutes: 3}
"""))
    assert len(suite.jobs) == 2 * 2 * 2 * 3 * 2 and suite.limits == Limits(minutes=3) and suite.name == "faults"
    assert len({j.name for j in suite.jobs}) == 48 and len({j.key for j in suite.jobs}) == 48
    first, last = suite.jobs[0], suite.jobs[-1]
    assert first.settings == {"preset": "fast", "fit.steps": 5, "fusion.schedule": "linear", "light.count": 4}
    assert first.varied == {"fusion.schedule": "linear", "light.count": 4} and first.seed == 0
    assert last.settings["fit.steps"] == 7 and Path(last.scene).name == "b.scene.yaml"
    assert "schedule=step" in last.name and "seed=1" in last.name and "/" not in last.name


def test_a_key_changes_with_all_that_counts(tmp_path, monkeypatch):
    scene = tmp_path / "s.yaml"
    scene.write_text("x: 1")
    job = suites.JobSpec("n", "insert", str(scene), 0, {"a": 1}, {})
    keys = {job.key, replace(job, seed=1).key, replace(job, settings={"a": 2}).key, replace(job, method="m").key}
    scene.write_text("x: 2")
    keys.add(job.key)
    monkeypatch.setattr(suites, "versions", lambda packages: {"torch": "0"})
    assert len(keys | {job.key}) == 6


@pytest.mark.parametrize("text, said", [
    ("method: insret", "Did you mean 'insert'"), ("method: os:system", "unknown"),
    ("method: benchmarks.a:b.c", "unknown"), ("methods: insert", "methods"),
    ("method: insert\nscenes: [none.yaml]", "none.yaml"), ("method: insert\nscenes: ['*.none']", "none"),
    ("method: insert\nseeds: []", "0 jobs"), ("method: insert\ngrid: {a: []}", "0 jobs"),
    ("method: insert\ngrid: {a: [1]}\nlimits: {minutes: 0}", "minutes"),
    ("method: insert\nseeds: [" + "1, " * 400 + "1]\ngrid: {a: [" + "1, " * 400 + "1]}", "160801 jobs")])
def test_bad_suites(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        load_suite(written(tmp_path, text))
