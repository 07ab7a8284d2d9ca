"""Colours in words: what is found in a prompt, in which order, and what is refused."""
from __future__ import annotations

import pytest
import torch

from dipir.errors import ConfigError
from dipir.image.palette import NAMED, SLOTS, VECTOR, Palette, palette_vector, parse_palette


def test_colours_come_in_the_order_of_the_prompt() -> None:
    palette = parse_palette("A red apple, a BLUE cup and a shiny green leaf")
    assert palette.names == ("red", "blue", "green")
    assert palette.colours == (NAMED["red"], NAMED["blue"], NAMED["green"])


@pytest.mark.parametrize("prompt, names", [
    ("red and blue", ("red", "blue")),
    ("a light blue sky over dark-green hills", ("light blue", "dark green")),
    ("a darkred rose on grey", ("dark red", "grey")),
    ("gray wolf, golden collar", ("grey", "gold")),
    ("red, red and more red", ("red",)),
    ("red beside dark red", ("red", "dark red")),
    ("the orange", ("orange",)),
    ("bored reader in a blackened greenhouse, whiteish, #4080FF", ("#4080ff",)),
    ("a mauve cup on beige", ("beige",)),
    ("light falls on a brown dog", ("brown",)),
])
def test_names(prompt: str, names: tuple[str, ...]) -> None:
    assert parse_palette(prompt).names == names


def test_tones_and_hexadecimal_by_hand() -> None:
    light, dark, given = parse_palette("light orange, dark orange, #ff8000").colours
    assert light == pytest.approx((0.975, 0.75, 0.54)) and dark == pytest.approx((0.5225, 0.275, 0.044))
    assert given == pytest.approx((1.0, 128 / 255, 0.0))


def test_vector_by_hand() -> None:
    vector = Palette(("a", "b"), ((1.0, 0.5, 0.0), (0.25, 0.75, 1.0))).vector
    assert vector.shape == (1, VECTOR)
    torch.testing.assert_close(vector[0], torch.tensor([1, 0, -1, 1, -0.5, 0.5, 1, 1, 0, 0, 0, 0.0]))


def test_nothing_told_is_all_zeros() -> None:
    assert not palette_vector(torch.rand(2, SLOTS, 3), torch.zeros(2, SLOTS, dtype=torch.bool)).any()


@pytest.mark.parametrize("prompt", ["a cup and a saucer", "", "in dark and light", "reddish bluebird"])
def test_a_prompt_without_colours_lists_them(prompt: str) -> None:
    with pytest.raises(ConfigError, match="red, orange, yellow, green, teal, blue, purple, pink, brown, black, white"):
        parse_palette(prompt)


@pytest.mark.parametrize("prompt, message", [
    ("red, green, blue and yellow", "4 colours .red, green, blue, yellow.; accepted are at most 3"),
    ("a red cup and a #12 plate", "'#12'"),
    ("#12345g", "six hexadecimal digits"),
    ("#1234567", "six hexadecimal digits"),
    ("# red", "'#'"),
])
def test_wrong_prompts(prompt: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_palette(prompt)


@pytest.mark.parametrize("names, colours", [
    ((), ()), (("a",), ()), (("a",), ((0.0, 0.0, 1.1),)), (("a",), ((0.0, float("nan"), 1.0),)),
    (("a",), ((0.0, 1.0),)), (("a", "b", "c", "d"), ((0.0, 0.0, 0.0),) * 4)])
def test_wrong_palettes(names: tuple, colours: tuple) -> None:
    with pytest.raises(ConfigError, match="palette"):
        Palette(names, colours)
