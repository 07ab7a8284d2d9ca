"""Parts and options of the relighting benchmark."""
from __future__ import annotations

import json

import pytest

from benchmarks import common
from benchmarks.relight import __main__ as bench
from dipir.errors import ConfigError


@pytest.fixture
def found(monkeypatch, tmp_path) -> dict:
    """Parts that find what stands in here, and results in a folder of their own."""
    parts = {"surfaces": {"photos": 2, "weights": {"surfaces": "abc"},
                          "figures": dict.fromkeys(bench.surfaces.FIGURES, 0.5)},
             "sphere": {"size": 48, "weights": {"net": "def"},
                        "stops": {"net": {pair: 1.25 for pair in bench.sphere.PAIRS}}}}
    monkeypatch.setattr(bench, "measured", lambda a, name: dict(parts[name]))
    for module in (bench, common):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return parts


def test_parts_are_written_and_others_stay(found, tmp_path):
    """The second run replaces its own part alone; each says which command made it and of which weights it speaks."""
    out = ["--out", str(tmp_path / "out")]
    bench.main(["--parts", "surfaces", *out])
    bench.main(["--parts", "sphere", *out])
    found["sphere"]["stops"]["net"]["left, right"] = 0.75
    bench.main(["--parts", "sphere", "--methods", "net", *out])
    kept = json.loads((tmp_path / "results" / "relight.json").read_text())
    assert list(kept["parts"]) == ["surfaces", "sphere"] and "--methods net" in kept["parts"]["sphere"]["command"]
    text = (tmp_path / "results" / "relight.md").read_text()
    assert "**Part `surfaces`.**" in text and "surfaces abc" in text and "0.75" in text and "net def" in text
    line, = [line for line in text.splitlines() if "matt sphere from left and right, net" in line]
    assert "0.75 stops" in line and line.split("|")[-2].strip() == "no"
    assert text.index("asked of relighting") < text.index("**Part `sphere`") < text.index("**Part `surfaces`")


def test_results_of_another_form_are_left_behind(found, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "relight.json").write_text(json.dumps({"schema": "dipir.bench.relight.1", "rows": []}))
    bench.main(["--parts", "sphere", "--out", str(tmp_path / "out")])
    assert list(json.loads((tmp_path / "results" / "relight.json").read_text())["parts"]) == ["sphere"]


def test_scratch_writes_no_results(found, tmp_path, capsys):
    bench.main(["--parts", "sphere", "--scratch", "--out", str(tmp_path / "out")])
    assert "1.25" in capsys.readouterr().out and not (tmp_path / "results").exists()


@pytest.mark.parametrize("words, problem", [
    (["--scenes", "0"], "--scenes 0"), (["--sides", "3"], "--sides 3"), (["--methods", "layer"], "'layer'"),
    (["--training-scenes", "0"], "--training-scenes 0"), (["--parts", "tabel"], "'tabel'.*table"),
    (["--parts", ","], "part ''"), (["--surface-photos", "-1"], "--surface-photos -1")])
def test_bad_options(words, problem):
    with pytest.raises(ConfigError, match=problem):
        bench.main(words)
