"""Checks of what a page sends."""
from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipir.errors import ConfigError
from dipir.studio.document.state import flag, number, point, shown, text, wrapped


@given(st.floats(-1e6, 1e6))
def test_wrapped_is_the_same_direction(degrees):
    made = wrapped(degrees)
    assert -180 < made <= 180
    assert math.cos(math.radians(made - degrees)) == pytest.approx(1, abs=1e-6)


@given(st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.floats()), st.floats(), st.integers()))
def test_only_numbers_in_range_are_numbers(value):
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    if fine:
        assert number({"a": value}, "a", 0, 1) == value
    else:
        with pytest.raises(ConfigError, match="0 to 1"):
            number({"a": value}, "a", 0, 1)


def test_points_texts_and_flags():
    assert point({"at": [1, 2.5]}, "at") == (1.0, 2.5)
    assert text({"t": "Väse 1"}, "t") == "Väse 1" and flag({"f": False}, "f") is False
    for value in ([1], [1, 2, 3], [True, 1], {"x": 1}, None, [1, math.inf]):
        with pytest.raises(ConfigError):
            point({"at": value}, "at")
    for value in ("a\x00", "a\u202eb", 3, None):
        with pytest.raises(ConfigError):
            text({"t": value}, "t")


def test_long_values_are_cut_in_texts():
    assert len(shown("x" * 10000)) == 80
