"""dipir.errors: one family, every problem at once, the nearest valid word."""
from __future__ import annotations

from pathlib import Path

import pytest

from dipir import errors


def test_every_error_is_one_that_a_user_can_mend():
    family = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(family) > 8 and all(issubclass(kind, errors.DipirError) for kind in family)
    assert all(kind.__doc__ for kind in family)


@pytest.mark.parametrize("word, valid, text", [
    ("colour", ("color", "depth"), " Did you mean 'color'?"), ("xyz", ("color", "depth"), ""), ("a", (), "")])
def test_nearest(word, valid, text):
    assert errors.nearest(word, valid) == text


def test_all_problems_come_in_one_error():
    errors.raise_all(errors.SceneError, "yard.yaml", [])
    with pytest.raises(errors.SceneError) as one:
        errors.raise_all(errors.SceneError, "yard.yaml", ["no plate"])
    assert str(one.value) == "yard.yaml: 1 problem:\n  - no plate"
    with pytest.raises(errors.ConfigError) as two:
        errors.raise_all(errors.ConfigError, "yard.yaml", ["no plate", "no camera"])
    assert str(two.value) == "yard.yaml: 2 problems:\n  - no plate\n  - no camera"


@pytest.mark.parametrize("text, shown", [
    ("plain text", "plain text"), ("Würfel 日本\n\tb", "Würfel 日本\n\tb"), ("1\xa0m\u3000日", "1\xa0m\u3000日"),
    ("a\x1b[2J", "a\\x1b[2J"), ("a\rb", "a\\x0db"), ("a\u2028b", "a\\u2028b"),
    ("\u202e", "\\u202e"), ("\x9b", "\\x9b"), ("W\udcfcrfel", "W\\udcfcrfel"),
    ("\0\x7f", "\\x00\\x7f"), (Path("a"), "a")])
def test_plain(text, shown):
    """The same escapes in errors and in every line of the command line."""
    assert errors.plain(text) == shown == errors.printable(str(text))


def test_texts_for_a_terminal_are_bounded_and_cannot_drive_it():
    assert errors.printable("grün\n\x1b[2J\r\u202e") == "grün\n\\x1b[2J\\x0d\\u202e"
    assert errors.printable("x" * 2000) == "x" * 2000
    assert len(errors.printable("\x00" * 10**6)) == 2000 and errors.printable("x" * 10**6).endswith("x…")


def test_texts_are_bounded():
    """A file decides how long its names are and how many there are."""
    error = errors.ConfigError("a.yaml: " + "x" * 10**6 + ". Mend it.")
    assert len(str(error)) < 2100 and str(error).startswith("a.yaml: xx") and str(error).endswith("Mend it.")
    with pytest.raises(errors.SceneError) as many:
        errors.raise_all(errors.SceneError, "a.yaml", [f"key {i}" for i in range(100000)])
    assert "100000 problems" in str(many.value) and "key 19\n  - and 99980 more." in str(many.value)
    assert "key 20" not in str(many.value) and errors.nearest("x" * 10**6, ["x"]) == ""
