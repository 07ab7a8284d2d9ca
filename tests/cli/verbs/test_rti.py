"""``dipir illuminet``: trains and relights from the command line; refuses bad input before it writes anything."""
from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from dipir.cli import main as cli
from dipir.cli.verbs import rti

FAST = ["--set", "steps=2", "--set", "channels=[4,4,4,4]", "--set", "embedding=4", "--set", "validate_every=1",
        "--set", "crop=16", "--quiet"]


@pytest.fixture
def data(tmp_path):
    """arrays.npz of eight lights."""
    rng = np.random.default_rng(0)
    d = rng.normal(size=(8, 3))
    d[:, 2] = abs(d[:, 2]) + 0.1
    path = tmp_path / "arrays.npz"
    np.savez(path, light_directions=d / np.linalg.norm(d, axis=1, keepdims=True),
             target_images=rng.integers(0, 255, (8, 24, 20, 3)).astype(np.uint8))
    return path


def test_train_then_relight(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["illuminet", "train", "--data", str(data), "--out", str(out), "--seed", "3", *FAST]) == 0
    assert {p.name for p in out.iterdir()} == {"illuminet.safetensors", "features.safetensors", "config.yaml",
                                               "history.csv", "report.json", "comparison.png", "loss.png"}
    report = json.loads((out / "report.json").read_text())
    assert set(report["methods"]) == {"net", "ptm", "hsh9", "hsh16"} and len(report["held_out"]) == 2
    assert "seed: 3" in (out / "config.yaml").read_text()
    picture = tmp_path / "left.png"
    assert cli.main(["illuminet", "relight", str(out), "--direction", "-45,30", "--out", str(picture)]) == 0
    assert Image.open(picture).size == (20, 24) and str(picture) in capsys.readouterr().out
    assert cli.main(["illuminet", "relight", str(out), "--dome", "3", "--quiet"]) == 0
    ring = sorted((out / "relit").iterdir())
    assert [p.name for p in ring] == ["light_000.png", "light_001.png", "light_002.png"]
    assert len({p.read_bytes() for p in ring}) == 3


def test_json_log(data, tmp_path, capsys):
    words = ["illuminet", "train", "--data", str(data), "--out", str(tmp_path / "out"), "--log", "json", *FAST[:-1]]
    assert cli.main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"event": "done", "out": str(tmp_path / "out")}
    assert lines[0]["stage"] == "illuminet" and "loss" in lines[0]["scalars"]


@pytest.mark.parametrize("words, problem", [
    (["--data", "none.lp"], "does not exist"),
    (["--set", "stepz=3"], "Did you mean 'steps'"),
    (["--set", "steps=0"], "steps is 0"),
    (["--set", "loss.l1=-1"], "weights of 0 or more"),
    (["--longest", "4"], "longest side 4"),
])
def test_bad_training_input(words, problem, data, tmp_path, capsys):
    out = tmp_path / "out"
    words = words if "--data" in words else ["--data", str(data), *words]
    assert cli.main(["illuminet", "train", *words, "--out", str(out)]) == 2
    text = capsys.readouterr().err
    assert problem in text and "Traceback" not in text and not out.exists()


def test_a_broken_capture_leaves_nothing(tmp_path, capsys):
    (tmp_path / "dome.lp").write_text("4\n../a.png 0 0 1\nb.png 0 1 0\nc.png 1 0 0\nd.png 0 1 1\n")
    assert cli.main(["illuminet", "train", "--data", str(tmp_path / "dome.lp"), "--out", str(tmp_path / "out")]) == 2
    assert "leads outside" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, problem", [
    (["--direction", "400,0"], "accepted are azimuths"), (["--direction", "nan,0"], "accepted are azimuths"),
    (["--dome", "5000"], "at most 720"), (["--direction", "0,0", "--out", "x.jpg"], "accepted is a .png file")])
def test_bad_relighting_input(words, problem, tmp_path, capsys):
    assert cli.main(["illuminet", "relight", str(tmp_path / "none"), *words]) == 2
    assert problem in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_relight_needs_a_trained_folder(tmp_path, capsys):
    assert cli.main(["illuminet", "relight", str(tmp_path), "--direction", "0,0"]) == 2
    assert "illuminet.safetensors: no such file" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_wrong_options(capsys):
    for words in (["illuminet"], ["illuminet", "relight", "x"], ["illuminet", "train", "--data", "x", "--minutes", "0"],
                  ["illuminet", "relight", "x", "--dome", "2", "--direction", "1,2"],
                  ["illuminet", "relight", "x", "--direction", "45"],
                  ["illuminet", "relight", "x", "--direction", "a,b"]):
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        assert end.value.code == 2
    capsys.readouterr()


def test_the_ring_goes_around_the_camera_axis():
    from dipir.scene.direction import vector_of

    vectors = [vector_of(*angles) for angles in rti.ring(4)]
    expected = [(0.819, 0, 0.574), (0, 0.819, 0.574), (-0.819, 0, 0.574), (0, -0.819, 0.574)]
    for vector, wanted in zip(vectors, expected, strict=True):
        assert vector.tolist() == pytest.approx(wanted, abs=1e-3)
