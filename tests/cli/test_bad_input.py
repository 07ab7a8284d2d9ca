"""Bad input through the whole program, nothing replaced: exit code 2, one message that names the file and the remedy,
no traceback, nothing half-written.

Where the fit has to run it is tiny: 64 pixels, one sample, an untrained prior.
"""
from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dipir.cli import main as cli
from dipir.priors.insertion import InsertionPrior
from tests.support.command_line import CUBE

ROOT = Path(__file__).resolve().parents[2]
TEXTURED = CUBE.replace("v 0 0 0", "mtllib m.mtl\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl m\nv 0 0 0", 1).replace(
    "f 1 4 3 2", "f 1/1 4/2 3/3")
# No network of ours is needed: the light starts from the mirrored plate, and nothing is asked of a prior.
PLAIN = ["light.start=mirrored", "guidance.kind=none", "transport.samples=1", "final.spp=1"]
TINY = ["light.start=mirrored", "transport.samples=1", "final.spp=1", "guidance.kind=posterior", "guidance.samples=1",
        "guidance.sampler_steps=2", "fit.steps=2", "checkpoint_every=1"]


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A working folder with a plate, a cube and a scene file."""
    monkeypatch.chdir(tmp_path)
    make_inputs(tmp_path)
    return tmp_path


def make_inputs(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(90, 160, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "plate.png")
    (folder / "cube.obj").write_text(CUBE)
    (folder / "scene.yaml").write_text(
        "plate: plate.png\nprompt: a cube\ncamera: {fov_deg: 50, pitch_deg: 15, roll_deg: 0, height_m: 1.6}\n"
        "objects:\n  - {asset: cube.obj, at: [32, 45], height_m: 0.5}\n")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder``, hidden files and empty folders too."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def fails(words: list[str], capsys, folder: Path, *texts: str) -> str:
    """The command must end as the module says; returns the message."""
    before = contents(folder)
    capsys.readouterr()
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("dipir: error: ") == 1 and "Traceback" not in error
    message = error[error.index("dipir: error: "):]
    for text in texts:
        assert text in message, message
    assert contents(folder) == before, "the failed command left something behind"
    return message


def insert(*more: str, plate: str = "plate.png", asset: str = "cube.obj", at: str = "32,45") -> list[str]:
    return ["insert", plate, asset, "--at", at, "--height", "0.5", "--fov", "50", "--pitch", "15", "--roll", "0",
            "--out", "new/out", *settings(*PLAIN), *more]


# ---------------------------------------------------------------------------------------------------------- the plate
def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size; its pixels are a few bytes."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pieces = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(64))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def cut(path: Path, share: float = 0.5) -> bytes:
    data = path.read_bytes()
    return data[:int(len(data) * share)]


def jpeg(folder: Path) -> bytes:
    Image.open(folder / "plate.png").save(folder / "whole.jpg")
    return cut(folder / "whole.jpg")


PLATES = {"missing.png": (lambda f: None, "does not exist"), "empty.png": (lambda f: b"", "0 bytes"),
          "cut.png": (lambda f: cut(f / "plate.png"), "again"), "cut.jpg": (jpeg, "again"),
          "text.jpg": (lambda f: b"hello, I am a photo", "accepted are PNG, JPEG, WebP, TIFF, DPX, EXR, HDR"),
          "huge.png": (lambda f: png_header(40000, 40000), "too large"),
          "huge.hdr": (lambda f: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 50000 +X 50000\n" + bytes(64), "50000"),
          "photo.tiff": (lambda f: b"II*\0" + bytes(100), "damaged")}


@pytest.mark.parametrize("name", PLATES)
def test_plate(here, capsys, name):
    make, text = PLATES[name]
    data = make(here)
    if data is not None:
        (here / name).write_bytes(data)
    fails(insert(plate=name), capsys, here, name, text)
    fails(["init", name, "cube.obj", "--out", "new.yaml"], capsys, here, name, text)


# ---------------------------------------------------------------------------------------------------------- the asset
def gltf(**changes) -> bytes:
    """A triangle; ``changes`` replace top-level keys."""
    data = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
    document = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
                "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}], "materials": [{}],
                "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
                "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
                "buffers": [{"byteLength": len(data), "uri": "t.bin"}]}
    return json.dumps(document | changes).encode()


def painted(uri: str) -> bytes:
    return gltf(images=[{"uri": uri}], textures=[{"source": 0}],
                materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}])


# Content (None: no such file) and what the message must say.
ASSETS = {
    "missing.glb": (None, "does not exist"), "empty.glb": (b"", "empty"), "cube.xyz": (b"1 2 3\n", "accepted"),
    "cube.blend": (b"BLENDER", "accepted"), "none.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "face"),
    "nan.obj": (b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN"), "short.glb": (b"glTF\x02\x00\x00\x00", "short.glb"),
    "texture.gltf": (painted("gone.png"), "gone.png"),
    "outside.gltf": (painted("../../secret.png"), "../../secret.png"),
    "absolute.gltf": (painted("/etc/hostname"), "/etc/hostname"),
    "net.gltf": (painted("https://a.b/c.png"), "https://a.b"),
    "far.gltf": (gltf(buffers=[{"byteLength": 36, "uri": "../../../etc/passwd"}]), "../../../etc/passwd"),
    "gone.gltf": (gltf(buffers=[{"byteLength": 36, "uri": "gone.bin"}]), "gone.bin"),
    "textured.obj": (TEXTURED.encode(), "gone.png"),
    "out.obj": (CUBE.replace("v", "mtllib ../up.mtl\nv", 1).encode(), "../up.mtl")}


@pytest.mark.parametrize("name", ASSETS)
def test_asset(here, capsys, name):
    (here / "t.bin").write_bytes(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes())
    (here / "m.mtl").write_text("newmtl m\nmap_Kd gone.png\n")
    (here.parent / "up.mtl").write_text("newmtl m\n")
    content, text = ASSETS[name]
    if content is not None:
        (here / name).write_bytes(content)
    fails(insert(asset=name), capsys, here, name, text)
    fails(["init", "plate.png", name, "--out", "new.yaml"], capsys, here, name, text)


def test_a_link_that_leads_outside_is_no_way_out(here, capsys):
    (here.parent / "secret.png").write_bytes((here / "plate.png").read_bytes())
    (here / "t.bin").write_bytes(bytes(36))
    (here / "near.png").symlink_to(here.parent / "secret.png")
    (here / "link.gltf").write_bytes(painted("near.png"))
    fails(insert(asset="link.gltf"), capsys, here, "link.gltf", "near.png")


# -------------------------------------------------------------------------------------------------- scene and settings
@pytest.mark.parametrize("at, text", [("500,45", "500,45"), ("32,-3", "32,-3"), ("32,2", "horizon")])
def test_object_outside_the_view(here, capsys, at, text):
    fails(insert(at=at), capsys, here, text)


def test_object_of_a_scene_file_outside_the_view(here, capsys):
    scene = here / "scene.yaml"
    scene.write_text(scene.read_text().replace("[32, 45]", "[320, 45]"))
    fails(["insert", "scene.yaml", "--out", "new", *settings(*PLAIN)], capsys, here, "scene.yaml", "320")


def test_scene_file_names_every_problem(here, capsys):
    scene = here / "scene.yaml"
    scene.write_text(scene.read_text().replace("prompt:", "promt:").replace("height_m: 0.5", "height_m: tall"))
    fails(["insert", "scene.yaml", "--out", "new"], capsys, here, "scene.yaml", "2 problems", "Did you mean 'prompt'",
          "objects[0].height_m", "tall")


@pytest.mark.parametrize("words, texts", [
    (settings("light.lobs=3"), ["lobs", "Did you mean 'lobes'"]),
    (settings("lights.lobes=3"), ["Did you mean 'light'"]),
    (settings("fit.steps=many"), ["fit.steps", "many"]), (settings("fit.steps=2.5"), ["fit.steps", "2.5"]),
    (settings("guidance.kind=sdss"), ["guidance.kind", "sdss", "sds"]), (settings("fit.steps"), ["key=value"]),
    (settings("optimize=[lite]"), ["lite", "light"]), (settings("final.spp=0"), ["final.spp", "least is 1"]),
    (settings("transport.samples=-2", "light.lobes=0"), ["transport.samples", "light.lobes"]),
    (["--config", "none.yaml"], ["none.yaml", "no such file"]),
    (["--config", "bad.yaml"], ["bad.yaml", "'fitt'", "'fit'"]),
    (["--config", "list.yaml"], ["list.yaml", "mapping"]), (["--camera", "none.json"], ["none.json"])])
def test_settings(here, capsys, words, texts):
    (here / "bad.yaml").write_text("fitt: {steps: 3}\n")
    (here / "list.yaml").write_text("- 1\n- 2\n")
    fails(insert(*words), capsys, here, *texts)


# --------------------------------------------------------------------------------------------------------- out folder
@pytest.mark.parametrize("out", ["taken", "taken/below", "/proc/dipir/out", "/dev/full"])
def test_out_that_cannot_be_written(here, capsys, out):
    (here / "taken").write_text("mine")
    fails(insert("--out", out), capsys, here, out, "--out")


def test_almost_full_disk_is_found_before_the_work(here, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 2**20))
    fails(insert(), capsys, here, "out", "1 MiB left", "Free some space")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(folder with a finished run in ``out``, its Result in memory)."""
    from dipir.insert import method

    folder, kept = tmp_path_factory.mktemp("finished"), {}
    make_inputs(folder)
    real = method.insert
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(method, "insert", lambda *a, **k: kept.setdefault("result", real(*a, **k)))
        assert cli.main(["insert", "scene.yaml", "--out", "out", "--quiet", *settings(*PLAIN)]) == 0
    return folder, kept["result"]


@pytest.mark.parametrize("limit", [6_000, 14_000, 30_000, 200_000])
@pytest.mark.parametrize("again", [False, True])
def test_full_disk_while_saving(here, capsys, finished, monkeypatch, limit, again):
    """A limit on the size of files makes the real writers fail half-way, as a full disk does: at the camera picture, at
    the layers, at the light. A finished run in the same folder stays as it was."""
    from dipir.insert import method

    monkeypatch.setattr(method, "insert", lambda *a, **k: finished[1])
    if again:
        shutil.copytree(finished[0] / "out", here / "out")
    old, before = resource.getrlimit(resource.RLIMIT_FSIZE), contents(here)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        code = cli.main(["insert", "scene.yaml", "--out", "out", "--quiet", *settings(*PLAIN)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("dipir: error: ") and error.count("\n") == 1 and "space" in error
    # The camera picture, written before the fit for people to judge, may be there; it is whole.
    after = contents(here)
    if after.pop("out/camera.png", None) is not None:
        Image.open(here / "out" / "camera.png").load()
        after.pop("out") if not again else before.pop("out/camera.png")
    assert after == before


# ------------------------------------------------------------------------------------------------------------ weights
def tiny_prior(folder: Path) -> Path:
    InsertionPrior.untrained().save(folder / "w.safetensors")
    return folder / "w.safetensors"


def spoil(path: Path, how: str) -> None:
    from safetensors.torch import load_file, save_file

    data = path.read_bytes()
    if how == "checksum":
        state = load_file(path)
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            meta = file.metadata()
        next(iter(state.values())).view(-1)[0] += 1
        save_file(state, path, meta)
    elif how == "foreign":
        save_file(load_file(path), path, {"architecture": "another"})
    else:
        path.write_bytes({"empty": b"", "text": b"not weights", "truncated": data[:len(data) // 2]}[how])


@pytest.mark.parametrize("kind", ["posterior", "none"])
@pytest.mark.parametrize("how", ["empty", "text", "truncated", "checksum", "foreign"])
def test_weights_of_the_prior(here, capsys, how, kind):
    spoil(tiny_prior(here), how)
    fails(insert("--prior", "w.safetensors", *settings(f"guidance.kind={kind}")), capsys, here, "w.safetensors",
          "dipir prior train insert")


def test_missing_weights_of_the_prior(here, capsys):
    fails(insert("--prior", "none.safetensors", *settings("guidance.kind=posterior")), capsys, here, "none.safetensors")


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_weights_of_the_light_prior(here, capsys, monkeypatch, how):
    from dipir.priors import light as light_prior

    path = here / "light.safetensors"
    if how == "truncated":
        path.write_bytes(tiny_prior(here).read_bytes()[:5000])
    monkeypatch.setattr(light_prior, "DEFAULT_PATH", path)
    fails(insert(*settings("light.start=prior")), capsys, here, "light.safetensors")


def test_hub_name_as_prior(here, capsys):
    fails(insert("--prior", "stabilityai/stable-diffusion-2-1", *settings("guidance.kind=lds")), capsys, here,
          "stabilityai/stable-diffusion-2-1", "hub name", "huggingface-cli download", "--local-dir")


def test_folder_that_is_no_model(here, capsys):
    (here / "sd").mkdir()
    fails(insert("--prior", "sd", *settings("guidance.kind=lds")), capsys, here, "sd", "model_index.json")


# --------------------------------------------------------------------------------------------------------------- LLVM
@pytest.mark.parametrize("library, text", [("/none/libLLVM.so", "not found"), ("libLLVM-14.so", "LLVM 14")])
def test_llvm(here, library, text):
    """In a process of its own: this one has loaded its LLVM."""
    (here / "libLLVM-14.so").write_bytes(b"only the name says so")
    old = sorted(Path("/usr/lib").glob("*-linux-gnu/libLLVM-14.so"))
    path = library if library.startswith("/") else str(old[0] if old else here / library)
    before = contents(here)
    env = {**os.environ, "DRJIT_LIBLLVM_PATH": path, "DIPIR_VARIANT": "llvm_ad_rgb", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-m", "dipir", *insert()], cwd=here, capture_output=True, text=True,
                         timeout=300, env=env)
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
    message = run.stderr[run.stderr.index("dipir: error: "):]
    assert path in message and text in message and "apt-get install libllvm19" in message
    assert contents(here) == before


# -------------------------------------------------------------------------------------------------- resume and render
def test_resume_of_another_run_is_refused(here, capsys):
    tiny_prior(here)
    words = ["insert", "scene.yaml", "--out", "out", "--quiet", "--prior", "w.safetensors", *settings(*TINY)]
    assert cli.main(words) == 0
    fails([*words, "--seed", "9", "--resume"], capsys, here, "checkpoint.safetensors", "another run", "--out")
    fails([*words, "--at", "30,45", "--resume"], capsys, here, "checkpoint.safetensors", "another run")
    path = here / "out" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:300])
    fails([*words, "--resume"], capsys, here, "checkpoint.safetensors", "Run without --resume")


def test_render_of_no_result(here, capsys):
    fails(["render", "none"], capsys, here, "none", "no such folder")
    (here / "run").mkdir()
    fails(["render", "run"], capsys, here, "run", "result.json", "--out folder of a finished")
    fails(["render", "plate.png"], capsys, here, "plate.png")


@pytest.mark.parametrize("name", ["light.json", "result.json", "config.yaml", "scene.yaml"])
@pytest.mark.parametrize("left", [0.0, 0.1, 0.3, 0.5, 0.8, 0.97])
def test_render_of_a_damaged_result(here, capsys, finished, name, left):
    shutil.copytree(finished[0] / "out", here / "out")
    path = here / "out" / name
    path.write_bytes(cut(path, left)) if left else path.unlink()
    fails(["render", "out", "--out", "again"], capsys, here, name)


@pytest.mark.parametrize("words, texts", [
    (["--asset", "none.glb"], ["none.glb"]), (["--size", "64,32"], ["64x64", "same aspect"]),
    (["--out", "plate.png"], ["plate.png"])])
def test_render_options(here, capsys, finished, words, texts):
    shutil.copytree(finished[0] / "out", here / "out")
    fails(["render", "out", *words], capsys, here, *texts)


def test_render_of_no_size(capsys):
    for words in (["--size", "0,0"], ["--size", "64,0"], ["--spp", "0"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["render", "out", *words])
        assert end.value.code == 2 and words[0] in capsys.readouterr().err


def test_render_when_the_plate_is_gone(here, capsys):
    (here / "run").mkdir()
    make_inputs(here / "run")
    assert cli.main(["insert", "run/scene.yaml", "--out", "out", "--quiet", *settings(*PLAIN)]) == 0
    shutil.rmtree(here / "run")
    fails(["render", "out"], capsys, here, "out/scene.yaml", "plate.png", "no such file")


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
@pytest.mark.parametrize("name", [b"W\xfcrfel", pytest.param("Würfel".encode(), marks=pytest.mark.slow)])
def test_names_in_any_encoding(here, name, locale):
    """Plate, mesh, prompt and folder; the scene that is written leads to the same files again, in any locale."""
    for kind, file in ((b".png", "plate.png"), (b".obj", "cube.obj")):
        shutil.copy(file, name + kind)
    words = [b"insert", name + b".png", name + b".obj", b"--at", b"32,45", b"--height", b"0.5", b"--fov", b"50",
             b"--pitch", b"15", b"--prompt", b"a " + name, *(w.encode() for w in settings(*PLAIN))]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **locale}
    run = subprocess.run([sys.executable, "-m", "dipir", *words], capture_output=True, env=environ, timeout=300)
    assert run.returncode == 0, run.stderr
    (folder,) = Path("out").iterdir()
    assert {"composite.png", "report.html", "result.json", "scene.yaml"} <= {p.name for p in folder.iterdir()}
    for again in ({}, locale):
        code = "import sys; from dipir.scene.scene_file import load_scene_file as load; load(sys.argv[1])"
        assert subprocess.run([sys.executable, "-c", code, str(folder / "scene.yaml")], env={**environ, **again},
                              timeout=60).returncode == 0
