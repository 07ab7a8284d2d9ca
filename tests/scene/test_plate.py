"""dipir.scene.plate: both colour states are right for display and linear files."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from dipir.errors import ImageError
from dipir.image.files import write_exr, write_png
from dipir.scene.plate import plate_from_tensor, read_plate


def test_a_display_file_is_kept_and_decoded(tmp_path):
    disp = (torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(1, 3, 2, 4) * 10).round() / 255
    write_png(tmp_path / "a.png", disp)
    plate = read_plate(tmp_path / "a.png")
    assert torch.equal(plate.disp, disp) and plate.size == (4, 2) and plate.path == tmp_path / "a.png"
    # The sRGB curve by its definition (IEC 61966-2-1).
    x = disp.numpy()
    expected = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    assert np.allclose(plate.lin.numpy(), expected, atol=1e-6)


def test_a_linear_file_keeps_its_highlights(tmp_path):
    lin = torch.tensor([0.0, 0.18, 1.0, 25.0]).reshape(1, 1, 1, 4).repeat(1, 3, 2, 1)
    write_exr(tmp_path / "a.exr", {c: lin[0, i].numpy() for i, c in enumerate("RGB")})
    plate = read_plate(tmp_path / "a.exr")
    assert torch.allclose(plate.lin, lin, rtol=1e-3)
    assert torch.allclose(plate.disp[0, 0, 0], torch.tensor([0.0, 0.4613561, 1.0, 1.0]), atol=1e-3)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match="no.png"):
        read_plate(tmp_path / "no.png")


@pytest.mark.parametrize("bad", [torch.zeros(3, 4, 4), torch.zeros(2, 3, 4, 4), torch.full((1, 3, 2, 2), 1.5),
                                 torch.full((1, 3, 2, 2), float("nan")), torch.zeros(1, 3, 0, 4)])
def test_plate_from_tensor_refuses_what_is_not_a_display_image(bad):
    with pytest.raises(ImageError):
        plate_from_tensor(bad)
