"""Running the insertion benchmark: resume, keys, crashes, determinism, the command line, the contact sheet."""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh

from benchmarks import __main__ as suites
from benchmarks.insert import __main__ as insert
from benchmarks.insert import run as insert_run
from benchmarks.insert import sheet as insert_sheet
from benchmarks.insert.case import finished, run
from benchmarks.insert.cases import Case, Environment, Mesh
from benchmarks.insert.run import RunSettings, job_of
from dipir.cli import main as cli
from dipir.errors import ConfigError
from dipir.fit.loop import Event
from dipir.image import latlong
from dipir.image.files import write_png
from dipir.suite.file import Limits
from tests.support.hdr import write_hdr

CHILD = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
job = json.loads((folder / "job.json").read_text())
with open(folder / "runs", "a") as f: f.write("x")
if "killed" in job["name"]: sys.stderr.write("out of memory"); sys.exit(9)
old = json.loads((folder / "case.json").read_text())["rows"] if (folder / "case.json").exists() else {}
rows = {m: {"key": e["key"], "figures": {"ssim": 1.0}} for m, e in job["methods"].items()}
if "bad" in job["name"]: rows["default"] = {"key": job["methods"]["default"]["key"], "error": "FitError: no"}
for m in rows: (folder / (m + ".png")).write_bytes(b"-")
(folder / "case.json").write_text(json.dumps({"rows": {**old, **rows}}))
"""


def case(name: str, digest: str = "1") -> Case:
    return Case(Environment(name, Path(f"/{name}.hdr"), digest, 0.5), Mesh("m", Path("/m.obj"), "2"), 0, 12.0)


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Cases are done by a small script instead of the renderer."""
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.setattr(insert_run, "CHILD", (sys.executable, "-S", str(tmp_path / "child.py")))
    monkeypatch.setattr(insert_run, "POLL_S", 0.01)
    return tmp_path


def do(out: Path, names, methods=("ambient", "default"), settings=RunSettings(), code="c", **kwargs):
    cases = [case(n, **kwargs) for n in names]
    events: list[Event] = []
    jobs = {c.name: job_of(c, methods, settings, code) for c in cases}
    rows = insert_run.run_all(jobs, out, 2, events.append)
    count = {n: len((out / "cases" / c.name / "runs").read_text()) for n, c in zip(names, cases, strict=True)}
    return {n: rows[c.name] for n, c in zip(names, cases, strict=True)}, count, events


def test_done_cases_are_not_done_again(child):
    rows, count, events = do(child, ["a", "b"])
    assert rows["a"]["ambient"]["figures"] == {"ssim": 1.0} and count == {"a": 1, "b": 1}
    assert [e.step for e in events] == [0, 1, 2] and events[-1].steps == 2 and events[-1].seconds_left == 0
    again, count, events = do(child, ["a", "b"])
    assert again == rows and count == {"a": 1, "b": 1} and [e.step for e in events] == [2]


@pytest.mark.parametrize("change", [
    {"settings": RunSettings(size=128)}, {"settings": RunSettings(seed=1)}, {"settings": RunSettings(spp=8)},
    {"code": "d"}, {"digest": "9"}])
def test_a_changed_setting_never_uses_an_old_case(child, change):
    do(child, ["a"])
    _, count, _ = do(child, ["a"], **change)
    assert count == {"a": 2}
    assert do(child, ["a"], **change)[1] == {"a": 2}


def test_settings_of_ours_do_not_touch_the_baselines(child):
    one, two = (job_of(case("a"), ["ambient", "default"], RunSettings(overrides=o), "c")["methods"]
                for o in ((), ("fit.steps=7",)))
    assert one["ambient"] == two["ambient"] and one["default"]["key"] != two["default"]["key"]
    assert two["default"]["settings"]["fit"]["steps"] == 7


def test_further_methods_need_only_themselves(child):
    do(child, ["a"], ["ambient"])
    folder = child / "cases" / case("a").name
    job = job_of(case("a"), ["ambient", "default"], RunSettings(), "c")
    assert list(finished(folder, job)) == ["ambient"]
    rows, count, _ = do(child, ["a"])
    assert count == {"a": 2} and set(rows["a"]) == {"ambient", "default"}


def test_failures_are_recorded_and_the_others_go_on(child):
    rows, _, events = do(child, ["killed", "bad", "good"])
    assert "ended with code 9: out of memory" in rows["killed"]["ambient"]["error"]
    assert rows["bad"]["default"]["error"] == "FitError: no" and "figures" in rows["bad"]["ambient"]
    assert "figures" in rows["good"]["default"] and events[-1].scalars["failed"] == 1
    assert do(child, ["killed", "bad", "good"])[1] == {"killed": 2, "bad": 2, "good": 1}  # Only those are tried again.


@pytest.mark.parametrize("content", ["", "{", '{"rows": []}', '{"rows": {"ambient": {}}}', "[]"])
def test_a_damaged_case_file_is_done_again(child, content):
    do(child, ["a"])
    (child / "cases" / case("a").name / "case.json").write_text(content)
    job = job_of(case("a"), ["ambient"], RunSettings(), "c")
    assert finished(child / "cases" / case("a").name, job) == {}


def test_the_code_is_part_of_the_key():
    assert insert_run.code_digest() == insert_run.code_digest()
    assert len(insert_run.code_digest()) == 64
    for entry in insert_run.CODE:
        assert list((insert_run.ROOT / "dipir").glob(entry)), f"{entry} is not there: its code is in no key"


def test_a_case_that_hangs_is_ended(child, monkeypatch):
    monkeypatch.setattr(insert_run, "LIMITS", Limits(minutes=0.02, memory_gib=1e9))
    (child / "child.py").write_text("import time; time.sleep(60)")
    one, began = case("a"), time.monotonic()
    jobs = {one.name: job_of(one, ["ambient"], RunSettings(), "c")}
    rows = insert_run.run_all(jobs, child, 1, lambda event: None)
    assert "limits.minutes" in rows[one.name]["ambient"]["error"] and time.monotonic() - began < 30


# ------------------------------------------------------------------------------------------------------ a real case
@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with a panorama and a box."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "envs").mkdir(), (folder / "meshes").mkdir()
    d = latlong.directions(32, 64)
    lamp = torch.exp((d @ torch.tensor([0.5, 0.7, -0.51]) - 1) / 0.02)[..., None] * 20
    write_hdr(folder / "envs" / "lamp.hdr", 0.5 + 0.3 * d.abs() + lamp)
    trimesh.creation.box((1, 1, 1)).export(folder / "meshes" / "box.obj")
    return folder


def test_a_case_twice_is_the_same_and_the_truth_is_nearest(tiny, tmp_path):
    environment = Environment("lamp", tiny / "envs" / "lamp.hdr", "1", 0.5)
    made = Case(environment, Mesh("box", tiny / "meshes" / "box.obj", "2"), 0, 30.0)
    rows = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        job = job_of(made, ["ambient", "projected", "truth"], RunSettings(size=48, spp=64), "c")
        (tmp_path / name / "job.json").write_text(json.dumps(job))
        run(tmp_path / name)
        rows.append({m: {k: v for k, v in r["figures"].items() if "seconds" not in k}
                     for m, r in finished(tmp_path / name, job).items()})
        assert all((tmp_path / name / f"{m}.png").is_file() for m in ("ambient", "truth", "plate-tile", "truth-tile"))
    # Threads add samples to the film in any order, so the last digits of a float32 may differ.
    assert set(rows[0]) == set(rows[1]) == {"ambient", "projected", "truth"}
    for m, row in rows[0].items():
        for figure, value in row.items():
            other = rows[1][m][figure]
            assert value == (other if other is None else pytest.approx(other, rel=1e-3, abs=1e-6)), figure
    truth, ambient = rows[0]["truth"], rows[0]["ambient"]
    assert truth["direction_deg"] < 0.1 and truth["exposure_log2"] < 0.05
    for figure in ("fg_si_rmse", "composite_rmse", "shadow_rmse"):
        assert truth[figure] < 0.6 * ambient[figure], figure
    assert truth["ssim"] > ambient["ssim"]


# ------------------------------------------------------------------------------------------------------ command line
def test_relative_paths_are_those_of_the_user(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    words = ["bench", "insert", "--environments", "envs", "--meshes", "meshes", "--views", "3", "--plan"]
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    assert "lamp--box--2" in text and "3 cases x 5 methods" in text
    assert not (tiny / "out").exists()


def test_mistakes_are_known_before_any_work(tiny, monkeypatch, capsys):
    monkeypatch.chdir(tiny)
    for words, match in ((["--methods", "deflaut"], "Did you mean 'default'"), (["--meshes", "none"], "no such folder"),
                         (["--set", "fit.stps=3", "--meshes", "meshes"], "stps")):
        assert cli.main(["bench", "insert", "--environments", "envs", *words]) == 2
        assert match in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", "insert", "--size", "20"])
    assert left.value.code == 2 and not (tiny / "out").exists()


def test_results_of_a_run(tiny, child, monkeypatch, capsys):
    """results.json, table, settings and sheet; nothing is committed for a folder of one's own."""
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(insert, "check_methods", lambda *_: None)
    monkeypatch.setattr(insert, "write", lambda *_, **__: pytest.fail("the committed table was written"))
    out = child / "run"
    words = ["--environments", "envs", "--meshes", "meshes", "--views", "1", "--out", str(out), "--quiet"]
    assert insert.main(words) == 0 and capsys.readouterr().out == ""
    result = json.loads((out / "results.json").read_text())
    assert result["schema"] == "dipir.bench.insert.1" and result["settings"]["size"] == 256
    (only,) = result["cases"]
    assert only["figures"]["default"] == {"ssim": 1.0} and only["errors"] == {}
    (lamp,) = result["environments"]
    assert lamp["single_light"] == (lamp["light_share"] >= 0.2) == (result["single_light"]["environments"] == ["lamp"])
    assert result["summary"]["truth"]["ssim"]["n"] == 1
    assert result["methods"]["ambient"]["settings"] is None and result["methods"]["default"]["settings"]["seed"] == 0
    assert "default:" in (out / "methods.yaml").read_text() and (out / "sheet.png").is_file()
    assert "--environments envs" in (out / "table.md").read_text()


def test_suites(monkeypatch, capsys):
    calls = []

    def fake(name, committed):
        return type("Suite", (), {
            "COMMITTED": committed, "main": staticmethod(lambda given: calls.append((name, given)))})

    monkeypatch.setattr(suites.importlib, "import_module", lambda n: fake(n, ("--all",) if "insert" in n else ()))
    assert suites.main(["insert", "--views", "1"]) == 0 and calls == [("benchmarks.insert.__main__", ["--views", "1"])]
    assert suites.main(["speed", "plates", "--x"]) == 2 and suites.main(["inset"]) == 2
    assert "Did you mean 'insert'" in capsys.readouterr().err and len(calls) == 1
    assert suites.main([]) == 0 and calls[1] == ("benchmarks.insert.__main__", ["--all"])
    assert len(calls) == 1 + len(suites.NAMES)


# ------------------------------------------------------------------------------------------------------------ pictures
def test_the_ring_marks_the_dominant_direction():
    """A lamp in column 12 of 64, row 8 of 32: a quarter of the way down, 19.5 % from the left."""
    light = torch.full((32, 64, 3), 0.2)
    light[8, 12] = 500.0
    image = insert_sheet.light_picture(light)[0]
    red = (image[0] > 0.9) & (image[1] < 0.4)
    rows, columns = red.nonzero(as_tuple=True)
    assert float(columns.float().mean()) / insert_sheet.WIDTH == pytest.approx(12.5 / 64, abs=0.01)
    assert float(rows.float().mean()) / (insert_sheet.WIDTH // 2) == pytest.approx(8.5 / 32, abs=0.02)


def test_sheets_have_pages_and_survive_missing_tiles(tmp_path):
    rows = []
    for k in range(insert_sheet.PAGE + 1):
        (tmp_path / str(k)).mkdir()
        write_png(tmp_path / str(k) / "plate-tile.png", insert_sheet.tile(torch.rand(1, 3, 48, 64), None))
        rows.append({"name": f"case {k}", "folder": tmp_path / str(k), "notes": {"ambient": "failed"}})
    paths = insert_sheet.contact_sheets(tmp_path, rows, ["ambient", "truth"])
    assert [p.name for p in paths] == ["sheet.png", "sheet-2.png"]
    first, second = (cv2.imread(str(p)) for p in paths)
    assert first.shape[0] == insert_sheet.PAGE * second.shape[0] and first.shape[1] == second.shape[1]
    assert np.ptp(second) > 100


def test_quiet_errors(tmp_path):
    with pytest.raises(ConfigError):
        insert.main(["--environments", str(tmp_path / "x"), "--meshes", str(tmp_path), "--quiet"])
