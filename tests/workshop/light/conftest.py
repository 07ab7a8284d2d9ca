"""Drawn environments, small networks; a cache of its own for every test."""
from __future__ import annotations

import pytest

from dipir.workshop.light.places import Places
from tests.support.light_sets import drawn, short_backbone


@pytest.fixture(scope="module")
def places() -> Places:
    return drawn()


@pytest.fixture(scope="module", autouse=True)
def _short():
    with short_backbone():
        yield


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
