"""The part ``gpu`` of the speed benchmark."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import common
from benchmarks.speed import __main__ as speed
from benchmarks.speed import gpu as speed_gpu
from dipir import device

ROOT = Path(__file__).resolve().parents[3]


CPU = device.Device("cpu", device.LLVM, "cpu")


FOUND = {
    "folder": {"seconds": 20.0, "peak_gib": 3.0},
    "lds": {"ms": 44.0, "split_ms": 46.0, "steps": 50, "size": 512, "dtype": "bfloat16", "unet_share": 0.55,
            "stages": {"encode": 8.0, "U-Net": 25.3, "render": 3.0, "backward": 6.0, "host": 3.7}, "peak_gib": 5.2},
    "insert_default": {"seconds": 7.5, "cold_s": 20.0, "inside": {}, "peak_gib": 2.0},
    "insert_fast": {"failed": "exit code -6: no output"}, "path_traced": {"left_out": "no time left"},
    "transport": {"update_ms": 0.81, "preview_per_s": 99.0, "update_pixels": 64, "preview_pixels": 512,
                  "peak_gib": 1.0},
    "training": {"per_s": 60.0, "batch": 96, "steps": 200, "peak_gib": 10.0},
    "paper": {"seconds": 88.0, "foretold_s": 88.0, "short": 50, "extrapolated": True, "peak_gib": 6.0,
              "steps": {"fit": 600, "personalise": 1000}, "step_s": {"fit": 0.045, "personalise": 0.05}},
    "compiled": {"failed": "not done within 90 s"}}


def rows(text: str) -> dict[str, list[str]]:
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells}


def test_the_table_has_every_figure_with_its_bar():
    text = speed_gpu.table({"command": "c", "machine": "m", "load": 0.0, "jobs": FOUND})
    got = rows(text)
    assert got["LDS iteration, SD 1.5, 512 x 512, bfloat16"] == ["44.0 ms", "45 ms", "met", "5.2"]
    assert got["of it in the U-Net"] == ["55 %", "at least 60 %", "missed", "5.2"]
    whole = got["600 LDS iterations + 1000 LoRA steps, demo, whole run"]
    assert whole == ["88.0 s (extrapolated)", "90 s", "met", "6.0"]
    assert got["insert, embedded prior, preset default, warm kernel cache"][:3] == ["7.5 s", "8 s", "met"]
    assert got["insert, preset fast, warm kernel cache"][0] == "failed: exit code -6: no output"
    assert got["path traced samples of the objects"][0] == "not measured: no time left"
    assert got["relighting preview, 512 x 512"] == ["99 /s", "at least 100 /s", "missed", "1.0"]
    assert got["the same with torch.compile"][0].startswith("failed") and got["host"] == ["3.7", "8%"]
    assert "**Extrapolated** from a run with 50 steps" in text


def test_a_bar_that_was_not_measured_is_not_met():
    broken = {name: {"failed": "x"} for name in FOUND}
    text = speed_gpu.table({"command": "c", "machine": "m", "load": 0.0, "jobs": broken})
    barred = [f for f in speed_gpu.FIGURES if f.bar is not None]
    assert text.count("| missed |") == len(barred) == 5 and "{" not in text


def test_jobs_that_fail_or_hang_are_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    result = speed_gpu.job("lds", tmp_path, 30, CPU, True)
    assert result["failed"].startswith("exit code")
    script = tmp_path / "hang"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert speed_gpu.job("lds", tmp_path, 1, CPU, True) == {"failed": "not done within 1 s"}


def test_no_folder_of_this_machine_gets_into_a_table(tmp_path):
    text = speed_gpu.shortened(f"{ROOT}/dipir/x.py | {Path.home()}/.drjit: no" + "x" * 300)
    assert str(ROOT) not in text and "|" not in text and len(text) < 170


def test_without_time_everything_is_said_to_be_missing():
    found = speed_gpu.measure(CPU, 0, False)
    assert set(found) == set(speed_gpu.JOBS) and all(job == {"left_out": "no time left"} for job in found.values())


@pytest.mark.skipif(device._has_driver(), reason="this machine may have a GPU")
def test_without_a_gpu_the_exit_code_is_2(capsys, monkeypatch):
    monkeypatch.setenv("DIPIR_DEVICE", "cpu")
    assert speed.main(["--parts", "gpu"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and "no GPU" in said


def test_results_go_into_their_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(speed_gpu, "_gpu", lambda: CPU)
    monkeypatch.setattr(speed_gpu, "measure", lambda chosen, seconds, smoke: FOUND)
    assert speed.main(["--parts", "gpu", "--minutes", "3"]) == 1, "a measurement failed"
    assert (tmp_path / "gpu" / "speed.json").is_file()
    assert "--parts gpu --minutes 3" in (tmp_path / "gpu" / "speed.md").read_text()


def test_compiling_may_fail(monkeypatch):
    monkeypatch.setattr(speed_gpu, "job", lambda name, *more: FOUND[name])
    found = speed_gpu.measure(CPU, 60, False)
    assert found["compiled"] == {"left_out": "not done within 90 s"} and "failed" in found["insert_fast"]


def script(*words: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", str(ROOT / "benchmarks" / "gpu_machine.sh"), *words], capture_output=True, text=True,
                          timeout=280, env={**os.environ, **more})


@pytest.mark.parametrize("words", [[], ["/nowhere"], [".", "--minutes", "x"], [".", "--fast"], [".", "a", "b"]])
def test_wrong_arguments_of_the_script(words, tmp_path):
    run = script(*words)
    assert run.returncode == 2 and "WHEELS_DIR [OUT]" in run.stderr


@pytest.mark.slow
def test_the_script_goes_on_after_a_failure(tmp_path):
    """A wheel that is none, and a device that is refused: every stage runs, and the worst code is the script's."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "broken-1.0-py3-none-any.whl").write_text("no wheel")
    run = script(str(tmp_path / "wheels"), str(tmp_path / "out"), "--python", sys.executable, "--minutes", "4",
                 DIPIR_DEVICE="cuda:99")
    codes = dict(line.split() for line in (tmp_path / "out" / "exit_codes.txt").read_text().splitlines())
    assert list(codes) == ["wheels", "imports", "doctor", "tests", "speed"]
    assert codes["wheels"] == "1" and codes["imports"] == "0" and codes["doctor"] == "1" and codes["speed"] == "2"
    assert run.returncode == max(map(int, codes.values())) and "mitsuba" in (tmp_path / "out/imports.log").read_text()


@pytest.mark.slow
def test_all_measurements_run(tmp_path):
    run = subprocess.run([sys.executable, "-m", "benchmarks.speed", "--parts", "gpu", "--smoke", "--minutes", "14"],
                         cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
    got = rows(run.stdout)
    assert len([row for row in got.values() if row[0].startswith(("failed", "not measured"))]) == 1  # torch.compile
    assert got["6 LDS iterations + 12 LoRA steps, demo, whole run"][0].endswith(" s")
    assert not list((ROOT / "benchmarks" / "results").rglob("smoke*"))
