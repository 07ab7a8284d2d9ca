"""The CO3D benchmark: what is planned, its measures by hand, and a whole small run against known light."""
from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from benchmarks.co3d import __main__ as co3d
from benchmarks.co3d import job as co3d_job
from dipir.captures.co3d import read_category, read_sequence
from dipir.captures.ground import fit_ground
from dipir.captures.point_cloud import write_points
from dipir.captures.sequence import on_ground
from dipir.cli import main as cli
from dipir.scene.camera import Camera
from dipir.workshop.captures.co3d import Co3dSettings, generate
from dipir.workshop.captures.posed import PosedSettings
from tests.support.hdr import write_hdr

TINY = ["guidance.kind=posterior", "guidance.samples=1", "guidance.sampler_steps=2", "transport.samples=2",
        "fit.steps=2", "final.spp=4", "final.env_height=16"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two sequences of a mug under a sun at +X, 28 degrees high."""
    folder = tmp_path_factory.mktemp("co3d")
    env = torch.full((16, 32, 3), 0.3)
    env[5, 8] = 60.0
    write_hdr(folder / "sky.hdr", env)
    return generate(folder / "set", 3, Co3dSettings(("mug",), 2, PosedSettings(8, 64, 48, 8, 2),
                                                    (str(folder / "sky.hdr"),)))


@pytest.mark.slow
def test_a_run_from_folder_to_table(root, tmp_path, capsys):
    words = ["--root", str(root), "--limit", "1", "--frames", "2", "--workers", "1", "--out", str(tmp_path / "out"),
             "--preset", "fast", *(w for s in TINY for w in ("--set", s))]
    assert co3d.main(words) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert "| done | 1 of 1 | 1 of 1 |" in table and "dominant light, one light for all" in table
    (folder,) = (tmp_path / "out" / "jobs").iterdir()
    got = json.loads((folder / "status.json").read_text())["figures"]
    assert got["round_trip_px"] < 0.01 and got["ground_deg"] < 2 and got["frames"] == 2
    assert got["light_deg"] == got["sun_deg"] < 40 and "soft_deg" not in got and got["flicker"] < got["flicker_alone"]
    assert (folder / "result" / "composite.png").is_file() and (tmp_path / "out" / "results.parquet").is_file()
    assert co3d.main([*words, "--quiet"]) == 0, "what is done is not done again"


@pytest.fixture
def captured(root, tmp_path):
    """One sequence of the set as nerfstudio has it."""
    category = read_category(root, "mug")
    read = read_sequence(category, next(iter(category.frames)))
    (tmp_path / "mug").mkdir()
    write_points(tmp_path / "mug" / "points.ply", read.points)
    frames = []
    for f in read.frames:
        shutil.copy(f.image, tmp_path / "mug" / f.image.name)
        c = f.camera
        frames.append({"file_path": f.image.name, "transform_matrix": (c.to_world @ np.diag([-1, 1, -1, 1])).tolist(),
                       "fl_x": c.focal_px, "fl_y": c.focal_px, "cx": c.cx, "cy": c.cy, "w": c.width, "h": c.height})
    (tmp_path / "mug" / "transforms.json").write_text(json.dumps({"frames": frames, "ply_file_path": "points.ply"}))
    return tmp_path / "mug"


def test_a_capture_of_ones_own(captured, tmp_path):
    words = ["--root", str(captured), "--frames", "2", "--workers", "1", "--out", str(tmp_path / "out"), "--quiet",
             "--preset", "fast", *(w for s in TINY for w in ("--set", s))]
    assert co3d.main(words) == 0
    got = json.loads((tmp_path / "out" / "jobs" / "mug" / "status.json").read_text())["figures"]
    assert got["frames"] == 2 and "light_deg" not in got and got["ground_confidence"] > 0.5
    assert (tmp_path / "out" / "jobs" / "mug" / "result" / "composite.png").is_file()
    assert cli.main(["bench", "co3d", *words, "--category", "mug"]) == 2


def test_a_sequence_that_fails_says_why(captured, tmp_path, capsys):
    words = ["--root", str(captured), "--place", "beside", "--height", "50", "--workers", "1", "--quiet", "--out",
             str(tmp_path / "out")]
    assert cli.main(["bench", "co3d", *words]) == 1
    assert "failed: mug: mug: the asset would be seen whole in none" in capsys.readouterr().err


def test_the_way_from_the_truths_world_to_ours(root):
    """Up is up, and what the turned cameras look at is what they looked at."""
    category = read_category(root, "mug")
    name = next(iter(category.frames))
    read = read_sequence(category, name)
    ours = on_ground(read, fit_ground(read.points, np.stack([f.camera.to_world for f in read.frames])))
    truth = json.loads((root / "truth" / "mug" / f"{name}.json").read_text())
    turn = co3d_job.between(truth, read, ours)
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert (turn @ [0, 1, 0])[1] > np.cos(np.radians(2))


def test_spread_by_hand():
    tilt = np.radians(10)
    thirds = 2 * np.pi * np.arange(3) / 3
    around = np.stack([np.sin(tilt) * np.cos(thirds), np.full(3, np.cos(tilt)), np.sin(tilt) * np.sin(thirds)], 1)
    assert co3d_job.spread_deg(around) == pytest.approx(10, abs=1e-3)
    assert co3d_job.spread_deg(np.tile([0, 0, 1.0], (4, 1))) == 0


def test_round_trip():
    assert co3d_job._round_trip(Camera.looking(96, 64, 50.0, 1.2, 20.0)) < 1e-6


@pytest.mark.parametrize("words, text", [
    (["--root", "{}", "--category", "mgu"], "mgu"), (["--root", "{}", "--subset", "manyview"], "manyview"),
    (["--root", "{}", "--workers", "0"], "1 or more"), (["--root", "{}/nowhere"], "nowhere"),
    (["--root", "{}", "--asset", "none.glb"], "none.glb"), (["--root", "{}", "--height", "0"], "height above 0"),
    (["--root", "{}", "--preset", "fats"], "accepted are default"),
    (["--root", "{}", "--set", "fit.stepz=3"], "Did you mean 'steps'")])
def test_bad_input_is_one_line_and_2(root, words, text, tmp_path, capsys):
    words = [w.format(root) for w in words]
    assert cli.main(["bench", "co3d", *words, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert text in err and "Traceback" not in err and not (tmp_path / "out").exists()
