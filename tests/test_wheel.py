"""The wheel works where there is no checkout: it holds what is read at run time, and runs the shipped scene."""
from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("configs", "scenes", "assets/demo", "assets/priors")
TINY = ("fit.steps=2", "guidance.samples=1", "guidance.sampler_steps=2", "transport.samples=1",
        "transport.bsdf_samples=1", "transport.light_samples=1", "final.size=64", "final.spp=1")
pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess:
    """A child of this interpreter, whose packages it has; ``path`` is looked through before them."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "DIPIR_DATA"))}
    environment |= {} if path is None else {"PYTHONPATH": str(path)}
    made = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True)
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


def test_the_shipped_scene_runs_without_a_checkout(wheel, tmp_path):
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    run("-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", "--target", site, wheel, cwd=tmp_path)
    where = run("-c", "import dipir; print(dipir.__file__, dipir.__version__)", cwd=here, path=site).stdout.split()
    assert Path(where[0]).is_relative_to(site) and where[1] in wheel.name
    settings = [word for pair in TINY for word in ("--set", pair)]
    made = run("-m", "dipir", "insert", "scenes/demo.yaml", "--device", "cpu", *settings, cwd=here, path=site)
    assert made.stderr.count("the one that comes with dipir is used") == 1
    assert made.stdout.strip() == "out/demo/composite.png" and (here / "out/demo/composite.png").is_file()
    words = [sys.executable, "-m", "dipir", "bench", "insert"]
    bench = subprocess.run(words, cwd=here, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)})
    assert bench.returncode == 2 and "source checkout only" in bench.stderr
