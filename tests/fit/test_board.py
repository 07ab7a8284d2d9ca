"""TensorBoard: what is told is there to be read; a clear error without it."""
from __future__ import annotations

import sys

import pytest
import torch

from dipir.cli.progress import Progress
from dipir.errors import ConfigError
from dipir.fit.board import Board
from dipir.fit.loop import Event
from dipir.workshop.runner import reporter


def events(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.mark.parametrize("through", ["progress", "trainer"])
def test_scalars_are_there(through, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    told = [Event("fit", k, 3, None, {"loss": 1.0 / (k + 1)}) for k in range(3)]
    if through == "progress":
        with Progress(quiet=True, board=tmp_path) as progress:
            for event in told:
                progress(event)
    else:
        tell = reporter(tmp_path)
        for event in told:
            tell(event)
        tell.close()
        assert "fit 2/3 loss=0.3333" in capsys.readouterr().out
    assert events(tmp_path) == {"fit/loss": [(0, 1.0), (1, 0.5), (2, 0.3333)]}


def test_pictures_are_there(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board(tmp_path)
    board(Event("fit", 1, 1, None, {}, {"composite": torch.rand(1, 3, 8, 8)}))
    board.close()
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert read.Tags()["images"] == ["fit/composite"]


def test_without_tensorboard(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"dipir\[bench\]"):
        Board(tmp_path)
