"""The list of what is asked for."""
from __future__ import annotations

import pytest

from benchmarks.relight import bars, size, sphere


@pytest.fixture
def parts() -> dict:
    """Results at all limits."""
    layers = {"covered": 0.4, "side_right": 0.7, "psnr_gain": 3.0, "chroma_deg": 0.1}
    seconds = dict(zip(size.CASES, (10.0, 1.0, 15.0), strict=True))
    return {"table": {"summary": {"layers": layers, "net": layers | {"covered": 0.5}}},
            "sphere": {"stops": {name: dict.fromkeys(sphere.PAIRS, 1.0) for name in ("layers", "net")}},
            "surfaces": {"figures": {"angle_median": 20.0}},
            "size": {"cases": {name: {"seconds": s, "peak_gib": 3.0} for name, s in seconds.items()}}}


def test_every_bar_is_held_at_its_limit_and_not_beyond(parts):
    assert all(bars.held(bar, parts) == (pytest.approx(bar.limit), True) for bar in bars.BARS)

    def worse(value: dict, factors: dict) -> dict:
        return {k: worse(v, factors) if isinstance(v, dict) else v * factors.get(k, 0.99) for k, v in value.items()}

    beyond = worse(parts, dict.fromkeys(("chroma_deg", "angle_median", "seconds", "peak_gib"), 1.01))
    assert all(bars.held(bar, beyond)[1] is False for bar in bars.BARS)


def test_what_was_not_run_is_not_held(parts):
    del parts["size"], parts["table"]["summary"]["net"]
    parts["table"]["summary"]["layers"]["side_right"] = None
    lines = bars.text(parts).splitlines()
    assert len(lines) == 2 + len(bars.BARS)
    told = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines[2:]}
    assert told["12 megapixels, net"] == told["PSNR over identity, net"] == "not measured"
    assert told["direction read right of eight, layers"] == "not measured"
    assert told["PSNR over identity, layers"] == told["matt sphere from left and right, net"] == "yes"


def test_the_table_says_figure_and_limit(parts):
    line, = [line for line in bars.text(parts).splitlines() if "luminosity bound, layers" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")[1:]] == ["at least 40 %", "40 %", "yes"]
