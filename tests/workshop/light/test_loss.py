"""The loss of the light prior: every term falls on the way to the truth and judges what it names."""
from __future__ import annotations

import math

import pytest
import torch

from dipir import device
from dipir.image import latlong
from dipir.priors.nets.light_unet import LightEstimate
from dipir.scene.light import dominant_direction
from dipir.workshop.light.batches import Truth
from dipir.workshop.light.loss import KERNEL, dominant_distribution, kernel, light_loss
from dipir.workshop.light.measures import functionals
from tests.support.far import KIND, far_device
from tests.support.light_maps import sun_map
from tests.support.light_sets import unit


def _estimate(env: torch.Tensor, direction: torch.Tensor | None = None, energy: torch.Tensor | None = None,
              **source: torch.Tensor) -> LightEstimate:
    """An estimate that composes to ``env`` (B, 16, 32, 3), with a dominant light of next to no energy."""
    zero = torch.zeros(len(env))
    given = {"hard": zero, "share": zero, "width": zero, **source}
    return LightEstimate(env.log().permute(0, 3, 1, 2), torch.zeros(env.shape[:3]) if direction is None else direction,
                         torch.full((len(env), 3), -30.0) if energy is None else energy, **given)


def _truth(env: torch.Tensor) -> Truth:
    """A map without a source of its own."""
    return Truth(env, torch.tensor([[0.0, 1.0, 0.0]]).expand(len(env), -1), torch.zeros(len(env), 3),
                 torch.full((len(env),), 0.004))


def _sunny(share: float = 0.8, sigma: float = 0.004, direction: torch.Tensor | None = None) -> Truth:
    """An even sky of 1 and a sun with that share of the ground's light."""
    direction = unit(30, 40) if direction is None else direction
    strength = share / (1 - share) * math.pi / float(direction[1])
    return Truth(torch.ones(1, 16, 32, 3), direction[None], torch.full((1, 3), strength), torch.tensor([sigma]))


_SOURCE = ("hard", "share", "width")


def test_every_loss_term_falls_on_the_way_to_the_truth() -> None:
    rows, true = functionals(), sun_map(30, 40)[None]
    start = torch.full_like(true, 2.0)
    target = (dominant_distribution(true)[0] + 1e-6).log()
    previous = light_loss(_estimate(start), _truth(true), rows)
    for share in (0.25, 0.5, 0.75, 1.0):
        mixed = (start.log() * (1 - share) + true.log() * share).exp().requires_grad_()
        terms = light_loss(_estimate(mixed, share * target), _truth(true), rows)
        sum(terms.values()).backward()
        assert torch.isfinite(mixed.grad).all()
        for name, value in terms.items():
            # The mean of a mixture of logarithms need not be between; the energy has a test of its own.
            if name not in ("exposure", "absolute", "energy", *_SOURCE):
                assert value < previous[name], name
        previous = terms
    # At the truth every term is zero but the cross-entropies, which are the entropies of the targets; of a source there
    # is nothing to say.
    previous = {name: value for name, value in previous.items() if name not in _SOURCE}
    fields = target.exp().reshape(4, 4, 8, 4).sum((1, 3))
    assert float(previous.pop("energy").detach()) > 1
    entropy = {"peak": -(target.exp() * target).sum(), "quarter": -(fields * fields.log()).sum()}
    for name, value in previous.items():
        assert float(value.detach()) == pytest.approx(float(entropy.get(name, 0)), abs=1e-2), name


def test_dominant_distribution() -> None:
    chance, weight, energy = dominant_distribution(torch.stack([sun_map(30, 40), torch.ones(16, 32, 3)]))
    assert energy[1].abs().max() == 0 and 0 < energy[0].min()
    assert chance[0].sum() == pytest.approx(1) and weight[0] == 1 and weight[1] == 0
    mean = (chance[0][..., None] * latlong.directions(16, 32)).sum((0, 1))
    off = torch.nn.functional.normalize(mean, dim=0) @ dominant_direction(sun_map(30, 40))
    assert float(off) > math.cos(math.radians(3))


def test_the_energy_of_the_dominant_light_is_judged_whatever_its_direction() -> None:
    """Twice the energy costs log 2 (a little less, for what is added before the logarithm), and is 0 where it is right;
    the estimated direction does not matter."""
    rows, true = functionals(), sun_map(30, 40)[None]
    right = dominant_distribution(true)[2].log()
    for direction in (torch.zeros(1, 16, 32), 5 * torch.randn(1, 16, 32)):
        terms = [light_loss(_estimate(true, direction, right + more), _truth(true), rows)["energy"]
                 for more in (0.0, math.log(2))]
        assert float(terms[0]) == pytest.approx(0, abs=1e-4) and 0.6 < float(terms[1]) < math.log(2)


def test_a_sun_of_unknown_direction_keeps_its_energy() -> None:
    """Composed terms use the true direction: with the energy and the rest right they are near zero however wrong the
    estimated direction is, and larger when the sun is left out."""
    rows, true = functionals(), sun_map(30, 40)[None]
    target, _, energy = dominant_distribution(true)
    share = latlong.solid_angles(16, 32)[None, ..., None] / (4 * math.pi)
    rest = (true - target[..., None] / share * energy[:, None, None]).clamp_min(0.05)
    wrong = (dominant_distribution(sun_map(-120, 20)[None])[0] + 1e-6).log()
    lit, unlit = (light_loss(_estimate(rest, wrong, e), _truth(true), rows)
                  for e in (energy.log(), energy.log() - 5))
    for name in ("diffuse", "glossy8", "absolute", "exposure"):
        assert lit[name] < 0.25 * unlit[name], name


def test_scale_invariant_terms_ignore_exposure() -> None:
    rows, true = functionals(), sun_map(30, 40)[None]
    scaled = light_loss(_estimate(true * 3), _truth(true), rows)
    for name in ("diffuse", "glossy8", "glossy64", "toned"):
        assert float(scaled[name]) == pytest.approx(0, abs=1e-3)
    assert float(scaled["exposure"]) == pytest.approx(math.log(3), rel=0.02)


def test_the_losses_of_the_light_prior_on_another_device() -> None:
    true = torch.stack([sun_map(30, 40), sun_map(-100, 20)])
    estimate = _estimate(true * 1.3 + 0.1, torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0)))
    truth = Truth(true, torch.stack([unit(30, 40), unit(-100, 20)]), torch.full((2, 3), 9.0), torch.full((2,), 0.01))
    here = light_loss(estimate, truth, functionals())
    with far_device() as chosen:
        there = light_loss(device.moved(estimate), device.moved(truth), functionals(where=chosen.torch))
        assert all(value.device.type == KIND for value in there.values())
        there = {key: value.cpu() for key, value in there.items()}
    assert all(torch.equal(there[key], here[key]) for key in here)


# ----------------------------------------------------------------------------------------------------------- the source
def _term(name: str, truth: Truth, **said: float) -> tuple[float, dict[str, float]]:
    """A source's term, and its gradient to what was said."""
    given = {key: torch.tensor([value], requires_grad=True) for key, value in said.items()}
    term = light_loss(_estimate(truth.total(), **given), truth, functionals())[name]
    term.backward()
    return float(term.detach()), {key: float(v.grad) if v.grad is not None else 0.0 for key, v in given.items()}


def test_the_decision_is_pulled_to_hard_where_there_is_a_source_and_else_away() -> None:
    sunny, grey = _sunny(0.8), _truth(torch.ones(1, 16, 32, 3))
    assert _term("hard", sunny, hard=0.0)[0] == pytest.approx(math.log(2))
    assert _term("hard", sunny, hard=0.0)[1]["hard"] < 0 < _term("hard", grey, hard=0.0)[1]["hard"]
    assert _term("hard", sunny, hard=8.0)[0] < 1e-3 > _term("hard", grey, hard=-8.0)[0]
    # Half of the way between a shadow that nobody sees and one that nobody overlooks: as likely as not.
    assert _term("hard", _sunny(0.32), hard=0.0)[1]["hard"] == pytest.approx(0, abs=1e-3)


def test_the_share_is_judged_by_what_its_shadow_leaves() -> None:
    """Right it costs nothing; a shadow twice as bright costs a stop, less the little that is added for the dark."""
    truth = _sunny(0.8)
    def logit(share):
        return math.log(share / (1 - share))
    assert _term("share", truth, share=logit(0.8))[0] == pytest.approx(0, abs=1e-5)
    brighter, gradient = _term("share", truth, share=logit(0.6))
    assert brighter == pytest.approx(math.log2(0.43 / 0.23), abs=1e-4) and gradient["share"] < 0
    darker, gradient = _term("share", truth, share=logit(0.9))
    assert darker == pytest.approx(math.log2(0.23 / 0.13), abs=1e-4) and gradient["share"] > 0
    nothing = _truth(torch.ones(1, 16, 32, 3))
    assert _term("share", nothing, share=3.0)[0] == 0


def test_the_width_is_judged_where_there_is_a_source() -> None:
    truth = _sunny(0.8, sigma=0.02)
    assert _term("width", truth, width=math.log(0.02))[0] == pytest.approx(0, abs=1e-6)
    wide, gradient = _term("width", truth, width=math.log(0.06))
    assert wide == pytest.approx(math.log(3), abs=1e-4) and gradient["width"] > 0
    assert _term("width", truth, width=math.log(0.005))[1]["width"] < 0
    assert _term("width", _truth(torch.ones(1, 16, 32, 3)), width=-1.0)[0] == 0


def test_the_direction_of_a_source_is_told_between_the_texels() -> None:
    """The peak is lowest where the lobe of the true direction is said, and rises with the distance from it."""
    truth = _sunny(0.8, direction=unit(33, 37))
    def peak(azimuth, elevation):
        said = (kernel(unit(azimuth, elevation)[None], 16, 32) + 1e-7).log()
        return float(light_loss(_estimate(truth.total(), said), truth, functionals())["peak"])
    best = peak(33, 37)
    assert best < peak(36, 37) < peak(42, 37) < peak(60, 37) and best < peak(33, 41) < peak(33, 50)
    entropy = -(kernel(truth.direction, 16, 32) * (kernel(truth.direction, 16, 32) + 1e-12).log()).sum()
    assert best == pytest.approx(float(entropy), abs=0.02)


def test_a_kernel_is_a_lobe_about_its_direction() -> None:
    made = kernel(torch.stack([unit(33, 37), unit(-170, 5)]), 64, 128)
    torch.testing.assert_close(made.sum((1, 2)), torch.ones(2))
    for lobe, true in zip(made, (unit(33, 37), unit(-170, 5)), strict=True):
        mean = (lobe[..., None] * latlong.directions(64, 128)).sum((0, 1))
        assert float(torch.nn.functional.normalize(mean, dim=0) @ true) > math.cos(math.radians(0.2))
        # The mean of 1 - cos of a lobe of sharpness k is 1 / k.
        assert float(1 - mean @ true) == pytest.approx(1 / KERNEL, rel=0.03)
