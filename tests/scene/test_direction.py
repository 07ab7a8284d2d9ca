"""Directions of light: convention, round trips, words, what is refused."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dipir.errors import ConfigError, SceneError
from dipir.scene.camera import Camera
from dipir.scene.direction import (
    HARD_DEG,
    NORMAL_DEG,
    SOFT_DEG,
    LightDirection,
    angles_of,
    known_words,
    parse_words,
    side_of,
    sun_of_shadow,
    vector_of,
)
from dipir.scene.light import azimuth_elevation_deg, towards

PLACES = {"left": (-90, 15), "right": (90, 15), "front": (0, 15), "behind": (180, 25), "above": (0, 90),
          "below": (0, -60), "upper left": (-60, 45), "upper right": (60, 45), "lower left": (-70, -35),
          "lower right": (70, -35), "front left": (-45, 20), "front right": (45, 20), "back left": (-135, 25),
          "back right": (135, 25), "rim": (160, 35), "sunset": (-80, 8), "noon": (20, 75)}


# ---- convention ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("angles, vector", [((0, 0), (0, 0, 1)), ((90, 0), (1, 0, 0)), ((-90, 0), (-1, 0, 0)),
                                            ((270, 0), (-1, 0, 0)), ((180, 0), (0, 0, -1)), ((0, 90), (0, 1, 0)),
                                            ((0, -90), (0, -1, 0)), ((90, 30), (math.sqrt(0.75), 0.5, 0))])
def test_vectors_by_hand(angles, vector):
    assert LightDirection(*angles).vector.tolist() == pytest.approx(vector, abs=1e-6)


@settings(deadline=None)
@given(st.floats(-179, 179), st.floats(-85, 85))
def test_angles_are_those_of_the_light_in_the_world(azimuth, elevation):
    """The camera looks along +Z: the picture's right is -X, towards the camera is -Z (scene.light)."""
    x, y, z = vector_of(azimuth, elevation)
    assert azimuth_elevation_deg(torch.stack([-x, y, -z])) == pytest.approx((azimuth, elevation), abs=1e-3)


@settings(deadline=None)
@given(st.floats(-180, 360), st.floats(-90, 90))
def test_vectors_are_unit_and_round_trip(azimuth, elevation):
    vector = vector_of(azimuth, elevation)
    assert vector.dtype == torch.float32 and float(vector.norm()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(vector_of(*angles_of(3.7 * vector)), vector, atol=1e-6, rtol=0)


def test_numbers_of_a_network():
    numbers = LightDirection(90, 30, 48.0).numbers
    assert numbers.shape == (4,) and numbers[:3].tolist() == LightDirection(90, 30).vector.tolist()
    assert [float(LightDirection(0, 0, s).numbers[3]) for s in (3, 12, 48)] == pytest.approx([-1, 0, 1])


@pytest.mark.parametrize("angles, side", [
    ((0, 0), "the front"), ((44, 0), "the front right"), ((22, 10), "the front"), ((90, 45), "the right"),
    ((135, -30), "the back right"), ((180, 25), "behind"), ((-180, 25), "behind"), ((-135, 0), "the back left"),
    ((-90, 0), "the left"), ((270, 0), "the left"), ((-46, 20), "the front left"), ((350, 0), "the front"),
    ((123, 75), "above"), ((0, -60), "below")])
def test_nearest_side(angles, side):
    assert side_of(*angles) == side


@pytest.mark.parametrize("word", ["left", "right", "front", "behind", "above", "below", "front left", "front right",
                                  "back left", "back right"])
def test_side_of_a_word_is_the_word(word):
    assert side_of(*PLACES[word]).removeprefix("the ") == word


# ---- words -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("word", PLACES)
def test_each_place(word):
    for text in (word, f"Light from the {word.upper()}!", word.replace(" ", "-")):
        assert parse_words(text) == LightDirection(*PLACES[word], NORMAL_DEG)


@pytest.mark.parametrize("text, same", [
    ("top left", "upper left"), ("lit from the top right", "upper right"), ("bottom left", "lower left"),
    ("bottom right", "lower right"), ("overhead", "above"), ("the top", "above"), ("from the bottom", "below"),
    ("underneath", "below"), ("back", "behind"), ("rear", "behind"), ("a backlit photo", "behind"),
    ("from the camera", "front"), ("sunrise", "sunset"), ("midday sun", "noon"), ("left side", "left")])
def test_synonyms(text, same):
    assert parse_words(text) == LightDirection(*PLACES[same])


@pytest.mark.parametrize("text, size", [("soft light from the left", SOFT_DEG), ("hard light, left", HARD_DEG),
                                        ("harsh left", HARD_DEG), ("left, diffuse", SOFT_DEG), ("left", NORMAL_DEG)])
def test_sizes(text, size):
    assert parse_words(text) == LightDirection(*PLACES["left"], size)


@pytest.mark.parametrize("a, b", [("left", "above"), ("rim", "left"), ("right", "front"), ("below", "front")])
def test_two_places_are_averaged(a, b):
    between = parse_words(f"soft light from the {a} and {b}")
    mean = vector_of(*PLACES[a]) + vector_of(*PLACES[b])
    torch.testing.assert_close(between.vector, mean / mean.norm(), atol=1e-5, rtol=0)
    assert between.size_deg == SOFT_DEG


@pytest.mark.parametrize("text, expected", [("30,45", (30, 45)), ("-30, -12.5", (-30, -12.5)), ("+350 10", (350, 10)),
                                            (".5,10.", (0.5, 10)), ("azimuth 30 elevation 45 degrees", (30, 45))])
def test_two_numbers(text, expected):
    assert parse_words(text) == LightDirection(*expected)


# ---- refused ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", ["left and right", "above and below", "front and behind", "back left, front right",
                                  "front left and back right", "upper left and lower right", "above, left and right"])
def test_opposite_places(text):
    with pytest.raises(ConfigError, match="oppose each other"):
        parse_words(text)


def test_unknown_words_are_named_with_the_nearest_and_the_list():
    with pytest.raises(ConfigError) as caught:
        parse_words("neon light from the lefft")
    text = str(caught.value)
    assert "neon, lefft not understood" in text and known_words() in text and "upper left, " in text
    with pytest.raises(ConfigError, match="Did you mean 'left'"):
        parse_words("from the lefft")


@pytest.mark.parametrize("text", ["", "light", "soft", "30", "1,2,3", "left 30", "left 30,40", "left and 30,45"])
def test_no_direction(text):
    with pytest.raises(ConfigError, match="no direction in it"):
        parse_words(text)


@pytest.mark.parametrize("values", [(-181, 0), (361, 0), (0, 91), (0, -90.5), (0, 0, 0.9), (0, 0, 61), (math.nan, 0),
                                    (0, math.nan), (0, 0, math.nan), (math.inf, 0)])
def test_out_of_range(values):
    with pytest.raises(ConfigError, match="out of range; accepted are azimuths from -180 to 360"):
        LightDirection(*values)


def test_numbers_out_of_range_in_words():
    with pytest.raises(ConfigError, match="direction 30,100 with size 12: out of range"):
        parse_words("30,100")


# ---- a thing in the photo and its shadow -----------------------------------------------------------------------------

@pytest.mark.parametrize("azimuth, elevation", [(60, 40), (-90, 20), (170, 55), (0, 35), (-135, 15)])
def test_sun_of_a_shadow(azimuth, elevation):
    """A pole of 0.3 m, its shadow by geometry, both projected: the sun comes back."""
    camera = Camera.looking(640, 480, 60, 1.6, 25)
    foot = np.array([0.2, 0.0, 4.0])
    sun = towards(azimuth, elevation).double().numpy()
    tip = foot + [0, 0.3, 0] - sun * 0.3 / sun[1]
    pixels = [tuple(camera.project(point)[0]) for point in (foot, tip, foot + [0, 0.3, 0])]
    assert all(0 <= x < 640 and 0 <= y < 480 for x, y in pixels)
    found = sun_of_shadow(camera, *pixels)
    assert (found[0] - azimuth + 180) % 360 - 180 == pytest.approx(0, abs=0.05)
    assert found[1] == pytest.approx(elevation, abs=0.05)
    assert sun_of_shadow(camera, *pixels[:2]) == (pytest.approx(found[0]), None)


def test_what_is_no_shadow():
    camera = Camera.looking(640, 480, 60, 1.6, 25)
    with pytest.raises(SceneError, match="no length"):
        sun_of_shadow(camera, (300, 400), (300, 400))
    with pytest.raises(SceneError, match="does not lie above"):
        sun_of_shadow(camera, (300, 400), (350, 400), (300, 430))
    with pytest.raises(SceneError, match="horizon"):
        sun_of_shadow(Camera.looking(640, 480, 60, 1.6, 10), (300, 400), (300, 2))
