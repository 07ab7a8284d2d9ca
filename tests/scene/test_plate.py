"""dipir.scene.plate: both colour states are right for display and linear files."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.errors import ImageError
from dipir.event import warnings_in
from dipir.image.files import write_exr, write_png
from dipir.image.formats.ocio import BUILT_IN
from dipir.scene.plate import PlateColours, PlateKind, plate_from_tensor, read_plate
from tests.support.icc import P3_COLORANTS, curve, rgb_profile
from tests.support.ocio import write_config


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


def test_the_kind_of_file_is_kept(tmp_path):
    flat = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "a.png", flat)
    write_png(tmp_path / "b.png", flat, 16)
    write_exr(tmp_path / "c.exr", {c: flat[0, i].half().numpy() for i, c in enumerate("RGB")})
    kinds = [read_plate(tmp_path / name).kind for name in ("a.png", "b.png", "c.exr")]
    assert kinds == [PlateKind(8, False), PlateKind(16, False), PlateKind(16, True)]
    assert read_plate(tmp_path / "b.png").resized(2, 2).kind == PlateKind(16, False)


def _wide(width: int, height: int, turns: bool) -> torch.Tensor:
    """Smooth clouds; ``turns``: they go on from one side to the other."""
    x = torch.arange(width) / width * (1 if turns else 0.63)
    y = torch.linspace(0, 1, height)[:, None]
    values = [0.5 + 0.2 * torch.sin(2 * torch.pi * (k * x + y)) + 0.1 * torch.cos(2 * torch.pi * 5 * x + k)
              for k in (1, 2, 3)]
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1)) * 0.02
    return (torch.stack(values) + noise)[None].clamp(0, 1)


@pytest.mark.parametrize("size, turns, noticed", [((128, 64), True, True), ((128, 64), False, False),
                                                  ((128, 72), True, False)])
def test_a_panorama_is_noticed(tmp_path, size, turns, noticed):
    write_png(tmp_path / "a.png", _wide(*size, turns))
    notes = read_plate(tmp_path / "a.png").notes
    assert any("panorama" in note and "--light" in note for note in notes) == noticed


def test_one_even_colour_is_no_panorama(tmp_path):
    write_png(tmp_path / "a.png", torch.full((1, 3, 32, 64), 0.4))
    assert not read_plate(tmp_path / "a.png").notes


def test_remarks_about_wide_colours(tmp_path):
    """A warning only where they are lost: a plate keeps them, a picture that is edited on the screen does not."""
    icc = rgb_profile(P3_COLORANTS, "Wide", curve())
    Pillow.fromarray(np.full((4, 5, 3), (0, 255, 0), np.uint8)).save(tmp_path / "a.png", icc_profile=icc)
    assert warnings_in(read_plate(tmp_path / "a.png").notes) == []
    assert "pictures keep them" in read_plate(tmp_path / "a.png").notes[0]
    assert len(warnings_in(read_plate(tmp_path / "a.png", shown=True).notes)) == 1
    lost = PlateColours(output_colourspace="sRGB - Texture", ocio=BUILT_IN)
    assert len(warnings_in(read_plate(tmp_path / "a.png", lost).notes)) == 1


def test_light_that_is_lost_is_a_warning(tmp_path):
    write_exr(tmp_path / "a.exr", {c: np.full((4, 5), 2.0, np.float32) for c in "RGB"})
    assert read_plate(tmp_path / "a.exr").notes == ()
    assert "above 1" in warnings_in(read_plate(tmp_path / "a.exr", shown=True).notes)[0]


def test_a_space_without_a_way_back_is_said(tmp_path):
    more = "  - !<ColorSpace>\n    name: once\n    to_scene_reference: !<MatrixTransform> {matrix: [" + ", ".join(
        ["1, 1, 1, 0"] * 3 + ["0, 0, 0, 1"]) + "]}\n"
    write_exr(tmp_path / "a.exr", {c: np.full((4, 5), 0.1, np.float32) for c in "RGB"})
    plate = read_plate(tmp_path / "a.exr", PlateColours("once", ocio=str(write_config(tmp_path, more=more))))
    assert any("no way back" in note for note in warnings_in(plate.notes))
    assert all(plate.kind.space_of(kind) is None for kind in ("display", "linear", "log"))
