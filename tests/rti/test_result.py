"""A fitted network: the same pictures after saving, and what is refused."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dipir.errors import ConfigError, PriorError
from dipir.rti.result import load


def test_a_saved_network_relights_the_same(trained):
    fitted, out, _ = trained
    again = load(out)
    d = torch.tensor([-0.3, 0.5, 2.0])
    assert torch.equal(again.relight(d), fitted.relight(d))
    assert again.relight(d).shape == (1, 3, 24, 20) and again.config == fitted.config
    assert again.verdict["methods"]["ptm"]["psnr"] == pytest.approx(fitted.verdict["methods"]["ptm"]["psnr"])
    torch.testing.assert_close(again.relight(d), again.relight(3 * d), atol=1e-6, rtol=0)


def test_all_views_are_averaged(trained):
    fitted, _, _ = trained
    d = torch.tensor([0.5, 0.2, 0.8])
    eight = replace(fitted, config=replace(fitted.config, views=8)).relight(d)
    assert eight.shape == (1, 3, 24, 20) and 0 < float((eight - fitted.relight(d)).abs().max()) < 0.1


def test_bad_direction(trained):
    for bad in ([0.0, 0, 0], [math.nan, 0, 1], [1.0, 2.0]):
        with pytest.raises(ConfigError, match="direction"):
            trained[0].relight(torch.tensor(bad))


def test_damaged_folders(trained, tmp_path):
    _, out, _ = trained
    names = ("illuminet.safetensors", "features.safetensors")

    def restore():
        for name in names:
            (tmp_path / name).write_bytes((out / name).read_bytes())
    with pytest.raises(PriorError, match="no such folder"):
        load(tmp_path / "none")
    with pytest.raises(PriorError, match="illuminet.safetensors: no such file"):
        load(tmp_path)
    for name in names:
        restore()
        (tmp_path / name).write_bytes((out / name).read_bytes()[:-9])
        with pytest.raises(PriorError, match=f"{name}: damaged"):
            load(tmp_path)
    restore()
    assert not load(tmp_path).verdict
    tensors = load_file(tmp_path / names[1])
    tensors["photos"][0, 0, 0, 0] += 1
    save_file(tensors, tmp_path / names[1], {"architecture": "dipir illuminet 1"})
    with pytest.raises(PriorError, match="checksums"):
        load(tmp_path)
    save_file(tensors, tmp_path / names[1], {"architecture": "other"})
    with pytest.raises(PriorError, match="'other'"):
        load(tmp_path)
    assert np.isfinite(load(out).planes[0])
