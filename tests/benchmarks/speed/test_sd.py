"""Clocks of Stable Diffusion's speed."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.speed import sd as speed_gpu_sd
from dipir.event import Event


def test_clock_tells_a_step_from_events(monkeypatch):
    now = SimpleNamespace(t=0.0)
    monkeypatch.setattr(speed_gpu_sd.time, "perf_counter", lambda: now.t)
    clock = speed_gpu_sd.Clock()
    for step in range(1, 11):
        now.t += 5.0 if step == 1 else 0.2
        clock(Event("fit", step, 10))
    assert clock.step_s("fit") == pytest.approx(0.2)
    with pytest.raises(ValueError, match="0 events"):
        clock.step_s("personalise")


@pytest.mark.parametrize("left, extrapolated", [(400.0, False), (100.0, True)])
def test_a_whole_run_is_made_when_there_is_time_for_it(monkeypatch, left, extrapolated):
    """3 s beside the steps, of which one of the fit takes 50 ms and one of the LoRA 40: 73 s in all."""
    from dipir.insert import method

    now = SimpleNamespace(t=0.0, runs=[])
    monkeypatch.setattr(speed_gpu_sd.time, "perf_counter", lambda: now.t)

    def insert(scene, config, prior, on_event):
        now.runs.append((config.personalise.steps, config.fit.steps))
        now.t += 3.0
        for stage, steps, seconds in (("personalise", config.personalise.steps, 0.04), ("fit", config.fit.steps, 0.05)):
            for step in range(1, steps + 1):
                now.t += seconds
                on_event(Event(stage, step, steps))
    monkeypatch.setattr(method, "insert", insert)
    found = speed_gpu_sd.whole_run(None, Path("sd"), (), 50, left)
    assert found["foretold_s"] == pytest.approx(73) and found["seconds"] == pytest.approx(73)
    assert found["extrapolated"] == extrapolated
    assert now.runs == [(50, 50)] + ([] if extrapolated else [(1000, 600)])


def test_stages_do_not_count_each_other(monkeypatch):
    import torch

    now = SimpleNamespace(t=0.0)
    monkeypatch.setattr(speed_gpu_sd.time, "perf_counter", lambda: now.t)
    stages = speed_gpu_sd.Stages(torch.device("cpu"))

    def work(seconds: float) -> float:
        now.t += seconds
        return seconds
    for name, seconds in (("encode", 1.0), ("U-Net", 2.0), ("encode", 0.5)):
        assert stages.wrapped(name, work)(seconds) == seconds
    assert stages.totals_ms() == {"encode": 1500.0, "U-Net": 2000.0, "render": 0.0, "backward": 0.0}
