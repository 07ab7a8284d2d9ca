"""Methods of the layout benchmark and their pictures, which are kept."""
from __future__ import annotations

import pytest
import torch

from benchmarks.layout import cases as layout_cases
from benchmarks.layout import run as layout_run
from dipir.errors import RenderError
from dipir.layout.method import layouts
from tests.support.layout_seen import FAST


def jobs_of(weights: str, out, names, count: int = 3) -> list[layout_run.Job]:
    return [layout_run.job_of(m, layout_run.config_of(m, FAST, weights), count, out, "hash", 2)
            for m in layout_run.methods(layout_run.PARTS) if m.name in names]


def test_methods_differ_where_they_should():
    listed = layout_run.methods(layout_run.PARTS, ["weak:guidance.strength=0.01,layers.edge=1"])
    assert len({m.name for m in listed}) == len(listed) and {m.part for m in listed} == set(layout_run.PARTS)
    configs = {m.name: layout_run.config_of(m) for m in listed}
    kinds = {n: (configs[n].guidance.kind, configs[n].guidance.delta) for n in layout_run.METHODS}
    assert len(set(kinds.values())) == 5 and kinds["dynamic"] == ("vision", "dynamic")
    assert configs["weak"].guidance.strength == 0.01 and configs["weak"].layers.edge == 1
    assert configs["constant t0 0.8"].layered_steps == 20
    assert configs["constant at_t0"].layers.composition == "at_t0"
    assert configs["constant strength 0"] == configs["dynamic strength 0"]
    assert configs["constant strength 0.2"] != configs["dynamic strength 0.2"]


def test_pictures_are_those_of_the_method_and_are_kept(scenes, weights, tmp_path, monkeypatch):
    cases = layout_cases.cases(3, scenes)
    jobs = jobs_of(weights, tmp_path, ("none", "dynamic"))
    layout_run.run(jobs, cases, chunk=2)
    images, seconds = layout_run.pictures(jobs[1], cases, 2)
    config = layout_run.config_of(jobs[1].method, FAST, weights)
    direct = [m.image for part in (cases[:2], cases[2:]) for m in layouts([c.request() for c in part], config)]
    assert (images - torch.cat(direct)).abs().max() <= 0.5 / 255 + 1e-6 and seconds > 0
    monkeypatch.setattr(layout_run, "make_chunk", lambda *_: pytest.fail("made again"))
    layout_run.run(jobs, cases, chunk=2)
    assert torch.equal(layout_run.pictures(jobs[1], cases, 2)[0], images)


def test_a_broken_run_goes_on(scenes, weights, tmp_path, monkeypatch):
    cases, real, made = layout_cases.cases(3, scenes), layout_run.make_chunk, []

    def fails_at_second(path, numbers, given):
        if made:
            raise RenderError("stopped")
        made.append(numbers)
        real(path, numbers, given)

    jobs = jobs_of(weights, tmp_path, ("none",))
    monkeypatch.setattr(layout_run, "make_chunk", fails_at_second)
    with pytest.raises(RenderError):
        layout_run.run(jobs, cases, chunk=2)
    monkeypatch.setattr(layout_run, "make_chunk", lambda *a: (made.append(a[1]), real(*a)))
    layout_run.run(jobs, cases, chunk=2)
    assert made == [range(0, 2), range(2, 3)]


def test_folders_are_shared_by_equal_settings_alone(scenes, weights, tmp_path):
    jobs = {j.method.name: j.folder for j in jobs_of(weights, tmp_path, (
        "dynamic", "dynamic at_t0", "constant strength 0", "dynamic strength 0", "constant"))}
    assert jobs["dynamic"] == jobs["dynamic at_t0"] != jobs["constant"]
    assert jobs["constant strength 0"] == jobs["dynamic strength 0"] != jobs["dynamic"]
    other = layout_run.job_of(layout_run.methods(["methods"])[0], layout_run.config_of(None, FAST, weights), 3,
                              tmp_path, "other weights", 2)
    assert other.folder not in jobs.values()
    few, many = layout_cases.cases(2, scenes), layout_cases.cases(4, scenes)
    job = jobs_of(weights, tmp_path, ("none",), 2)[0]
    assert layout_run.chunks(job, few, 2) == layout_run.chunks(job, many, 2)
    assert layout_run.chunks(job, few, 2) != layout_run.chunks(job, few[::-1], 2)
