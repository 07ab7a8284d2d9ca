"""Drawn panoramas and pairs of plates with their light; a cache of its own for every test."""
from __future__ import annotations

import pytest

from tests.support.light_sets import drawn_panoramas, framed_pairs


@pytest.fixture(scope="module")
def panoramas():
    return drawn_panoramas()


@pytest.fixture(scope="module")
def pairs(panoramas):
    return framed_pairs(panoramas)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPIR_CACHE", str(tmp_path))
