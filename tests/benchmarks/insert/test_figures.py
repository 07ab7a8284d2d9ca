"""Figures of one case of the insertion benchmark against values worked out by hand."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.insert import figures as f
from dipir.image.color import linear_to_srgb
from dipir.image.tone import ToneCurve
from dipir.render.renderer import GBuffers, Passes
from dipir.scene.plate import Plate

SIZE = 16


def sample(value: float = 0.4, shadow: float = 0.7) -> f.Shown:
    """An object of one radiance in the middle, shadowed ground in the lower part."""
    alpha = torch.zeros(1, 1, SIZE, SIZE)
    alpha[..., 4:10, 4:10] = 1
    factor = torch.ones(1, 3, SIZE, SIZE)
    factor[..., 12:, :] = shadow
    plate = 0.2 * factor
    lin = alpha * value + (1 - alpha) * plate
    return f.Shown(linear_to_srgb(lin.clamp(0, 1)), torch.full((1, 3, SIZE, SIZE), value), alpha, factor)


def lamp(column: int, row: int = 4) -> torch.Tensor:
    light = torch.full((16, 32, 3), 0.1)
    light[row, column] = 50.0
    return light


def test_the_truth_has_no_error():
    row = f.figures(sample(), sample(), lamp(3), lamp(3))
    assert row["ssim"] == pytest.approx(1) and row["direction_deg"] == pytest.approx(0, abs=1e-3)
    assert all(v == pytest.approx(0, abs=1e-6) for k, v in row.items() if k not in ("ssim", "direction_deg"))


def test_values_by_hand():
    """Twice as bright: RMSE = the level, si-RMSE 0, one stop. Shadow 0.5 for 0.7: 0.2. A quarter turn: azimuth 90."""
    want = sample(0.3, 0.7)
    row = f.figures(sample(0.6, 0.5), want, lamp(11), lamp(3))
    assert row["fg_rmse"] == pytest.approx(0.3, rel=1e-5) and row["fg_rmse_rel"] == pytest.approx(1, rel=1e-5)
    assert row["fg_si_rmse"] == pytest.approx(0, abs=1e-5) and row["exposure_log2"] == pytest.approx(1, rel=1e-5)
    assert row["shadow_rmse"] == pytest.approx(0.2, rel=1e-5)
    assert row["azimuth_deg"] == pytest.approx(90, abs=0.1)
    elevation = math.radians(90 - 4.5 / 16 * 180)
    angle = math.degrees(math.acos(math.sin(elevation) ** 2))  # cos = sin^2 + cos^2 cos(90).
    assert row["direction_deg"] == pytest.approx(angle, abs=0.1)
    # 36 pixels from 0.3 to 0.6 and 64 from 0.7 x 0.2 to 0.5 x 0.2, of 256, in display values.
    encoded = [float(linear_to_srgb(torch.tensor(v))) for v in (0.3, 0.6, 0.14, 0.1)]
    expected = math.sqrt((36 * (encoded[1] - encoded[0]) ** 2 + 64 * (encoded[2] - encoded[3]) ** 2) / 256)
    assert row["composite_rmse"] == pytest.approx(expected, rel=1e-4)


def test_what_is_not_defined_is_none():
    none = replace(sample(), alpha=torch.full((1, 1, SIZE, SIZE), 0.5), shadow=torch.ones(1, 3, SIZE, SIZE))
    row = f.figures(none, none, torch.ones(16, 32, 3), lamp(3))
    missing = {k for k, v in row.items() if v is None}
    assert missing == {"fg_rmse", "fg_si_rmse", "fg_rmse_rel", "fg_si_rmse_rel", "exposure_log2", "shadow_rmse",
                       "azimuth_deg"}
    assert row["direction_deg"] is not None  # A constant map counts as light from above.


def test_partly_covered_pixels_do_not_count():
    want, got = sample(0.3), sample(0.3)
    want.alpha[..., 4, 4:10] = 0.99
    wrong = got.object_lin.clone()
    wrong[..., 4, 4:10] = 9.0
    assert f.figures(replace(got, object_lin=wrong), want, lamp(3), lamp(3))["fg_rmse"] == pytest.approx(0, abs=1e-6)


def test_shown_is_the_composite_taken_apart():
    """Coverage is taken out of the object; both tone curves act."""
    alpha = torch.full((1, 1, 12, 12), 0.5)
    lit = torch.ones(1, 3, 12, 12)
    buffers = GBuffers(**{k: alpha for k in GBuffers.__dataclass_fields__})
    passes = Passes(0.5 * torch.full((1, 3, 12, 12), 0.25), lit, 0.6 * lit, buffers)
    plate = Plate(torch.full((1, 3, 12, 12), 0.5), torch.full((1, 3, 12, 12), 0.2))
    plain = f.shown(plate, passes)
    torch.testing.assert_close(plain.object_lin, torch.full((1, 3, 12, 12), 0.25), atol=1e-6, rtol=0)
    expected = linear_to_srgb(torch.tensor(0.5 * 0.25 + 0.5 * 0.6 * 0.2))
    torch.testing.assert_close(plain.disp, expected.expand(1, 3, 12, 12), atol=1e-5, rtol=0)
    bright = ToneCurve(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 3))
    toned = f.shown(plate, passes, (bright, bright))
    assert (toned.object_lin > plain.object_lin).all() and (toned.shadow > plain.shadow).all()
