"""Inputs from real work that lie beside the shared test data, read in place: DIPIR_CASES, or ``cases`` beside
DIPIR_DATA."""
import os
from pathlib import Path

import pytest

_DATA = Path(os.environ.get("DIPIR_DATA", Path(__file__).parents[2] / "../shared/data"))
CASES = Path(os.environ.get("DIPIR_CASES", _DATA.parent / "cases"))


def case(name):
    """The path of a shared input, ``folder/file``; the test is skipped where it does not exist."""
    path = CASES / name
    if not path.exists():
        pytest.skip(f"the shared input {name} is absent")
    return path
