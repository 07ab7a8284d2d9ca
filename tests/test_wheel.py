"""The wheel works where there is no checkout: it holds what is read at run time, and runs the shipped scene."""
from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("configs", "scenes", "assets/demo", "assets/priors")
TINY = ("fit.steps=2", "guidance.samples=1", "guidance.sampler_steps=2", "transport.samples=1",
        "transport.bsdf_samples=1", "transport.light_samples=1", "final.size=64", "final.spp=1")
pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, program: str | Path = sys.executable) -> subprocess.CompletedProcess:
    """A child that knows of no checkout and no data."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "DIPIR_DATA"))}
    made = subprocess.run([program, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-3000:]
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Made from the source distribution, so that one is complete too. Nothing is downloaded."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (path,) = folder.glob("*.whl")
    return path


def tracked(*folders: str) -> list[str]:
    """The files of the repository in ``folders``."""
    made = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout.splitlines()


def test_the_wheel_holds_modules_and_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert {name for name in tracked("dipir") if (ROOT / name).is_file()} <= names
        for name in [*tracked(*SHIPPED), "assets/manifest.yaml"]:
            assert archive.read(f"dipir/data/{name}") == (ROOT / name).read_bytes(), name
    assert "dipir/py.typed" in names and not {n.split("/")[0] for n in names} & {"tests", "benchmarks", "assets"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` folder of a fresh venv with the wheel in it. The large packages are those of this interpreter: their
    folder is looked through last, by a plain line of a .pth file, so that no editable install of it takes part."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=True)
    words = ("-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check")
    run(*words, wheel, cwd=folder, program=folder / "bin" / "python")
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "large.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin"


def test_the_shipped_scene_runs_in_a_fresh_venv(wheel, installed, tmp_path):
    code = "import dipir; print(dipir.__file__, dipir.__version__)"
    where = run("-c", code, cwd=tmp_path, program=installed / "python").stdout.split()
    assert Path(where[0]).is_relative_to(installed.parent) and where[1] in wheel.name
    settings = [word for pair in TINY for word in ("--set", pair)]
    made = run("insert", "scenes/demo.yaml", "--device", "cpu", *settings, cwd=tmp_path, program=installed / "dipir")
    assert made.stderr.count("the one that comes with dipir is used") == 1
    assert made.stdout.strip() == "out/demo/composite.png" and (tmp_path / "out/demo/composite.png").is_file()


def test_benchmarks_need_a_checkout(installed, tmp_path):
    bench = subprocess.run([installed / "dipir", "bench", "insert"], cwd=tmp_path, capture_output=True, text=True)
    assert bench.returncode == 2 and "source checkout only" in bench.stderr
