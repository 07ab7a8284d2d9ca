"""The change of light at full size: strength mixes lights, what cannot be relit is kept, stops are counted."""
from __future__ import annotations

import pytest
import torch

from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.priors.geometry import Geometry, Guess
from dipir.priors.relit.relighting import lit
from dipir.relight import change
from dipir.relight.change import change_in_stops, factor_of, full_gain, mixed, protected
from dipir.scene.direction import LightDirection

GREY = torch.full((1, 3, 16, 16), 0.5)


def guess_of(gain: torch.Tensor) -> Guess:
    blank = Geometry.untrained().guess(GREY, LightDirection(0, 0).numbers[None])
    return Guess(torch.full((1, 3, *gain.shape[2:]), 0.5), gain, blank.seen, blank.towards)


@pytest.mark.parametrize("strength", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("stops", [-2.0, 0.0, 3.0])
def test_strength_mixes_the_old_light_with_the_new(strength, stops):
    gain = torch.full((1, 1, 4, 4), stops)
    light = srgb_to_linear(GREY[..., :4, :4])
    made = srgb_to_linear(lit(linear_to_srgb(light), mixed(gain, strength)))
    torch.testing.assert_close(made, (1 - strength) * light + strength * light * 2**stops, rtol=1e-4, atol=1e-6)


def test_the_gain_at_its_own_size_is_the_gain():
    gain = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    torch.testing.assert_close(full_gain(guess_of(gain), GREY), gain, atol=1e-5, rtol=0)


def test_the_gain_grows_with_the_picture_within_its_range():
    gain = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    made = full_gain(guess_of(gain), torch.full((1, 3, 100, 90), 0.5))
    assert made.shape == (1, 1, 100, 90) and -1 <= float(made.min()) < -0.9 and 0.9 < float(made.max()) <= 1
    assert float(made.diff(dim=2).min()) > -1e-4


def test_black_is_not_made_brighter_and_white_hardly_darker():
    codes = torch.tensor([0.0, 1.0, 4.0, 100.0, 255.0])[None, None, None].expand(1, 3, 1, 5) / 255
    up, down = protected(codes, torch.full((1, 1, 1, 5), 2.0)), protected(codes, torch.full((1, 1, 1, 5), -3.0))
    assert up[0, 0, 0, :2].tolist() == [0, 0] and 0 < float(up[..., 2]) < 2 and up[0, 0, 0, 3:].tolist() == [2, 2]
    assert down[0, 0, 0, :4].tolist() == [-3] * 4 and float(down[..., 4]) == pytest.approx(-1)


def test_one_factor_for_all_channels_has_the_light_s_mean():
    torch.manual_seed(0)
    image, gain = torch.rand(1, 3, 8, 8) * 0.5 + 0.05, torch.rand(1, 1, 8, 8) * 2 - 1
    factor = factor_of(image, gain)
    assert factor.shape == (1, 1, 8, 8)
    torch.testing.assert_close((image * factor).mean(1), lit(image, gain).mean(1))


def test_stops_are_counted_where_something_can_be_seen():
    light = torch.full((1, 3, 10, 10), 0.1)
    after = light.clone()
    after[..., :5, :] *= 4
    before, after = linear_to_srgb(light), linear_to_srgb(after)
    assert change_in_stops(before, after) == pytest.approx((0.0, 2.0), abs=1e-3)
    upper = torch.zeros(1, 1, 10, 10)
    upper[..., :5, :] = 1
    assert change_in_stops(before, after, upper) == pytest.approx((2.0, 2.0), abs=1e-3)
    before[..., :5, :] = 1.0
    assert change_in_stops(before, after) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert change_in_stops(torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)) == (0.0, 0.0)


def test_of_a_large_picture_a_part_says_as_much(monkeypatch):
    random = torch.Generator().manual_seed(0)
    before = torch.rand(1, 3, 120, 160, generator=random) * 0.4 + 0.2
    after = before * (0.8 + 0.6 * torch.linspace(0, 1, 160))
    weight = (torch.arange(160) > 40).float().expand(1, 1, 120, 160)
    whole = change_in_stops(before, after, weight)
    monkeypatch.setattr(change, "_ENOUGH", 120 * 160 / 9)
    part = change_in_stops(before, after, weight)
    assert part != whole and part == pytest.approx(whole, abs=0.05)
