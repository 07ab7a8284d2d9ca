"""The language of the layout prior: captions made and read, words it does not know."""
from __future__ import annotations

import itertools

import pytest

from dipir.errors import ConfigError
from dipir.priors.captions import (
    COLOURS,
    GROUNDS,
    LONGEST,
    MATERIALS,
    PAD,
    SHAPES,
    START,
    VOCABULARY,
    Thing,
    caption,
    things,
    tokens,
    words,
)


def test_the_least_that_is_promised():
    assert {"cube", "sphere", "cylinder", "cone", "torus"} <= set(SHAPES) and len(SHAPES) >= 8
    assert len(COLOURS) == 10 and len(MATERIALS) == 3 and len(set(VOCABULARY)) == len(VOCABULARY)


@pytest.mark.parametrize("named, ground, text", [
    ([Thing("cube", "red", "metal")], None, "a red metal cube"),
    ([Thing("torus", "orange"), Thing("mug")], "white", "an orange torus and a mug on a white floor"),
    ([Thing("cone", None, "matte"), Thing("chair"), Thing("bottle", "blue")], "orange",
     "a matte cone, a chair and a blue bottle on an orange floor"),
    ([], "grey", "an empty grey floor"), ([], None, "an empty floor")])
def test_captions_by_hand(named, ground, text):
    assert caption(named, ground) == text
    assert things(text) == named


def test_every_caption_of_the_grammar_can_be_read_again():
    for shape, colour, material in itertools.product(SHAPES, [None, *COLOURS], [None, *MATERIALS]):
        thing = Thing(shape, colour, material)
        for ground in (None, *GROUNDS):
            text = caption([thing, thing], ground)
            assert things(text) == [thing, thing] and len(tokens(text)) == LONGEST


def test_numbers_are_those_of_the_vocabulary():
    numbers = tokens("A red Cube, and a mug.")
    assert numbers[0] == START and [VOCABULARY[n] for n in numbers[1:8]] == words("a red cube, and a mug")
    assert set(numbers[8:]) == {PAD} and tokens("") == [START] + [PAD] * (LONGEST - 1)


def test_a_colour_of_something_else_is_not_taken_over():
    assert things("a red floor and a cube") == [Thing("cube")]


@pytest.mark.parametrize("text, names", [("a red dog", "dog"), ("a cuhe", "cube"), ("der rote Würfel", "würfel")])
def test_unknown_words_list_the_vocabulary(text, names):
    with pytest.raises(ConfigError, match=f"{names}.*Accepted are a, an.*cube, sphere.*metal") as problem:
        tokens(text)
    assert "--prior" in str(problem.value)


def test_too_long():
    with pytest.raises(ConfigError, match="at most 39"):
        tokens("a red cube " * 20)
    assert len(tokens("a cube " * 19)) == LONGEST
