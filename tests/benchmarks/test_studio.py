"""The benchmark of the studio's page: its figures and its table."""
import pytest

from benchmarks.studio import SIZES, spread, table
from dipir.errors import ConfigError


def test_the_spread_of_known_values():
    assert spread([float(v) for v in range(100, 0, -1)]) == {"n": 100, "median": 50.5, "p95": 95.0}
    assert spread([7.0]) == {"n": 1, "median": 7.0, "p95": 7.0}
    with pytest.raises(ConfigError, match="no picture"):
        spread([])


def test_the_table_has_every_size_and_the_memory():
    one = {"n": 3, "median": 41.2, "p95": 77.7}
    times = {f"{name}_{size}{kind}": one for name in ("drag", "move") for size in SIZES
             for kind in ("_ms", "_server_ms")}
    text = table({"times": {**times, "page_ready_ms": one, "address_s": 3.0}, "machine": "a machine",
                  "memory": {"megapixels": 24.0, "rss_gib": 1.5, "peak_gib": 2.25}})
    assert text.count("| 78 ms") == 5 and "sun dragged, 512 pixels" in text and "2.25 GiB at most" in text
