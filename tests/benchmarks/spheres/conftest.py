"""Panoramas for the three spheres."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.hdr import write_hdr
from tests.support.spheres import smooth_map


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two panoramas, 64 x 128, with a splits.json beside their folder."""
    (tmp_path / "hdri").mkdir()
    for k, name in enumerate(("one", "two")):
        write_hdr(tmp_path / "hdri" / f"{name}.hdr", smooth_map(64, seed=k).permute(2, 0, 1)[None])
    (tmp_path / "splits.json").write_text(json.dumps({"hdri": {"train": ["one.hdr"], "val": ["two.hdr"]}}))
    return tmp_path / "hdri"
