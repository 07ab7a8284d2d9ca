"""The three-sphere benchmark: intervals, files, the command."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.spheres import __main__ as spheres
from benchmarks.spheres.metrics import METRICS
from benchmarks.spheres.render import MATERIALS, camera
from dipir.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def _record(environment: str, value: float) -> dict:
    return {"environment": environment, "rows": {"m": {k: {f: value for f in METRICS} for k in MATERIALS}}}


def test_intervals_are_over_environments():
    """Views of one environment do not make its mean any surer."""
    one = spheres.summary([_record("a", v) for v in (1.0, 2.0, 3.0)], ["m"])["m"]["matte"]["rmse"]
    assert one["value"] == one["low"] == one["high"] == pytest.approx(2)
    cases = [_record(str(e), float(e)) for e in range(10)]
    few = spheres.summary(cases, ["m"])["m"]["matte"]["rmse"]
    many = spheres.summary([c for c in cases for _ in range(4)], ["m"])["m"]["matte"]["rmse"]
    assert few == pytest.approx(many) and few["value"] == pytest.approx(4.5)
    # Standard error of the mean: sqrt(8.25 / 10) = 0.908; 1.96 of it on each side.
    assert few["low"] == pytest.approx(4.5 - 1.78, abs=0.2) and few["high"] == pytest.approx(4.5 + 1.78, abs=0.2)


def test_ratios_over_the_projected_plate():
    """Half of it in every case: a half, without doubt. Over the means, not the mean of ratios."""
    cases = []
    for e, (ours, theirs) in enumerate(((1.0, 2.0), (3.0, 6.0))):
        rows = {m: {k: {f: v for f in METRICS} for k in MATERIALS} for m, v in (("m", ours), ("projected", theirs))}
        cases.append({"environment": str(e), "rows": rows})
    got = spheres.over_projected(cases, ["m", "projected", "truth"])
    assert set(got) == {"m"} and got["m"]["mirror"]["si_rmse"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    cases[1]["rows"]["m"]["matte"]["rmse"] = 5.0
    assert spheres.over_projected(cases, ["m", "projected"])["m"]["matte"]["rmse"]["value"] == pytest.approx(6 / 8)
    assert spheres.over_projected(cases, ["m"]) == {}


def test_folders_are_compared_by_name(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spheres, "camera", lambda: camera(27, 48))
    predicted, out = tmp_path / "predicted", tmp_path / "out"
    predicted.mkdir()
    (predicted / "one.hdr").write_bytes((folder / "one.hdr").read_bytes())
    (predicted / "two.hdr").write_bytes((folder / "one.hdr").read_bytes())
    assert spheres.main(["--predicted", str(predicted), "--true", str(folder), "--out", str(out)]) == 0
    result = json.loads((out / "results.json").read_text())
    rows = {c["environment"]: c["rows"]["predicted"] for c in result["cases"]}
    assert set(rows) == {"one", "two"} and rows["two"]["mirror"]["si_rmse"] > 0.05
    assert all(v == 0 for m in rows["one"].values() for v in m.values())
    text = (out / "table.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "*LuxDiT, published* | *0.077* | *0.196* | *0.442*" in " ".join(text.split())
    assert "theirs, on other scenes" in text
    assert (out / "sheet.png").read_bytes()[:4] == b"\x89PNG"

    (predicted / "three.hdr").write_bytes((folder / "one.hdr").read_bytes())
    with pytest.raises(ConfigError, match="three.hdr"):
        spheres.main(["--predicted", str(predicted), "--true", str(folder), "--out", str(out)])


@pytest.mark.parametrize("options, text", [(["--predicted", "x"], "belong together"), (["--views", "0"], "at least 1"),
                                           (["--methods", "ambient,orcale-sg"], "Did you mean 'oracle-sg'"),
                                           (["--environments", "/nowhere"], "--environments"),
                                           (["--predicted", "x", "--true", "y"], "no panoramas")])
def test_bad_options(options, text):
    with pytest.raises(ConfigError, match=text):
        spheres.main(options)


def test_the_command_prints_one_message_and_exits_with_2():
    run = subprocess.run([sys.executable, "-m", "benchmarks.spheres", "--views", "0"], cwd=ROOT, capture_output=True,
                         text=True)
    assert run.returncode == 2 and run.stderr.startswith("benchmarks: error: --views 0")
    assert "Traceback" not in run.stderr
