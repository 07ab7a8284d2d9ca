"""Settings of a fit: limits, presets, overrides."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.image.metrics import LossWeights
from dipir.rti import features
from dipir.rti.config import IllumiNetTrainConfig, Split, load_config


@pytest.mark.parametrize("change, problem", [
    ({"steps": 0}, "steps is 0"), ({"rate": 0.0}, "rate is 0"), ({"held_out": 0.9}, r"in \[0, 0.5\]"),
    ({"views": 9}, "at most 8"), ({"channels": (0, 1, 1, 1)}, "channels"), ({"last": 2.0}, "last is 2"),
    ({"loss": LossWeights(0, 0, 0, 0)}, "weights"), ({"minutes": -1.0}, "minutes is -1")])
def test_bad_settings(change, problem):
    with pytest.raises(ConfigError, match=problem):
        IllumiNetTrainConfig(**change)


def test_files_and_words_in_order(tmp_path):
    (tmp_path / "a.yaml").write_text("steps: 7\nbatch: 3\n")
    config = load_config(tmp_path / "a.yaml", ["batch=5"])
    assert (config.steps, config.batch) == (7, 5)
    with pytest.raises(ConfigError, match="batches"):
        load_config(None, ["batches=5"])


def test_the_network_takes_the_planes():
    net = IllumiNetTrainConfig(embedding=5).network()
    assert (features.PLANES, features.NUMBERS, 5) == tuple(vars(net).values())[:2] + (net.embedding,)


def test_training_lights_are_those_that_make_planes():
    assert Split((4, 0), (2,), (1, 3)).training == (0, 2, 4)
