"""Where a phrase stands in a prompt, by hand and through both tokenizers."""
from __future__ import annotations

import pytest

from dipir.diffusion.phrases import positions
from dipir.diffusion.pretrained import load_pretrained
from dipir.errors import ConfigError
from dipir.priors.layout import LayoutPrior

CAPTION = "a red metal cube, a sphere and a red torus on a white floor"


@pytest.mark.parametrize("whole, part, expected", [
    ([1, 5, 6, 7, 0], [5, 6], [1, 2]), ([1, 5, 6, 7, 0], [7], [3]), ([5, 5, 6], [5, 6], [1, 2]),
    ([5, 6, 5, 6], [5, 6], [0, 1]), ([3, 4], [3, 4], [0, 1])])
def test_first_run(whole: list[int], part: list[int], expected: list[int]) -> None:
    assert positions("", "", whole, part) == expected


@pytest.mark.parametrize("part", [[6, 5], [5, 7], [8], [], [5, 6, 7, 0, 0]])
def test_no_run(part: list[int]) -> None:
    with pytest.raises(ConfigError, match="phrase 'blue cube' does not stand in the caption 'a red cube'.*Say it as"):
        positions("a red cube", "blue cube", [1, 5, 6, 7, 0], part)


# ---- layout prior ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("phrase, expected", [
    ("red metal cube", [2, 3, 4]), ("Cube", [4]), ("sphere", [7]), ("a sphere", [6, 7]), ("red torus", [10, 11]),
    ("red", [2]), (CAPTION, list(range(1, 16)))])
def test_words_of_the_layout_prior(phrase: str, expected: list[int]) -> None:
    """The start is token 0, the comma one of its own."""
    assert LayoutPrior.untrained().token_positions(CAPTION, phrase) == expected


@pytest.mark.parametrize("phrase, problem", [("red cube", "does not stand"), ("mug", "does not stand"),
                                             ("", "does not stand"), ("lion", "does not know: lion")])
def test_words_that_are_not_there(phrase: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        LayoutPrior.untrained().token_positions(CAPTION, phrase)


# ---- pretrained ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def priors(folders):
    return {kind: load_pretrained(folders[kind]) for kind in ("sd1", "xl")}


@pytest.mark.parametrize("kind", ["sd1", "xl"])
@pytest.mark.parametrize("phrase, expected", [("a", [1]), ("car", [2]), ("a car", [1, 2]), ("Ox", [3, 4]),
                                              ("car ox", [2, 3, 4])])
def test_tokens_of_a_pretrained_prior(priors, kind: str, phrase: str, expected: list[int]) -> None:
    """The tiny vocabulary knows "car"; other words are letters."""
    assert priors[kind].token_positions("a car ox car", phrase) == expected


def test_tokens_that_are_not_there_or_cut_off(priors) -> None:
    for prompt, phrase in (("a car", "ox"), ("a car", ""), ("a car", "ca"), ("car " * 90 + "ox", "ox")):
        with pytest.raises(ConfigError, match="does not stand"):
            priors["sd1"].token_positions(prompt, phrase)
