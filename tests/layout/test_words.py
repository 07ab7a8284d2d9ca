"""What is said to which layer."""
from __future__ import annotations

import pytest

from dipir.errors import ConfigError
from dipir.layout.config import LayoutConfig, LayoutLayers, LayoutSampler
from dipir.layout.regions import Region
from dipir.layout.words import encode_texts, wording_of
from dipir.priors.captions import COLOURS, GROUNDS
from tests.support.toy_layout import ColourToy

CUBE, MUG = Region("a red cube", (0, 0, 0.5, 1)), Region("a mug", (0.5, 0, 1, 1), negative="a chair")
CONFIG = LayoutConfig()


def test_what_is_unsaid_is_made_from_what_is_said():
    got = wording_of("", [CUBE, MUG], None, CONFIG, grammar=True)
    assert got.caption == "a red cube and a mug"
    assert (got.background_negative, got.negatives) == ("a red cube, a mug", ("", "a chair"))
    free = wording_of("", [CUBE, MUG, CUBE], None, CONFIG, grammar=False)
    assert free.caption == free.background == "a red cube, a mug and a red cube"


@pytest.mark.parametrize("caption, background", [
    ("a red cube and a mug on a grey floor", "an empty grey floor"),
    ("a red cube and a mug on an orange floor", "an empty orange floor")])
def test_the_background_is_the_floor_of_the_caption(caption, background):
    assert wording_of(caption, [CUBE, MUG], None, CONFIG, grammar=True).background == background


def test_an_unsaid_floor_has_a_colour_unlike_those_of_the_things():
    """Whether the caption or the region says it; the same on every call, and not always the same."""
    floors = set()
    for hue in COLOURS:
        for caption in (f"a {hue} cube, a mug", "a mug and a cube on the floor", ""):
            floor, again = (wording_of(caption, [Region(f"a {hue} cube", (0, 0, 1, 1))], None, CONFIG,
                                       grammar=True).background for _ in range(2))
            floors.add(floor)
            assert floor == again and f" {hue} " not in floor
            assert floor.split()[2] in GROUNDS and floor.startswith("an empty ")
    assert len(floors) > 3


def test_no_thing_is_lost_on_an_unsaid_floor():
    """By hand: what is furthest from black is white, yellow and pink; from red and white blue, green and yellow."""
    def floor(*things):
        return wording_of("", [Region(f"a {t}", (0, 0, 1, 1)) for t in things], None, CONFIG,
                          grammar=True).background.split()[2]

    shapes = ("cube", "mug", "chair", "cone", "torus")
    assert {floor(f"black {s}") for s in shapes} <= {"white", "yellow", "pink"}
    assert {floor(f"red {s}", f"white {s}") for s in shapes} <= {"blue", "green", "yellow"}
    assert len({floor(s) for s in shapes}) > 2, "any, when no colour is said"


def test_what_is_said_stays():
    got = wording_of("a mug and a cube", [CUBE, MUG], "an empty white floor", CONFIG, grammar=True)
    assert (got.caption, got.background) == ("a mug and a cube", "an empty white floor")


def test_negatives_are_general_and_their_own():
    config = LayoutConfig(sampler=LayoutSampler(negative="a torus"), layers=LayoutLayers(avoid=False))
    got = wording_of("", [CUBE, MUG], None, config, grammar=True)
    assert (got.negative, got.background_negative) == ("a torus", "a torus")
    assert got.negatives == ("a torus", "a torus, a chair")


@pytest.mark.parametrize("caption, regions, background, text", [
    ("a red cbue", [], None, "Did you mean 'cube'"), ("a red cube", [Region("a dog", (0, 0, 1, 1))], None, "dog"),
    ("a red cube", [CUBE, CUBE], None, "more regions than the caption names: 1 x cube"),
    ("a red cube", [CUBE, MUG], None, "1 x mug"), ("a mug", [Region("a floor", (0, 0, 1, 1))], None, "names no thing"),
    ("a red cube", [CUBE], "a meadow", "meadow"),
    ("a red cube", [Region("a red cube", (0, 0, 1, 1), negative="ugly")], None, "ugly")])
def test_the_embedded_priors_language_is_checked(caption, regions, background, text):
    with pytest.raises(ConfigError, match=text):
        wording_of(caption, regions, background, CONFIG, grammar=True)
    wording_of(caption, regions, background, CONFIG, grammar=False)


def test_equal_texts_are_encoded_once():
    asked = []

    class Counting:
        def encode_text(self, prompts):
            asked.extend(prompts)
            return ColourToy().encode_text(prompts)

    rows = encode_texts(Counting(), ["a red cube", "a mug", "a red cube"]).planes
    assert asked == ["a red cube", "a mug"] and rows.shape[0] == 3
    assert rows[0].tolist() == rows[2].tolist() != rows[1].tolist()
