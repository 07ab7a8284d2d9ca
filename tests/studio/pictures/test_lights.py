"""Numbers of a light and the light that is rendered: what was not changed is the same, shares are what they say."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import ConfigError
from dipir.priors.light import LightPrior
from dipir.scene.light import EnvironmentMap, SphericalGaussians, azimuth_elevation_deg
from dipir.scene.rig import Rig, with_lamp
from dipir.scene.source import luminance_of
from dipir.studio.document.state import LampNumbers
from dipir.studio.pictures.lights import Base, Bases, left_in_shadow, look, numbers_of, parts_of, rig_of
from tests.support.scenes import sphere_scene
from tests.support.studio import sunny_rig

RIG = sunny_rig()
BASE = Base(RIG)
NUMBERS = numbers_of(RIG, "prior", "b1")


def ground(rig: Rig) -> float:
    return float(luminance_of(rig.ground()))


def test_what_nothing_was_changed_of_is_the_same_light():
    made = rig_of(NUMBERS, BASE)
    assert torch.allclose(made.envmap(64, 128), RIG.envmap(64, 128), rtol=1e-3, atol=1e-4)
    (lamp,) = made.lamps
    assert torch.allclose(lamp.source.direction, RIG.lamps[0].source.direction, atol=1e-5)
    assert torch.allclose(lamp.source.irradiance, RIG.lamps[0].source.irradiance, rtol=1e-3)
    assert lamp.source.sigma == pytest.approx(RIG.lamps[0].source.sigma)
    assert (NUMBERS.lamps[0].azimuth_deg, NUMBERS.lamps[0].elevation_deg) == pytest.approx((90, 45), abs=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 0.9), st.floats(0, 1), st.floats(5, 85), st.floats(-180, 180), st.floats(0.3, 60), st.floats(-1, 1))
def test_lamps_give_their_share_and_the_ground_stays_as_bright(one, other, elevation, azimuth, size, warmth):
    light = replace(NUMBERS, rotate_deg=azimuth, lamps=(
        LampNumbers("sun", azimuth, elevation, size, one, warmth),
        LampNumbers("window", -azimuth, 30.0, 12.0, other * (0.97 - one), -warmth)))
    made = rig_of(light, BASE)
    assert ground(made) == pytest.approx(BASE.ground, rel=0.02)
    for lamp in light.lamps:
        assert made.share(lamp.name) == pytest.approx(lamp.share, abs=0.02)
        assert 1 - left_in_shadow(light)[lamp.name] == pytest.approx(lamp.share, abs=1e-6)


def test_stops_are_factors_and_the_shadow_is_as_deep_as_is_said():
    light = replace(NUMBERS, ambient_stops=1.0, exposure_stops=-2.0)
    made = rig_of(light, BASE)
    rest, whole = ground(Rig(made.around)), ground(made)
    assert rest == pytest.approx(0.25 * 2 * ground(Rig(RIG.around)), rel=1e-3)
    assert whole - rest == pytest.approx(0.25 * (BASE.ground - BASE.around), rel=1e-3)
    assert left_in_shadow(light)["sun"] == pytest.approx(rest / whole, rel=1e-3)


def test_a_lamp_below_the_horizon_takes_nothing_from_the_ground():
    light = replace(NUMBERS, lamps=(replace(NUMBERS.lamps[0], elevation_deg=-20.0),))
    assert left_in_shadow(light)["sun"] == 1.0 and rig_of(light, BASE).share("sun") == 0.0


@settings(deadline=None, max_examples=20)
@given(st.floats(-180, 180), st.floats(-3, 3), st.floats(-3, 3), st.floats(0, 0.9))
def test_the_quick_parts_are_those_of_the_light(rotate, ambient, exposure, share):
    light = replace(NUMBERS, rotate_deg=rotate, ambient_stops=ambient, exposure_stops=exposure,
                    lamps=(replace(NUMBERS.lamps[0], share=share),))
    whole, (rest, sources) = rig_of(light, BASE), parts_of(light, BASE)
    assert torch.allclose(rest, whole.rest(16), rtol=1e-4, atol=1e-6)
    for source, lamp in zip(sources, whole.lamps, strict=True):
        assert torch.allclose(source.irradiance, lamp.source.irradiance, rtol=1e-4)
        assert torch.equal(source.direction, lamp.source.direction)


def test_rotating_turns_what_is_around():
    bright = torch.zeros(16, 32, 3)
    bright[4, 16] = 100.0
    base = Base(Rig(EnvironmentMap(bright + 0.1)))
    light = replace(numbers_of(base.rig, "hdri x", "b1"), rotate_deg=90.0)
    assert light.lamps == ()
    first, turned = (azimuth_elevation_deg(_brightest(rig)) for rig in (base.rig, rig_of(light, base)))
    assert (turned[0] - first[0]) % 360 == pytest.approx(90, abs=12) and turned[1] == pytest.approx(first[1], abs=6)


def test_large_maps_are_turned_quickly_and_alike():
    generator = torch.Generator().manual_seed(3)
    base = Base(Rig(EnvironmentMap(torch.rand(128, 256, 3, generator=generator))))
    # Noise is the worst that can be interpolated; by whole texels nothing is.
    for degrees, near in ((0.0, 1e-3), (90.0, 1e-3), (33.0, 0.15)):
        light = replace(numbers_of(base.rig, "hdri x", "b1"), rotate_deg=degrees)
        whole, (rest, _) = rig_of(light, base).rest(16), parts_of(light, base)
        assert torch.allclose(rest, whole, rtol=near)
        assert float(rest.mean()) == pytest.approx(float(whole.mean()), rel=1e-3)


def _brightest(rig: Rig) -> torch.Tensor:
    from dipir.scene.light import dominant_direction

    return dominant_direction(rig.envmap(32, 64))


def test_warmth_is_warm():
    lamps = [replace(NUMBERS, lamps=(replace(NUMBERS.lamps[0], warmth=warmth),)) for warmth in (1.0, -1.0)]
    warm, cold = (rig_of(light, BASE).lamps[0].source.irradiance for light in lamps)
    assert warm[0] / warm[2] > 2 and cold[2] > cold[0]
    assert float(luminance_of(warm)) == pytest.approx(float(luminance_of(cold)), rel=1e-3)


def test_a_lamp_that_was_added_is_white_and_a_lamp_of_the_base_keeps_its_colour():
    red = with_lamp(RIG, "sun", replace(RIG.lamps[0].source, irradiance=torch.tensor([4.0, 1.0, 1.0])), 0.5)
    base = Base(red)
    light = numbers_of(red, "result", "b1")
    light = replace(light, lamps=(*light.lamps, LampNumbers("lamp", 0.0, 45.0, 12.0, 0.2)))
    sun, lamp = (made.source.irradiance for made in rig_of(light, base).lamps)
    assert sun[0] / sun[1] == pytest.approx(4, rel=1e-3) and lamp[0] == pytest.approx(float(lamp[2]), rel=1e-4)


def test_bases_come_back_from_their_files(tmp_path):
    one = Bases(tmp_path)
    ids = one.keep(RIG), one.keep(Rig(EnvironmentMap(torch.rand(16, 32, 3))))
    again = Bases(tmp_path)
    assert len(set(ids)) == 2
    for id in ids:
        assert torch.allclose(again.base(id).rig.envmap(16, 32), one.base(id).rig.envmap(16, 32), rtol=1e-3, atol=1e-4)
    (tmp_path / "lights" / ids[0] / "light.json").write_text("{}")
    with pytest.raises(ConfigError, match="light.json"):
        Bases(tmp_path).base(ids[0])


# ------------------------------------------------------------------------------------------------ what the plate says
def test_the_lights_of_a_plate_are_those_that_insert_begins_with():
    from dipir.insert.again import guessed
    from dipir.insert.config import InsertConfig
    from dipir.insert.problem import start_of

    scene, prior = sphere_scene(size=48), LightPrior.load()
    seen = look(scene, lambda: prior)
    start = start_of(scene, InsertConfig(), prior)
    assert seen.told[0] == start.describe() and [dict(g) for g in seen.guesses] == start.guesses_to_dict()
    assert set(seen.rigs) == {0, *range(1, len(seen.guesses) + 1)}
    expected = guessed(scene, InsertConfig(), 2)
    assert torch.allclose(seen.rigs[2].lamps[0].source.direction, expected.lamps[0].source.direction, atol=1e-5)
    assert seen.rigs[2].share("sun") == pytest.approx(expected.share(expected.lamps[0].name), abs=0.02)
    assert ground(seen.rigs[2]) == pytest.approx(ground(expected), rel=0.05)


@pytest.mark.parametrize("content", [None, b"broken"])
def test_without_weights_the_light_is_even_and_that_is_said(tmp_path, content):
    path = tmp_path / "light.safetensors"
    if content is not None:
        path.write_bytes(content)
    seen = look(sphere_scene(size=24), lambda: LightPrior.load(path))
    assert list(seen.rigs) == [0] and seen.guesses == () and "light.safetensors" in seen.notes[0]
    level = seen.rigs[0].envmap(16, 32)
    assert isinstance(seen.rigs[0].around, SphericalGaussians)
    assert float(level.std() / level.mean()) < 0.2
    assert math.isclose(ground(seen.rigs[0]) / math.pi, float(sphere_scene(size=24).plate.lin.mean()), rel_tol=0.1)
