"""Running the insertion benchmark: resume, keys, crashes."""
from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.insert import run as insert_run
from benchmarks.insert.case import finished
from benchmarks.insert.cases import Case, Environment, Mesh
from benchmarks.insert.run import RunSettings, job_of
from dipir.fit.loop import Event
from dipir.suite.file import Limits


def case(name: str, digest: str = "1", mesh: str = "m") -> Case:
    return Case(Environment(name, Path(f"/{name}.hdr"), digest, 0.5), Mesh(mesh, Path(f"/{mesh}.obj"), "2"), 0, 12.0)


def do(out: Path, names, methods=("ambient", "default"), settings=RunSettings(), code="c", **kwargs):
    cases = [case(n, **kwargs) for n in names]
    events: list[Event] = []
    jobs = {c.name: job_of(c, methods, settings, code) for c in cases}
    rows = insert_run.run_all(jobs, out, 2, events.append)
    count = {n: len((out / "cases" / c.name / "runs").read_text()) for n, c in zip(names, cases, strict=True)}
    return {n: rows[c.name] for n, c in zip(names, cases, strict=True)}, count, events


def test_done_cases_are_not_done_again(child):
    rows, count, events = do(child, ["a", "b"])
    assert rows["a"]["ambient"]["figures"] == {"ssim": 1.0, "hardness": 0.5} and count == {"a": 1, "b": 1}
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


def test_meshes_of_a_plate_share_a_process_and_survive_each_other(child):
    """The middle one of three kills it: it is given up with its reason, the last is done by another process, the first
    is not done again."""
    cases = [case("a", mesh=m) for m in ("m1", "killed", "m3")]
    jobs = {c.name: job_of(c, ["ambient"], RunSettings(), "c") for c in cases}
    events: list[Event] = []
    rows = insert_run.run_all(jobs, child, 1, events.append)
    assert [list(rows[c.name]["ambient"]) for c in cases] == [["key", "figures"], ["error"], ["key", "figures"]]
    assert [len((child / "cases" / c.name / "runs").read_text()) for c in cases] == [1, 1, 1]
    assert sorted(p.name for p in (child / "plates").iterdir()) == [cases[0].name, cases[2].name]
    assert [e.step for e in events] == [0, 1, 2, 3] and events[-1].scalars["failed"] == 1


def test_other_weights_have_a_key_of_their_own(tmp_path):
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for k, f in enumerate(files):
        f.write_bytes(bytes([k]))
    keys = [job_of(case("a"), ["mine"], RunSettings(weights={"mine": f}), "c")["methods"]["mine"] for f in files]
    assert keys[0]["key"] != keys[1]["key"] and keys[0]["weights"] == str(files[0])
    assert keys[0]["settings"] == job_of(case("a"), ["default"], RunSettings(), "c")["methods"]["default"]["settings"]


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
