import numpy as np
import pytest
import torch

from dipir.errors import ImageError
from dipir.export.cube import CurveRole, read_cube, write_cube
from dipir.image.tone import ToneCurve


def _curve(channels: int) -> ToneCurve:
    g = torch.Generator().manual_seed(channels)
    return ToneCurve(*(torch.randn(channels, n, generator=g) for n in (5, 5, 6)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("role", list(CurveRole))
def test_the_table_is_the_curve(tmp_path, channels, role):
    curve = _curve(channels)
    write_cube(tmp_path / "tone.cube", curve, role)
    cube = read_cube(tmp_path / "tone.cube")
    assert cube.table.shape == (1024, 3) and role.name.lower() in cube.title
    assert cube.table[0].tolist() == [0, 0, 0] and cube.table[-1].tolist() == [1, 1, 1]
    x = torch.rand(1, 3, 1, 500, dtype=torch.float64)
    wanted = curve(x)[0, :, 0].T
    np.testing.assert_allclose(cube(x[0, :, 0].T.numpy()), wanted.numpy(), atol=1e-3)
    nodes = (torch.arange(1024.0).double() / 1023).expand(1, 3, 1, 1024)
    np.testing.assert_allclose(cube.table, curve(nodes)[0, :, 0].T.numpy(), atol=1e-8)
    assert abs(wanted - x[0, :, 0].T).max() > 0.05


def test_header_states_the_input(tmp_path):
    for role, words in ((CurveRole.FOREGROUND, "# Input: sRGB-encoded"), (CurveRole.SHADOW, "# Input: linear shadow")):
        write_cube(tmp_path / "a.cube", ToneCurve.identity(), role)
        lines = (tmp_path / "a.cube").read_text().splitlines()
        assert lines[1].startswith(words) and "LUT_1D_SIZE 1024" in lines and "DOMAIN_MAX 1 1 1" in lines


def test_domain_and_foreign_layout(tmp_path):
    (tmp_path / "a.cube").write_text("# x\n\nLUT_1D_SIZE 2\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 2 4 1\n0 0 1\n1 1 0\n")
    assert read_cube(tmp_path / "a.cube")(np.array([1.0, 1.0, 0.25])).tolist() == [0.5, 0.25, 0.75]


@pytest.mark.parametrize("text", ["", "LUT_3D_SIZE 2\n" + "0 0 0\n" * 8,
                                  "LUT_1D_SIZE 3\n0 0 0\n1 1 1\n", "0 0 0\n1 1 1\n",
                                  "LUT_1D_SIZE 2\n0 0\n1 1 1\n",
                                  "LUT_1D_SIZE 2\n0 0 nan\n1 1 1\n",
                                  "LUT_1D_SIZE x\n",
                                  "LUT_1D_SIZE 2\nDOMAIN_MIN 1 1 1\n0 0 0\n1 1 1\n",
                                  "LUT_1D_SIZE 2\n0 0 -\n1 1 1\n"])
def test_bad_files(tmp_path, text):
    (tmp_path / "a.cube").write_text(text)
    with pytest.raises(ImageError, match="a.cube"):
        read_cube(tmp_path / "a.cube")


def test_missing_and_binary(tmp_path):
    (tmp_path / "b.cube").write_bytes(bytes(range(256)))
    for name in ("b.cube", "c.cube", "."):
        with pytest.raises(ImageError, match="cannot be read"):
            read_cube(tmp_path / name)
    with pytest.raises(ImageError, match="cannot write"):
        write_cube(tmp_path / "no" / "a.cube", ToneCurve.identity(), CurveRole.SHADOW)
