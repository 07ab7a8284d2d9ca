"""The set-up script on pretended machines: without LLVM, with and without the right to install it."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the set-up script needs bash")

# apt knows libllvm18 only, and only after its lists were refreshed; installing it is what the finder then sees. What it
# prints after the pause kills it when its reader has left by then.
APT_CACHE = '''[ "$2" = "$OFFERED" ] && [ -e "$MARKS/updated" ] && echo "  Candidate: 1:18" ||
    echo "  Candidate: (none)"
sleep 0.05; echo "  Version table:"'''
APT_GET = '''echo "$*" >>"$MARKS/apt"
case "$*" in update*) touch "$MARKS/updated";; *install*) touch "$MARKS/llvm";; esac'''
FINDER = '[ -e "$MARKS/llvm" ] && echo "/usr/lib/libLLVM.so 18"; true'


def machine(tmp_path: Path, uid: int, sudo: bool = False) -> dict[str, str]:
    """A copy of the script with a venv that needs nothing, on a machine of pretended commands; its environment."""
    for name in (".ci/setup", "setup.cfg", "setup.py", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    commands = {"fake/id": f"echo {uid}", "fake/apt-cache": APT_CACHE, "fake/apt-get": APT_GET,
                "fake/nvidia-smi": "exit 1",
                "fake/sudo": 'if [ "$1" = -n ]; then shift; fi; "$@"' if sudo else "exit 1",
                ".venv/bin/python": 'echo "$*" >>"$MARKS/python"', ".venv/bin/dipir": "true"}
    for name, body in commands.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DRJIT", "DIPIR"))}
    return environment | {"PATH": f"{tmp_path / 'fake'}:/usr/bin:/bin", "MARKS": str(marks), "OFFERED": "libllvm18",
                          "DIPIR_LLVM_FINDER": FINDER}


def setup(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([tmp_path / ".ci/setup"], env=environment, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)


def test_without_rights_it_names_the_one_package_and_stops(tmp_path):
    run = setup(tmp_path, machine(tmp_path, uid=1000))
    assert run.returncode == 2
    assert "missing package: libllvm19" in run.stderr and "apt-get install libllvm19" in run.stderr
    assert not (tmp_path / "marks/apt").exists() and not (tmp_path / ".venv/.dipir-ready").exists()


@pytest.mark.parametrize("uid, sudo", [(0, False), (1000, True)])
def test_with_rights_it_refreshes_the_lists_and_installs_what_is_offered(tmp_path, uid, sudo):
    environment = machine(tmp_path, uid, sudo)
    run = setup(tmp_path, environment)
    assert run.returncode == 0, run.stderr
    update, install = (tmp_path / "marks/apt").read_text().splitlines()
    assert update.startswith("update") and install.startswith("install -y") and install.endswith(" libllvm18")
    # The second call does nothing at all; a changed setup.cfg makes it look again.
    (tmp_path / "marks/python").unlink()
    assert setup(tmp_path, environment).stdout == "" and not (tmp_path / "marks/python").exists()
    (tmp_path / "setup.cfg").write_text("[metadata]\n")
    assert "-e .[dev]" in (setup(tmp_path, environment), (tmp_path / "marks/python").read_text())[1]


def test_an_old_llvm_is_not_enough(tmp_path):
    environment = machine(tmp_path, uid=1000) | {"DIPIR_LLVM_FINDER": "echo /usr/lib/libLLVM-15.so 15"}
    assert setup(tmp_path, environment).returncode == 2


def test_a_release_without_llvm_is_told_where_to_get_it(tmp_path):
    run = setup(tmp_path, machine(tmp_path, uid=0) | {"OFFERED": "none"})
    assert run.returncode == 2 and "https://apt.llvm.org" in run.stderr


def test_a_wrong_library_path_is_named(tmp_path):
    run = setup(tmp_path, machine(tmp_path, uid=0) | {"DRJIT_LIBLLVM_PATH": "/nowhere/libLLVM.so"})
    assert run.returncode == 2 and "/nowhere/libLLVM.so" in run.stderr and not (tmp_path / "marks/apt").exists()


def test_the_search_for_llvm_runs_on_a_bare_python():
    # The script asks the package for LLVM before any of the package's needs are installed.
    code = "import dipir.render.backend, sys; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'drjit')))"
    assert subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT).returncode == 0
