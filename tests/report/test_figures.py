"""Pictures and curves of a report: charts, light probes, data URIs."""
import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from dipir.report import figures as report_figures
from dipir.scene.light import SphericalGaussians


def test_chart_leaves_out_what_is_not_finite_and_survives_constants():
    nan = float("nan")
    chart = report_figures.line_chart({"a": [(0, 1.0), (1, nan), (2, 3.0)]}, "a")
    assert len(chart.lines[0][2]) == 2
    assert report_figures.line_chart({"a": [(0, 0.0), (1, 0.0)]}, "flat").lines
    assert report_figures.line_chart({"a": [(0, nan)]}, "none") is None


def test_points_lie_where_the_grid_says():
    """What stands on a grid line's value is drawn on the line."""
    chart = report_figures.line_chart({"a": [(0, 10.0), (4, 30.0), (10, 20.0)]}, "a")
    across, up = ({float(line[-1]): line[0] for line in lines} for lines in (chart.across, chart.up))
    for (x, y), point in zip([(0, 10.0), (4, 30.0), (10, 20.0)], chart.lines[0][2], strict=True):
        assert point == pytest.approx((across[x], up[y]))


def test_the_diagonal_is_the_identity():
    chart = report_figures.line_chart({"a": [(0.0, 0.0), (1.0, 1.0)]}, "a", unit_square=True)
    assert [v for point in chart.lines[0][2] for v in point] == pytest.approx(chart.diagonal)


def test_balls_are_lit_from_the_side_of_the_light():
    """A light on the picture's right (world -X) makes the right half bright on both balls."""
    light = SphericalGaussians.of(torch.tensor([[-1.0, 0.3, -0.6]]), torch.ones(1, 3), torch.tensor([0.3]))
    envmap = light.envmap(64, 128)
    for ball in report_figures.light_balls(envmap, 60):
        assert ball[..., 30:].mean() > ball[..., :30].mean() + 0.05


def test_show_light_keeps_order_and_range():
    ramp = torch.linspace(0, 50, 128)[None, :, None].expand(64, 128, 3)
    shown = report_figures.show_light(ramp)
    assert shown.min() >= 0 and shown.max() <= 1 and (shown[0, 0, 0].diff() > 0).all()


def test_a_data_uri_holds_the_picture():
    picture = (torch.rand(1, 3, 7, 9) * 255).round() / 255
    head, data = report_figures.data_uri(picture, lossless=True).split(",")
    pixels = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(data))))
    assert head == "data:image/png;base64"
    assert np.array_equal(pixels, (picture[0] * 255).round().permute(1, 2, 0).numpy())


def test_depths_and_ids_by_hand():
    alpha = torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 1, 1, 4)
    depth = torch.tensor([2.0, 3.0, 4.0, 9.0]).view(1, 1, 1, 4)
    torch.testing.assert_close(report_figures.show_depth(depth, alpha).flatten(), torch.tensor([1.0, 0.6, 0.2, 0.0]))
    shown = report_figures.show_ids(torch.tensor([0, 1, 9]).view(1, 1, 1, 3))
    assert not shown[..., 0].any() and torch.equal(shown[..., 1], shown[..., 2])
    assert shown[0, :, 0, 1].tolist() == pytest.approx([0xe8 / 255, 0xa3 / 255, 0x3d / 255])
