"""The layered process on Gaussian priors, whose steps are linear: identities, and shifts as predicted by hand."""
from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from dipir.diffusion.denoiser import Condition
from dipir.diffusion.sampler import ddim, ddim_inversion, euler, heun
from dipir.diffusion.schedule import karras
from dipir.diffusion.toy import GaussianDenoiser
from dipir.layout import attention_guidance as regions
from dipir.layout.layers import Bootstrap, GivenPath, LayerPlan, PromptedPrior, sample_layers
from dipir.layout.regions import box_mask

STD, SIZE = 0.4, 6
LEFT, RIGHT, ALL = (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0, 0, 1, 1)
SAMPLERS = [euler, heun, ddim, partial(ddim, eta=0.0)]
SIGMAS = karras(12, 0.02, 40.0).double()
TOY = GaussianDenoiser(torch.zeros(3, SIZE, SIZE, dtype=torch.float64), STD)


def means(*values):
    """A caption for each row: the mean of the Gaussian."""
    return Condition(planes=torch.tensor(values, dtype=torch.float64)[:, None, None, None].expand(-1, 3, SIZE, SIZE))


def start(pictures=1, seed=0):
    noise = torch.randn(pictures, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return noise * SIGMAS[0]


def mask(*boxes):
    return torch.cat([box_mask(box, SIZE, SIZE) for box in boxes]).double()


def plan(*boxes, delta=0.0, weights=regions.weights_over, **settings):
    """Background and one layer for each box; the first has no shift."""
    seen = weights(mask(*boxes))
    xi = regions.shift(mask(*boxes), torch.full((len(boxes), 3), delta, dtype=torch.float64))
    xi = torch.cat([torch.zeros_like(xi[:1]), xi])
    return LayerPlan(torch.zeros(len(seen), dtype=torch.long), seen, xi, **settings)


def run(layer_plan, layers, whole=(0.0,), sampler=euler, x=None, **more):
    x = start() if x is None else x
    layers, whole = (PromptedPrior(TOY, means(*values)) for values in (layers, whole))
    return sample_layers(layers, whole, x, SIGMAS, layer_plan, sampler, **more)


def shrink(first=0, last=None, std=STD):
    """What becomes of an offset from the mean between two levels, in Euler steps: each multiplies it by
    1 + (sigma' - sigma) / sigma (1 - gain) with the gain std^2 / (std^2 + sigma^2) of the posterior mean."""
    levels = [float(s) for s in SIGMAS][first:last]
    return math.prod(1 + (after - now) * now / (std**2 + now**2) for now, after in pairwise(levels))


# ----------------------------------------------------------------------------------------------------------- identities
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_layered_steps_is_the_sampler_bit_for_bit(sampler):
    got, estimates = run(plan(LEFT, delta=0.5, steps=0, shifted=12), (0.0, 1.0), (0.3,), sampler)
    assert torch.equal(got, sampler(TOY, start(), SIGMAS, means(0.3))) and len(estimates) == 0


@pytest.mark.parametrize("each_step", [True, False])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_full_region_without_delta_is_its_captions_sampling(sampler, each_step):
    got, _ = run(plan(ALL, steps=12, shifted=12, each_step=each_step), (-0.5, 0.7), (0.7,), sampler)
    assert torch.equal(got, sampler(TOY, start(), SIGMAS, means(0.7)))
    got, _ = run(plan(ALL, steps=5, shifted=5, each_step=each_step), (-0.5, 0.7), (0.7,), sampler)
    assert torch.equal(got, sampler(TOY, start(), SIGMAS, means(0.7)))


@pytest.mark.parametrize("each_step", [True, False])
def test_same_caption_everywhere_without_delta_is_plain_sampling(each_step):
    got, _ = run(plan(LEFT, (0.2, 0.2, 0.7, 0.9), steps=7, shifted=7, each_step=each_step), (0.3,) * 3, (0.3,))
    assert torch.allclose(got, euler(TOY, start(), SIGMAS, means(0.3)), rtol=0, atol=1e-12)


def test_zero_delta_is_no_shift():
    one = plan(LEFT, delta=0.0, steps=6, shifted=6)
    none = LayerPlan(one.owner, one.weights, None, 6, 0)
    assert torch.equal(run(one, (0.0, 1.0))[0], run(none, (0.0, 1.0))[0])
    unused = plan(LEFT, delta=0.9, steps=6, shifted=0)
    assert torch.equal(run(unused, (0.0, 1.0))[0], run(none, (0.0, 1.0))[0])


def test_layers_of_independent_pixels_are_their_captions_side_by_side():
    # A prior of independent pixels sees no context: composed at every step or once, each side is its caption's picture.
    for each_step in (True, False):
        got, _ = run(plan(LEFT, RIGHT, steps=12, each_step=each_step), (9.0, 0.8, -0.6))
        left, right = (euler(TOY, start(), SIGMAS, means(m)) for m in (0.8, -0.6))
        assert torch.equal(got[..., :3], left[..., :3]) and torch.equal(got[..., 3:], right[..., 3:])


def test_pictures_made_together_are_those_made_alone():
    one, two = plan(LEFT, delta=0.2, steps=5, shifted=5), plan(RIGHT, (0, 0, 0.5, 0.5), delta=0.2, steps=5, shifted=5)
    together = LayerPlan(torch.tensor([0, 0, 1, 1, 1]), torch.cat([one.weights, two.weights]),
                         torch.cat([one.xi, two.xi]), 5, 5)
    x = start(2)
    got, estimates = run(together, (0, 1, 0, -1, 0.5), (0.1, 0.2), x=x)
    first, rows = run(one, (0, 1), (0.1,), x=x[:1])
    second, more = run(two, (0, -1, 0.5), (0.2,), x=x[1:])
    assert torch.equal(got, torch.cat([first, second])) and torch.equal(estimates, torch.cat([rows, more]))


# --------------------------------------------------------------------------------------------------------------- oracle
@pytest.mark.parametrize("applied", [1, 3, 6])
def test_a_layer_shifts_as_predicted(applied):
    """Euler steps of a Gaussian are linear: a shift xi before step i arrives as sqrt(sigma_i^2 + 1) xi times what the
    rest of the ladder leaves of an offset; several add up. Outside, the layer moves the other way."""
    delta, steps = 0.3, 6
    _, plain = run(plan(LEFT, steps=steps, each_step=False), (0.0, 0.5))
    _, moved = run(plan(LEFT, delta=delta, steps=steps, shifted=applied, each_step=False), (0.0, 0.5))
    # The estimate of the last layered step is taken at level steps - 1, where the posterior mean has this gain.
    level = float(SIGMAS[steps - 1])
    gain = STD**2 / (STD**2 + level**2)
    expected = gain * delta * sum(math.sqrt(float(SIGMAS[i]) ** 2 + 1) * shrink(i, steps) for i in range(applied))
    difference = moved[1] - plain[1]
    assert torch.allclose(difference, expected * (2 * mask(LEFT)[0] - 1).expand(3, -1, -1), rtol=0, atol=1e-12)
    assert torch.equal(moved[0], plain[0]), "the background has no shift"


@pytest.mark.parametrize("each_step", [True, False])
def test_the_picture_shifts_as_predicted(each_step):
    """Composed, only the inside of the region has moved, all the way down to the picture; the mean is the caption's."""
    delta, steps, applied = 0.25, 8, 4
    plain, _ = run(plan(LEFT, steps=steps, each_step=each_step), (0.0, 0.5))
    moved, _ = run(plan(LEFT, delta=delta, steps=steps, shifted=applied, each_step=each_step), (0.0, 0.5))
    expected = delta * sum(math.sqrt(float(SIGMAS[i]) ** 2 + 1) * shrink(i) for i in range(applied))
    assert torch.allclose(moved - plain, expected * mask(LEFT).expand(1, 3, -1, -1), rtol=0, atol=1e-12)
    assert expected > 0.05


def test_one_shift_at_the_top_moves_the_picture_by_delta_times_the_std():
    """In the limit of small steps an offset shrinks by std / sqrt(std^2 + sigma^2): with sqrt(sigma^2 + 1) before it,
    xi at high noise arrives as std * xi, whatever the ladder's top."""
    for top in (20.0, 80.0):
        sigmas = karras(400, 0.002, top).double()
        shifted = LayerPlan(torch.zeros(1, dtype=torch.long), mask(ALL), regions.shift(mask(ALL), torch.full(
            (1, 3), 0.3, dtype=torch.float64)), 400, 1)
        none = LayerPlan(shifted.owner, shifted.weights, None, 400, 0)
        prompted = PromptedPrior(TOY, means(0.2))
        moved, plain = (sample_layers(prompted, prompted, start(), sigmas, p, heun)[0] for p in (shifted, none))
        assert torch.allclose(moved - plain, torch.full_like(moved, 0.3 * STD), rtol=0.01)


def test_below_t0_only_the_caption_of_the_whole_counts():
    """With the split after step 6 a layer's offset of means shrinks by the rest of the ladder."""
    steps = 6
    got, estimates = run(plan(LEFT, steps=steps), (0.0, 1.0), (0.2,))
    x = euler(TOY, start(), SIGMAS[:steps + 1], means(1.0))
    expected = euler(TOY, x, SIGMAS[steps:], means(0.2))
    assert torch.allclose(got[..., :3], expected[..., :3], rtol=0, atol=1e-12)
    assert estimates.shape == (2, 3, SIZE, SIZE)


def test_estimates_are_the_layers_own_at_t0():
    steps = 4
    _, estimates = run(plan(LEFT, steps=steps, each_step=False), (0.0, 1.0))
    for row, mean in zip(estimates, (0.0, 1.0), strict=True):
        x = euler(TOY, start(), SIGMAS[:steps], means(mean))
        assert torch.allclose(row, TOY(x, SIGMAS[steps - 1][None], means(mean))[0], rtol=0, atol=1e-12)


def test_what_context_a_layer_sees_depends_on_the_composition():
    """With a prior whose pixels hang together the two compositions differ, as they should."""
    n = 3 * SIZE * SIZE
    covariance = STD**2 * (0.3 * torch.eye(n, dtype=torch.float64) + 0.7 * torch.ones(n, n, dtype=torch.float64))
    prior = GaussianDenoiser(torch.zeros(3, SIZE, SIZE, dtype=torch.float64), covariance=covariance)
    together, apart = (sample_layers(
        PromptedPrior(prior, means(0.0, 1.0)), PromptedPrior(prior, means(0.0)), start(), SIGMAS,
        plan(LEFT, steps=8, each_step=each), euler)[0] for each in (True, False))
    assert float((together - apart).abs().max()) > 0.01


# ------------------------------------------------------------------------------------------------ starts and baselines
def test_every_layer_may_have_its_own_start():
    own = torch.cat([start(seed=1), start(seed=2)])
    got, _ = run(plan(LEFT, steps=5, each_step=False), (0.3, 0.3), (0.3,), own=own)
    for x, part in ((own[1:], slice(0, 3)), (own[:1], slice(3, 6))):
        alone = euler(TOY, x, SIGMAS, means(0.3))
        assert torch.allclose(got[..., part], alone[..., part], rtol=0, atol=1e-12)


def test_bootstrap_shows_the_layer_a_flat_colour_outside_its_mask():
    layer_plan = plan(LEFT, weights=regions.weights_mean, steps=12)
    colours = torch.tensor([0.0, 0.6], dtype=torch.float64)[:, None, None, None].expand(-1, 3, 1, 1)
    masks = torch.cat([torch.ones(1, 1, SIZE, SIZE).double(), mask(LEFT)])
    seen = []

    class Watching(GaussianDenoiser):
        def __call__(self, x, sigma, condition):
            seen.append(x.clone())
            return super().__call__(x, sigma, condition)

    prior = Watching(TOY.mean, STD)
    booted = LayerPlan(layer_plan.owner, layer_plan.weights, None, 12, 0, True, None, Bootstrap(2, masks, colours))
    x = start()
    sample_layers(PromptedPrior(prior, means(0.0, 1.0)), PromptedPrior(prior, means(0.0)), x, SIGMAS, booted, euler)
    for step in (0, 1):
        noised = 0.6 + float(SIGMAS[step]) * x / SIGMAS[0]
        assert torch.allclose(seen[step][1, ..., 3:], noised[0, ..., 3:], rtol=0, atol=1e-9)
    assert torch.equal(seen[0][0], x[0]) and torch.equal(seen[2][0], seen[2][1]), "from step 2 on they see the same"


# ----------------------------------------------------------------------------------------------------- what is kept
def kept_path(image, steps=SIGMAS):
    states = [image]
    ddim_inversion(TOY, image, steps, means(0.1), lambda s: states.append(s.x.clone()) or False, iterations=30)
    return torch.stack(states[::-1])


def test_kept_states_are_kept_bit_for_bit_at_every_step():
    image = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    states = kept_path(image)
    hole = mask(LEFT)
    layer_plan = LayerPlan(torch.zeros(1, dtype=torch.long), hole, regions.shift(hole, torch.full(
        (1, 3), 0.3, dtype=torch.float64)), 6, 6, True, GivenPath(1 - hole, states))
    seen = {}
    got, _ = run(layer_plan, (1.0,), (0.5,), x=states[0], on_step=lambda s: seen.update({s.index: s.x.clone()}))
    assert sorted(seen) == list(range(1, 13))
    for index, x in seen.items():
        assert torch.equal(x[..., 3:], states[index][..., 3:]), f"step {index}"
    assert torch.equal(got[..., 3:], image[..., 3:]) and float((got - image)[..., :3].abs().max()) > 0.1


@pytest.mark.parametrize("sampler", [euler, ddim])
def test_without_change_of_words_the_inverted_picture_comes_back(sampler):
    """DDIM inversion undoes Euler's steps, not those of Heun."""
    image = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    states, hole = kept_path(image), mask(LEFT)
    layer_plan = LayerPlan(torch.zeros(1, dtype=torch.long), hole, None, 6, 0, True, GivenPath(1 - hole, states))
    got, _ = run(layer_plan, (0.1,), (0.1,), sampler, x=states[0])
    assert float((got - image).abs().max()) < 1e-6


# --------------------------------------------------------------------------------------------------------------- report
def test_steps_are_reported_as_those_of_the_whole():
    seen = []
    run(plan(LEFT, steps=5), (0.0, 1.0), on_step=seen.append)
    assert [s.index for s in seen] == list(range(1, 13)) and {s.steps for s in seen} == {12}
    assert all(s.x.shape == s.denoised.shape == (1, 3, SIZE, SIZE) for s in seen)
    assert [s.sigma for s in seen] == pytest.approx([float(v) for v in SIGMAS[1:]])
