"""Files of weights: half precision, a checksum over all of it, and no other file is taken for one."""
from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from dipir.errors import PriorError
from dipir.priors.weights import read_network, read_weights, state_hash, write_weights

ARCHITECTURE, COMMAND = "dipir.test.1", "dipir prior train test"


@pytest.fixture
def file(tmp_path):
    state = {"weight": torch.linspace(-3, 3, 12).reshape(4, 3), "bias": torch.tensor([1e-3, 2.0, 3.0, 4.0])}
    path = tmp_path / "new" / "a.safetensors"
    digest = write_weights(path, state, ARCHITECTURE, json.dumps({"out": 4, "sizes": [1, 2]}), {"steps": "5"})
    return path, state, digest


def test_what_is_written_is_read_as_its_half_precision(file):
    path, state, digest = file
    read, meta = read_weights(path, ARCHITECTURE, COMMAND)
    assert meta["hash"] == digest == state_hash(state) and meta["steps"] == "5"
    for name, value in state.items():
        assert read[name].dtype == torch.float32 and torch.equal(read[name], value.half().float())
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_the_checksum_knows_values_names_and_shapes(file):
    state = file[1]
    other = {"weight": state["weight"].reshape(3, 4), "bias": state["bias"]}
    assert len({state_hash(s) for s in (state, other, {"w": state["weight"], "bias": state["bias"]},
                                        {**state, "bias": state["bias"] + 1})}) == 4
    assert state_hash(dict(reversed(state.items()))) == state_hash(state)


def test_a_network_is_built_from_its_configuration(file):
    seen = {}

    def build(settings):
        seen.update(settings)
        return nn.Linear(3, settings["out"])

    net, _ = read_network(file[0], ARCHITECTURE, COMMAND, build)
    assert seen == {"out": 4, "sizes": (1, 2)}
    assert torch.equal(net.weight.detach(), file[1]["weight"].half().float())
    with pytest.raises(PriorError, match="do not fit together"):
        read_network(file[0], ARCHITECTURE, COMMAND, lambda settings: nn.Linear(5, 5))


@pytest.mark.parametrize("damage, match", [
    (lambda path: path.unlink(), "no such file"), (lambda path: path.write_bytes(path.read_bytes()[:-8]), "complete"),
    (lambda path: path.write_bytes(path.read_bytes()[:-2] + b"xy"), "checksum"),
    (lambda path: path.write_text("not weights"), "complete")])
def test_damaged_files_are_named_with_the_command_that_remakes_them(file, damage, match):
    damage(file[0])
    with pytest.raises(PriorError, match=match) as problem:
        read_weights(file[0], ARCHITECTURE, COMMAND)
    assert COMMAND in str(problem.value)


def test_another_architecture_is_refused(file):
    with pytest.raises(PriorError, match="dipir.test.1.*expected 'dipir.test.2'"):
        read_weights(file[0], "dipir.test.2", COMMAND)


@pytest.mark.parametrize("config", [
    '{"width": 1000000000}', '{"width": 1e400}', '{"widths": [' + "1," * 100 + '1]}', "[]", "3", "{", "[" * 100000])
def test_settings_that_no_network_of_this_file_has(tmp_path, config):
    """Found before a network is made, which could take all of the memory."""
    write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, "net", config)

    def build(settings: dict) -> nn.Module:
        raise AssertionError("made")

    with pytest.raises(PriorError, match="do not fit together"):
        read_network(tmp_path / "w.safetensors", "net", "dipir prior train x", build)
