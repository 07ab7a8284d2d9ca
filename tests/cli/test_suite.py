"""``dipir bench run|status|table|compare`` from the command line: exit codes, files, one line for what is wrong."""
from __future__ import annotations

from pathlib import Path

import pytest

from dipir import device, disk
from dipir.cli import main as cli
from dipir.suite import file as suites
from dipir.suite import table

ROOT = str(Path(suites.__file__).resolve().parents[2])
TEXT = "method: benchmarks.suite_faults:job\nseeds: [0, 1, 2]\ngrid: {number: [1, 2]}\n"


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(TEXT)


def test_a_night_from_file_to_table(capsys, tmp_path):
    pandas = pytest.importorskip("pandas")
    assert cli.main(["bench", "run", "s.yaml", "--workers", "2", "--tensorboard"]) == 0
    assert len(list(Path("runs/s/jobs").glob("*/result/board/events.out*"))) == 6
    capsys.readouterr()
    assert cli.main(["bench", "status", "runs/s"]) == 0
    assert "6 done, 0 failed" in capsys.readouterr().out
    assert cli.main(["bench", "table", "runs/s", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("settings,done,value") and lines[1].startswith("number = 1,3 of 3,")
    table = pandas.read_parquet("runs/s/results.parquet")
    assert len(table) == 6 and set(table["set.number"]) == {1, 2} and table["figure.value"].between(0, 1).all()
    assert "number = 2" in Path("runs/s/report.html").read_text()
    assert cli.main(["bench", "run", "s.yaml", "--workers", "2", "--out", "other", "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["bench", "compare", "runs/s", "other"]) == 0
    assert "| value | 6 |" in " ".join(capsys.readouterr().out.split())


def test_failed_jobs_end_with_1_and_their_cause(capsys):
    Path("f.yaml").write_text(TEXT.replace("seeds: [0, 1, 2]", "seeds: [0]") + "set: {fault: error}\n")
    assert cli.main(["bench", "run", "f.yaml", "--workers", "2", "--quiet"]) == 1
    assert capsys.readouterr().err.count("a mistake of the user's") == 2
    assert cli.main(["bench", "status", "runs/f"]) == 0
    assert capsys.readouterr().out.count("a mistake of the user's") == 2


@pytest.mark.parametrize("words, text", [
    (["run", "none.yaml"], "no such file"), (["run", "s.yaml", "--workers", "0"], "1 or more"),
    (["status", "nowhere"], "holds no run"), (["table", "nowhere"], "holds no run"),
    (["compare", "nowhere", "nowhere"], "holds no run"), (["run", "bad.yaml"], "Did you mean 'insert'"),
    (["run", "typo.yaml"], "Did you mean 'steps'"), (["run", "preset.yaml"], "accepted are default")])
def test_bad_input_is_one_line_and_2(words, text, capsys):
    Path("bad.yaml").write_text("method: insrt\n")
    for name, setting in (("typo", "fit.stepz: 3"), ("preset", "preset: fats")):
        Path(f"{name}.yaml").write_text(f"method: insert\nscenes: [{ROOT}/scenes/demo.yaml]\nset: {{{setting}}}\n")
    assert cli.main(["bench", *words]) == 2
    err = capsys.readouterr().err
    assert text in err and "Traceback" not in err and not Path("runs").exists()


def test_a_run_that_is_there_wants_resume(capsys):
    Path("one.yaml").write_text(TEXT.replace("seeds: [0, 1, 2]", "seeds: [0]"))
    assert cli.main(["bench", "run", "one.yaml", "--quiet"]) == 0
    assert cli.main(["bench", "run", "one.yaml", "--quiet"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.main(["bench", "run", "one.yaml", "--quiet", "--resume"]) == 0


def test_two_runs_into_one_folder(capsys):
    """The second is refused while the first is alive, also with --resume and before it has begun a job; the lock of a
    run that ended is gone."""
    words = ["bench", "run", "s.yaml", "--quiet", "--out", "both"]
    Path("both").mkdir()
    with disk.locked(Path("both")):
        for more in ([], ["--resume"]):
            assert cli.main([*words, *more]) == 2
            assert "another run (process " in capsys.readouterr().err
        assert [path.name for path in Path("both").iterdir()] == [".dipir-lock"]
    Path("s.yaml").write_text(TEXT.replace("seeds: [0, 1, 2]", "seeds: [0]"))
    assert cli.main(words) == 0 and not Path("both/.dipir-lock").exists()


def test_status_and_tables_obey_no_name(monkeypatch, capsys):
    """Settings of a suite may hold anything."""
    evil = "\x1b[2J\r\u202e"
    Path("e.yaml").write_text('method: benchmarks.suite_faults:job\nseeds: [0]\ngrid: {fault: ["\\e[2J\\r\\u202E"]}\n')
    assert cli.main(["bench", "run", "e.yaml", "--quiet"]) in (0, 1)
    monkeypatch.setattr("dipir.suite.table.status_text", lambda out, real=table.status_text: real(out) + evil)
    assert cli.main(["bench", "status", "runs/e"]) == 0 and cli.main(["bench", "table", "runs/e"]) == 0
    shown = "".join(capsys.readouterr())
    assert "\\x1b[2J" in shown and not set(shown) & set(evil[:1] + evil[-2:])


def test_a_scene_file_with_the_methods_own_figures(capsys, tmp_path):
    """The shipped demo, as small as it can be: figures of the fit and the light, the picture in the job's folder."""
    Path("demo.yaml").write_text(f"method: insert\nscenes: [{ROOT}/scenes/demo.yaml]\nset: {{fit.steps: 2, "
                                 "preset: fast, guidance.kind: posterior, final.size: 48, final.spp: 1, "
                                 "guidance.samples: 1}\n")
    assert cli.main(["bench", "run", "demo.yaml", "--workers", "1", "--quiet"]) == 0
    assert cli.main(["bench", "table", "runs/demo", "--csv"]) == 0
    head, line, *_ = capsys.readouterr().out.splitlines()
    values = dict(zip(head.split(","), line.split(","), strict=True))
    assert values["done"] == "1 of 1" and -180 <= float(values["azimuth_deg"]) <= 180
    assert 0 < float(values["light_deg"]) <= 180, "the demo's light is known"
    assert {"loss", "elevation_deg"} <= set(values) and "step" not in values
    (folder,) = Path("runs/demo/jobs").iterdir()
    assert (folder / "result" / "composite.png").is_file() and "data:image" in Path("runs/demo/report.html").read_text()


@pytest.fixture
def undecided(monkeypatch):
    for name in ("DIPIR_DEVICE", "DIPIR_VARIANT", "DIPIR_GPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    device.current.cache_clear()
    yield
    device.current.cache_clear()


def test_jobs_get_the_device(undecided, capsys):
    Path("d.yaml").write_text(TEXT.replace("seeds: [0, 1, 2]", "seeds: [0]") + "set: {fault: device}\n")
    assert cli.main(["bench", "run", "d.yaml", "--workers", "1", "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert err.count("device: cpu (as asked)") == 1 and "share one GPU" not in err
    assert err.count("device of this job: cpu") == 2


def test_workers_that_share_a_gpu_are_told_once(undecided, monkeypatch, capsys):
    monkeypatch.setattr(device, "why_not_torch", lambda: None)
    monkeypatch.setattr(device, "why_not_optix", lambda: None)
    assert cli.main(["bench", "run", "s.yaml", "--workers", "2"]) == 0
    err = capsys.readouterr().err
    assert err.count("device: cuda\n") == 1 and err.count("2 jobs at a time share one GPU") == 1


def test_a_gpu_that_is_not_there_is_said_before_any_job(undecided, monkeypatch, capsys):
    monkeypatch.setattr(device, "why_not_torch", lambda: "no driver")
    assert cli.main(["bench", "run", "s.yaml", "--device", "cuda"]) == 2
    assert "no driver" in capsys.readouterr().err and not Path("runs").exists()


def test_watching_takes_a_time_above_0(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["bench", "status", "runs", "--watch", "-5"])
    assert exit.value.code == 2 and "'-5' is not a number > 0" in capsys.readouterr().err
