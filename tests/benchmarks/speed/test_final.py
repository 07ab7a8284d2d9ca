"""The final render and the preview, measured."""
from __future__ import annotations

from benchmarks.speed import final


def test_preview_is_measured():
    found = final.preview_part(48)
    assert found["a_second"] > 1 and found["mib"] < found["mib_dense"]
