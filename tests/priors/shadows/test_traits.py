"""What tells a shadow from paint."""
from __future__ import annotations

import numpy as np

from dipir.priors.plate_shadows import candidates
from dipir.priors.shadows.ground import WorkingPlate, grow, seed_of
from dipir.priors.shadows.traits import chance_of
from tests.support.shadowed_ground import TILTED, ground_plate, long_shadow, speckled


def first(**how):
    view = WorkingPlate.of(ground_plate(**how), TILTED, 0.0)
    return next(candidates(view, *grow(view, seed_of(view.ground, None))))


def painted(x, z):
    """Speckled ground with a smooth patch where the shadow would be."""
    return np.where(long_shadow(x, z) > 0, 0.09, speckled(x, z))


def test_traits_are_what_the_light_did():
    ratio = (0.2, 0.25, 0.4)
    found = first(albedo=speckled, shadow=long_shadow, ratio=ratio).traits
    assert abs(found["blue"] - np.log2(2.0)) < 0.12
    assert abs(found["green"] - (np.log2(0.4 * 0.2) / 2 - np.log2(0.25))) < 0.12
    assert found["scatter"] < 0.25 and found["faded"] == found["brighter"] == 0.0
    assert abs(found["texture"]) < 0.3, "the texture goes on in the shadow"
    assert found["closed"] == 1.0 and abs(found["inward"]) < 0.1


def test_paint_hides_the_texture():
    shadow, paint = first(albedo=speckled, shadow=long_shadow), first(albedo=painted)
    assert paint.traits["texture"] < shadow.traits["texture"] - 0.4


def test_a_shadow_is_likelier_than_paint():
    shadow = first(albedo=speckled, shadow=long_shadow)
    assert shadow.chance > 2 * first(albedo=painted).chance
    red = first(albedo=speckled, shadow=long_shadow, ratio=(0.6, 0.4, 0.2))
    assert shadow.chance > 2 * red.chance


def test_chance_falls_with_every_doubt():
    found = first(albedo=speckled, shadow=long_shadow).traits
    whole = chance_of(found)
    for worse in ({"blue": -1.0}, {"blue": 5.0}, {"green": -0.8}, {"scatter": 0.8}, {"texture": -2.0}, {"texture": 2.0},
                  {"alike": 3.0}, {"faded": 1.0}, {"brighter": 1.0}, {"inward": 1.0}, {"high": 1.0}):
        assert chance_of({**found, **worse}) < whole, worse
