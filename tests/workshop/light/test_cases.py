"""Plates that training watches, and how what a prior says of them is judged."""
from __future__ import annotations

import math

import pytest
import torch

from dipir.image import latlong
from dipir.image.color import srgb_to_linear
from dipir.priors.light import Hypothesis, LightPrior, Look
from dipir.priors.light_input import usual_place
from dipir.scene.source import Source
from dipir.workshop import crops
from dipir.workshop.light.cases import Cases, auc, judged, looks, photographed, rows, validation_cases
from dipir.workshop.light.places import hardness
from tests.support.light_sets import raw_plates, scrambled, told_colours, unit


@pytest.fixture(scope="module")
def known(places) -> Cases:
    return validation_cases(places, yaws=2)


def perfect(cases: Cases, away: torch.Tensor | None = None) -> list[Look]:
    """The truth as a look; ``away`` : a direction said instead of the true one."""
    truth, found = cases.truth, []
    share = truth.share()
    for k in range(len(share)):
        direction = truth.direction[k] if away is None else away
        rest = truth.rest[k]
        sources = [Source(d, truth.irradiance[k], 0.012) for d in (direction, unit(0, 80), unit(180, 80))]
        guesses = tuple(Hypothesis(s.direction, c) for s, c in zip(sources, (0.9, 0.05, 0.05), strict=True))
        found.append(Look(truth.total()[k], rest, float(share[k]), guesses, tuple(sources)))
    return found


def test_validation_cases_are_the_same_and_show_their_light(places, known: Cases) -> None:
    assert len(known.place) == 8 and torch.equal(validation_cases(places, yaws=2).plate_disp, known.plate_disp)
    assert not torch.equal(validation_cases(places, yaws=2, seed=8).plate_disp, known.plate_disp)
    torch.testing.assert_close((known.plate_disp * 255).round() / 255, known.plate_disp)
    torch.testing.assert_close(known.place, usual_place(known.directions))
    # Each environment's own share, whatever its turn and exposure.
    shares = places.share.repeat_interleave(2)
    torch.testing.assert_close(known.truth.share(), shares, atol=0.02, rtol=0)
    for k in range(8):
        seen = latlong.sample(known.truth.total()[k], known.directions[k]).permute(2, 0, 1)
        clear = known.plate_disp[k] < 0.98
        error = (srgb_to_linear(known.plate_disp[k]) - seen).abs()[clear]
        assert float(error.median()) < 0.15 * float(seen.median())


def test_photographed_as_a_camera_would_choose() -> None:
    raw = raw_plates(3)
    cases = photographed(raw)
    for k in range(3):
        gain = crops.auto_exposure(raw.plate[k])
        torch.testing.assert_close(cases.truth.rest[k], raw.rest[k] * gain, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(cases.truth.irradiance[k], raw.irradiance[k] * gain, rtol=1e-4, atol=1e-6)
        expected = (told_colours(cases.directions[k]) * gain).permute(2, 0, 1).clamp(0, 1)
        assert (srgb_to_linear(cases.plate_disp[k]) - expected).abs().max() < 0.01


def test_the_truth_is_judged_perfect(known: Cases) -> None:
    figures = judged(perfect(known), known)
    assert figures["sun_deg"] < 0.1 and figures["within"] == figures["three"] == 1 and figures["auc"] == 1
    assert figures["share_log2"] < 0.1 and figures["stated"] == pytest.approx(0.9)
    sunny = hardness(known.truth.share()) > 0.5
    assert 0 < int(sunny.sum()) < 8
    wrong = judged(perfect(known, away=-unit(0, -5)), known)
    assert wrong["score"] > figures["score"] + 0.5 and wrong["within"] < 1


def test_a_second_guess_that_is_right_counts_among_three(known: Cases) -> None:
    found = []
    for look in perfect(known):
        order = (1, 0, 2)
        found.append(Look(look.soft, look.rest, look.hard, tuple(look.guesses[k] for k in order),
                          tuple(look.sources[k] for k in order)))
    figures = judged(found, known)
    assert figures["three"] == 1 and figures["sun_deg"] > 5


def test_without_suns_or_without_others_there_is_still_a_score(known: Cases) -> None:
    sunny = hardness(known.truth.share()) > 0.5
    found = perfect(known)
    for chosen in (sunny, ~sunny):
        index = chosen.nonzero()[:, 0]
        figures = judged([found[k] for k in index], rows(known, index))
        assert math.isnan(figures["auc"]) and math.isfinite(figures["score"])
        assert ("sun_deg" in figures) == bool(chosen is sunny)


@pytest.mark.parametrize("values, positive, expected", [
    ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75), ([1, 2, 3], [False, True, True], 1.0),
    ([3, 2, 1], [False, True, True], 0.0), ([5, 5], [True, False], 0.5), ([1, 2, 2], [False, True, False], 0.75)])
def test_auc(values: list[float], positive: list[bool], expected: float) -> None:
    assert auc(values, positive) == pytest.approx(expected)


def test_auc_needs_both_kinds() -> None:
    assert math.isnan(auc([1.0, 2.0], [True, True])) and math.isnan(auc([], []))


def test_looks_are_those_of_the_prior_one_by_one(known: Cases) -> None:
    prior, few = LightPrior(scrambled(), lean=0.5), rows(known, torch.tensor([0, 3, 5]))
    found = looks(prior, few, batch=2)
    for k, look in enumerate(found):
        alone = prior.look(few.plate_disp[k:k + 1], few.directions[k], few.place[k])
        torch.testing.assert_close(look.rest, alone.rest, rtol=2e-3, atol=1e-3)
        assert look.hard == pytest.approx(alone.hard, abs=1e-3)


