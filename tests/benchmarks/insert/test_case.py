"""One case of the insertion benchmark, rendered."""
from __future__ import annotations

import json

import pytest

from benchmarks.insert.case import finished, run, run_together, true_shadow
from benchmarks.insert.cases import Case, Environment, Mesh
from benchmarks.insert.run import RunSettings, job_of


def test_a_case_twice_is_the_same_and_the_truth_is_nearest(tiny, tmp_path):
    environment = Environment("lamp", tiny / "envs" / "lamp.hdr", "1", 0.5)
    made = Case(environment, Mesh("box", tiny / "meshes" / "box.obj", "2"), 0, 30.0)
    rows = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        job = job_of(made, ["ambient", "projected", "truth"], RunSettings(size=48, spp=64), "c")
        (tmp_path / name / "job.json").write_text(json.dumps(job))
        (tmp_path / f"plate {name}").mkdir()
        (tmp_path / f"plate {name}" / "job.json").write_text(json.dumps({"cases": [str(tmp_path / name)]}))
        run_together(tmp_path / f"plate {name}")
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
    # ---- the cast shadow ----
    shadow = true_shadow(tmp_path / "a")
    assert shadow["direction_deg"] is not None and shadow["darkest"] < 0.5
    assert not shadow["hard"] and truth["cast_deg"] is None  # A lamp 16 degrees wide.
    assert truth["darkest_log2"] < 0.1 < ambient["darkest_log2"] and truth["hardness"] > 1.2 * ambient["hardness"]


def test_a_case_that_cannot_be_made_is_an_error_of_all_its_methods(tiny, tmp_path):
    mesh = Mesh("box", tiny / "meshes" / "box.obj", "2")
    made = Case(Environment("lamp", tiny / "envs" / "none.hdr", "1", 0.5), mesh, 0, 30.0)
    job = job_of(made, ["ambient", "truth"], RunSettings(size=48), "c")
    (tmp_path / "job.json").write_text(json.dumps(job))
    run(tmp_path)
    rows = json.loads((tmp_path / "case.json").read_text())["rows"]
    assert set(rows) == {"ambient", "truth"} and all("the case itself" in r["error"] for r in rows.values())
    assert finished(tmp_path, job) == {} and true_shadow(tmp_path) is None
