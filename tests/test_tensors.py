"""dipir.tensors: files of tensors that are damaged, lie or hold other types."""
from __future__ import annotations

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from dipir.tensors import read_tensors

GOOD = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2, dtype=torch.int64)}, {"k": "v"})


def raw(header: object, body: bytes = b"\0" * 24) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(**change: object) -> dict:
    return {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **change}}


def test_round_trip(tmp_path):
    save_file({"a": torch.rand(3, 2).half()}, tmp_path / "a.safetensors", {"k": "v"})
    tensors, about = read_tensors(tmp_path / "a.safetensors")
    assert about == {"k": "v"} and tensors["a"].shape == (3, 2) and tensors["a"].dtype == torch.float16
    (tmp_path / "b").write_bytes(raw(entry()))
    assert read_tensors(tmp_path / "b")[0]["a"].sum() == 0


@pytest.mark.parametrize("data", [
    b"", b"\1", b"\xff" * 8, b"\xff" * 100, raw(b"{"), raw(b"[" * 100000), raw([]), raw({"a": 1}),
    raw(entry(dtype="F8_E8M0")),
    raw(entry(dtype="X9")), raw(entry(dtype=None)), raw(entry(dtype=["F32"])), raw(entry(dtype={})),
    raw(entry(shape=[2**40, 2**40])), raw(entry(shape=[-2, -3])),
    raw(entry(shape=[10**30])), raw(entry(data_offsets=[0, 10**18])), raw(entry(data_offsets=[24, 0])),
    raw(entry(), b""),
    raw({"__metadata__": {"k": 1}, **entry()}), raw({"__metadata__": 3, **entry()}),
    raw(b"\xff\xfe"), GOOD[:-1], GOOD[:40]])
def test_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ValueError) as error:
        read_tensors(tmp_path / "a")
    assert len(str(error.value)) < 400


def test_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "a")
    with pytest.raises(OSError):
        read_tensors(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=8))
def test_damage_is_a_value_error(tmp_path_factory, place, change):
    path = tmp_path_factory.getbasetemp() / "damaged_tensors.bin"
    path.write_bytes(GOOD[:place] + change + GOOD[place + len(change):])
    try:
        tensors, _ = read_tensors(path)
    except ValueError:
        return
    assert all(isinstance(t, torch.Tensor) for t in tensors.values())
