"""The loss of the light prior: every term falls on the way to the truth and judges what it names."""
from __future__ import annotations

import math

import pytest
import torch

from dipir import device
from dipir.image import latlong
from dipir.priors.nets.light_unet import LightEstimate
from dipir.scene.light import dominant_direction
from dipir.workshop.light.loss import dominant_distribution, light_loss
from dipir.workshop.light.measures import functionals
from tests.support.far import KIND, far_device
from tests.support.light_maps import sun_map


def _estimate(env: torch.Tensor, direction: torch.Tensor | None = None) -> LightEstimate:
    """An estimate that composes to ``env`` (B, 16, 32, 3), with a dominant light of next to no energy."""
    direction = torch.zeros(env.shape[:3]) if direction is None else direction
    return LightEstimate(env.log().permute(0, 3, 1, 2), direction, torch.full((len(env), 3), -30.0))


def test_every_loss_term_falls_on_the_way_to_the_truth() -> None:
    rows, true = functionals(), sun_map(30, 40)[None]
    start = torch.full_like(true, 2.0)
    target = (dominant_distribution(true)[0] + 1e-6).log()
    previous = light_loss(_estimate(start), true, rows)
    for share in (0.25, 0.5, 0.75, 1.0):
        mixed = (start.log() * (1 - share) + true.log() * share).exp().requires_grad_()
        terms = light_loss(_estimate(mixed, share * target), true, rows)
        sum(terms.values()).backward()
        assert torch.isfinite(mixed.grad).all()
        for name, value in terms.items():
            # The mean of a mixture of logarithms need not be between; the energy has a test of its own.
            if name not in ("exposure", "absolute", "energy"):
                assert value < previous[name], name
        previous = terms
    # At the truth every term is zero but the cross-entropies, which are the entropies of the targets.
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
        smooth = true.log().permute(0, 3, 1, 2)
        terms = [light_loss(LightEstimate(smooth, direction, right + more), true, rows)["energy"]
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
    lit, unlit = (light_loss(LightEstimate(rest.log().permute(0, 3, 1, 2), wrong, e), true, rows)
                  for e in (energy.log(), energy.log() - 5))
    for name in ("diffuse", "glossy8", "absolute", "exposure"):
        assert lit[name] < 0.25 * unlit[name], name


def test_scale_invariant_terms_ignore_exposure() -> None:
    rows, true = functionals(), sun_map(30, 40)[None]
    scaled = light_loss(_estimate(true * 3), true, rows)
    for name in ("diffuse", "glossy8", "glossy64", "toned"):
        assert float(scaled[name]) == pytest.approx(0, abs=1e-3)
    assert float(scaled["exposure"]) == pytest.approx(math.log(3), rel=0.02)


def test_the_losses_of_the_light_prior_on_another_device() -> None:
    true = torch.stack([sun_map(30, 40), sun_map(-100, 20)])
    estimate = _estimate(true * 1.3 + 0.1, torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0)))
    here = light_loss(estimate, true, functionals())
    with far_device() as chosen:
        there = light_loss(device.moved(estimate), true.to(chosen.torch), functionals(where=chosen.torch))
        assert all(value.device.type == KIND for value in there.values())
        there = {key: value.cpu() for key, value in there.items()}
    assert all(torch.equal(there[key], here[key]) for key in here)
