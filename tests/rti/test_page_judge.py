"""The figures of a fit on the held-out lights."""
from __future__ import annotations

from dipir.image.metrics import psnr
from dipir.rti.method import split_lights
from dipir.rti.page import judge
from tests.support.rti_captures import TINY, lights, photos


def test_means_are_those_of_the_held_out_lights(trained):
    fitted, _, _ = trained
    split, images = split_lights(lights(), TINY), photos(lights())
    verdict = judge(fitted, lights(), images, split)
    assert [row["light"] for row in verdict["held_out"]] == list(split.held_out)
    expected = [float(psnr(fitted.relight(lights()[i]), images[i][None])) for i in split.held_out]
    assert abs(verdict["methods"]["net"]["psnr"] - sum(expected) / len(expected)) < 1e-4
    assert judge(fitted, lights(), images, split_lights(lights(), type(TINY)(held_out=0)))["methods"] == {}
