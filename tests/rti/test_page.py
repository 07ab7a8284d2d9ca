"""What a fit is worth: the loss curve, and pictures beside the bases'."""
from types import SimpleNamespace

import torch

from dipir.image.metrics import psnr
from dipir.rti import bases
from dipir.rti.method import split_lights
from dipir.rti.page import BASES, candidates, judge, loss_chart
from tests.support.rti_captures import TINY, lights, photos


def test_loss_chart_draws_the_curve():
    chart = loss_chart([(i, 10.0 ** (-i / 50)) for i in range(1, 100)])
    assert chart.shape == (1, 3, 360, 640)
    blue = (chart[0, 2] > 0.6) & (chart[0, 0] < 0.5)
    columns = blue.nonzero()
    left, right = columns[columns[:, 1] < 150][:, 0], columns[columns[:, 1] > 550][:, 0]
    assert left.float().mean() < right.float().mean() - 100  # Falls: rows grow.
    assert loss_chart([]).shape == (1, 3, 360, 640)


def test_the_bases_pictures_are_those_of_their_fits():
    """Without the detour over coefficients the pictures are the same."""
    directions = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    directions[:, 2] = directions[:, 2].abs()
    photos = torch.randint(0, 256, (20, 3, 4, 5), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    fitted = SimpleNamespace(photos=photos, directions=directions, relight=lambda d: torch.zeros(1, 3, 4, 5))
    light = torch.tensor([0.3, -0.2, 0.93])
    got = candidates(fitted, light)
    for basis in BASES:
        coefficients = torch.linalg.lstsq(bases.design(directions, basis), photos.flatten(1).to(bases.design(
            directions, basis).dtype) / 255).solution
        want = (bases.design(light[None], basis) @ coefficients).view(1, 3, 4, 5).clamp(0, 1).float()
        torch.testing.assert_close(got[basis], want, atol=1e-3, rtol=0)


def test_means_are_those_of_the_held_out_lights(trained):
    fitted, _, _ = trained
    split, images = split_lights(lights(), TINY), photos(lights())
    verdict = judge(fitted, lights(), images, split)
    assert [row["light"] for row in verdict["held_out"]] == list(split.held_out)
    expected = [float(psnr(fitted.relight(lights()[i]), images[i][None])) for i in split.held_out]
    assert abs(verdict["methods"]["net"]["psnr"] - sum(expected) / len(expected)) < 1e-4
    assert judge(fitted, lights(), images, split_lights(lights(), type(TINY)(held_out=0)))["methods"] == {}
