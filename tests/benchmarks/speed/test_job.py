"""Measurements on a GPU."""
from __future__ import annotations

from pathlib import Path

from benchmarks.speed import gpu as speed_gpu
from benchmarks.speed import job as speed_gpu_job
from tests.support.light_sets import short_backbone


def test_every_figure_has_its_job():
    assert set(speed_gpu.JOBS) == set(speed_gpu_job.JOBS) >= {f.job for f in speed_gpu.FIGURES}


def test_training_is_measured_without_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
    with short_backbone():
        found = speed_gpu_job.training(tmp_path, 60.0, speed_gpu_job.Sizes(tiny=True))
    assert found["per_s"] > 0 and found["batch"] == 2 and list(tmp_path.iterdir()) == []
