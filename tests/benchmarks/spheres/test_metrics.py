"""Tone and figures of the three spheres, by hand."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.spheres.metrics import METRICS, figures, protocol_map, tone_map
from dipir.errors import ImageError
from tests.support.spheres import smooth_map


def test_tone_by_hand():
    """Above zero: 1, 32 and 243; to the power 1/2.4 the middle one is 32^(1/2.4), which becomes 0.5; black stays."""
    values = torch.tensor([0.0, 1.0, 32.0, 243.0, 0.0, 0.0]).reshape(1, 2, 3)
    expected = [0.0, 0.5 / 32 ** (1 / 2.4), 0.5, 0.5 * (243 / 32) ** (1 / 2.4), 0.0, 0.0]
    torch.testing.assert_close(tone_map(values).flatten(), torch.tensor(expected))


def test_tone_puts_the_median_at_one_half_whatever_the_exposure_and_clips_nothing():
    envmap = smooth_map(16) ** 3
    envmap[2, 3] = 1e5
    envmap[4] = 0.0
    toned = tone_map(envmap)
    assert np.median(toned[toned > 0].double().numpy()) == pytest.approx(0.5, abs=1e-7)
    assert toned.max() > 10
    torch.testing.assert_close(tone_map(37 * envmap), toned)
    assert torch.equal(tone_map(torch.zeros(2, 4, 3)), torch.zeros(2, 4, 3))


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_tone_refuses_what_has_no_power(bad):
    envmap = torch.ones(2, 4, 3)
    envmap[0, 0, 0] = bad
    with pytest.raises(ImageError, match="negative, NaN or infinite"):
        tone_map(envmap)


@pytest.mark.parametrize("height", [16, 128, 256, 100])
def test_maps_of_any_size_become_128_x_256(height):
    assert torch.allclose(protocol_map(torch.full((height, 2 * height, 3), 7.0)), torch.full((128, 256, 3), 0.5))


def test_reduction_averages_light_before_it_is_toned():
    """Two rows of texels 0 and 2 x 3 become their mean 3: toned as the constant 3 is, hence 0.5 everywhere."""
    fine = torch.full((256, 512, 3), 0.0)
    fine[:, ::2] = 6.0
    torch.testing.assert_close(protocol_map(fine), torch.full((128, 256, 3), 0.5), atol=1e-5, rtol=0)


def frame(*pixels) -> torch.Tensor:
    """(1, 3, 2, 2) from four RGB pixels."""
    return torch.tensor(pixels, dtype=torch.float32).T.reshape(1, 3, 2, 2)


ALPHA = torch.tensor([1.0, 0.2, 0.0, 0.0]).reshape(1, 1, 2, 2)


BLACK = (0.0, 0.0, 0.0)


def test_figures_by_hand():
    """Two pixels of the sphere, one of them partly covered: it counts fully; the background does not, however wrong.

    RMSE: squares 1 + 4 + 4 and 0, over 2 pixels: sqrt(9 / 2).
    si-RMSE: sum gg = 9 + 4 = 13, sum pg = 0 + 4, sum pp = 0 + 4: sqrt((13 - 16 / 4) / 2).
    Angle: the black pixel is undefined and counts 0; the other agrees: 0.
    """
    predicted = frame(BLACK, (0.0, 2.0, 0.0), (50.0, 0.0, 0.0), BLACK)
    true = frame((1.0, 2.0, 2.0), (0.0, 2.0, 0.0), BLACK, BLACK)
    got = figures(predicted, true, ALPHA)
    assert got["rmse"] == pytest.approx(math.sqrt(9 / 2))
    assert got["si_rmse"] == pytest.approx(math.sqrt((13 - 4) / 2))
    assert got["angular_deg"] == 0.0


def test_colour_angle_by_hand():
    """(1, 0, 0) against (1, 1, 0): 45 degrees; against (0, 0, 3): 90; mean 67.5."""
    got = figures(frame((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), BLACK, BLACK),
                  frame((1.0, 1.0, 0.0), (0.0, 0.0, 3.0), BLACK, BLACK), ALPHA)
    assert got["angular_deg"] == pytest.approx(67.5)


def test_normalised_rmse_by_hand():
    """Of the 12 values of a frame, sorted, percentile 0.01 lies at place 0.0011 and 99.9 at 10.989: here on equal
    neighbours, hence exactly 0 (background included) and the largest value, 4 and 2. Then p = (1, 1, .5), (0, 0, 0),
    g = (1, .5, 1), (0, 0, 0) and the squares are .25 + .25 over 2 pixels."""
    got = figures(frame((4.0, 4.0, 2.0), BLACK, BLACK, BLACK), frame((2.0, 1.0, 2.0), BLACK, BLACK, BLACK), ALPHA)
    assert got["normalized_rmse"] == pytest.approx(math.sqrt(0.5 / 2))


def test_normalised_rmse_interpolates_the_percentiles():
    """0, ..., 0, 1: percentile 99.9 is 0.989, so that the only value becomes 1 / 0.989; against 1 / (0.989 / 2 + .5)
    for 0, ..., 0.5, 1 (0.5 + 0.989 / 2 = 0.9945)."""
    got = figures(frame((1.0, 0.0, 0.0), BLACK, BLACK, BLACK), frame((1.0, 0.5, 0.0), BLACK, BLACK, BLACK), ALPHA)
    expected = math.sqrt(((1 / 0.989 - 1 / 0.9945) ** 2 + (0.5 / 0.9945) ** 2) / 2)
    assert got["normalized_rmse"] == pytest.approx(expected)


def test_equal_renders_have_no_error_and_a_factor_shows_in_the_rmse_alone():
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(1))
    alpha = (image[:, :1] > 0.3).float()
    assert figures(image, image, alpha) == {m: 0.0 for m in METRICS}
    brighter = figures(5 * image, image, alpha)
    assert brighter["rmse"] > 1 and max(v for k, v in brighter.items() if k != "rmse") < 1e-4
