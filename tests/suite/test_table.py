"""What a suite came to: rows, tables, status, and differences that are real."""
from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from dipir.errors import ConfigError
from dipir.suite import table as tables
from dipir.suite.table import Row


def row(k: int, figures: dict, varied: dict | None = None, state: str = "done", cause: str = "") -> Row:
    return Row(f"job{k}", "insert", f"/scenes/s{k}.yaml", 0, varied or {}, state, figures, 2.0 + k, 0.5, 1, cause)


def stored(out, rows) -> None:
    """A run's folder, as the runner leaves it."""
    jobs = [{"name": r.name, "method": r.method, "scene": r.scene, "seed": r.seed, "varied": dict(r.varied)}
            for r in rows]
    out.mkdir(parents=True)
    (out / "suite.json").write_text(json.dumps({"name": "s", "jobs": jobs}))
    for r in rows:
        folder = out / "jobs" / r.name
        folder.mkdir(parents=True)
        if r.state != "waiting":
            (folder / "status.json").write_text(json.dumps({
                "state": r.state, "figures": dict(r.figures), "seconds": r.seconds, "peak_gib": r.peak_gib,
                "attempt": r.tries, "cause": r.cause, "time": 0}))


def test_rows_come_back(tmp_path):
    rows = [row(0, {"angle": 3.0}, {"light.lobes": 8}), row(1, {}, {"light.lobes": 16}, "failed", "no\nroom"),
            Row("job2", "insert", "/scenes/s2.yaml", 0, {"light.lobes": 8}, "waiting", {})]
    stored(tmp_path / "out", rows)
    assert tables.read_rows(tmp_path / "out") == rows
    text = tables.status_text(tmp_path / "out", workers=2)
    assert "1 done, 1 failed, 0 running, 1 waiting of 3" in text and "failed   job1  room" in text
    assert "0.0 min left with 2 at a time" in text
    with pytest.raises(ConfigError, match="no run"):
        tables.read_rows(tmp_path)


def test_groups_by_hand():
    rows = [row(k, {"angle": v}, {"light.lobes": n}) for k, (n, v) in enumerate([(8, 1.0), (16, 5.0), (8, 3.0)])]
    rows.append(row(3, {}, {"light.lobes": 16}, "failed"))
    head, lines = tables.grouped(rows)
    assert head == ["settings", "done", "angle", "s a job"]
    assert lines[0] == ["lobes = 8", "2 of 2", "2 ± 1.4", "3.0"]
    assert lines[1] == ["lobes = 16", "1 of 2", "5", "3.0"]


def test_styles():
    head, lines = ["a_b", "c"], [["x|y", "1 ± 2"]]
    assert tables.written(head, lines).splitlines() == ["| a_b   | c     |", "|-------|-------|", "| x\\|y  | 1 ± 2 |"]
    assert list(csv.reader(io.StringIO(tables.written(head, lines, "csv")))) == [head, *lines]
    latex = " ".join(tables.written(head, lines, "latex").split())
    assert r"a\_b & c \\" in latex and r"1 $\pm$ 2 \\" in latex and latex.startswith(r"\begin{tabular}{lr}")


def test_real_differences_are_found_and_others_are_not():
    """One figure is better by one standard deviation of the difference, one is noise."""
    rng = np.random.default_rng(1)
    base, noise = rng.normal(size=40) * 10, rng.normal(size=(40, 2))
    a = [row(k, {"angle": base[k], "same": base[k], "luck": base[k]}) for k in range(40)]
    b = [row(k, {"angle": base[k] - 1 + noise[k, 0], "same": base[k], "luck": base[k] + noise[k, 1]})
         for k in range(40)]
    found = {d.figure: d for d in tables.compare(a, b)}
    assert found["angle"].real and found["angle"].high < 0 and found["angle"].pairs == 40
    assert not found["luck"].real and found["luck"].low < 0 < found["luck"].high
    assert not found["same"].real and found["same"].low == found["same"].high == 0
    assert found["angle"].b - found["angle"].a == pytest.approx(-1 + noise[:, 0].mean())


def test_false_alarms_are_as_rare_as_promised():
    """Two figures without a difference, many runs: at least one is called real in about 5 % of them, not 10."""
    rng, alarms = np.random.default_rng(2), 0
    for k in range(60):
        d = rng.normal(size=(12, 2))
        a = [row(i, {"x": 0.0, "y": 0.0}) for i in range(12)]
        b = [row(i, {"x": d[i, 0], "y": d[i, 1]}) for i in range(12)]
        alarms += any(f.real for f in tables.compare(a, b, seed=k))
    assert alarms <= 9


def test_pairs_share_scene_seed_and_settings():
    a = [row(k, {"x": 1.0}, {"n": k % 2}) for k in range(6)]
    b = [row(k, {"x": 2.0}, {"n": k % 2, "only.b": 7}) for k in range(4)]
    (only,) = tables.compare(a, b)
    assert only.pairs == 4 and only.real is False and (only.low, only.high) == (1.0, 1.0)
    with pytest.raises(ConfigError, match="2 jobs in common"):
        tables.compare(a, b[:2])
    other = [row(k, {"x": 2.0}, {"n": 1 - k % 2}) for k in range(6)]
    with pytest.raises(ConfigError, match="0 jobs"):
        tables.compare(a, other)


def test_parquet_is_one_line_of_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    rows = [row(0, {"angle": 3.0}, {"preset": "fast"}), row(1, {}, {"preset": "default"}, "failed", "why")]
    read = pandas.read_parquet(tables.write_parquet(tmp_path, rows))
    assert read["figure.angle"].tolist()[0] == 3.0 and np.isnan(read["figure.angle"][1])
    assert read["set.preset"].tolist() == ["fast", "default"] and read["cause"].tolist() == ["", "why"]
