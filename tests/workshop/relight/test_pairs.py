"""Pairs of light: composed again by hand, exposure, what is refused."""
from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.workshop.relight.data import RelitSet, decode
from dipir.workshop.relight.pairs import PairConfig, Pairs, draw, log_shading
from tests.support.relit_sets import DIRECTIONS, ball, balls

PLAIN = PairConfig(even=0, double=0)


def _draw(data: RelitSet, config: PairConfig, count: int = 1, seed: int = 0) -> Pairs:
    return draw(np.random.default_rng(seed), data, count, config)


def _wanted(data: RelitSet, pairs: Pairs, row: int = 0) -> tuple[int, int]:
    """(scene, number) of the light that a pair asks for; only lights of one set of directions."""
    return 0, int((data.light[0] == pairs.light[row]).all(1).nonzero()[0, 0])


# ---- composed by hand ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(4))
def test_target_is_the_truth_of_its_light(seed):
    """One light each, ambient of known strength: gain x (light + ambient) in display values, cut at white. The target
    is as bright as the input, unless more than its brightest fiftieth would burn out."""
    data, config = ball(covered=True), replace(PLAIN, ambient=(0.3, 0.3), fill=0.3, level=(0.8, 0.8))
    pairs = _draw(data, config, 1, seed)
    sky, lit = 0.3 * decode(data.sky[0]), decode(data.lit[0])
    scene, wanted = _wanted(data, pairs)
    def bright(x):
        return float(x.amax(0).flatten().quantile(0.98))
    fits = []
    for other in range(len(lit)):
        before, after = lit[other] + sky, lit[wanted] + sky
        gain = 0.8 / bright(before)
        again = min(gain * float(before.mean()) / float(after.mean()), 1.2 / bright(after))
        made = [linear_to_srgb(x.clamp(0, 1)) for x in (gain * before, again * after)]
        if torch.allclose(made[0], pairs.image[0], atol=1e-5):
            fits.append(other)
            torch.testing.assert_close(pairs.target[0], made[1], atol=1e-5, rtol=0)
    assert len(fits) == 1 and fits[0] != wanted


def test_even_inputs_are_the_ambient_light():
    data = ball(covered=True)
    pairs = _draw(data, replace(PLAIN, even=1.0, level=(0.5, 0.5)), 3)
    sky = decode(data.sky[0])
    for image in srgb_to_linear(pairs.image):
        ratio = image[sky > 0.05] / sky[sky > 0.05]
        assert float(ratio.max() / ratio.min()) < 1 + 1e-3


def test_inputs_under_two_lights_lie_between_them():
    data = ball(covered=True)
    config = replace(PLAIN, double=1.0, ambient=(1e-9, 1e-9), fill=1e-9, level=(0.5, 0.5))
    for seed in range(3):
        pairs = _draw(data, config, 1, seed)
        lit = decode(data.lit[0]).flatten(1)
        share = torch.linalg.lstsq(lit.T, srgb_to_linear(pairs.image).flatten()[:, None]).solution[:, 0]
        share = share / share.sum()
        used = share > 0.01
        assert int(used.sum()) == 2 and bool((share[used] > 0.29).all()) and share[~used].abs().max() < 1e-3
        assert not used[_wanted(data, pairs)[1]]


def test_shares_of_the_kinds():
    """Single lights leave half of a ball that is lit from one side black when there is no ambient light."""
    data = ball(lights=6)
    def dark(config):
        return float((_draw(data, config, 60).image[:, :, 14:18, 14:18].amin((1, 2, 3)) < 1e-3).float()
                                    .mean())
    config = replace(PLAIN, ambient=(1e-9, 1e-9), fill=1e-9)
    assert dark(replace(config, even=1.0)) == 0 and dark(config) > 0.1
    assert 0 < dark(replace(config, even=0.5)) < dark(config)


def test_background_is_the_same_before_and_after_and_only_where_nothing_covers():
    data = ball(lights=3)
    pairs = _draw(data, PLAIN, 20)
    outside = data.alpha[0, 0] == 0
    assert torch.equal(pairs.image[..., outside], pairs.target[..., outside])
    assert float(pairs.image[..., outside].amax((1, 2)).std()) > 0.1  # From black to white.
    inside = data.alpha[0, 0] == 255
    assert (pairs.image - pairs.target)[..., inside].abs().amax((1, 2)).min() > 0.05


# ---- exposure --------------------------------------------------------------------------------------------------------

def test_input_is_exposed_for_its_bright_pixels_and_the_target_like_the_input():
    data = ball(covered=True)
    dim = replace(data, lit=data.lit.clone())
    dim.lit[:, 1:] = dim.lit[:, 1:] // 4  # The first light is 28 times as bright: exposure takes that out.
    for source in (data, dim):
        pairs = _draw(source, replace(PLAIN, level=(0.4, 0.4), ambient=(0.3, 0.3)), 12)
        image, target = (srgb_to_linear(x) for x in (pairs.image, pairs.target))
        def bright(x):
            return x.amax(1).flatten(1).quantile(0.98, dim=1)
        torch.testing.assert_close(bright(image), torch.full((12,), 0.4), atol=2e-3, rtol=0)
        whole = target.amax((1, 2, 3)) < 0.999  # Nothing is cut off.
        torch.testing.assert_close(target.mean((1, 2, 3))[whole], image.mean((1, 2, 3))[whole], atol=1e-3, rtol=0)
        assert whole.sum() > 3


def test_a_target_is_not_burnt_out():
    """Light on a small part of the picture could be as bright as the input only by burning it out."""
    data = ball(lights=3, covered=True)
    spot = torch.zeros_like(data.lit)
    spot[..., 10:16, 10:16] = data.lit[..., 10:16, 10:16]
    config = replace(PLAIN, even=1.0, level=(1.0, 1.0), ambient=(1e-9, 1e-9), fill=1e-9)
    pairs = _draw(replace(data, lit=spot), config, 6)
    assert bool((pairs.target.mean((1, 2, 3)) < 0.5 * pairs.image.mean((1, 2, 3))).all())
    assert float((pairs.target.amin(1) > 0.999).float().mean((1, 2)).max()) < 0.03


def test_the_backdrop_behind_nothing_does_not_set_the_exposure():
    """The same ball, alone: what no light reaches is not scaled, the ball is."""
    data = ball()
    image = srgb_to_linear(_draw(data, replace(PLAIN, level=(0.5, 0.5), ambient=(0.5, 0.5)), 8).image)
    inside = (data.alpha[0, 0] == 255).expand_as(image[0])
    for picture in image:
        shown = torch.where(inside, picture, torch.zeros(())).amax(0).flatten().quantile(0.98)
        assert 0.2 < float(shown) <= 0.5 + 1e-3


# ---- all of it -------------------------------------------------------------------------------------------------------

def test_everything_follows_from_the_seed():
    data, config = balls(), PairConfig()
    a, b, c = (_draw(data, config, 6, seed) for seed in (1, 1, 2))
    for f in fields(Pairs):
        one, same, other = (getattr(pairs, f.name) for pairs in (a, b, c))
        assert len(one) == 6 and torch.equal(one, same) and not torch.equal(one, other)
        assert one.dtype == torch.float32 and bool(torch.isfinite(one).all())
    assert float(a.image.min()) >= 0 and float(a.image.max()) <= 1 and not a.image.requires_grad


def test_all_scenes_and_lights_are_met():
    data = balls()
    pairs = _draw(data, replace(PLAIN, ambient=(1e-9, 1e-9), fill=1e-9), 60)
    assert len({tuple(v) for v in pairs.light.tolist()}) == 5 and len(DIRECTIONS) == 6


def test_shading_is_the_light_over_the_albedo():
    """A ball shaded 0.8 + 0.4 of its normal's y, whatever its colour; relative to the mean; 0 beside it."""
    for colour in ((0.8, 0.5, 0.2), (0.3, 0.6, 0.7)):
        data = ball(colour)
        normal, made = data.normal[0] / 127, log_shading(3 * decode(data.sky), data.albedo / 255)[0, 0]
        inside = normal.norm(dim=0) > 0.9
        shading = 0.8 + 0.4 * normal[1]
        expected = (shading / shading[inside].mean()).log2() / 2
        assert float((made - expected)[inside].abs().max()) < 0.05
        assert not made[~inside].any()


def test_shading_is_bounded():
    """Four stops below the mean, three above."""
    linear = torch.tensor([0.0, 1, 1, 1, 1, 1, 1, 1, 1, 60]).expand(1, 3, 1, 10)
    made = log_shading(linear, torch.full((1, 3, 1, 10), 0.5)).flatten()
    assert float(made[0]) == -2 and float(made[-1]) == 1.5 and float(made[1:-1].min()) > -2


def test_a_smaller_set_shows_the_same():
    data = ball(size=32, covered=True)
    small = data.at(16)
    assert data.at(32) is data and small.lit.shape == (1, *data.lit.shape[1:3], 16, 16)
    for name in ("lit", "sky"):
        mean = torch.nn.functional.avg_pool2d(decode(getattr(data, name)).flatten(0, -4), 2)
        torch.testing.assert_close(decode(getattr(small, name)).flatten(0, -4), mean, atol=0.03, rtol=0.02)
    assert small.normal.dtype == torch.int8 and small.alpha.dtype == torch.uint8
    torch.testing.assert_close(small.normal.float(), torch.nn.functional.avg_pool2d(data.normal.float(), 2),
                               atol=0.51, rtol=0)


# ---- refused ---------------------------------------------------------------------------------------------------------

def test_scenes_of_two_lights_are_refused():
    with pytest.raises(ConfigError, match="accepted are at least 3"):
        _draw(ball(lights=2), PLAIN)
    _draw(ball(lights=3), PLAIN)
