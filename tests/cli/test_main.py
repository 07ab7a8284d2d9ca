"""The command line: arguments -> scene and settings, exit codes, one clear message and no traceback for bad input.

The method itself is replaced by a small one (``stub``), so that only what the command line does is tested.
"""
import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dipir import device
from dipir.cli import main as cli
from dipir.cli.verbs import verbs
from dipir.errors import ConfigError, FitError, PriorError
from dipir.fit.loop import Event
from dipir.insert.config import InsertConfig

CUBE = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"""


RENDERED = types.SimpleNamespace(provenance={"render_notes": ["no denoiser"]})


def _args(*words: str) -> argparse.Namespace:
    return cli.build_parser().parse_args(words)


@pytest.fixture
def files(tmp_path) -> Path:
    """A photo, a cube and a scene file."""
    noise = np.random.default_rng(0).integers(90, 160, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    (tmp_path / "cube.obj").write_text(CUBE)
    (tmp_path / "scene.yaml").write_text(
        "plate: photo.png\nprompt: a cube\ncamera: {fov_deg: 50, pitch_deg: 15, roll_deg: 0, height_m: 1.6}\n"
        "objects:\n  - {asset: cube.obj, at: [64, 70], height_m: 0.5, yaw_deg: 20}\n")
    return tmp_path


@pytest.fixture
def stub(monkeypatch):
    """Stands in for methods.insert; ``calls`` keeps what it was given, ``fail`` is raised by it."""
    module = types.ModuleType("dipir.insert.method")
    module.calls, module.fail = {}, None

    def insert(scene, config, **options):
        module.calls.update(scene=scene, config=config, **options)
        options["on_event"](Event("fit", 1, 2, 3.0, {"loss": 0.5, "bad": float("nan")},
                                  {"composite": torch.rand(1, 3, 8, 8)}))
        module.calls["preview"] = (Path(options["out"]) / "preview.png").exists()
        if module.fail:
            raise module.fail
        return "result"

    def load_config(preset, paths, overrides):
        module.calls.update(preset=preset, paths=paths, overrides=overrides)
        return InsertConfig()

    def render_result(*given, denoise=None):
        module.calls.update(render=given, denoise=denoise)
        return RENDERED
    module.insert, module.load_config, module.render_result = insert, load_config, render_result
    module.ready = lambda config: ("prior", "light prior")
    monkeypatch.setitem(sys.modules, "dipir.insert.method", module)
    import dipir.methods

    from dipir.insert import result

    monkeypatch.setattr(dipir.methods, "insert", module, raising=False)

    def save(value, out):
        module.calls["saved"] = (value, Path(out))
        (Path(out) / "composite.png").write_bytes(b"picture")
    monkeypatch.setattr(result, "save", save)
    return module


# ---- arguments -------------------------------------------------------------------------------------------------------

def test_plate_and_asset_become_a_scene():
    args = _args("insert", "a/photo.jpg", "b/chair.glb", "--at", "640.5,700", "--height", "0.9", "--yaw", "-30",
                 "--prompt", "a chair", "--fov", "52", "--pitch", "-3", "--roll", "1", "--camera-height", "1.7",
                 "--camera", "c.yaml")
    scene = verbs.scene_file_of(args)
    (item,) = scene.objects
    assert (scene.plate, item.asset, item.at) == (Path("a/photo.jpg"), Path("b/chair.glb"), (640.5, 700.0))
    assert (item.height_m, item.scale, item.yaw_deg, scene.prompt) == (0.9, None, -30.0, "a chair")
    c = scene.camera
    assert (c.fov_deg, c.pitch_deg, c.roll_deg, c.height_m, c.file) == (52, -3, 1, 1.7, Path("c.yaml"))
    assert scene.name == "photo-chair"


def test_flags_replace_what_the_scene_file_says(files):
    plain = verbs.scene_file_of(_args("insert", str(files / "scene.yaml")))
    assert plain.objects[0].height_m == 0.5 and plain.camera.fov_deg == 50 and plain.prompt == "a cube"
    flags = ("--scale", "2", "--fov", "60", "--prompt", "")
    changed = verbs.scene_file_of(_args("insert", str(files / "scene.yaml"), *flags))
    assert (changed.objects[0].height_m, changed.objects[0].scale, changed.objects[0].yaw_deg) == (None, 2.0, 20.0)
    assert changed.camera.fov_deg == 60 and changed.camera.pitch_deg == 15 and changed.prompt == ""


def test_placing_one_of_several_objects_by_flag_is_ambiguous(files):
    scene = files / "scene.yaml"
    scene.write_text(scene.read_text() + "  - {asset: cube.obj, at: [30, 80]}\n")
    assert len(verbs.scene_file_of(_args("insert", str(scene), "--fov", "60")).objects) == 2
    with pytest.raises(ConfigError, match="2 objects"):
        verbs.scene_file_of(_args("insert", str(scene), "--yaw", "3"))


def test_settings_from_flags_come_before_set():
    args = _args("insert", "s.yaml", "--seed", "7", "--optimize", "light,tone", "--set", "fit.steps=5",
                 "--set", "seed=9")
    assert verbs.overrides_of(args) == ["seed=7", "optimize=[light, tone]", "fit.steps=5", "seed=9"]


@pytest.mark.parametrize("words, text", [
    (["insert", "a.png", "b.glb", "--heigt", "3"], "Did you mean '--height'?"),
    (["insrt"], "Did you mean 'insert'?"), ([], "required: COMMAND"),
    (["insert", "s.yaml", "--at", "12"], "'12' is not X,Y in pixels, for instance 640,480"),
    (["insert", "s.yaml", "--at", "a,b"], "'a,b' is not X,Y"), (["insert", "s.yaml", "--height", "-1"], "number > 0"),
    (["insert", "s.yaml", "--height", "nan"], "number > 0"), (["insert", "s.yaml", "--scale", "0"], "number > 0"),
    (["insert", "s.yaml", "--seed", "x"], "whole number"),
    (["insert", "s.yaml", "--preset", "fst"], "Did you mean 'fast'"),
    (["insert", "s.yaml", "--optimize", "lihgt"], "Did you mean 'light'?"),
    (["insert", "s.yaml", "--optimize", ","], "accepted: light"), (["render", "r", "--size", "10"], "W,H in pixels"),
    (["render", "r", "--size", "10.5,3"], "W,H in pixels")])
def test_bad_arguments_are_code_2_with_a_remedy(words, text, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(words)
    assert exit.value.code == 2 and text in capsys.readouterr().err


# ---- bad input: code 2, one message, no traceback, no folder made ----------------------------------------------------

def _fails(words: list[str], capsys, *texts: str) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("dipir: error: ") and "Traceback" not in err
    for text in texts:
        assert text in err


@pytest.mark.parametrize("inputs", [["photo.png"], ["scene.yaml", "cube.obj"], ["photo.png", "cube.obj", "cube.obj"]])
def test_wrong_number_of_inputs(inputs, capsys):
    _fails(["insert", *inputs], capsys, "give one scene file (.yaml), or a plate and an asset")


def test_at_is_needed(capsys):
    _fails(["insert", "photo.png", "cube.obj"], capsys, "--at X,Y is needed", "dipir init photo.png cube.obj")


def _insert(files: Path, *more: str, plate: str = "photo.png", asset: str = "cube.obj") -> list[str]:
    return ["insert", str(files / plate), str(files / asset), "--at", "64,70", "--height", "0.5", "--fov", "50",
            "--pitch", "15", "--out", str(files / "out"), *more]


@pytest.mark.parametrize("name, content", [("missing.png", None), ("zero.png", b""),
                                           ("corrupt.png", b"\x89PNG\r\n\x1a\nx"), ("text.jpg", b"hello"),
                                           ("short.exr", b"v/1\x01\x02")])
def test_bad_plates(files, stub, capsys, name, content):
    if content is not None:
        (files / name).write_bytes(content)
    _fails(_insert(files, plate=name), capsys, name)
    assert not (files / "out").exists()


@pytest.mark.parametrize("name, content", [
    ("missing.glb", None), ("zero.glb", b""), ("cube.xyz", b"1 2 3"), ("none.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
    ("nan.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), ("short.glb", b"glTF\x02\x00\x00\x00"),
    ("far.gltf", b'{"asset":{"version":"2.0"},"buffers":[{"byteLength":9,"uri":"../../../etc/passwd"}]}')])
def test_bad_assets(files, stub, capsys, name, content):
    if content is not None:
        (files / name).write_bytes(content)
    _fails(_insert(files, asset=name), capsys, name)
    assert not (files / "out").exists()


@pytest.mark.parametrize("at", ["500,70", "64,2"])
def test_object_outside_the_view(files, stub, capsys, at):
    _fails(_insert(files, "--at", at), capsys, at if at == "500,70" else "horizon")
    assert not (files / "out").exists()


def test_bad_scene_files(files, stub, capsys):
    scene = files / "scene.yaml"
    text = scene.read_text()
    scene.write_text(text.replace("prompt:", "promt:").replace("yaw_deg: 20", "yaw_deg: left"))
    _fails(["insert", str(scene), "--out", str(files / "out")], capsys, "scene.yaml", "2 problems",
           "Did you mean 'prompt'", "objects[0].yaw_deg")
    scene.write_text("plate: [")
    _fails(["insert", str(scene)], capsys, "scene.yaml", "YAML")
    _fails(["insert", str(files / "none.yaml")], capsys, "none.yaml", "no such file")
    _fails(_insert(files, "--fov", "500"), capsys, "fov_deg")
    assert not (files / "out").exists()


def test_out_that_cannot_be_written(files, stub, capsys):
    (files / "taken").write_text("mine")
    _fails(_insert(files, "--out", str(files / "taken")), capsys, "taken", "--out")
    _fails(_insert(files, "--out", "/proc/dipir/out"), capsys, "/proc/dipir/out", "--out")
    assert "insert" not in stub.calls and "scene" not in stub.calls, "the work must not have begun"


def test_render_of_no_result(files, stub, capsys):
    _fails(["render", str(files / "none")], capsys, "none", "no such folder")
    _fails(["render", str(files)], capsys, "light.json")
    assert not (files / "render").exists() and "render" not in stub.calls


@pytest.mark.parametrize("problem, text", [
    (PriorError("w.safetensors: truncated"), "w.safetensors: truncated"), (FitError("step 3: NaN"), "step 3: NaN"),
    (OSError(28, "No space left on device", "x.png"), "x.png: No space left on device"),
    (MemoryError(), "not enough memory")])
def test_errors_of_the_method(files, stub, capsys, problem, text):
    stub.fail = problem
    _fails(_insert(files, "--quiet"), capsys, text)
    assert "saved" not in stub.calls and not (files / "out" / "preview.png").exists()


def test_interrupted(files, stub, capsys):
    stub.fail = KeyboardInterrupt()
    assert cli.main(_insert(files)) == 130
    assert "--resume" in capsys.readouterr().err


def test_a_bug_is_not_hidden(files, stub):
    stub.fail = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(_insert(files))


# ---- good input ------------------------------------------------------------------------------------------------------

def test_insert_hands_everything_over(files, stub, capsys):
    words = ["insert", str(files / "scene.yaml"), "--out", str(files / "out"), "--prior", "w", "--preset", "fast",
             "--config", "a.yaml", "--config", "b.yaml", "--seed", "4", "--resume"]
    assert cli.main(words) == 0
    calls = stub.calls
    assert (calls["preset"], calls["overrides"]) == ("fast", ['prior="w"', "seed=4"])
    assert calls["paths"] == [Path("a.yaml"), Path("b.yaml")]
    assert calls["scene"].prompt == "a cube" and calls["scene"].camera.width == 128 and len(calls["scene"].objects) == 1
    assert calls["config"] == InsertConfig() and calls["resume"] is True
    assert (calls["prior"], calls["light_prior"]) == ("prior", "light prior")
    assert calls["saved"] == ("result", files / "out") and calls["preview"]
    out = capsys.readouterr().out
    assert out.strip() == str(files / "out" / "composite.png")
    assert {f.name for f in (files / "out").iterdir()} == {"composite.png", "camera.png", "scene.yaml"}


def test_the_written_scene_file_gives_the_same_scene(files, stub):
    assert cli.main(_insert(files, "--quiet")) == 0
    again = verbs.scene_file_of(_args("insert", str(files / "out" / "scene.yaml")))
    assert again.objects[0].asset.resolve() == files / "cube.obj" and again.objects[0].at == (64, 70)
    assert again.camera.fov_deg == 50


def test_quiet_says_nothing(files, stub, capsys):
    assert cli.main(_insert(files, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_json_lines(files, stub, capsys):
    assert cli.main(_insert(files, "--log", "json")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    chosen = device.current()
    assert lines.pop(0) == {"event": "device", "torch": chosen.kind, "renderer": chosen.variant, "asked": chosen.asked,
                            "why": chosen.why}
    assert lines == [{"event": "progress", "stage": "fit", "step": 1, "steps": 2, "seconds_left": 3.0,
                      "preview": str(files / "out" / "preview.png"), "scalars": {"loss": 0.5, "bad": None}},
                     {"event": "done", "out": str(files / "out")}]


def test_json_errors(files, stub, capsys):
    assert cli.main(_insert(files, "--log", "json", asset="missing.glb")) == 2
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    assert json.loads(line)["event"] == "error" and "missing.glb" in json.loads(line)["message"]
    assert captured.err.startswith("dipir: error:")


def test_render_hands_everything_over(files, stub, monkeypatch, capsys):
    from dipir.insert import result

    monkeypatch.setattr(result, "load_result", lambda folder: None)
    assert cli.main(["render", str(files), "--asset", "b.glb", "--size", "640,480", "--spp", "256", "--quiet"]) == 0
    folder, asset, size, spp, on_event = stub.calls["render"]
    assert (folder, asset, size, spp) == (files, Path("b.glb"), (640, 480), 256) and callable(on_event)
    assert stub.calls["saved"] == (RENDERED, files / "render")
    assert capsys.readouterr().err == "", "quiet"
    assert cli.main(["render", str(files), "--no-denoise"]) == 0 and stub.calls["denoise"] is False
    assert "note: no denoiser" in capsys.readouterr().err


def test_init_writes_a_scene_that_insert_reads(files, stub, capsys):
    words = ["init", str(files / "photo.png"), str(files / "cube.obj"), "--out", str(files / "new.yaml")]
    assert cli.main(words) == 0 and "new.grid.png" in capsys.readouterr().out
    assert cli.main(["insert", str(files / "new.yaml"), "--out", str(files / "out"), "--quiet"]) == 0
    _fails(words, capsys, "new.yaml")


def test_prior_passes_its_options_on(monkeypatch):
    seen = []
    trainer = types.SimpleNamespace(main=seen.append)
    monkeypatch.setitem(sys.modules, "dipir.workshop.light.train", trainer)
    assert cli.main(["prior", "train", "light", "--minutes", "3"]) == 0
    assert seen == [["--minutes", "3"]]


def test_threads_are_set_before_the_work(files, stub, monkeypatch):
    monkeypatch.setenv("DIPIR_THREADS", "9")
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    import os

    assert cli.main(_insert(files, "--threads", "1", "--quiet")) == 0
    assert os.environ["DIPIR_THREADS"] == os.environ["OMP_NUM_THREADS"] == "1"


# ---- device ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def undecided(monkeypatch):
    """A process that has decided nothing, on a machine without a GPU."""
    for name in ("DIPIR_DEVICE", "DIPIR_VARIANT", "DIPIR_GPU", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")  # So that monkeypatch puts back what the code under test writes.
        monkeypatch.delenv(name)
    device.current.cache_clear()
    monkeypatch.setattr(device, "why_not_torch", lambda: "no NVIDIA driver on this machine")
    yield
    device.current.cache_clear()


@pytest.mark.parametrize("verb", ["insert", "render", "relight", "layout", "doctor"])
def test_every_verb_that_computes_has_device(verb):
    words = {"insert": ["s.yaml"], "render": ["r"], "relight": ["p.png"], "layout": [], "doctor": []}[verb]
    assert _args(verb, *words, "--device", "cuda:1").device == "cuda:1" and _args(verb, *words).device is None


def test_device_is_said_once(files, stub, undecided, capsys):
    assert cli.main(_insert(files)) == 0
    captured = capsys.readouterr()
    assert captured.err.count("device: cpu (no NVIDIA driver on this machine)\n") == captured.err.count("device:") == 1
    device.current.cache_clear()
    assert cli.main(_insert(files, "--device", "cpu")) == 0
    assert "device: cpu (as asked)\n" in capsys.readouterr().err and device.current().asked == "cpu"


@pytest.mark.parametrize("asked", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there(files, stub, undecided, capsys, asked):
    _fails(_insert(files, "--device", asked, "--quiet"), capsys, f"device {asked}", "no NVIDIA driver", "--device cpu")
    assert "insert" not in stub.calls and not (files / "out").exists()


def test_a_device_of_another_kind(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["insert", "s.yaml", "--device", "gpu"])
    assert exit.value.code == 2 and "accepted are auto, cpu, cuda or cuda:N" in capsys.readouterr().err


def test_another_device_in_one_process(files, stub, undecided, capsys):
    assert cli.main(_insert(files, "--quiet")) == 0
    _fails(_insert(files, "--device", "cuda"), capsys, "this process computes on cpu")
