from pathlib import Path

import numpy as np
import pytest
import torch

from dipir.errors import ImageError
from dipir.export.cube import CurveRole, write_cube
from dipir.image.tone import ToneCurve


def _curve(channels: int) -> ToneCurve:
    g = torch.Generator().manual_seed(channels)
    return ToneCurve(*(torch.randn(channels, n, generator=g) for n in (5, 5, 6)))


def _table(path: Path) -> np.ndarray:
    """(N, 3): the lines that are numbers."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return np.array([[float(word) for word in row] for row in rows if row[0][0].isdigit()])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("role", list(CurveRole))
def test_the_table_is_the_curve(tmp_path, channels, role):
    curve = _curve(channels)
    write_cube(tmp_path / "tone.cube", curve, role)
    table = _table(tmp_path / "tone.cube")
    assert table.shape == (1024, 3) and table[0].tolist() == [0, 0, 0] and table[-1].tolist() == [1, 1, 1]
    nodes = (torch.arange(1024.0).double() / 1023).expand(1, 3, 1, 1024)
    np.testing.assert_allclose(table, curve(nodes)[0, :, 0].T.numpy(), atol=1e-8)
    # Between its nodes a program interpolates.
    x = torch.rand(1, 3, 1, 500, dtype=torch.float64)
    wanted, x = curve(x)[0, :, 0].T.numpy(), x[0, :, 0].T.numpy()
    for c in range(3):
        np.testing.assert_allclose(np.interp(x[:, c], np.linspace(0, 1, 1024), table[:, c]), wanted[:, c], atol=1e-3)
    assert abs(wanted - x).max() > 0.05


def test_header_states_the_input(tmp_path):
    for role, words in ((CurveRole.FOREGROUND, "# Input: sRGB-encoded"), (CurveRole.SHADOW, "# Input: linear shadow")):
        write_cube(tmp_path / "a.cube", ToneCurve.identity(), role)
        lines = (tmp_path / "a.cube").read_text().splitlines()
        assert role.name.lower() in lines[0] and lines[1].startswith(words)
        assert "LUT_1D_SIZE 1024" in lines and "DOMAIN_MAX 1 1 1" in lines


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(ImageError, match="cannot write"):
        write_cube(tmp_path / "no" / "a.cube", ToneCurve.identity(), CurveRole.SHADOW)
