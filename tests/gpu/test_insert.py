"""A whole ``dipir insert`` on a GPU against the CPU with the same seed: picture, light, what the result records.

Every run is a process of its own. Where the machine has no LLVM for the renderer, a committed picture stands in for the
CPU's run. ``DIPIR_REHEARSE=1``: as in test_render.py, the CPU in the place of the GPU.
"""
from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from dipir import device
from tests.support import insert_figures, render_figures

REHEARSAL = os.environ.get("DIPIR_REHEARSE") == "1"
pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not (torch.cuda.is_available() or REHEARSAL), reason="torch has no GPU here")]


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    if render_figures.llvm_is_there() and not REHEARSAL:
        return insert_figures.run(tmp_path_factory.mktemp("cpu"), "cpu")
    return insert_figures.load()


def direction(light: np.ndarray) -> np.ndarray:
    from dipir.scene.light import dominant_direction

    return dominant_direction(torch.from_numpy(light)).numpy()


def same_picture(got: insert_figures.Inserted, cpu: insert_figures.Inserted) -> None:
    """The noise of the final render and the rounding of twenty steps of the fit are all that may differ."""
    np.testing.assert_array_equal(got.plate, cpu.plate)
    both, either = got.changed & cpu.changed, got.changed | cpu.changed
    assert cpu.changed.mean() > 0.02 and both.sum() > 0.85 * either.sum()
    off = np.abs(got.composite - cpu.composite)
    assert np.sqrt(np.square(off[either]).mean()) < 0.04, "object and shadow: 4 % of white, root mean square"
    assert abs((got.composite - cpu.composite)[either].mean()) < 0.01, "no shift of brightness"
    assert off[~either].max() < 0.021, "elsewhere it is the plate"
    assert np.degrees(np.arccos(np.clip(direction(got.light) @ direction(cpu.light), -1, 1))) < 12
    assert got.light.mean() == pytest.approx(cpu.light.mean(), rel=0.05)
    assert np.abs(got.light - cpu.light).mean() < 0.15 * cpu.light.mean()


@pytest.mark.parametrize("asked, variant", [("cuda", None), ("cuda", device.LLVM), ("cuda:0", None)],
                         ids=["whole", "renderer-on-the-CPU", "first-GPU"])
def test_as_on_the_cpu(cpu, tmp_path, asked, variant):
    if variant == device.LLVM and not render_figures.llvm_is_there():
        pytest.skip("no LLVM 16 or newer on this machine")
    got = insert_figures.run(tmp_path, "cpu" if REHEARSAL else asked, variant)
    if not REHEARSAL:
        renderer = variant or (device.CUDA if device.why_not_optix() is None else device.LLVM)
        assert got.device == {"torch": torch.cuda.get_device_name(0), "renderer": renderer, "asked": asked}
    same_picture(got, cpu)
