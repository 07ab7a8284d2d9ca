"""A recipe as a command: options reach the settings, weights and notes reach the file."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from dipir.workshop.runner import Recipe, initial, outcome
from dipir.workshop.trainer import TrainConfig, Trained


@dataclass(frozen=True)
class Inner:
    depth: int = 2


@dataclass(frozen=True)
class Settings:
    batch: int = 4
    scenes: int = 10
    inner: Inner = Inner()
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=5))


def _recipe(tmp_path: Path, seen: list) -> Recipe:
    def train(config, start, name, workers, on_event):
        seen.append((config, start, name, workers))
        weights = nn.Linear(1, 1).state_dict() | {"weight": torch.full((1, 1), 7.0)}
        return outcome(Trained(3, True, weights, 0.25), config.train)

    def write(net, path, notes):
        path.write_text(json.dumps({"weight": float(net.weight), **notes}))

    def read(path):
        return initial(lambda: nn.Linear(1, 1), len(path.name))

    return Recipe("thing", "scenes", Settings(), tmp_path / "shipped.json", build=lambda config: nn.Linear(1, 1),
                  read=read, write=write, train=train,
                  judge=lambda path, workers: {"a_rather_long_name": 1.0, "b": 2.0},
                  options={"scenes": ("--scenes", {}), "inner.depth": ("--deep", {"help": "how deep"})})


def test_options_reach_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    seen = []
    _recipe(tmp_path, seen).main(["--deep", "9", "--scenes", "3", "--batch", "1", "--minutes", "2", "--steps", "8",
                                  "--rate", "0.5", "--name", "x", "--workers", "4"])
    ((config, start, name, workers),) = seen
    assert (config.inner.depth, config.scenes, config.batch, start, name, workers) == (9, 3, 1, None, "x", 4)
    assert (config.train.minutes, config.train.steps, config.train.rate) == (2, 8, 0.5)
    assert capsys.readouterr().out == f"{tmp_path / 'shipped.json'}\n"


def test_weights_and_notes_reach_the_file(tmp_path: Path) -> None:
    seen = []
    path = _recipe(tmp_path, seen).run(1.5, out=tmp_path / "out.json", start=tmp_path / "start")
    written = json.loads(path.read_text())
    assert (written["weight"], written["steps"], written["score"]) == (7.0, "3", "0.2500")
    assert json.loads(written["training"])["minutes"] == 1.5 and seen[0][2] == "thing"
    assert isinstance(seen[0][1], nn.Linear)


def test_judging_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    seen = []
    _recipe(tmp_path, seen).main(["--evaluate"])
    assert capsys.readouterr().out == "a_rather_long_name  1.0000\nb                   2.0000\n" and not seen


def test_first_weights_are_those_of_the_seed_or_of_others() -> None:
    first, again, other = (initial(lambda: nn.Linear(3, 2), seed) for seed in (1, 1, 2))
    assert torch.equal(first.weight, again.weight) and not torch.equal(first.weight, other.weight)
    assert torch.equal(initial(lambda: nn.Linear(3, 2), 1, other).weight, other.weight)
