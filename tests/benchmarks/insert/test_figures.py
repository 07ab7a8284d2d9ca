"""Figures of the insertion benchmark against values worked out by hand; means, bootstrap, ratios, tables."""
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.common import compact
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


# --------------------------------------------------------------------------------------------------------- statistics
ROWS = [{"m": {"fg_si_rmse": v, "direction_deg": d}, "ambient": {"fg_si_rmse": 2 * v}}
        for v, d in ((1.0, 10.0), (3.0, None), (5.0, 100.0), (7.0, 20.0))]
WHERE = ["a", "a", "b", "b"]


def test_means_medians_and_missing_values():
    s = f.summary(ROWS, WHERE, ["m", "ambient", "failed"])
    assert s["m"]["fg_si_rmse"]["mean"] == 4 and s["m"]["fg_si_rmse"]["n"] == 4
    assert s["m"]["direction_deg"]["median"] == 20 and s["m"]["direction_deg"]["n"] == 3
    assert s["m"]["direction_deg"]["mean"] == pytest.approx(130 / 3)
    assert "failed" not in s and "direction_deg" not in s["ambient"]


def test_draws_are_of_environments_and_cases_within():
    draws = f.resamples(["a", "b", "a", "c"], 400)
    counts = {tuple(sorted({"aba c".replace(" ", "")[i] for i in d})) for d in draws}
    assert len(counts) == 7  # Every non-empty set of environments occurs.
    assert all((np.isin(d, [0, 2]).sum() % 2) == 0 for d in draws)  # Environment a brings two cases each time.
    assert [list(d) for d in draws] == [list(d) for d in f.resamples(["a", "b", "a", "c"], 400)]


def test_intervals():
    """Cases that agree within their environment: the interval is that of the environments, from 2 to 6."""
    rows = [{"m": {"ssim": v}} for v in (2.0, 2.0, 6.0, 6.0)]
    got = f.summary(rows, WHERE, ["m"])["m"]["ssim"]
    assert (got["mean"], got["mean_low"], got["mean_high"]) == (4, 2, 6)
    alone = f.summary(rows[:1], WHERE[:1], ["m"])["m"]["ssim"]
    assert alone["mean_low"] == alone["mean"] == alone["mean_high"] == 2


def test_ratio_of_means_over_common_cases():
    rows = [dict(r) for r in ROWS]
    rows[3] = {"m": {"fg_si_rmse": 1000.0}}  # The baseline failed here.
    got = f.ratios(rows, WHERE, ["m", "ambient"])
    assert got["m"]["fg_si_rmse/ambient"]["ratio"] == pytest.approx(0.5) and got["m"]["fg_si_rmse/ambient"]["n"] == 3
    assert got["m"]["fg_si_rmse/ambient"]["ratio_low"] == pytest.approx(0.5)
    assert got["m"]["fg_si_rmse/ambient"]["typical"] == pytest.approx(0.5)
    assert got["ambient"]["fg_si_rmse/ambient"]["ratio"] == 1 and "fg_si_rmse/projected" not in got["m"]


def test_case_by_case_every_case_counts_alike():
    """Ratios 0.25 and 4: the geometric mean is 1, though the ratio of means follows the larger case."""
    rows = [{"m": {"fg_si_rmse": a}, "ambient": {"fg_si_rmse": b}} for a, b in ((1.0, 4.0), (400.0, 100.0))]
    got = f.ratios(rows, ["a", "b"], ["m"])["m"]["fg_si_rmse/ambient"]
    assert got["typical"] == pytest.approx(1) and got["ratio"] == pytest.approx(401 / 104)


def test_tables_name_what_is_missing():
    lit = {"environments": ["a"], "cases": 2, "summary": f.summary(ROWS[:2], WHERE[:2], ["m"])}
    result = {"command": "python -m benchmarks insert", "machine": "two cores", "environments": [{}, {}],
              "meshes": [{}], "settings": {"views": 2, "size": 64, "spp": 4}, "code_changed": True,
              "cases": [{"errors": {}}, {"errors": {"m": "x"}}], "summary": f.summary(ROWS, WHERE, ["m", "ambient"]),
              "ratios": f.ratios(ROWS, WHERE, ["m", "ambient"]), "single_light": lit}
    text = f.tables(result)
    assert "2 environments x 1 mesh x 2 views" in text and "1 row failed" in text and "code was changed" in text
    row = next(line for line in text.splitlines() if line.startswith("| m "))
    cells = [cell.strip() for cell in row.split(" | ")]
    assert cells[1].startswith("4 [") and cells[2].startswith("0.5 [") and "none" in row


def test_compact_json_is_json():
    import json

    data = {"a": 1.23456789, "b": [1, {"c": None, "d": "x\"y"}], "e": {}, "f": [[], [0.1, 2e-9]], "g": float("nan")}
    text = compact(data)
    assert json.loads(text) == {**data, "a": 1.2346, "g": None}
    assert '"c": null, "d"' in text
