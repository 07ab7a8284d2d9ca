"""Fixtures of the command line's tests."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Stub, make_inputs


@pytest.fixture
def files(tmp_path) -> Path:
    """A photo, a cube and a scene file."""
    return make_inputs(tmp_path).parent


@pytest.fixture
def stub(monkeypatch) -> Stub:
    """The method replaced, so that only what the command line does is tested."""
    return Stub(monkeypatch)
