"""The insertion prior: files, planes, an untrained one."""
from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.errors import PriorError
from dipir.insert import method
from dipir.insert.config import InsertConfig
from dipir.priors.insertion import InsertionPrior


def test_prior_files_are_checked(tmp_path):
    for content in (b"", b"not safetensors at all"):
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(content)
        with pytest.raises(PriorError, match="bad.safetensors"):
            method.find_prior(str(bad), InsertConfig())
    with pytest.raises(PriorError):
        method.find_prior("stabilityai/stable-diffusion-2-1", replace(InsertConfig()))


def test_embedded_prior_round_trips(tmp_path):
    prior = InsertionPrior.untrained()
    prior.save(tmp_path / "p.safetensors")
    again = InsertionPrior.load(tmp_path / "p.safetensors")
    x, planes = torch.randn(1, 3, 64, 64), torch.rand(1, 21, 64, 64)
    a, b = (p(x, torch.ones(1), Condition(planes=planes)) for p in (prior, again))
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
    data = (tmp_path / "p.safetensors").read_bytes()
    (tmp_path / "p.safetensors").write_bytes(data[:-100])
    with pytest.raises(PriorError):
        InsertionPrior.load(tmp_path / "p.safetensors")
