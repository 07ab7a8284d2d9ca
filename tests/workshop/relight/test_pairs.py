"""Pairs of light: composed again by hand, symmetries, exposure, what is refused."""
from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from dipir.errors import ConfigError
from dipir.image.color import linear_to_srgb, srgb_to_linear
from dipir.workshop.relight.data import RelitSet, decode
from dipir.workshop.relight.pairs import PairConfig, Pairs, draw
from tests.support.relit_sets import DIRECTIONS, ball, balls

PLAIN = PairConfig(size=32, even=0, double=0, augment=False)


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
    assert torch.equal(pairs.subject, data.subject.float() / 255)


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


# ---- augmentation and sizes ------------------------------------------------------------------------------------------

def test_mirrored_pairs_have_mirrored_lights():
    """Each pair is as drawn or its mirror image: the side that is bright and the light's x go together."""
    data = ball(lights=3, albedo=(0.5, 0.5, 0.5))
    pairs = _draw(data, PairConfig(size=32, even=0, double=0, ambient=(0.06, 0.07), fill=0.06), 40)
    xs = {round(float(v), 3) for v in pairs.light[:, 0]}
    assert {round(float(-v), 3) for v in data.light[0, :, 0]} & xs != set() and any(v > 0.9 for v in xs)
    lights = {tuple(v) for v in data.light[0, :, 1:].mul(1e3).round().tolist()}
    assert {tuple(v) for v in pairs.light[:, 1:].mul(1e3).round().tolist()} <= lights
    for target, light, normal in zip(pairs.target, pairs.light, pairs.surface[:, :3], strict=True):
        cosine = torch.einsum("chw,c->hw", normal, light[:3]).clamp_min(0)
        assert float(torch.corrcoef(torch.stack([srgb_to_linear(target).mean(0), cosine]).flatten(1)
                                    [:, normal.norm(dim=0).flatten() > 0.5])[0, 1]) > 0.9
        left, right = target[:, 12:20, 6:12].mean(), target[:, 12:20, 20:26].mean()
        if abs(float(light[0])) > 0.5:
            assert (right > left) == (light[0] > 0)


def test_exchanged_channels_are_exchanged_in_both():
    """Before a wall everything shown is albedo times light: the order of the channels is that of the albedo."""
    data = ball((0.9, 0.5, 0.1), covered=True)
    pairs = _draw(data, PairConfig(size=32, even=0, double=0, level=(0.5, 0.5)), 20)
    def middle(x):
        return srgb_to_linear(x)[:, :, 8:24, 8:24].mean((2, 3)).argsort(1).tolist()
    orders = middle(pairs.image)
    assert orders == middle(pairs.target) and len({tuple(o) for o in orders}) == 6


def test_half_size_is_the_mean_of_linear_light():
    data = ball(size=32, covered=True)
    config = replace(PLAIN, level=(0.3, 0.3), even=1.0)  # Dark enough that nothing is cut off.
    small, full = (_draw(data, replace(config, size=size)) for size in (16, 32))
    assert small.image.shape == (1, 3, 16, 16) and torch.equal(small.light, full.light)
    for name in ("image", "target"):
        low, high = (srgb_to_linear(getattr(pairs, name)) for pairs in (small, full))
        mean = torch.nn.functional.avg_pool2d(high, 2)
        # The gain follows the brightest pixels, which the mean makes a little darker.
        ratio = low[mean > 0.02] / mean[mean > 0.02]
        if bool((high < 0.999).all()):
            assert float(ratio.max() / ratio.min()) < 1.01 and 0.9 < float(ratio.mean()) < 1.2
    torch.testing.assert_close(small.subject, torch.nn.functional.avg_pool2d(full.subject, 2))
    torch.testing.assert_close(small.surface[:, :3], torch.nn.functional.avg_pool2d(full.surface[:, :3], 2))
    torch.testing.assert_close(full.surface[:, :3], data.normal / 127)


def test_everything_follows_from_the_seed():
    data, config = balls(), PairConfig(size=32)
    a, b, c = (_draw(data, config, 6, seed) for seed in (1, 1, 2))
    assert len(a) == 6
    with torch.autocast("cpu", torch.bfloat16):
        d = _draw(data, config, 6, 1)
    for f in fields(Pairs):
        one, same, other, cast = (getattr(pairs, f.name) for pairs in (a, b, c, d))
        assert torch.equal(one, same) and torch.equal(one, cast)
        assert f.name == "subject" or not torch.equal(one, other)
        assert one.dtype == torch.float32 and bool(torch.isfinite(one).all())
    assert float(a.image.min()) >= 0 and float(a.image.max()) <= 1 and not a.image.requires_grad


def test_all_scenes_and_lights_are_met():
    data = balls()
    pairs = _draw(data, replace(PLAIN, ambient=(1e-9, 1e-9), fill=1e-9), 60)
    assert len({tuple(v) for v in pairs.light.tolist()}) == 5 and len(DIRECTIONS) == 6


def test_shading_of_the_surface_is_the_light_of_the_input():
    """In ambient light the ball of the tests is shaded 0.8 + 0.4 of its normal's y, whatever its colour."""
    for colour in ((0.8, 0.5, 0.2), (0.3, 0.6, 0.7)):
        pairs = _draw(ball(colour), replace(PLAIN, even=1.0))
        normal, made = pairs.surface[0, :3], pairs.surface[0, 3]
        inside = normal.norm(dim=0) > 0.9
        shading = 0.8 + 0.4 * normal[1]
        expected = (shading / shading[inside].mean()).log2() / 2
        assert float((made - expected)[inside].abs().max()) < 0.05
        assert not made[~inside].any()


def test_shading_is_bounded_where_it_is_dark():
    made = _draw(balls(), replace(PLAIN, ambient=(1e-9, 1e-9), fill=1e-9), 12).surface[:, 3]
    assert float(made.min()) == -2 and float(made.max()) <= 1.5


# ---- several lights for one input ------------------------------------------------------------------------------------

def test_pairs_of_one_input_follow_each_other():
    data = balls()
    pairs = _draw(data, PairConfig(size=32, targets=3), 12)
    assert len(pairs) == 12
    for name in ("image", "subject", "surface"):
        rows = getattr(pairs, name).unflatten(0, (4, 3))
        assert torch.equal(rows, rows[:, :1].expand_as(rows))
    lights = pairs.light.unflatten(0, (4, 3))
    assert all(len({tuple(v) for v in row.tolist()}) == 3 for row in lights)
    assert (pairs.target[0] - pairs.target[1]).abs().max() > 0.02
    part = pairs[::3]
    assert len(part) == 4 and torch.equal(part.image[1], pairs.image[3])


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

@pytest.mark.parametrize("lights, size, each", [(2, 32, 1), (5, 24, 1), (5, 64, 1), (5, 0, 1), (5, 32, 4), (5, 32, 0),
                                                (5, 32, 2)])
def test_sizes_and_lights_that_do_not_fit(lights, size, each):
    with pytest.raises(ConfigError, match="lights, sizes that divide the stored one"):
        _draw(ball(lights=lights), replace(PLAIN, size=size, targets=each))
