"""A trainer's few steps on the CPU and on the far device: the same losses and gradients, nearly the same weights."""
from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from dipir.workshop.trainer import Trained, folder
from tests.support.far import far_device


def same_on_another_device(train: Callable[[str], Trained]) -> None:
    """``train(name)`` begins the run ``name``, which logs every step, and returns what it ends with. Not bit for bit:
    attention and sums are computed in another order there, and Adam makes a step of full length out of a gradient that
    is only a rounding error."""
    here = train("here")
    with far_device():
        there = train("there")
    assert here.finished and there.finished and here.step == there.step > 0
    ours, theirs = (_logged(name) for name in ("here", "there"))
    assert len(ours) == len(theirs) > 2
    for near, far in ((1e-4, 0), (2e-2, -1)):
        for key in ("loss", "gradient"):
            assert theirs[far][key] == pytest.approx(ours[far][key], rel=near), (key, far)
    assert there.best_score == pytest.approx(here.best_score, rel=1e-2)
    assert all(value.device.type == "cpu" for value in there.best.values())
    far, near = (torch.cat([run.best[key].double().flatten() for key in here.best]) for run in (there, here))
    assert (far - near).norm() < 2e-3 * near.norm()


def _logged(name: str) -> list[dict[str, float]]:
    path = next(folder(name).parent.glob(f"{name}*/log.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if "loss" in row]
