"""The report of a fit: figures, charts, pictures."""
from __future__ import annotations

import torch

from dipir.image.metrics import psnr
from dipir.rti import bases
from dipir.rti.method import split_lights
from dipir.rti.page import candidates, judge, loss_chart
from tests.support.rti_captures import TINY, lights, photos


def test_loss_chart_draws_the_curve():
    chart = loss_chart([(i, 10.0 ** (-i / 50)) for i in range(1, 100)])
    assert chart.shape == (1, 3, 360, 640)
    blue = (chart[0, 2] > 0.6) & (chart[0, 0] < 0.5)
    columns = blue.nonzero()
    left, right = columns[columns[:, 1] < 150][:, 0], columns[columns[:, 1] > 550][:, 0]
    assert left.float().mean() < right.float().mean() - 100  # Falls: rows grow.
    assert loss_chart([]).shape == (1, 3, 360, 640)


def test_bases_are_fitted_to_the_training_photos_alone(trained):
    fitted, _, _ = trained
    wanted = torch.tensor([0.3, 0.2, 0.93])
    images = fitted.photos.float() / 255
    expected = bases.relight(bases.fit(fitted.directions, images, "ptm"), wanted[None])
    torch.testing.assert_close(candidates(fitted, wanted)["ptm"], expected, atol=1e-4, rtol=0)


def test_means_are_those_of_the_held_out_lights(trained):
    fitted, _, _ = trained
    split, images = split_lights(lights(), TINY), photos(lights())
    verdict = judge(fitted, lights(), images, split)
    assert [row["light"] for row in verdict["held_out"]] == list(split.held_out)
    expected = [float(psnr(fitted.relight(lights()[i]), images[i][None])) for i in split.held_out]
    assert abs(verdict["methods"]["net"]["psnr"] - sum(expected) / len(expected)) < 1e-4
    assert judge(fitted, lights(), images, split_lights(lights(), type(TINY)(held_out=0)))["methods"] == {}
