"""The part `live` of the speed benchmark: every row is measured, and the table says what is met."""
from __future__ import annotations

import pytest

from benchmarks.speed import live


@pytest.mark.slow
def test_every_change_is_shown_and_timed():
    found = live.live_part(48, frames=2)
    assert found["size"] == [48, 36] and set(found["rows"]) == set(live._WHAT)
    for row in found["rows"].values():
        assert 0 < row["median_ms"] <= row["p95_ms"] and row["frames"] >= 1
    assert found["record_s"] > 0 and found["warm_s"] > 0


def test_medians_leave_the_first_frame_out():
    asked = []
    found = live.frames_ms(asked.append, 5)
    assert asked == [0, 1, 2, 3, 4, 5] and found["frames"] == 5


def test_the_table_says_what_is_met():
    def part(size, ms):
        return {"size": size, "record_s": 2.0, "warm_s": 0.5,
                "rows": {name: {"median_ms": ms, "p95_ms": 2 * ms, "frames": 3} for name in live._WHAT}}
    text = " ".join(live.table({"live": [part([256, 192], 20.0), part([512, 384], 120.0)]}).split())
    assert "sun dragged | 256 | 20.0 | 40.0 | 33, met" in text
    assert "sun dragged | 512 | 120.0 | 240.0 | 100, missed" in text
    assert "object moved | 512 | 120.0 | 240.0 | -" in text
    assert "256 pixels 2.0 s" in text and live.table({}) == ""
    assert live.measure(["run", "update"]) == {}
