"""Measurements on a GPU."""
from __future__ import annotations

from benchmarks.speed import gpu as speed_gpu
from benchmarks.speed import job as speed_gpu_job


def test_every_figure_has_its_job():
    assert set(speed_gpu.JOBS) == set(speed_gpu_job.JOBS) >= {f.job for f in speed_gpu.FIGURES}
